"""Surface maps from skeletons: the average body of ``body_form``, drawn as capsules around the limbs of a flat pose.

A flat skeleton doesn't say which way the body faces, how thick it is, or what lies in front. Thickness comes from the
body's height, which the longest of its limbs tells; the heading from how wide shoulders and hips look and on which side
of the neck the nose is; what is in front from the heading and the limbs' places on the body.

Convention: the charts of the synthetic people. Around a limb the angle phi runs from the person's left (0) over the
front (pi / 2) to the right and the back; image x grows to the right, y down.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.pose.body_form import (
    ANKLE_HEIGHT,
    AVERAGE_HEIGHT,
    EAR_AT,
    EAR_X,
    EAR_Z,
    FOREARM,
    HAND,
    HEAD_AT,
    HEAD_BACK,
    HEAD_FRONT,
    HEAD_HALF_WIDTH,
    HEAD_METRES,
    HEAD_SHARE,
    HEEL,
    HIP_HEIGHT,
    HIP_X,
    KNEE_HEIGHT,
    LIMBS,
    NECK_END,
    NOSE_Z,
    SHOULDER_HEIGHT,
    SHOULDER_X,
    TOE,
    TRUNK_AT,
    TRUNK_BACK,
    TRUNK_FRONT,
    TRUNK_HALF_WIDTH,
    UPPER_ARM,
)
from zoo.pose.skeleton import BODY_18, Skeleton, convert_pose
from zoo.pose.surface import SURFACE_PARTS

_HEAD = HEAD_SHARE + HEAD_METRES / AVERAGE_HEIGHT  # of the body's height
_STRETCH = (1 - _HEAD + 0.012 - HIP_HEIGHT) / (0.86 - HIP_HEIGHT)  # trunk heights to body heights above the hips
_SHOULDER = HIP_HEIGHT + (SHOULDER_HEIGHT - HIP_HEIGHT) * _STRETCH
_CLOTHES = 0.006  # what clothes add to a radius
_KNOTS = 64  # along U
_HIDDEN = 0.6  # confidence up to which both ends of a limb are taken for hidden by the body
_CELLS = 2**22  # capsules x pixels that are compared at once


@dataclass(frozen=True)
class _Capsule:
    """One limb of the body; lengths relative to the body's height.

    Attributes:
        parts: Surface parts of its two halves.
        chart: How phi becomes V, as in the synthetic people's charts.
        half_width: Along U.
        half_depth: Along U.
        place: x (person's left) and z (front) of its axis on the body, which say what hides what.
        squareness: Exponent of the ring's super-ellipse.
        capped: Whether round caps close it.
        mirrored: Whether it is the mirror image of a left limb.
    """

    parts: tuple[str, str]
    chart: int
    half_width: Tensor
    half_depth: Tensor
    place: tuple[float, float]
    squareness: float = 2.0
    capped: bool = True
    mirrored: bool = False


_FRONT_AND_BACK, _OUTSIDE_AND_INSIDE, _ONCE_AROUND, _HALVES_OF_HEAD = range(4)
_LIMB_ORDER = ("upper_arm", "forearm", "hand", "thigh", "shin", "foot")
_CHART = {
    "upper_arm": _OUTSIDE_AND_INSIDE, "forearm": _OUTSIDE_AND_INSIDE, "hand": _ONCE_AROUND,
    "thigh": _FRONT_AND_BACK, "shin": _FRONT_AND_BACK, "foot": _ONCE_AROUND,
}  # fmt: skip
_PLACE_Z = {"upper_arm": 0.0, "forearm": 0.06, "hand": 0.08, "thigh": 0.0, "shin": 0.0, "foot": 0.02}
_HALVES = {_FRONT_AND_BACK: ("_front", "_back"), _OUTSIDE_AND_INSIDE: ("_outside", "_inside"), _ONCE_AROUND: ("", "")}
_SIDES = ("left", "right")
_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
_LONGEST = 0.9  # quantile of the heights that limbs tell
_FLOOR_SEEN = 0.15  # how much of a length along the floor towards the camera is seen
_FOOT = ([0, 0.15, 0.5, 0.8, 1], [0.016, 0.025, 0.025, 0.023, 0.014])


def draw_surface(pose: Tensor, skeleton: Skeleton, size: tuple[int, int]) -> Tensor:
    """Surface maps of a person by their skeleton.

    Limbs of which a joint is missing are left out; without shoulders and hips (or legs) nothing tells the body's
    height, and the map is empty.

    Args:
        pose: (T, K, 3) with x, y in pixels (0 is the middle of the first pixel) and confidence; 0 is missing.
        skeleton: The format of the K joints.
        size: Height and width of the maps, pixels.

    Returns:
        (T, 3, H, W) uint8: I in 0..24, U and V times 255; 0 on the background.
    """
    poses = convert_pose(pose, skeleton, BODY_18).float()
    count = len(_capsules())
    frames = poses.split(max(1, _CELLS // (count * size[0] * size[1])))
    return torch.cat([_draw(some, size) for some in frames]) if len(poses) else poses.new_zeros(0, 3, *size).byte()


def _draw(pose: Tensor, size: tuple[int, int]) -> Tensor:
    body = _Body.of(pose)
    capsules = _capsules()
    like = pose[..., 0]
    half_width, half_depth = (
        torch.stack([getattr(capsule, name) for capsule in capsules]).to(like) for name in ("half_width", "half_depth")
    )
    cosine, sine = body.yaw.cos()[..., None], body.yaw.sin()[..., None]  # T, C, 1
    radius = body.height[:, None, None] * torch.hypot(half_width * cosine, half_depth * sine)  # T, C, knots
    thickness = body.height[:, None, None] * torch.hypot(half_width * sine, half_depth * cosine)
    turn = torch.atan2(half_depth * sine, half_width * cosine)
    turn[:, list(_feet())] = math.pi / 2 * sine[:, list(_feet())]  # their rings stand upright, around z

    axis = body.end - body.start  # T, C, 2
    length = axis.norm(dim=-1, keepdim=True).clamp(min=1e-3)
    direction = axis / length
    across = torch.stack([direction[..., 1], -direction[..., 0]], -1)  # to the image's right on a hanging limb
    rows, columns = (torch.arange(side, device=pose.device, dtype=pose.dtype) for side in size)
    x = columns - body.start[..., 0, None]  # T, C, W
    y = rows - body.start[..., 1, None]
    along = (y[..., :, None] * direction[..., 1, None, None] + x[..., None, :] * direction[..., 0, None, None]).flatten(
        2
    )
    aside = (y[..., :, None] * across[..., 1, None, None] + x[..., None, :] * across[..., 0, None, None]).flatten(2)
    beyond = along - torch.minimum(along.clamp(min=0), length)  # T, C, H W: exactly 0 between the ends
    share = (along / length).clamp(0, 1)  # U
    knot = (share * (_KNOTS - 1)).round().long()
    reach = radius.gather(2, knot)
    capped = torch.tensor([capsule.capped for capsule in capsules], device=pose.device)[:, None]
    # Caps are round; bodies without end where their profile does.
    reach = torch.where(
        beyond == 0, reach, torch.where(capped, (reach.square() - beyond.square()).clamp(min=0).sqrt(), 0)
    )
    offset = aside / reach.clamp(min=1e-6)
    inside = (offset.abs() <= 1) & (reach > 0) & body.seen[..., None]
    bulge = (1 - offset.square()).clamp(min=0).sqrt()
    depth = body.depth[..., None] + thickness.gather(2, knot) * bulge
    nearest, winner = depth.masked_fill(~inside, -torch.inf).max(1, keepdim=True)  # T, 1, H W
    offset, share = offset.gather(1, winner)[:, 0].clamp(-1, 1), share.gather(1, winner)[:, 0]
    knot = knot.gather(1, winner)[:, 0]
    winner = winner[:, 0]
    turned = turn.flatten(1).gather(1, winner * _KNOTS + knot)
    squareness = torch.tensor([capsule.squareness for capsule in capsules], device=pose.device)[winner]
    phi = torch.acos(offset.sign() * offset.abs() ** (squareness / 2)) + turned
    part, v = _charted(phi, winner)
    iuv = torch.stack([part, (255 * share).round(), (255 * v).round()], 1)
    return torch.where(nearest > -torch.inf, iuv, 0).unflatten(2, size).byte()


def _charted(phi: Tensor, capsule: Tensor) -> tuple[Tensor, Tensor]:
    """Part and V of angles around capsules, all of one shape."""
    capsules = _capsules()
    kinds, mirrored = (
        torch.tensor([getattr(c, name) for c in capsules], device=phi.device)[capsule] for name in ("chart", "mirrored")
    )
    parts = torch.tensor([[SURFACE_PARTS.index(name) for name in c.parts] for c in capsules], device=phi.device)
    phi = torch.where(mirrored, math.pi - phi, phi) % (2 * math.pi)
    from_back = (phi + math.pi / 2) % (2 * math.pi)
    angle = torch.where((kinds == _OUTSIDE_AND_INSIDE) | (kinds == _HALVES_OF_HEAD), from_back, phi) / math.pi
    first = angle < 1
    v = torch.where(first, angle, angle - 1)
    v = torch.where((kinds == _FRONT_AND_BACK) & first, 1 - angle, v)
    v = torch.where((kinds == _OUTSIDE_AND_INSIDE) & ~first, 2 - angle, v)
    v = torch.where(kinds == _ONCE_AROUND, angle / 2, v)
    v = torch.where(mirrored, 1 - v, v)
    return parts[capsule, (~first).long()].to(phi.dtype), v


@dataclass(frozen=True)
class _Joints:
    """BODY_18 poses (T, 18, 3), joint by joint."""

    pose: Tensor

    def at(self, name: str) -> Tensor:
        """(T, 2) pixels."""
        return self.pose[:, BODY_18.index(name), :2]

    def sure(self, *names: str) -> Tensor:
        """(T, N) confidences."""
        return self.pose[:, [BODY_18.index(name) for name in names], 2]

    def known(self, *names: str) -> Tensor:
        """(T,) whether none of them is missing."""
        return (self.sure(*names) > 0).all(1)

    def between(self, name: str) -> Tensor:
        """(T, 2) pixels: the middle of a left and a right joint."""
        return (self.at(f"left_{name}") + self.at(f"right_{name}")) / 2

    def apart(self, name: str) -> Tensor:
        """(T, 2) pixels: from the right joint to the left one."""
        return self.at(f"left_{name}") - self.at(f"right_{name}")


@dataclass(frozen=True)
class _Body:
    """Where the C capsules of T poses lie.

    Attributes:
        height: (T,) of the person, pixels.
        start: (T, C, 2) pixels, where U is 0.
        end: (T, C, 2) pixels, where U is 1.
        yaw: (T, C) radians: 0 faces the camera, positive turns to the person's left, to the right in the picture.
        depth: (T, C) pixels towards the camera.
        seen: (T, C) whether the capsule is drawn.
    """

    height: Tensor
    start: Tensor
    end: Tensor
    yaw: Tensor
    depth: Tensor
    seen: Tensor

    @classmethod
    def of(cls, pose: Tensor) -> "_Body":
        """The body around BODY_18 poses (T, 18, 3)."""
        joints = _Joints(pose)
        height = _height(joints)
        size = height.clamp(min=1e-6)[:, None]
        shoulders, hips = joints.between("shoulder"), joints.between("hip")
        yaw = _yaw(joints, size)
        trunk = (hips - shoulders) / (SHOULDER_HEIGHT - HIP_HEIGHT)  # per unit of trunk height
        crown, collar, head_yaw = _head(joints, yaw, size)
        starts = [shoulders - (TRUNK_AT[-1] - SHOULDER_HEIGHT) * trunk, crown]
        ends, yaws = [hips + (HIP_HEIGHT - TRUNK_AT[0]) * trunk, collar], [yaw, head_yaw]
        whole = joints.known("left_shoulder", "right_shoulder", "left_hip", "right_hip")
        seen = [whole, whole & (joints.sure(*_FACE) > 0).any(1)]
        sunk = [torch.zeros_like(yaw), torch.zeros_like(yaw)]
        for side in _SIDES:
            for start, end, needed in _limbs(joints, side, yaw, size):
                starts.append(start)
                ends.append(end)
                yaws.append(yaw)
                seen.append(joints.known(*needed))
                sunk.append(torch.where(joints.sure(*needed).amax(1) <= _HIDDEN, 0.3 * height, 0.0))
        place = torch.tensor([capsule.place for capsule in _capsules()], device=pose.device)
        towards = place[:, 1] * yaw.cos()[:, None] - place[:, 0] * yaw.sin()[:, None]
        depth = towards * size - torch.stack(sunk, 1)
        drawn = torch.stack(seen, 1) & (height > 0)[:, None]
        return cls(height, torch.stack(starts, 1), torch.stack(ends, 1), torch.stack(yaws, 1), depth, drawn)


def _height(joints: _Joints) -> Tensor:
    """(T,) pixels from sole to crown, by the longest limbs, as others point at the camera; 0 where unknown."""
    segments = [
        (joints.between("shoulder") - joints.between("hip"), _SHOULDER - HIP_HEIGHT,
         joints.known("left_shoulder", "right_shoulder", "left_hip", "right_hip")),
    ]  # fmt: skip
    for side in _SIDES:
        for first, second, share in (
            ("hip", "knee", HIP_HEIGHT * (1 - KNEE_HEIGHT)),
            ("knee", "ankle", HIP_HEIGHT * KNEE_HEIGHT - ANKLE_HEIGHT),
            ("shoulder", "elbow", UPPER_ARM),
            ("elbow", "wrist", FOREARM),
        ):
            names = f"{side}_{first}", f"{side}_{second}"
            segments.append((joints.at(names[0]) - joints.at(names[1]), share, joints.known(*names)))
    told = [torch.where(known, vector.norm(dim=-1) / share, torch.nan) for vector, share, known in segments]
    return torch.stack(told, 1).nanquantile(_LONGEST, dim=1).nan_to_num(0)


def _yaw(joints: _Joints, size: Tensor) -> Tensor:
    """(T,) radians: how far the trunk is turned to the person's left."""
    down = F.normalize(joints.between("hip") - joints.between("shoulder"), dim=-1)
    right = torch.stack([down[:, 1], -down[:, 0]], -1)  # in the picture, where the person stands upright
    apart = ((joints.apart("shoulder") + joints.apart("hip")) * right).sum(-1)
    ahead = ((joints.at("nose") - joints.between("shoulder")) * right).sum(-1)
    ahead = torch.where(joints.known("nose"), ahead, torch.zeros_like(ahead))
    cosine, sine = apart / (2 * (SHOULDER_X + HIP_X)), ahead / (NOSE_Z * _HEAD)
    return torch.atan2((sine / size[:, 0]).clamp(-1, 1), (cosine / size[:, 0]).clamp(-1, 1))


def _head(joints: _Joints, yaw: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Crown and collar (T, 2), where the head's U is 0 and 1, and the head's yaw (T,)."""
    shoulders, ears = joints.between("shoulder"), joints.between("ear")
    both = joints.known("left_ear", "right_ear")
    sure = (joints.sure(*_FACE) > 0).float()[..., None]
    face = (torch.stack([joints.at(name) for name in _FACE], 1) * sure).sum(1) / sure.sum(1).clamp(min=1)
    middle = torch.where(both[:, None], ears, face)
    down = F.normalize(shoulders - middle, dim=-1)
    ahead = joints.at("nose")[:, 0] - ears[:, 0]
    head_yaw = torch.atan2(ahead / (NOSE_Z - EAR_Z), joints.apart("ear")[:, 0] / (2 * EAR_X))
    head_yaw = torch.where(both & joints.known("nose"), head_yaw, yaw)
    crown, collar = middle - EAR_AT * _HEAD * size * down, middle + (NECK_END - EAR_AT) * _HEAD * size * down
    return crown, collar, head_yaw


def _limbs(joints: _Joints, side: str, yaw: Tensor, size: Tensor) -> list[tuple[Tensor, Tensor, tuple[str, str]]]:
    """Start and end (T, 2) of each of ``_LIMB_ORDER``, and the joints without which it isn't drawn."""
    at = {name: joints.at(f"{side}_{name}") for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")}
    hand = at["wrist"] + HAND * size * F.normalize(at["wrist"] - at["elbow"], dim=-1)
    # The foot lies on the floor, which is seen a little from above.
    ahead = torch.stack([yaw.sin(), _FLOOR_SEEN * yaw.cos()], -1) * size
    sole = at["ankle"] + torch.tensor([0.0, 0.6 * ANKLE_HEIGHT], device=yaw.device) * size
    bones = [
        (at["shoulder"], at["elbow"], ("shoulder", "elbow")),
        (at["elbow"], at["wrist"], ("elbow", "wrist")),
        (at["wrist"], hand, ("elbow", "wrist")),
        (at["hip"], at["knee"], ("hip", "knee")),
        (at["knee"], at["ankle"], ("knee", "ankle")),
        (sole + HEEL * ahead, sole + TOE * ahead, ("knee", "ankle")),
    ]
    return [(start, end, (f"{side}_{first}", f"{side}_{second}")) for start, end, (first, second) in bones]


def _feet() -> list[int]:
    return [number for number, capsule in enumerate(_capsules()) if "foot" in capsule.parts[0]]


@lru_cache
def _capsules() -> tuple[_Capsule, ...]:
    """Trunk, head, then the limbs of the left and of the right side."""
    at = torch.linspace(TRUNK_AT[-1], TRUNK_AT[0], _KNOTS)
    front, back = (_profile(TRUNK_AT, values, at) for values in (TRUNK_FRONT, TRUNK_BACK))
    capsules = [
        _Capsule(
            ("torso_front", "torso_back"), _FRONT_AND_BACK, _profile(TRUNK_AT, TRUNK_HALF_WIDTH, at) + _CLOTHES,
            (front + back) / 2 + _CLOTHES, (0.0, 0.0), squareness=2.35, capped=False,
        )
    ]  # fmt: skip
    at = torch.linspace(0, NECK_END, _KNOTS)
    front, back = (_HEAD * _profile(HEAD_AT, values, at) for values in (HEAD_FRONT, HEAD_BACK))
    width = _HEAD * _profile(HEAD_AT, HEAD_HALF_WIDTH, at)
    capsules.append(
        _Capsule(
            ("head_left", "head_right"), _HALVES_OF_HEAD, width + _CLOTHES, (front + back) / 2 + _CLOTHES, (0.0, 0.01),
            squareness=2.15, capped=False,
        )
    )  # fmt: skip
    at = torch.linspace(0, 1, _KNOTS)
    for mirrored in (False, True):
        side = _SIDES[mirrored]
        for limb in _LIMB_ORDER:
            width, depth = (_profile(*profile, at) + _CLOTHES for profile in (LIMBS | {"foot": (_FOOT, _FOOT)})[limb])
            x = SHOULDER_X if limb in ("upper_arm", "forearm", "hand") else HIP_X
            halves = _HALVES[_CHART[limb]]
            parts = (f"{side}_{limb}{halves[0]}", f"{side}_{limb}{halves[1]}")
            place = (-x if mirrored else x, _PLACE_Z[limb])
            capsules.append(_Capsule(parts, _CHART[limb], width, depth, place, mirrored=mirrored))
    return tuple(capsules)


def _profile(knots: list[float], values: list[float], at: Tensor) -> Tensor:
    """Values between knots, linearly."""
    x, y = torch.tensor(knots, dtype=at.dtype), torch.tensor(values, dtype=at.dtype)
    right = torch.searchsorted(x, at).clamp(1, len(x) - 1)
    return torch.lerp(y[right - 1], y[right], ((at - x[right - 1]) / (x[right] - x[right - 1])).clamp(0, 1))
