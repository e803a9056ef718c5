from collections import Counter

import numpy as np
import pytest
import torch
from tiny_folders import numbered_frames, write_clips, write_pose

from zoo.data import Clip, FolderSource
from zoo.data.cache import ByteCache
from zoo.data.clips import EvaluationClips, FittedClips, Timeline, TrainingClips, collate

FRAMES = 20


def clip(frames: int, fps: float) -> Clip:
    return Clip("name", "someone", frames, fps, 8, 8, "name")


@pytest.fixture
def source(tmp_path):
    write_clips(
        tmp_path, ["train/anna#1.png", "train/anna#2.png", "train/ben#1.png", "test/x.png", "test/y.png"], FRAMES
    )
    for name in ("train/anna#1", "train/anna#2", "train/ben#1", "test/x", "test/y"):
        pose = np.full((FRAMES, 18, 3), 3.5)
        pose[..., 0] = np.arange(FRAMES)[:, None] / 4  # in frame t at x = t / 4
        write_pose(tmp_path / f"{name}_pose.npz", pose)
    return FolderSource(tmp_path, required=("pose",))


def fitted(source, conditions=(), pose_window=0, budget=1 << 20, size=(8, 8)) -> FittedClips:
    return FittedClips(source, conditions, size, "crop", pose_window, ByteCache(budget))


def training(source, *, clips=None, conditions=(), pose_window=0, source_frames=1, driving_frames=1, stride=1, fps=None,
             repeats=1, by_identity=False, seed=0, **more) -> TrainingClips:  # fmt: skip
    return TrainingClips(
        clips or source.clips("train"), fitted(source, conditions, pose_window),
        source_frames, driving_frames, stride, fps, repeats, by_identity, seed, **more,
    )  # fmt: skip


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        value.equal(other[key]) if isinstance(value, torch.Tensor) else value == other[key]
        for key, value in one.items()
    )


def test_resampling_takes_the_nearest_frame():
    slower = Timeline(clip(10, 30), 10)
    assert slower.frames == 4
    assert slower.stored(np.arange(4)) == [0, 3, 6, 9]
    faster = Timeline(clip(4, 25), 50)
    assert faster.frames == 7
    assert faster.stored(np.arange(7)) == [0, 1, 1, 2, 2, 3, 3]
    assert Timeline(clip(10, 29.97), None).stored(np.array([-3, 0, 9, 12])) == [0, 0, 9, 9]
    assert Timeline(clip(1, 25), 7).frames == 1


def test_samples_are_a_function_of_seed_and_number(source):
    one, two = training(source, conditions=("pose",)), training(source, conditions=("pose",))
    backwards = {number: two[number] for number in reversed(range(30))}
    assert all(same(one[number], backwards[number]) for number in range(30))
    other = training(source, conditions=("pose",), seed=1)
    assert not all(same(one[number], other[number]) for number in range(30))


def test_pairs_are_drawn_independently_and_uniformly(source):
    data = training(source)
    draws = [(data[number]["source"][0, 1, 0, 0].item(), data[number]["frame"].item()) for number in range(4000)]
    table = torch.zeros(FRAMES, FRAMES)
    for source_frame, driving_frame in draws:
        table[source_frame, driving_frame] += 1
    expected = len(draws) / FRAMES**2
    chi_square = ((table - expected) ** 2 / expected).sum()
    degrees = FRAMES**2 - 1
    assert abs(chi_square - degrees) < 4 * (2 * degrees) ** 0.5


def test_pictures_belong_to_their_names_and_numbers(source):
    data = training(source, driving_frames=3, stride=2, source_frames=2, conditions=("pose",))
    reds = {"train/anna#1.png": 0, "train/anna#2.png": 1, "train/ben#1.png": 2}
    for number in range(20):
        sample = data[number]
        assert sample["source"].shape == (2, 3, 8, 8)
        assert sample["driving"].dtype == torch.uint8
        assert sample["source_clip"] == sample["driving_clip"]
        assert sample["driving"][0, 0, 0, 0] == reds[sample["driving_clip"]]
        assert sample["frame"].diff().tolist() == [2, 2]
        assert sample["driving"][:, 1, 0, 0].tolist() == sample["frame"].tolist()
        x = sample["driving_pose"][:, 0, 0]
        torch.testing.assert_close(((x + 1) * 8 - 1) / 2, sample["frame"] / 4)
        assert (sample["index"], sample["fps"], sample["valid"]) == (number, 25.0, True)


def test_every_start_of_a_long_run_is_possible(source):
    data = training(source, driving_frames=4, stride=6)  # needs 19 of 20 frames
    assert {data[number]["frame"][0].item() for number in range(60)} == {0, 1}


def test_epochs_count_clips_or_people(source):
    per_clip = training(source, repeats=2)
    assert Counter(per_clip[number]["source_clip"] for number in range(len(per_clip))).most_common() == [
        ("train/anna#1.png", 2), ("train/anna#2.png", 2), ("train/ben#1.png", 2),
    ]  # fmt: skip
    per_person = training(source, repeats=200, by_identity=True)
    assert len(per_person) == 400
    counts = Counter(per_person[number]["source_clip"] for number in range(400))
    assert counts["train/ben#1.png"] == 200
    assert 70 < counts["train/anna#1.png"] < 130


def test_short_epochs_are_filled_up_evenly(source):
    filled = training(source, epoch_samples=7)  # of three clips
    assert set(Counter(filled[number]["source_clip"] for number in range(len(filled))).values()) == {3}
    assert len(training(source, epoch_samples=7, by_identity=True)) == 8  # of two people
    assert len(training(source, repeats=2, epoch_samples=3)) == 6
    assert len(training(source, epoch_samples=2)) == 3


