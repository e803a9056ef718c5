import json
import math
import statistics

import pytest
import torch

import zoo
from benchmarks import turning
from benchmarks.evaluation import batches
from benchmarks.metadata import RESULTS
from benchmarks.protocol import find_suite
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


def test_whoever_turns_around_shows_all_sides_and_the_front_first():
    (protocol,) = find_suite(turning.PROTOCOL).protocols
    data = VideoDataModule(**protocol.data_options(None), conditions=("iuv",), workers=0)
    clips = [batch["driving_clip"][0] for batch in data.test_dataloader()]
    people = SyntheticPeople(size=(64, 64), **protocol.content["data"]["synthetic"])
    assert len({clip.split("/")[1] for clip in clips}) == len(clips) == 24
    for name in clips[:3]:
        maps = people.condition(people.find(name), "iuv", range(48)).float()
        shown = turning.sides_shown(maps)
        assert shown[0] == "front"
        assert set(shown) == set(turning.SIDES)


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
    shown = turning.sides_shown(batch["driving_iuv"][0])
    for side in turning.SIDES:
        frames = [frame for frame, each in enumerate(shown) if each == side]
        subject = errors[frames][batch["driving_mask"][0, frames, 0] > 0.5].mean().item()
        assert found["sides"][side][1][0] == pytest.approx(subject, rel=1e-4)
    front, back = (statistics.fmean(one) - statistics.fmean(three) for one, three in map(found["sides"].get, ENDS))
    gain = back - front
    assert found["gains"]["back"][0]["difference"] == pytest.approx(gain)
    assert math.isfinite(gain)
    with pytest.raises(OptionError, match="FirstOrderMotionModel looks at one source"):
        turning.measure(zoo.load("first_order_motion_model/synthetic-64"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_the_committed_result_is_of_weights_and_clips_that_are_here(path):
    found = json.loads(path.read_text("utf-8"))
    assert found["sha256"] == sha256_of(zoo.load(found["weights"]).inference_state()), "measure again"
    assert found["hash"] == find_suite(turning.PROTOCOL).protocols[0].hash
    drawn = METHODS / found["method"] / "pictures" / turning.PICTURE
    assert drawn.read_text("utf-8") == turning.picture(found)
