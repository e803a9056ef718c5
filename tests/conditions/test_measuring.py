"""What metrics look through: joints and identity in frames of 64 x 64, as the protocols have them."""

import pickle

import pytest
import torch

from zoo.conditions.identity import TorsoAlexNet
from zoo.conditions.keypoints import MediaPipeKeypoints
from zoo.data.synthetic import SyntheticPeople
from zoo.metrics import AED, AKD, MKR
from zoo.metrics.keypoints import in_pixels
from zoo.weights import networks

SIZE = 64
TIMES = range(0, 40, 10)
PEOPLE = SyntheticPeople(train_identities=0, val_identities=0, test_identities=3, clips_per_identity=2)


@pytest.fixture(scope="module")
def networks_here():
    pytest.importorskip("ai_edge_litert", reason="needs the extra `pose`")
    if not all(row.present for row in networks.status() if row.name.startswith(("pose", "lpips_alex"))):
        pytest.skip("needs `zoo weights install pose` and `zoo weights install lpips`")


@pytest.fixture(scope="module")
def keypoints(networks_here):
    return MediaPipeKeypoints()


@pytest.fixture(scope="module")
def torso(networks_here):
    return TorsoAlexNet()


def frames(person, clip=0):
    """(1, T, 3, 64, 64) of a clip."""
    return PEOPLE.frames(PEOPLE.clips("test")[2 * person + clip], TIMES)[None].float() / 255


def joints(person):
    """(1, T, 18, 3), known exactly, x and y in [-1, 1]."""
    pose = PEOPLE.condition(PEOPLE.clips("test")[2 * person], "pose", TIMES)[None]
    return torch.cat([(2 * pose[..., :2] + 1) / SIZE - 1, pose[..., 2:]], dim=-1)


def test_joints_of_true_frames_are_where_they_are_known_to_be(keypoints):
    true, still, missing = AKD(keypoints), AKD(keypoints), MKR(keypoints)
    for person in range(3):
        clip, pose = frames(person), joints(person)
        true.update(clip, pose=pose)
        missing.update(clip, pose=pose)
        still.update(clip[:, :1].expand_as(clip), pose=pose)
    assert true.compute() < 1.5  # pixels
    assert true.compute() < 0.5 * still.compute()
    assert missing.compute() < 0.05
    assert true.name == "akd_mediapipe"


def test_equal_frames_have_equal_joints_whatever_is_around_them(keypoints):
    first, other = frames(0)[0, :1], frames(1)[0, :1]
    alone, among = keypoints(first), keypoints(torch.cat([other, first, other, first]))
    assert torch.equal(among[1], alone[0])
    assert torch.equal(among[3], alone[0])
    assert not torch.equal(among[0], alone[0])


def test_an_empty_picture_has_no_joints_and_no_identity(keypoints, torso):
    empty = PEOPLE.background(PEOPLE.clips("test")[0])[None].float() / 255
    assert not keypoints(empty).any()
    assert torso(empty).isnan().all()


def test_joints_are_compared_with_those_of_the_driving_frames_where_no_poses_are_known(keypoints):
    driving, prediction = frames(0), frames(1)
    metric = AKD(keypoints, truth="driving")
    metric.update(prediction, driving=driving)
    found, wanted = (in_pixels(keypoints(clip[0]).double(), SIZE, SIZE) for clip in (prediction, driving))
    both = (found[..., 2] > 0) & (wanted[..., 2] > 0)
    apart = [(f - w)[b][:, :2].abs().mean() for f, w, b in zip(found, wanted, both, strict=True)]
    assert metric.compute() == pytest.approx(float(torch.stack(apart).mean()))
    assert metric.name == "akd_mediapipe_on_driving"
    metric.update(driving, driving=driving)
    assert metric.per_clip()[1] == 0
    with pytest.raises(ValueError, match="needs driving="):
        metric.update(prediction)
    with pytest.raises(ValueError, match="driving should be"):
        metric.update(prediction, driving=driving[:, :2])


def test_the_embedding_finds_the_same_clothes_nearer_than_others(torso):
    same, other = AED(torso, to="source"), AED(torso, to="source")
    for person in range(3):
        clip = frames(person)
        same.update(clip, source=frames(person, clip=1)[:, 0])
        other.update(clip, source=frames((person + 1) % 3)[:, 0])
    assert same.compute() < other.compute()
    itself = AED(torso, to="source")
    itself.update(frames(0)[:, :1], source=frames(0)[:, 0])
    assert itself.compute() == 0


def test_metrics_with_these_networks_can_be_pickled_and_keep_no_weights(keypoints, torso):
    for metric in (AKD(keypoints), AED(torso, to="source")):
        assert not metric.state_dict()
        copy = pickle.loads(pickle.dumps(metric))
        for each in (metric, copy):
            each.update(frames(0), pose=joints(0), source=frames(1)[:, 0])
        assert copy.compute() == metric.compute()
