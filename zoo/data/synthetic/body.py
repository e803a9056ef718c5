"""Body shapes and the articulated skeleton under them.

Convention of all body coordinates: metres, x to the person's left, y up, z to where the person looks. In the rest pose
the person stands upright with hanging arms, every bone frame parallel to the world's axes, and the floor at y = 0.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.pose import BODY_18
from zoo.pose.body_form import (
    ANKLE_HEIGHT,
    AVERAGE_HEIGHT,
    EAR_AT,
    EAR_X,
    EAR_Z,
    FOREARM,
    HEAD_METRES,
    HEAD_SHARE,
    HIP_HEIGHT,
    HIP_X,
    KNEE_HEIGHT,
    SHOULDER_HEIGHT,
    SHOULDER_X,
    UPPER_ARM,
)

Array = NDArray[np.floating]

TRUNK = ("pelvis", "spine", "chest", "neck", "head")
LIMBS = ("clavicle", "upper_arm", "forearm", "hand", "thigh", "shin", "foot")
BONES = TRUNK + tuple(f"{side}_{limb}" for side in ("left", "right") for limb in LIMBS)
BONE = {name: index for index, name in enumerate(BONES)}

_LIMB_PARENT = {
    "clavicle": "chest", "upper_arm": "clavicle", "forearm": "upper_arm", "hand": "forearm",
    "thigh": "pelvis", "shin": "thigh", "foot": "shin",
}  # fmt: skip


def _parent(name: str) -> int:
    if name in TRUNK:
        return TRUNK.index(name) - 1
    side, _, limb = name.partition("_")
    parent = _LIMB_PARENT[limb]
    return BONE[parent if parent in TRUNK else f"{side}_{parent}"]


PARENT = tuple(_parent(name) for name in BONES)
"""The parent of each bone; -1 for the pelvis. A parent always stands before its children."""

# Flexion bends the trunk forward, raises arm, thigh and toes forward, and folds the knee backward.
_FLEXION_SIGN = np.array([-1.0 if name.partition("_")[2] in set(LIMBS) - {"shin"} else 1.0 for name in BONES])
_SIDE_SIGN = np.array([-1.0 if name.startswith("right_") else 1.0 for name in BONES])


@dataclass(frozen=True)
class BodyShape:
    """Proportions of one person.

    Attributes:
        height: From sole to crown, in metres.
        legs: Length of the legs relative to the average at this height; the trunk gives or takes the difference.
        arms: Length of the arms relative to the average.
        shoulders: Width of the shoulders relative to the average.
        hips: Width of the hips relative to the average.
        girth: Thickness of trunk and limbs relative to the average.
        belly: 0 is flat, 1 is round.
        bust: 0 is flat, 1 is full.
        head: Size of the head relative to the average.
    """

    height: float = AVERAGE_HEIGHT
    legs: float = 1.0
    arms: float = 1.0
    shoulders: float = 1.0
    hips: float = 1.0
    girth: float = 1.0
    belly: float = 0.2
    bust: float = 0.0
    head: float = 1.0

    @property
    def hip_height(self) -> float:
        """Height of the hip joints over the floor, in metres."""
        return HIP_HEIGHT * self.legs * self.height

    @property
    def head_height(self) -> float:
        """From chin to crown, in metres; it varies less between people than their height."""
        return self.head * (HEAD_SHARE * self.height + HEAD_METRES)

    def trunk_height(self, fraction: float | Array) -> float | Array:
        """Metres over the floor of a height given as on the average body, 0.515 (hips) to 0.86 (throat)."""
        throat = self.height - self.head_height + 0.012 * self.height
        return self.hip_height + (np.asarray(fraction) - HIP_HEIGHT) / (0.86 - HIP_HEIGHT) * (throat - self.hip_height)

    def rest_origins(self) -> Array:
        """Where each bone begins in the rest pose, (J, 3) metres."""
        height = self.height
        knee = self.hip_height * KNEE_HEIGHT
        ankle = ANKLE_HEIGHT * height
        shoulder_height = float(self.trunk_height(SHOULDER_HEIGHT))
        elbow_height = shoulder_height - UPPER_ARM * height * self.arms
        wrist_height = elbow_height - FOREARM * height * self.arms
        shoulder_x = SHOULDER_X * height * self.shoulders
        hip_x = HIP_X * height * self.hips
        throat = float(self.trunk_height(0.845))
        trunk = {
            "pelvis": (0.0, self.hip_height, 0.0),
            "spine": (0.0, float(self.trunk_height(0.60)), 0.0),
            "chest": (0.0, float(self.trunk_height(0.68)), 0.0),
            "neck": (0.0, throat, -0.008 * height),
            "head": (0.0, self.height - 0.80 * self.head_height, 0.0),
        }
        limbs = {
            "clavicle": (0.02 * height, float(self.trunk_height(0.812)), -0.005 * height),
            "upper_arm": (shoulder_x, shoulder_height, -0.008 * height),
            "forearm": (shoulder_x, elbow_height, -0.008 * height),
            "hand": (shoulder_x, wrist_height, -0.008 * height),
            "thigh": (hip_x, self.hip_height, 0.0),
            "shin": (hip_x, knee, 0.0),
            "foot": (hip_x, ankle, -0.006 * height),
        }
        origins = np.zeros((len(BONES), 3))
        for name, origin in trunk.items():
            origins[BONE[name]] = origin
        for name, (x, y, z) in limbs.items():
            origins[BONE[f"left_{name}"]] = (x, y, z)
            origins[BONE[f"right_{name}"]] = (-x, y, z)
        return origins

    def keypoint_anchors(self) -> tuple[NDArray[np.int64], Array]:
        """The 18 joints of BODY_18: which bone each is fixed to (18,), and where in the rest pose (18, 3)."""
        height, head = self.height, self.head_height
        origins = self.rest_origins()
        crown = height
        depth = 0.42 * head  # from the head's axis to the face
        face = {
            "nose": (0.0, crown - 0.62 * head, depth + 0.10 * head),
            "left_eye": (0.145 * head, crown - 0.49 * head, depth - 0.01 * head),
            "left_ear": (EAR_X * head, crown - EAR_AT * head, EAR_Z * head),
        }
        face |= {name.replace("left", "right"): (-x, y, z) for name, (x, y, z) in face.items() if "left" in name}
        at_bone = {"shoulder": "upper_arm", "elbow": "forearm", "wrist": "hand",
                   "hip": "thigh", "knee": "shin", "ankle": "foot"}  # fmt: skip
        bones, points = [], []
        for joint in BODY_18.joints:
            side, _, name = joint.partition("_")
            if joint in face:
                bones.append(BONE["head"])
                points.append(np.array(face[joint]))
            elif joint == "neck":
                bones.append(BONE["chest"])
                points.append((origins[BONE["left_upper_arm"]] + origins[BONE["right_upper_arm"]]) / 2)
            else:
                bones.append(BONE[f"{side}_{at_bone[name]}"])
                points.append(origins[bones[-1]])
        return np.array(bones), np.stack(points)

    def outline_anchors(self) -> tuple[NDArray[np.int64], Array]:
        """The points that reach farthest out, finger tips and soles among them: bones (P,), places at rest (P, 3)."""
        height = self.height
        origins = self.rest_origins()
        points = [("head", (0.0, height + 0.03, 0.0)), ("head", (0.0, height - 0.4 * self.head_height, 0.13))]
        for side in ("left", "right"):
            for bone, offset in (
                ("hand", (0.0, -0.112 * height, 0.0)),
                ("forearm", (0.0, 0.0, 0.0)),
                ("shin", (0.0, 0.0, 0.06)),
                ("foot", (0.0, -0.047 * height, 0.115 * height)),
                ("foot", (0.0, -0.047 * height, -0.045 * height)),
            ):
                points.append((f"{side}_{bone}", tuple(origins[BONE[f"{side}_{bone}"]] + np.array(offset))))
        return np.array([BONE[bone] for bone, _ in points]), np.array([point for _, point in points])


def random_shape(generator: np.random.Generator) -> BodyShape:
    """A plausible adult: height, width and the rest vary together as they do in people, and a little on their own."""
    femininity = generator.random()
    build = generator.standard_normal()
    height = float(np.clip(1.76 - 0.12 * femininity + 0.055 * generator.standard_normal(), 1.56, 1.86))
    girth = float(np.clip(1.0 + 0.09 * build + 0.03 * (1 - femininity), 0.86, 1.22))
    return BodyShape(
        height=height,
        legs=float(generator.uniform(0.965, 1.035)),
        arms=float(generator.uniform(0.96, 1.04)),
        shoulders=float(1.06 - 0.12 * femininity + generator.uniform(-0.03, 0.03)),
        hips=float(0.96 + 0.10 * femininity + generator.uniform(-0.03, 0.03)),
        girth=girth,
        belly=float(np.clip(0.25 + 0.35 * build + generator.uniform(-0.2, 0.2), 0.0, 1.0)),
        bust=float(np.clip((femininity - 0.45) * 1.8, 0.0, 1.0)),
        head=float(generator.uniform(0.98, 1.06)),
    )


def _rotation(axis: int, angle: Array) -> Array:
    """Rotation matrices (..., 3, 3) about one of the axes x, y, z; right-handed."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((*angle.shape, 3, 3))
    matrix[..., axis, axis] = 1.0
    matrix[..., first, first] = matrix[..., second, second] = np.cos(angle)
    matrix[..., first, second] = -np.sin(angle)
    matrix[..., second, first] = np.sin(angle)
    return matrix


