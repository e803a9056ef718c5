"""Where a query looked, as a picture."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.pictures import palette

_DIMMED = 0.4


def show_attention(picture: Tensor, maps: Tensor) -> Tensor:
    """A source frame, dimmed, with the places that queries looked at in the queries' colours.

    Args:
        picture: (3, H, W) in [0, 1].
        maps: (Q, h, w) in [0, 1] how much each of Q queries looked at each place; 1 covers the picture. The colours are
            those of :func:`zoo.pictures.draw_points`.

    Returns:
        (3, H, W) in [0, 1].
    """
    cover = F.interpolate(maps[:, None], picture.shape[-2:], mode="bilinear").clamp(0, 1)  # Q, 1, H, W
    shown = _DIMMED * picture
    for layer, colour in zip(cover, palette(len(maps), picture), strict=True):
        shown = shown * (1 - layer) + colour[:, None, None] * layer
    return shown


def over_frames(draw: Callable[[Tensor, Tensor], Tensor], pictures: Tensor, details: Tensor) -> Tensor:
    """Draws details (B, t, ...) on pictures (B, t, 3, H, W), one by one."""
    pairs = zip(pictures.flatten(0, 1), details.flatten(0, 1), strict=True)
    return torch.stack([draw(*pair) for pair in pairs]).unflatten(0, pictures.shape[:2])
