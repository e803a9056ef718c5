import colorsys

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


def show_surface(iuv: Tensor) -> Tensor:
    """Surface maps as pictures: a hue for each part, shaded along U and V; the background is black.

    Args:
        iuv: (..., 3, H, W): I in {0..24} as float, U and V in [0, 1].

    Returns:
        RGB in [0, 1], the same shape.
    """
    part, u, v = iuv.unbind(-3)
    colours = part_palette().to(iuv.device, iuv.dtype)[part.round().long()].movedim(-1, -3) / 255
    return colours * (0.4 + 0.3 * (u + v))[..., None, :, :]


def part_palette() -> Tensor:
    """A colour for each part, 25 different ones, as in pictures of parts alone: (25, 3) uint8 RGB, background black."""
    hues = [(7 * number % 24) / 24 for number in range(24)]  # neighbours in number differ in hue
    colours = [colorsys.hsv_to_rgb(hue, 0.75, 1.0) for hue in hues]
    return torch.tensor([(0, 0, 0), *(tuple(round(255 * value) for value in colour) for colour in colours)]).byte()
