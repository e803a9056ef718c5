from dataclasses import dataclass
from functools import cached_property

from torch import Tensor


@dataclass(frozen=True)
class Skeleton:
    """A keypoint format: what each of the K joints is, and which joints a limb connects.

    Attributes:
        name: How the format is called in side-car files and configs.
        joints: K joint names; a leading ``left_`` or ``right_`` is the person's own left or right.
        limbs: Pairs of joint indices that a drawing connects.
    """

    name: str
    joints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]

    @cached_property
    def mirrored(self) -> tuple[int, ...]:
        """K indices: which joint stands at each place after the picture was mirrored."""
        swap = {"left": "right", "right": "left"}
        names = []
        for joint in self.joints:
            side, _, rest = joint.partition("_")
            names.append(f"{swap[side]}_{rest}" if side in swap else joint)
        return tuple(self.joints.index(name) for name in names)


BODY_18 = Skeleton(
    name="body_18",
    joints=(
        "nose", "neck",
        "right_shoulder", "right_elbow", "right_wrist",
        "left_shoulder", "left_elbow", "left_wrist",
        "right_hip", "right_knee", "right_ankle",
        "left_hip", "left_knee", "left_ankle",
        "right_eye", "left_eye", "right_ear", "left_ear",
    ),
    limbs=(
        (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10),
        (1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
    ),
)  # fmt: skip
"""OpenPose BODY_18, also called COCO-18: COCO-17 and a neck between the shoulders."""


def flip_pose(pose: Tensor, skeleton: Skeleton) -> Tensor:
    """Poses of the mirrored picture.

    Convention: x, y in [-1, 1] with pixel centres as in ``align_corners=False``; mirroring negates x.

    Args:
        pose: (..., K, 3) with x, y and confidence; 0 confidence means missing.
        skeleton: The format of the K joints.

    Returns:
        The same shape, left and right joints exchanged. Missing joints stay at x = y = 0.
    """
    flipped = pose[..., list(skeleton.mirrored), :].clone()
    flipped[..., 0] = -flipped[..., 0]
    return flipped
