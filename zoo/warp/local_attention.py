"""Local attention around the positions of a flow (Ren et al., CVPR 2020, section 3.2), in plain PyTorch.

Every output pixel looks at the k x k patch around the position that the flow gives it, sampled bilinearly at offsets
-(k // 2) ... k - 1 - k // 2 in both directions. :func:`extract_blocks` lays these patches out, k^2 times the feature
map. The other functions compute what a network wants of them without ever storing them, by two identities: sampling and
convolving commute, and the k^2 samples of a patch lie in the same (k + 1)^2 pixels.

Convention: as in :mod:`zoo.warp.resampling`: flows in pixels, (x, y), backward; beyond the border its pixels go on.
"""

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn import functional as F

from zoo.warp.precision import in_float32
from zoo.warp.resampling import flow_positions, sample_bilinear, weighted_pixels


def extract_blocks(source: Tensor, flow: Tensor, kernel_size: int) -> Tensor:
    """The patches that a flow points to, side by side (official ``BlockExtractor``).

    Args:
        source: (B, C, H, W).
        flow: (B, 2, h, w), in pixels of the source, whose size may differ.
        kernel_size: k; an even patch reaches one pixel further to the upper left.

    Returns:
        (B, C, k h, k w): the patch of output pixel (i, j) is the block with its upper left corner at (k i, k j).
    """
    k = kernel_size
    height, width = flow.shape[-2:]
    offsets = torch.arange(k, device=flow.device, dtype=flow.dtype) - k // 2
    # sample_bilinear adds the row and column of each of the k h x k w cells; what is wanted is that of its block.
    columns = torch.arange(width, device=flow.device)[:, None] + offsets
    rows = torch.arange(height, device=flow.device)[:, None] + offsets
    x = columns.flatten() - torch.arange(k * width, device=flow.device)
    y = rows.flatten() - torch.arange(k * height, device=flow.device)
    cells = repeat(flow, "b xy h w -> b xy (h i) (w j)", i=k, j=k)
    return sample_bilinear(source, torch.stack([cells[:, 0] + x, cells[:, 1] + y[:, None]], dim=1))


def reassemble(weights: Tensor, kernel_size: int) -> Tensor:
    """Per-pixel weights of patches (B, k^2, h, w), row by row, as blocks (B, 1, k h, k w) (``LocalAttnReshape``)."""
    return F.pixel_shuffle(weights, kernel_size)


def convolve_patches(source: Tensor, flow: Tensor, kernel: Tensor) -> Tensor:
    """A convolution of stride k over :func:`extract_blocks`: one inner product per patch.

    The source is convolved once and the result sampled, instead of the patches sampled and then convolved.

    Args:
        source: (B, C, H, W).
        flow: (B, 2, h, w).
        kernel: (O, C, k, k).

    Returns:
        (B, O, h, w).
    """
    k = kernel.shape[-1]
    everywhere = F.conv2d(F.pad(source, [k - 1] * 4, mode="replicate"), kernel)  # B, O, H + k - 1, W + k - 1
    return sample_bilinear(everywhere, flow, k - 1 - k // 2)


def convolve_neighbourhoods(features: Tensor, kernel: Tensor) -> Tensor:
    """:func:`convolve_patches` for a flow of zero: (B, C, H, W) and (O, C, k, k) -> (B, O, H, W)."""
    k = kernel.shape[-1]
    before, after = k // 2, k - 1 - k // 2
    return F.conv2d(F.pad(features, [before, after, before, after], mode="replicate"), kernel)


@in_float32
def attend(source: Tensor, flow: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of the patches that a flow points to.

    Args:
        source: (B, C, H, W).
        flow: (B, 2, h, w).
        weights: (B, k^2, h, w), the weight of each pixel of a patch, row by row.

    Returns:
        (B, C, h, w): sum_j weights_j(p) patch_j(p).
    """
    k = round(weights.shape[1] ** 0.5)
    at = flow_positions(flow)
    patch = rearrange(weights, "b (r s) h w -> b h w r s", r=k)
    right, down = at.right[..., None, None], at.down[..., None, None]
    patch = F.pad(patch, (0, 1)) * (1 - right) + F.pad(patch, (1, 0)) * right
    patch = F.pad(patch, (0, 0, 0, 1)) * (1 - down) + F.pad(patch, (0, 0, 1, 0)) * down  # B, h, w, k + 1, k + 1
    offsets = torch.arange(k + 1, device=flow.device) - k // 2
    return weighted_pixels(source, at.row[..., None] + offsets, at.column[..., None] + offsets, patch)
