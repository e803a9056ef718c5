"""MediaPipe's networks on real people and on synthetic ones, whose joints are known."""

import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from zoo.conditions import clean_track, estimate_track, load_estimator, missing_rates
from zoo.data.synthetic import SyntheticPeople
from zoo.errors import OptionError
from zoo.pose import BODY_18, MEDIAPIPE_33, convert_pose
from zoo.video import iter_frames, probe
from zoo.weights import networks

FRAMES = 12


@pytest.fixture
def mediapipe():
    pytest.importorskip("ai_edge_litert", reason="needs the extra `pose`")
    if not all(row.present for row in networks.status() if row.name.startswith("pose")):
        pytest.skip("needs `zoo weights install pose`")
    return load_estimator("mediapipe")


def mean_error(track, truth):
    both = (track[..., 2] > 0) & (truth[..., 2] > 0)
    assert both.float().mean() > 0.9
    return float((track - truth)[..., :2].norm(dim=-1)[both].mean())


def test_synthetic_people_are_found_within_3_percent_of_their_height(mediapipe):
    people = SyntheticPeople(size=(256, 256), train_identities=0, val_identities=0, test_identities=1, frames=FRAMES)
    clip = next(clip for clip in people.clips("test") if "jumping_jack" in clip.name)
    truth = people.condition(clip, "pose", range(FRAMES))
    track = estimate_track(people.frames(clip, range(FRAMES)), mediapipe, BODY_18)
    height = truth[..., 1].amax(dim=1) - truth[..., 1].amin(dim=1)
    assert mean_error(track, truth) < 0.03 * float(height.median())


@pytest.mark.shared
@pytest.mark.parametrize("name", ["taichi/1", "fashion/2"])
def test_real_people_agree_with_recorded_keypoints(mediapipe, shared, name):
    truth = torch.from_numpy(np.load(shared / "data" / f"{name}_pose.npz")["keypoints"])[:FRAMES]
    frames = iter_frames(probe(shared / "data" / f"{name}.mp4"), 0, FRAMES)
    track = estimate_track(frames, mediapipe, BODY_18)
    assert mean_error(track, truth) < 3  # pixels of 256
    assert mean_error(clean_track(track, 25, "savitzky_golay", 5), truth) < 3


def test_an_empty_picture_has_nobody_and_somebody_is_found_again(mediapipe):
    people = SyntheticPeople(size=(256, 256), train_identities=0, val_identities=0, test_identities=1, frames=3)
    clip = people.clips("test")[0]
    first, _, last = people.frames(clip, range(3))
    empty = people.background(clip)
    track = estimate_track([first, empty, empty, last], mediapipe, MEDIAPIPE_33)
    assert (track[..., 2] > 0).any(dim=1).tolist() == [True, False, False, True]


@pytest.mark.parametrize("small_side", ["left", "right"])
def test_of_several_people_the_surest_is_followed_until_lost(mediapipe, small_side):
    """The detector is surer of a person who turns around than of one who marches and is a third larger."""
    people = SyntheticPeople(size=(256, 256), train_identities=0, val_identities=0, test_identities=2, frames=3)
    marching, turning = (
        next(clip for clip in people.clips("test") if style in clip.name) for style in ("march", "turn_around")
    )
    small = torch.full((3, 3, 256, 256), 128, dtype=torch.uint8)
    small[:2, :, 64:, 32:224] = functional.interpolate(people.frames(turning, range(2)).float(), (192, 192)).byte()
    small_truth, truth = (people.condition(clip, "pose", range(3)) for clip in (turning, marching))
    small_truth = small_truth * torch.tensor([0.75, 0.75, 1]) + torch.tensor([32.0, 64.0, 0])
    halves = [small, people.frames(marching, range(3))]
    if small_side == "left":
        truth[..., 0] += 256
    else:
        small_truth[..., 0] += 256
        halves.reverse()
    found = [mediapipe(frame) for frame in torch.cat(halves, dim=3)]
    assert [len(everybody) for everybody in found] == [1, 1, 1]
    track = convert_pose(torch.cat(found), MEDIAPIPE_33, BODY_18)
    assert mean_error(track[:2], small_truth[:2]) < 6  # pixels
    assert mean_error(track[2:], truth[2:]) < 8  # the other one is gone


def test_joints_outside_the_frame_are_missing(mediapipe):
    people = SyntheticPeople(size=(256, 256), train_identities=0, val_identities=0, test_identities=1, frames=1)
    clip = people.clips("test")[0]
    frame, truth = people.frames(clip, [0])[0], people.condition(clip, "pose", [0])[0]
    knees = int(truth[[9, 12], 1].min()) - 5
    track = estimate_track([frame[:, :knees]], mediapipe, BODY_18)
    rates = missing_rates(track, BODY_18)
    assert rates["left_ankle"] == rates["right_ankle"] == 1
    assert rates["nose"] == rates["left_shoulder"] == 0
    assert not track[0, BODY_18.index("left_ankle")].any()


def test_without_the_runtime_the_error_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(OptionError, match=r"pip install 'animation-zoo\[pose\]'"):
        load_estimator("mediapipe")
