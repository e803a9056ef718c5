"""Keypoint formats: the names of their joints, and how one becomes another."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from zoo.errors import OptionError


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

    def index(self, joint: str) -> int:
        """The place of a joint.

        Raises:
            OptionError: The format has no such joint.
        """
        if joint not in self.joints:
            raise OptionError(f"skeleton {self.name} has no joint {joint!r}; it has {', '.join(self.joints)}")
        return self.joints.index(joint)

    def body(self) -> "Skeleton":
        """The format of the body's joints alone, which come first in a whole-body format."""
        return SKELETONS[self.name.removesuffix(_WHOLE)]

    def shares_joints(self, other: "Skeleton") -> bool:
        """Whether poses of this format tell any joint of another."""
        return not set(self.joints).isdisjoint(other.joints)

    def part(self, name: str) -> slice:
        """Where the ``body``, ``face``, ``left_hand`` or ``right_hand`` stands; empty where the format has none.

        In ``face_68``, which is all face, it stands for the body as well: people are told apart by it.
        """
        body = len(self.body().joints)
        if name == "body" or (name == "face" and self.name == _FACE):
            return slice(0, body)
        if len(self.joints) == body:
            return slice(body, body)
        starts = {"face": body, "left_hand": body + 70, "right_hand": body + 91}
        return slice(starts[name], starts[name] + (70 if name == "face" else 21))


_WHOLE = "_whole"
_FACE = "face_68"

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

BODY_23 = Skeleton(
    name="body_23",
    joints=(
        "neck",
        "right_shoulder", "right_elbow", "right_wrist",
        "left_shoulder", "left_elbow", "left_wrist",
        "mid_hip",
        "right_hip", "right_knee", "right_ankle", "right_big_toe", "right_small_toe",
        "left_hip", "left_knee", "left_ankle", "left_big_toe", "left_small_toe",
        "nose", "right_eye", "right_ear", "left_eye", "left_ear",
    ),
    limbs=(
        (0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10), (10, 11), (10, 12),
        (7, 13), (13, 14), (14, 15), (15, 16), (15, 17), (0, 18), (18, 19), (19, 20), (18, 21), (21, 22),
    ),
)  # fmt: skip
"""An early OpenPose model with toes and no heels, which Everybody Dance Now was published with."""

