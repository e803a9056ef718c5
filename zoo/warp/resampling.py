"""Pictures looked up at positions given in pixels, as weighted sums of nearby pixels that are never stored one by one.

Convention: a flow (B, 2, h, w) holds (x, y) displacements in pixels of the picture that is looked up, pixel centres at
whole numbers. The output at column j and row i comes from (j + flow_x, i + flow_y): a backward warp. Outside the
picture its border pixels go on.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from zoo.warp.precision import in_float32


class Positions(NamedTuple):
    """Where each output pixel looks: the whole pixel to the upper left, and how far beyond it.

    Attributes:
        row: (B, h, w) int64.
        column: (B, h, w) int64.
        down: (B, h, w) in [0, 1), differentiable with respect to the flow.
        right: (B, h, w) in [0, 1).
    """

    row: Tensor
    column: Tensor
    down: Tensor
    right: Tensor


def flow_positions(flow: Tensor, shift: int = 0) -> Positions:
    """The positions that a flow (B, 2, h, w) points to, both coordinates moved by ``shift`` pixels."""
    height, width = flow.shape[-2:]
    x = flow[:, 0] + torch.arange(shift, shift + width, device=flow.device, dtype=flow.dtype)
    y = flow[:, 1] + torch.arange(shift, shift + height, device=flow.device, dtype=flow.dtype)[:, None]
    left, top = x.detach().floor(), y.detach().floor()
    # Held constant, the floors leave the right-hand derivative at whole numbers.
    return Positions(top.long(), left.long(), y - top, x - left)


def weighted_pixels(picture: Tensor, rows: Tensor, columns: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of pixels: out(p) = sum_rs weights_rs(p) picture(rows_r(p), columns_s(p)).

    One lookup of R x S rows in a table whose rows are pixels; neither the forward nor the backward pass stores the
    pixels that are summed.

    Args:
        picture: (B, C, H, W).
        rows: (B, h, w, R) int64; those outside count as the nearest row of the border.
        columns: (B, h, w, S) int64, the same.
        weights: (B, h, w, R, S).

    Returns:
        (B, C, h, w), differentiable with respect to picture and weights.
    """
    batch, _, height, width = picture.shape
    size = rows.shape[1:3]
    first = torch.arange(batch, device=picture.device).view(-1, 1, 1, 1) * height  # of each picture's rows
    rows = rows.clamp(0, height - 1) + first
    pixels = rows[..., :, None] * width + columns.clamp(0, width - 1)[..., None, :]
    sums = F.embedding_bag(
        rearrange(pixels, "b h w r s -> (b h w) (r s)"),
        rearrange(picture, "b c h w -> (b h w) c"),
        per_sample_weights=rearrange(weights, "b h w r s -> (b h w) (r s)"),
        mode="sum",
    )
    return rearrange(sums, "(b h w) c -> b c h w", b=batch, h=size[0])


@in_float32
def sample_bilinear(picture: Tensor, flow: Tensor, shift: int = 0) -> Tensor:
    """The picture at the positions of a flow, bilinearly.

    Args:
        picture: (B, C, H, W).
        flow: (B, 2, h, w).
        shift: Added to both coordinates of every position.

    Returns:
        (B, C, h, w). At whole coordinates the derivative with respect to the flow is the right-hand one.
    """
    at = flow_positions(flow, shift)
    rows, columns = _neighbours(at.row, 2), _neighbours(at.column, 2)
    down, right = torch.stack([1 - at.down, at.down], -1), torch.stack([1 - at.right, at.right], -1)
    return weighted_pixels(picture, rows, columns, down[..., :, None] * right[..., None, :])


@in_float32
def sample_gaussian(
    picture: Tensor, flow: Tensor, kernel_size: int = 2, dilation: int = 1, sigma: float = 5.0
) -> Tensor:
    """The picture at the positions of a flow, as a mean of nearby pixels weighted by a Gaussian of their distance.

    Wider than bilinear sampling, it passes the flow a gradient from pixels further away (Ren et al. 2020, official
    ``Resample2d``; the defaults are its own).

    Args:
        picture: (B, C, H, W).
        flow: (B, 2, h, w).
        kernel_size: Pixels per axis, half of them on each side; even.
        dilation: Pixels from one to the next on a side.
        sigma: Standard deviation in pixels.

    Returns:
        (B, C, h, w).

    Raises:
        ValueError: The kernel size is odd.
    """
    if kernel_size % 2:
        raise ValueError(f"kernel_size must be even, not {kernel_size}")
    at = flow_positions(flow)
    steps = dilation * torch.arange(kernel_size // 2, device=flow.device)
    offsets = torch.cat([-steps, dilation + steps])  # to the upper left, to the lower right
    rows, down = at.row[..., None] + offsets, _gaussian(at.down[..., None] - offsets, sigma)
    columns, right = at.column[..., None] + offsets, _gaussian(at.right[..., None] - offsets, sigma)
    return weighted_pixels(picture, rows, columns, down[..., :, None] * right[..., None, :])


def _neighbours(first: Tensor, count: int) -> Tensor:
    """(...) -> (..., count): a row or column and those that follow it."""
    return first[..., None] + torch.arange(count, device=first.device)


def _gaussian(distance: Tensor, sigma: float) -> Tensor:
    """Gaussian weights of distances (..., M), which add up to 1.

    The distance of a pixel beyond the border is that of where it would be. The product of a row's and a column's
    normalised weights is the normalised weight of the pixel.
    """
    return torch.softmax(-(distance**2) / (2 * sigma**2), dim=-1)
