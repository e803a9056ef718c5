import csv
import json
import math
import statistics

import pytest
import torch

import zoo
from benchmarks.ablations import turning
from benchmarks.evaluation import batches
from benchmarks.metadata import RESULTS
from benchmarks.protocol import PROTOCOLS, find_suite
from zoo.data import VideoDataModule
from zoo.data.synthetic import SyntheticPeople
from zoo.errors import OptionError
from zoo.report import sha256_of
from zoo.weights.reference import METHODS

RETRIEVING = "pose_attentive_reassembling/synthetic-64"
ENDS = ("front", "back")
COMMITTED = sorted(RESULTS.glob("turning-*--*.json"))


def surface(back, front):
    """Maps (T, 3, 4, 4) on which so many pixels of each frame are the torso's back and front."""
    maps = torch.zeros(len(back), 3, 16)
    for frame, (behind, before) in enumerate(zip(back, front, strict=True)):
        maps[frame, 0, :behind] = 1
        maps[frame, 0, behind : behind + before] = 2
        maps[frame, 0, -1] = 23  # of the head
    return maps.unflatten(-1, (4, 4))


def test_the_torso_says_which_side_a_frame_shows():
    shown = turning.sides_shown(surface([0, 1, 2, 5, 9, 10, 0], [8, 9, 8, 5, 1, 0, 0]))
    assert shown == ["front", "front", "side", "side", "back", "back", None]


def test_frames_near_a_source_are_not_measured():
    frames = turning.frames_of_sides(surface([0] * 30 + [9] * 18, [9] * 30 + [0] * 18), (1, 2, 4))
    assert frames == {"front": [*range(4, 13), *range(20, 28)], "side": [], "back": [*range(35, 44)]}
    (protocol,) = find_suite(turning.PROTOCOL).protocols
    data = VideoDataModule(**protocol.data_options(None), source_frames=4, workers=0)
    batch = next(iter(batches(data)))
    driving = batch["driving"][0]
    places = [int((driving - source).abs().mean((1, 2, 3)).argmin()) for source in batch["source"][0]]
    assert places == [0, 16, 31, 47]  # where the sources are


def test_whoever_turns_around_shows_the_front_first_and_then_the_back():
    (protocol,) = find_suite(turning.PROTOCOL).protocols
    data = VideoDataModule(**protocol.data_options(None), conditions=("iuv",), workers=0)
    people = SyntheticPeople(size=(64, 64), **protocol.content["data"]["synthetic"])
    with (PROTOCOLS / protocol.content["data"]["pairs"]).open() as file:
        clips = [people.find(row["driving"]) for row in csv.DictReader(file)]
    assert len({clip.identity for clip in clips}) == len(clips) == len(data.test_dataloader()) == 24
    for clip in clips:
        first, *others = turning.sides_shown(people.condition(clip, "iuv", [0, 16, 20, 24, 28, 31]).float())
        assert first == "front"
        assert "back" in others


@pytest.mark.slow
def test_each_side_is_measured_by_itself():
    method = zoo.load(RETRIEVING).eval()
    found = turning.measure(method, clips=2, sources=(1, 3))
    assert (found["clips"], found["sources"]) == (2, [1, 3])
    (protocol,) = find_suite(turning.PROTOCOL).protocols
    data = VideoDataModule(
        **protocol.data_options(None), source_frames=3, conditions=("iuv", "mask", *method.conditions), workers=0
    )
    batch = next(iter(batches(data)))
    assert batch["source"].shape[1] == 3
    with torch.inference_mode():
        errors = (method.test_step(batch, 0) - batch["driving"])[0].abs().mean(1)
    for side, frames in turning.frames_of_sides(batch["driving_iuv"][0], (1, 3)).items():
        subject = errors[frames][batch["driving_mask"][0, frames, 0] > 0.5].mean().item()
        assert found["sides"][side][1][0] == pytest.approx(subject, rel=1e-4)
    front, back = (statistics.fmean(one) - statistics.fmean(three) for one, three in map(found["sides"].get, ENDS))
    gain = back - front
    assert found["gains"]["back"][0]["difference"] == pytest.approx(gain)
    assert math.isfinite(gain)
    with pytest.raises(OptionError, match="FirstOrderMotionModel looks at one source"):
        turning.measure(zoo.load("first_order_motion_model/synthetic-64"))


def test_a_side_that_a_clip_does_not_show_is_left_out():
    sides = {"front": [[3.0, 2.0, 5.0], [2.0, 1.0, 4.0]], "side": [[4.0, None, 6.0], [1.0, None, 5.0]]}
    gains = turning._gains(sides | {"back": sides["front"]})
    assert gains["side"][0]["clips"] == 2
    assert gains["side"][0]["difference"] == pytest.approx(1)  # 3 and 1 beyond 1 and 1
    assert gains["back"][0]["difference"] == 0


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_the_committed_result_is_of_weights_and_clips_that_are_here(path):
    found = json.loads(path.read_text("utf-8"))
    assert found["sha256"] == sha256_of(zoo.load(found["weights"]).inference_state()), "measure again"
    assert found["hash"] == find_suite(turning.PROTOCOL).protocols[0].hash
    drawn = METHODS / found["method"] / "pictures" / turning.PICTURE
    assert drawn.read_text("utf-8") == turning.picture(found)
