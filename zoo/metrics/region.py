from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from zoo.metrics.clip_metric import Need

Region = Literal["frame", "moving", "subject"]

NEEDS: dict[Region, tuple[Need, ...]] = {
    "frame": ("target",),
    "moving": ("target", "source"),
    "subject": ("target", "mask"),
}
"""What it takes to know a region."""

THRESHOLD = 0.1
DILATION = 7


def moving_region(frames: Tensor, source: Tensor) -> Tensor:
    """Where frames differ from their source: its largest channel by more than 0.1, dilated by a 7 x 7 maximum filter.

    Args:
        frames: True frames (T, C, H, W) in [0, 1].
        source: (C, H, W) in [0, 1].

    Returns:
        (T, 1, H, W) bool.
    """
    moved = ((frames - source).abs().amax(1, keepdim=True) > THRESHOLD).to(frames.dtype)
    return functional.max_pool2d(moved, DILATION, stride=1, padding=DILATION // 2) > 0


def average(maps: Tensor, region: Tensor | None) -> tuple[Tensor, Tensor]:
    """Averages maps over a region of each, and over their channels.

    Args:
        maps: A value per pixel and channel, (N, C, h, w).
        region: (N, 1, h, w) bool; None is the whole map.

    Returns:
        The means (N,) and the regions' sizes in pixels (N,), both float64. The mean over an empty region is NaN.
    """
    if maps.device.type == "mps":  # which doesn't know float64
        maps = maps.cpu()
    per_pixel = maps.mean(1, keepdim=True)
    if region is None:
        pixels = torch.full((len(maps),), maps.shape[-2] * maps.shape[-1], dtype=torch.float64, device=maps.device)
        return per_pixel.mean((1, 2, 3), dtype=torch.float64), pixels
    region = region.to(maps.device)
    pixels = region.sum((1, 2, 3)).double()
    return per_pixel.where(region, 0).sum((1, 2, 3), dtype=torch.float64) / pixels, pixels


def crop(region: Tensor | None, border: int) -> Tensor | None:
    """A region without so many pixels at each side, beside a map that a window of valid pixels has shrunk."""
    return None if region is None else region[..., border:-border, border:-border]
