"""Pixels and the zoo's units: x, y in [-1, 1] over the picture."""

import torch
from torch import Tensor


def to_pixels(pose: Tensor, size: tuple[int, int]) -> Tensor:
    """Poses in pixels.

    Convention: [-1, 1] with pixel centres as in ``align_corners=False``, so x = (2·px + 1) / width - 1.

    Args:
        pose: (..., K, 3) with x, y in [-1, 1] and confidence; 0 confidence means missing.
        size: Height and width of the picture, pixels.

    Returns:
        The same shape. Missing joints are 0 in all three.
    """
    sides = pose.new_tensor([size[1], size[0]])
    pixels = ((pose[..., :2] + 1) * sides - 1) / 2
    return _present(torch.cat([pixels, pose[..., 2:]], dim=-1))


def to_units(pose: Tensor, size: tuple[int, int]) -> Tensor:
    """Poses in [-1, 1] from pixels, the inverse of `to_pixels`.

    Args:
        pose: (..., K, 3) with x, y in pixels and confidence; 0 confidence means missing.
        size: Height and width of the picture, pixels.

    Returns:
        The same shape. Missing joints are 0 in all three.
    """
    sides = pose.new_tensor([size[1], size[0]])
    units = (2 * pose[..., :2] + 1) / sides - 1
    return _present(torch.cat([units, pose[..., 2:]], dim=-1))


def snapped(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Pixels without the round-off of the way through [-1, 1], which makes a whole pixel a little less.

    What cuts fractions off, as the official drawing does, would land one pixel lower.

    Args:
        pixels: (..., K, 3) with x, y in pixels and confidence.
        dtype: Of the poses that they come from, which may have been less precise.

    Returns:
        The same shape, with x, y on a grid of 2^-30 pixels for float64, else 2^-10.
    """
    grain = 2**30 if dtype == torch.float64 else 2**10
    return torch.cat([(pixels[..., :2] * grain).round() / grain, pixels[..., 2:]], dim=-1)


def without_missing(pose: Tensor) -> Tensor:
    """Poses (..., K, 3) whose joints are 0 in all three where a value is not finite or the confidence is 0.

    Confidences above 1, which some programs give, become 1.
    """
    present = pose.isfinite().all(dim=-1, keepdim=True) & (pose[..., 2:] > 0)
    pose = torch.where(present, pose, torch.zeros_like(pose))
    pose[..., 2].clamp_(max=1)
    return pose


def are_pixels(poses: Tensor) -> bool:
    """Whether the coordinates of poses (..., K, 3) can be pixels: not all are within [-2, 2], or nobody is shown."""
    return not poses.any() or bool(poses[..., :2].abs().max() > 2)


def _present(pose: Tensor) -> Tensor:
    return torch.where(pose[..., 2:] > 0, pose, torch.zeros_like(pose))