BODY_25 = Skeleton(
    name="body_25",
    joints=(
        "nose", "neck",
        "right_shoulder", "right_elbow", "right_wrist",
        "left_shoulder", "left_elbow", "left_wrist",
        "mid_hip",
        "right_hip", "right_knee", "right_ankle",
        "left_hip", "left_knee", "left_ankle",
        "right_eye", "left_eye", "right_ear", "left_ear",
        "left_big_toe", "left_small_toe", "left_heel",
        "right_big_toe", "right_small_toe", "right_heel",
    ),
    limbs=(
        (0, 1), (0, 15), (0, 16), (1, 2), (1, 5), (1, 8), (2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (8, 12), (9, 10),
        (10, 11), (11, 22), (11, 24), (12, 13), (13, 14), (14, 19), (14, 21), (15, 17), (16, 18), (19, 20), (22, 23),
    ),
)  # fmt: skip
"""OpenPose BODY_25, the format of today's OpenPose."""

COCO_17 = Skeleton(
    name="coco_17",
    joints=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    limbs=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
        (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
)  # fmt: skip
"""COCO's keypoints, which most detectors give; limbs as in its annotation files."""

MEDIAPIPE_33 = Skeleton(
    name="mediapipe_33",
    joints=(
        "nose",
        "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
        "left_ear", "right_ear", "left_mouth", "right_mouth",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
        "left_pinky", "right_pinky", "left_index", "right_index", "left_thumb", "right_thumb",
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
        "left_heel", "right_heel", "left_foot_tip", "right_foot_tip",
    ),
    limbs=(
        (0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (9, 10), (11, 12), (11, 13), (13, 15),
        (15, 17), (15, 19), (15, 21), (17, 19), (12, 14), (14, 16), (16, 18), (16, 20), (16, 22), (18, 20),
        (11, 23), (12, 24), (23, 24), (23, 25), (24, 26), (25, 27), (26, 28), (27, 29), (28, 30), (29, 31), (30, 32),
        (27, 31), (28, 32),
    ),
)  # fmt: skip
"""The landmarks of MediaPipe Pose."""


def _face_joints() -> tuple[str, ...]:
    """OpenPose's 70 face points; numbers count from the person's side to the middle, or from the top to the bottom."""
    joints = [f"right_jaw_{k}" for k in range(8)] + ["chin"] + [f"left_jaw_{k}" for k in reversed(range(8))]
    joints += [f"right_brow_{k}" for k in range(5)] + [f"left_brow_{k}" for k in reversed(range(5))]
    joints += [f"nose_bridge_{k}" for k in range(4)]
    joints += ["right_nostril_0", "right_nostril_1", "nose_base", "left_nostril_1", "left_nostril_0"]
    joints += [f"right_eyelid_{k}" for k in range(6)] + [f"left_eyelid_{k}" for k in (3, 2, 1, 0, 5, 4)]
    for lips, names in (("outer", (0, 1, 2)), ("inner", (0, 1))):
        upper, lower = [f"{lips}_lip_{k}" for k in names], [f"{lips}_lower_lip_{k}" for k in names[1:]]
        joints += [f"right_{name}" for name in upper] + [f"{lips}_lip_top"] + [f"left_{name}" for name in upper[::-1]]
        joints += [f"left_{name}" for name in lower] + [f"{lips}_lip_bottom"]
        joints += [f"right_{name}" for name in lower[::-1]]
    return (*joints, "right_pupil", "left_pupil")


def _hand_joints(side: str) -> tuple[str, ...]:
    fingers = ("thumb", "index", "middle", "ring", "little")
    return (f"{side}_hand_root", *(f"{side}_{finger}_{k}" for finger in fingers for k in range(1, 5)))


def whole_body(body: Skeleton) -> Skeleton:
    """A body format followed by OpenPose's 70 face points, 21 points of the left hand and 21 of the right.

    The limbs are the body's. Its name is the body's with ``_whole`` added.
    """
    joints = (*body.joints, *_face_joints(), *_hand_joints("left"), *_hand_joints("right"))
    return Skeleton(body.name + _WHOLE, joints, body.limbs)


WHOLE_18, WHOLE_23, WHOLE_25 = whole_body(BODY_18), whole_body(BODY_23), whole_body(BODY_25)

_FACE_LINES = ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36), (36, 42), (42, 48), (48, 60), (60, 68))
_FACE_RINGS = ((36, 41), (42, 47), (48, 59), (60, 67))  # eyes and lips: last and first point

FACE_68 = Skeleton(
    name=_FACE,
    joints=_face_joints()[:68],
    limbs=(*((joint, joint + 1) for first, end in _FACE_LINES for joint in range(first, end - 1)), *_FACE_RINGS),
)
"""The 68 landmarks of iBUG's markup, which dlib gives: OpenPose's face points without the pupils."""

SKELETONS = {
    skeleton.name: skeleton
    for skeleton in (BODY_18, BODY_23, BODY_25, COCO_17, MEDIAPIPE_33, WHOLE_18, WHOLE_23, WHOLE_25, FACE_68)
}
"""Every format by its name."""

_STAND_INS = {
    "neck": ("left_shoulder", "right_shoulder"),
    "mid_hip": ("left_hip", "right_hip"),
    "left_big_toe": ("left_foot_tip",),
    "right_big_toe": ("right_foot_tip",),
}
"""Joints that some formats lack, as the mean of joints that they have."""


def convert_pose(pose: Tensor, source: Skeleton, target: Skeleton) -> Tensor:
    """Poses in another format.

    Joints are matched by name. A neck or middle of the hips that the source lacks is the mean of both shoulders or
    hips, MediaPipe's tip of the foot serves as the big toe, and whatever else is unknown is missing.

    Args:
        pose: (..., K, 3) with x, y and confidence, in any unit.
        source: The format of the K joints.
        target: The wanted format.

    Returns:
        (..., K', 3). The confidence of a mean is the lower one; it is missing unless all of its joints are there.
    """
    joints = [_joint(pose, source, name) for name in target.joints]
    return torch.stack(joints, dim=-2)


def _joint(pose: Tensor, source: Skeleton, name: str) -> Tensor:
    if name in source.joints:
        return pose[..., source.joints.index(name), :]
    stand_ins = _STAND_INS.get(name, ())
    if not stand_ins or any(joint not in source.joints for joint in stand_ins):
        return torch.zeros_like(pose[..., 0, :])
    parts = pose[..., [source.joints.index(joint) for joint in stand_ins], :]
    confidence = parts[..., 2:].amin(dim=-2)
    mean = torch.cat([parts[..., :2].mean(dim=-2), confidence], dim=-1)
    return torch.where(confidence > 0, mean, torch.zeros_like(mean))


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
