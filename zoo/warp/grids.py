from typing import Literal

import torch
from einops import rearrange
from kornia.geometry import create_meshgrid
from kornia.geometry.transform import remap
from torch import Tensor
from torch.nn import functional as F

from zoo.warp.precision import in_float32


def coordinate_grid(height: int, width: int, like: Tensor) -> Tensor:
    """The grid of every pixel's own position.

    Convention: (x, y) in [-1, 1], the outermost *pixel centres* at -1 and 1 (``align_corners=True``).

    Args:
        height: Rows.
        width: Columns.
        like: Gives device and dtype.

    Returns:
        (height, width, 2).
    """
    return create_meshgrid(height, width, normalized_coordinates=True, device=like.device, dtype=like.dtype)[0]


@in_float32
def gaussian_maps(points: Tensor, height: int, width: int, variance: float) -> Tensor:
    """Un-normalised Gaussians (peak 1) around points.

    Convention: points (x, y) in [-1, 1] on :func:`coordinate_grid`.

    Args:
        points: (..., K, 2).
        height: Rows of the maps.
        width: Columns of the maps.
        variance: In squared grid units; not a standard deviation.

    Returns:
        (..., K, height, width).
    """
    grid = coordinate_grid(height, width, points)
    x, y = points[..., 0, None], points[..., 1, None]
    # exp(a + b) = exp(a) exp(b): a row and a column instead of height * width exponentials.
    columns = torch.exp(-((grid[0, :, 0] - x) ** 2) / (2 * variance))
    rows = torch.exp(-((grid[:, 0, 1] - y) ** 2) / (2 * variance))
    return rows[..., :, None] * columns[..., None, :]


@in_float32
def warp(
    pictures: Tensor,
    grids: Tensor,
    align_corners: bool,
    padding: Literal["zeros", "border", "reflection"] = "zeros",
) -> Tensor:
    """Samples each picture at one or more grids, bilinearly.

    Convention: backward warp; a grid says for each output pixel where in the input to look, (x, y) in [-1, 1].

    Args:
        pictures: (N, C, H, W).
        grids: (N, h, w, 2), or (N, M, h, w, 2) for M grids on each picture.
        align_corners: Whether -1 and 1 are the centres (True) or the outer edges (False) of the border pixels.
        padding: What lies outside the picture.

    Returns:
        (N, C, h, w), or (N, M, C, h, w).
    """
    if grids.ndim == 4:
        return remap(
            pictures,
            grids[..., 0],
            grids[..., 1],
            mode="bilinear",
            padding_mode=padding,
            align_corners=align_corners,
            normalized_coordinates=True,
        )
    # M grids stacked vertically: one call, and the pictures aren't copied M times.
    stacked = warp(pictures, rearrange(grids, "n m h w xy -> n (m h) w xy"), align_corners, padding)
    return rearrange(stacked, "n c (m h) w -> n m c h w", m=grids.shape[1])


@in_float32
def resize_grid(grids: Tensor, height: int, width: int) -> Tensor:
    """Resizes grids (N, h, w, 2) bilinearly (``align_corners=False``) to (N, height, width, 2)."""
    if grids.shape[1:3] == (height, width):
        return grids
    maps = F.interpolate(rearrange(grids, "n h w xy -> n xy h w"), size=(height, width), mode="bilinear")
    return rearrange(maps, "n xy h w -> n h w xy")
