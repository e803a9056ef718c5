import pytest
import torch

from zoo.batch import Batch, check_batch, truth
from zoo.pose import BODY_18, SURFACE_PARTS, flip_pose, flip_surface


def batch(**changes):
    tensors = {
        "source": torch.rand(2, 1, 3, 8, 6),
        "driving": torch.rand(2, 4, 3, 8, 6),
        "source_pose": torch.rand(2, 1, 18, 3),
        "driving_pose": torch.rand(2, 4, 18, 3),
        "source_mask": torch.rand(2, 1, 1, 8, 6),
        "driving_mask": torch.rand(2, 4, 1, 8, 6),
    }
    return Batch(**tensors | changes)


def test_a_good_batch_passes():
    check_batch(batch(), ("pose", "mask"))


@pytest.mark.parametrize(
    ("changes", "conditions", "message"),
    [
        ({"source": torch.rand(2, 3, 8, 6)}, (), r"'source' should be \(B, S, 3, H, W\).*\(2, 3, 8, 6\)"),
        ({"driving": torch.rand(2, 4, 3, 8, 6) * 255}, (), "'driving'.*values reach"),
        ({"driving": torch.full((2, 4, 3, 8, 6), torch.nan)}, (), "nan"),
        ({"source": torch.zeros(2, 1, 3, 8, 6, dtype=torch.uint8)}, (), "uint8"),
        ({"driving": torch.rand(2, 4, 3, 8, 8)}, (), "differ"),
        ({}, ("iuv",), "'source_iuv'.*zoo prepare"),
        ({"driving_pose": torch.rand(2, 3, 18, 3)}, ("pose",), "'driving_pose'"),
        ({"source_pose": torch.full((2, 1, 18, 3), torch.inf)}, ("pose",), "infinity"),
    ],
)
def test_what_is_wrong_is_named(changes, conditions, message):
    with pytest.raises(ValueError, match=message):
        check_batch(batch(**changes), conditions)


def test_truth_is_the_target_where_one_is_known():
    plain = batch()
    assert truth(plain) is plain["driving"]
    target = torch.rand(2, 4, 3, 8, 6)
    assert truth(batch(target=target)) is target


class TestFlips:
    def test_mirrored_joints_change_sides(self):
        left, right = BODY_18.joints.index("left_wrist"), BODY_18.joints.index("right_wrist")
        pose = torch.zeros(18, 3)
        pose[left] = torch.tensor([0.5, 0.2, 0.9])
        flipped = flip_pose(pose, BODY_18)
        assert torch.equal(flipped[right], torch.tensor([-0.5, 0.2, 0.9]))
        assert torch.equal(flip_pose(flipped, BODY_18), pose)

    def test_every_limb_connects_joints_that_exist(self):
        assert all(0 <= joint < len(BODY_18.joints) for limb in BODY_18.limbs for joint in limb)

    def test_mirrored_surface_changes_sides(self):
        iuv = torch.zeros(3, 1, 2)
        iuv[:, 0, 0] = torch.tensor([SURFACE_PARTS.index("left_hand"), 0.3, 0.2])
        flipped = flip_surface(iuv)
        expected = torch.tensor([SURFACE_PARTS.index("right_hand"), 0.3, 0.8])
        torch.testing.assert_close(flipped[:, 0, 1], expected)
        assert torch.equal(flipped[:, 0, 0], torch.zeros(3))
        torch.testing.assert_close(flip_surface(flipped), iuv)