def _compose(first: Array, second: Array) -> Array:
    # einsum's plain loops, because a BLAS product may round differently with another number of threads
    return np.einsum("...ij,...jk->...ik", first, second, optimize=False)


@dataclass(frozen=True)
class Motion:
    """How a body moves, free of its shape, so that everybody can perform it.

    Attributes:
        angles: (T, J, 3) radians: flexion, abduction and twist of each bone against its parent. Flexion is forward
            (backward at the knee, toes up at the foot), abduction away from the body's middle, twist outward; for the
            trunk, abduction leans to the person's right and twist turns to the left.
        heading: (T,) radians: 0 faces the camera, positive turns to the person's left.
        travel: (T, 2): x and z of the pelvis on the floor, in leg lengths.
        lift: (T,): height of the lowest sole over the floor, relative to the body's height.
    """

    angles: Array
    heading: Array
    travel: Array
    lift: Array


def pose_bones(shape: BodyShape, motion: Motion) -> tuple[Array, Array]:
    """Forward kinematics, then the body is set on the floor.

    Args:
        shape: Whose bones.
        motion: What they do, T frames.

    Returns:
        Rotations (T, J, 3, 3) and translations (T, J, 3) that carry a point at rest to its place in the world:
        ``rotation @ point + translation`` for a point fixed to that bone.
    """
    origins = shape.rest_origins()
    flexion, abduction, twist = np.moveaxis(motion.angles, -1, 0)
    local = _compose(
        _compose(_rotation(2, abduction * _SIDE_SIGN), _rotation(0, flexion * _FLEXION_SIGN)),
        _rotation(1, twist * _SIDE_SIGN),
    )
    frames = len(motion.heading)
    rotations = np.empty((frames, len(BONES), 3, 3))
    positions = np.empty((frames, len(BONES), 3))
    for bone, parent in enumerate(PARENT):
        if parent < 0:
            rotations[:, bone] = _compose(_rotation(1, motion.heading), local[:, bone])
            positions[:, bone] = 0.0
            positions[:, bone, ::2] = motion.travel * shape.hip_height
        else:
            rotations[:, bone] = _compose(rotations[:, parent], local[:, bone])
            step = origins[bone] - origins[parent]
            positions[:, bone] = positions[:, parent] + np.einsum("tij,j->ti", rotations[:, parent], step)
    translations = positions - np.einsum("tbij,bj->tbi", rotations, origins)

    soles = [
        (BONE[f"{side}_foot"], np.array([origins[BONE[f"{side}_foot"], 0], 0.0, z * shape.height]))
        for side in ("left", "right")
        for z in (-0.04, 0.1)
    ]
    lowest = np.min(
        [np.einsum("tj,j->t", rotations[:, b, 1], point) + translations[:, b, 1] for b, point in soles], axis=0
    )
    translations[..., 1] += (motion.lift * shape.height - lowest)[:, None]
    return rotations, translations


def carry(bones: NDArray[np.int64], points: Array, rotations: Array, translations: Array) -> Array:
    """Points (P, 3) of the rest pose, each fixed to one bone, carried along: (T, P, 3)."""
    return np.einsum("tpij,pj->tpi", rotations[:, bones], points) + translations[:, bones]