def test_pose_window_stops_at_the_ends(source):
    data = training(source, conditions=("pose",), pose_window=2, driving_frames=2, stride=3)
    for number in range(10):
        sample = data[number]
        assert sample["pose_window"].shape == (2, 5, 18, 3)
        assert sample["pose_window"][:, 2].equal(sample["driving_pose"])
        around = (sample["frame"][:, None] + torch.arange(-2, 3)).clamp(0, FRAMES - 1)
        torch.testing.assert_close(((sample["pose_window"][..., 0, 0] + 1) * 8 - 1) / 2, around / 4)


@pytest.mark.parametrize("budget", [0, 1000, 1 << 20])
def test_the_cache_changes_nothing_but_reading(source, budget):
    clips = fitted(source, ("pose",), budget=budget)
    anna = source.clips("train")[0]
    for indices in ([3, 3, 0], [0, 5], [19, 3]):
        sample = clips.frames("source", anna, indices)
        assert sample["source"].equal(numbered_frames(0, FRAMES)[indices])
        assert clips.cache.held <= budget
    sample["source"].zero_()  # what was handed out is not what is kept
    assert clips.frames("source", anna, [19, 3])["source"].any()


def test_reconstruction(source):
    x = source.clips("test")[0]
    data = EvaluationClips([(x, 0, x)], fitted(source), source_frames=1, fps=None, frames=4, stride=3)
    assert data[0]["source"].equal(numbered_frames(3, FRAMES)[:1])
    assert data[0]["driving"].equal(numbered_frames(3, FRAMES)[[0, 3, 6, 9]])
    assert data[0]["frame"].tolist() == [0, 3, 6, 9]
    assert "target" not in data[0]
    assert data[0]["valid"] is True
    assert data[1]["valid"] is False
    assert data[1]["driving"].equal(data[0]["driving"])
    whole = EvaluationClips([(x, 0, x)], fitted(source), source_frames=3, fps=12.5, frames=None, stride=1)
    assert whole[0]["frame"].tolist() == list(range(0, FRAMES, 2))
    assert whole[0]["source"][:, 1, 0, 0].tolist() == [0, 10, 19]
    assert whole[0]["fps"] == 12.5


def test_collate(source):
    data = training(source, conditions=("pose",), driving_frames=2)
    batch = collate([data[0], data[1]])
    assert batch["driving"].shape == (2, 2, 3, 8, 8)
    assert batch["driving_pose"].shape == (2, 2, 18, 3)
    assert batch["index"].tolist() == [0, 1]
    assert batch["valid"].dtype == torch.bool
    assert batch["fps"] == [25.0, 25.0]
    assert batch["source_identity"] == ["anna", "anna"]


def test_a_clip_that_breaks_later_is_replaced_unless_strict(tmp_path):
    write_clips(tmp_path, [f"train/{name}.png" for name in "abc"] + ["test/d.png"])
    source = FolderSource(tmp_path)
    good = training(source)
    before = [good[number] for number in range(3)]
    (tmp_path / "train" / "b.png").write_bytes(b"no picture any more")
    broken = training(source)
    with pytest.warns(UserWarning, match=r"b\.png.*Another clip"):
        replaced = broken[1]
    assert replaced["driving_clip"] == "train/c.png"
    assert replaced["index"] == 1
    assert same(broken[0], before[0])


# --- several sources, and other people


def test_sources_apart_are_all_frames_that_dont_drive(source):
    data = training(source, source_frames=3, driving_frames=4, stride=2, sources_apart=True)
    seen = Counter()
    for number in range(1500):
        sample = data[number]
        sources, driving = sample["source"][:, 1, 0, 0].tolist(), sample["frame"].tolist()
        assert not set(sources) & set(driving)
        seen.update((frame - driving[0]) % FRAMES for frame in sources if driving[0] == 5)
    allowed = {(frame - 5) % FRAMES for frame in range(FRAMES)} - {0, 2, 4, 6}
    assert set(seen) == allowed


@pytest.mark.parametrize("by_identity", [False, True])
def test_others_are_somebody_else(source, by_identity):
    data = training(source, conditions=("pose",), by_identity=by_identity, other_frames=4)
    pairs = Counter()
    for number in range(300):
        sample = data[number]
        assert sample["other"].shape == (4, 3, 8, 8)
        assert sample["other_identity"] != sample["driving_identity"]
        poses = sample["other_pose"][:, 0, 0]  # joints move with the frame's number
        expected = (2 * sample["other"][:, 1, 0, 0].float() / 4 + 1) / 8 - 1
        torch.testing.assert_close(poses, expected)
        pairs[sample["driving_identity"], sample["other_clip"]] += 1
    assert {clip for identity, clip in pairs if identity == "ben"} == {"train/anna#1.png", "train/anna#2.png"}
    assert {clip for identity, clip in pairs if identity == "anna"} == {"train/ben#1.png"}


def test_asking_for_others_changes_nothing_else(source):
    plain, more = training(source), training(source, other_frames=2)
    for number in range(20):
        sample = more[number]
        assert same(plain[number], {key: value for key, value in sample.items() if not key.startswith("other")})


def test_others_that_break_are_replaced(source, tmp_path):
    data = training(source, other_frames=1)
    (tmp_path / "train" / "anna#1.png").write_bytes(b"gone")
    with pytest.warns(UserWarning, match="Another clip takes its place"):
        samples = [data[number] for number in range(30)]
    assert "train/anna#1.png" not in {sample["other_clip"] for sample in samples}
