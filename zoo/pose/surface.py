import torch
from torch import Tensor

SURFACE_PARTS = (
    "background",
    "torso_back", "torso_front",
    "right_hand", "left_hand", "left_foot", "right_foot",
    "right_thigh_back", "left_thigh_back", "right_thigh_front", "left_thigh_front",
    "right_shin_back", "left_shin_back", "right_shin_front", "left_shin_front",
    "left_upper_arm_inside", "right_upper_arm_inside", "left_upper_arm_outside", "right_upper_arm_outside",
    "left_forearm_inside", "right_forearm_inside", "left_forearm_outside", "right_forearm_outside",
    "head_right", "head_left",
)  # fmt: skip
"""Names of DensePose's parts by index I (0 is background); left and right are the person's own."""


def _mirrored_parts() -> tuple[int, ...]:
    swap = str.maketrans({"\0": "left", "\1": "right"})
    names = [name.replace("left", "\1").replace("right", "\0").translate(swap) for name in SURFACE_PARTS]
    return tuple(SURFACE_PARTS.index(name) for name in names)


MIRRORED_PARTS = _mirrored_parts()


def flip_surface(iuv: Tensor) -> Tensor:
    """Surface maps of the mirrored picture.

    The picture is mirrored, left and right parts are exchanged, and V, which runs around a limb or across the
    torso, is reversed (V -> 1 - V on the body), as holds exactly for the synthetic people's charts.

    Args:
        iuv: (..., 3, H, W): I in {0..24} as float, U and V in [0, 1]; background is 0 in all three.

    Returns:
        The same shape.
    """
    part, u, v = iuv.flip(-1).unbind(-3)
    parts = torch.tensor(MIRRORED_PARTS, device=iuv.device, dtype=iuv.dtype)
    flipped_v = torch.where(part > 0, 1 - v, v)
    return torch.stack([parts[part.long()], u, flipped_v], dim=-3)
