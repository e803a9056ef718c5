import pytest
import torch

from zoo.errors import OptionError
from zoo.pose import (
    BODY_18,
    BODY_23,
    BODY_25,
    COCO_17,
    FACE_68,
    MEDIAPIPE_33,
    SKELETONS,
    WHOLE_25,
    convert_pose,
    flip_pose,
    to_pixels,
    to_units,
)

# The published map from the 25-point to the 23-point format.
PUBLISHED_25_TO_23 = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 22, 23, 12, 13, 14, 19, 20, 0, 15, 17, 16, 18]


def random_pose(skeleton, frames=4):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(frames, len(skeleton.joints), 3, generator=generator) + 0.01


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda skeleton: skeleton.name)
def test_mirroring_twice_changes_nothing_and_exchanges_sides_once(skeleton):
    pose = random_pose(skeleton)
    assert torch.equal(flip_pose(flip_pose(pose, skeleton), skeleton), pose)
    for joint, mirrored in zip(skeleton.joints, skeleton.mirrored, strict=True):
        if joint.startswith("left_"):
            assert skeleton.joints[mirrored] == "right_" + joint.removeprefix("left_")
    assert len(set(skeleton.joints)) == len(skeleton.joints)


def test_face_points_are_mirrored_as_in_the_68_point_markup():
    face = [joint - 25 for joint in WHOLE_25.mirrored[WHOLE_25.part("face")]]
    markup = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46]
    markup += [39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65, 69, 68]
    assert face == markup
    assert list(FACE_68.mirrored) == markup[:68]


def test_the_landmarks_of_a_face_are_those_of_a_whole_body():
    pose = random_pose(WHOLE_25)
    assert torch.equal(convert_pose(pose, WHOLE_25, FACE_68), pose[:, 25:93])
    assert FACE_68.part("face") == FACE_68.part("body") == slice(0, 68)
    assert FACE_68.part("left_hand") == slice(68, 68)
    assert {joint for limb in FACE_68.limbs for joint in limb} == set(range(68))


def test_parts_of_a_whole_body():
    parts = [WHOLE_25.part(name) for name in ("body", "face", "left_hand", "right_hand")]
    assert [(part.start, part.stop) for part in parts] == [(0, 25), (25, 95), (95, 116), (116, 137)]
    assert all(joint.startswith("right_") for joint in WHOLE_25.joints[parts[3]])
    assert BODY_25.part("face") == slice(25, 25)
    assert WHOLE_25.body() is BODY_25


def test_25_points_become_23_as_published():
    pose = random_pose(BODY_25)
    assert torch.equal(convert_pose(pose, BODY_25, BODY_23), pose[:, PUBLISHED_25_TO_23])


def test_coco_gets_a_neck_between_the_shoulders():
    pose = random_pose(COCO_17)
    converted = convert_pose(pose, COCO_17, BODY_18)
    shoulders = pose[:, [COCO_17.index("left_shoulder"), COCO_17.index("right_shoulder")]]
    assert torch.equal(converted[:, 1, :2], shoulders[..., :2].mean(dim=1))
    assert torch.equal(converted[:, 1, 2], shoulders[..., 2].amin(dim=1))
    assert torch.equal(convert_pose(converted, BODY_18, COCO_17), pose)


def test_a_mean_of_missing_joints_is_missing():
    pose = random_pose(COCO_17)
    pose[:, COCO_17.index("left_shoulder")] = 0
    assert not convert_pose(pose, COCO_17, BODY_18)[:, 1].any()


def test_mediapipe_fills_all_of_body_25_but_the_small_toes():
    converted = convert_pose(random_pose(MEDIAPIPE_33), MEDIAPIPE_33, BODY_25)
    missing = {BODY_25.joints[joint] for joint in range(25) if not converted[:, joint].any()}
    assert missing == {"left_small_toe", "right_small_toe"}


def test_pixels_and_units_are_inverse_and_centre_pixels():
    pose = random_pose(BODY_18).double()
    pose[0, 0, 2] = 0
    pixels = to_pixels(pose, (48, 64))
    assert not pixels[0, 0].any()
    torch.testing.assert_close(to_units(pixels, (48, 64))[1:], pose[1:])
    corner = torch.tensor([[[0.0, 0.0, 1.0]]])
    torch.testing.assert_close(to_units(corner, (48, 64))[0, 0, :2], torch.tensor([1 / 64 - 1, 1 / 48 - 1]))


def test_an_unknown_joint_is_named():
    with pytest.raises(OptionError, match="coco_17 has no joint 'neck'"):
        COCO_17.index("neck")
