"""What a network sees and does, as pictures (3, H, W) in [0, 1]."""

import math
from collections.abc import Sequence

import torch
from kornia.color import hsv_to_rgb
from torch import Tensor
from torch.nn import functional as F

from zoo.warp import coordinate_grid, gaussian_maps


def palette(count: int, like: Tensor) -> Tensor:
    """``count`` bright colours that differ in hue, (count, 3)."""
    hue = torch.arange(count, device=like.device, dtype=like.dtype) * (2 * math.pi / count)
    hsv = torch.stack([hue, torch.ones_like(hue), torch.ones_like(hue)], dim=1)
    return hsv_to_rgb(hsv[:, :, None, None])[:, :, 0, 0]


def draw_points(picture: Tensor, points: Tensor) -> Tensor:
    """A picture (3, H, W) with coloured dots at points (K, 2), (x, y) in [-1, 1], pixel centres at the ends."""
    height, width = picture.shape[-2:]
    radius = 0.035
    dots = gaussian_maps(points, height, width, variance=radius**2 / 2)[:, None]  # K, 1, H, W
    for dot, colour in zip(dots, palette(len(points), picture), strict=True):
        cover = (2 * dot).clamp(max=1)
        picture = picture * (1 - cover) + colour[:, None, None] * cover
    return picture


def show_flow(grid: Tensor, size: Sequence[int]) -> Tensor:
    """A backward grid (h, w, 2) as colours: hue is the direction, saturation the length of the displacement."""
    displacement = (grid - coordinate_grid(grid.shape[0], grid.shape[1], grid)).permute(2, 0, 1)[None]
    x, y = F.interpolate(displacement, size=tuple(size), mode="bilinear")[0]
    length = torch.hypot(x, y)
    hue = torch.atan2(y, x) % (2 * math.pi)
    saturation = length / length.max().clamp(min=0.05)  # tiny motion stays pale
    return hsv_to_rgb(torch.stack([hue, saturation, torch.ones_like(hue)]))
