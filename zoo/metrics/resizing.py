"""How frames get the size that a network was trained on: the conventions behind published FVD and FID."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from zoo.errors import OptionError

Resizing = Literal[
    "tf1_legacy",
    "half_pixel",
    "half_pixel_antialias",
    "short_side_center_crop",
    "align_corners",
    "bicubic_antialias",
]
"""Rules for resizing. All but ``short_side_center_crop`` squeeze the frame into the square, whatever its aspect ratio.

* ``tf1_legacy``: bilinear between the pixels around ``i * in / out``, no pixel centres, as TensorFlow 1 did: the
  original codes of FVD and FID.
* ``half_pixel``: bilinear by pixel centres: StyleGAN-V, cd-fvd; for FID pytorch-fid.
* ``half_pixel_antialias``: the same with a filter that widens where the frame shrinks: cd-fvd's loader; for FID
  torchmetrics.
* ``short_side_center_crop``: half_pixel to a shorter side of the right length, then the centre: VideoGPT,
  common-metrics.
* ``align_corners``: bilinear between corner pixels' centres: some ports. Only for comparison with these.
* ``bicubic_antialias``: as Pillow, clipped to the range: clean-fid.
"""


def check_resizing(name: str) -> None:
    """Raises OptionError for a convention that doesn't exist."""
    if name not in get_args(Resizing):
        raise OptionError(f"convention: there is no {name!r}; there are {', '.join(get_args(Resizing))}")


def resize(frames: Tensor, size: int, rule: Resizing) -> Tensor:
    """Resizes frames to a square.

    Args:
        frames: (N, C, H, W) floating point in [0, 1].
        size: Side of the square in pixels.
        rule: See ``Resizing``.

    Returns:
        (N, C, size, size).
    """
    if rule == "tf1_legacy":
        return _legacy_axis(_legacy_axis(frames, size, axis=-1), size, axis=-2)
    if rule == "short_side_center_crop":
        return _center_crop(_shorter_side_to(frames, size), size)
    if rule == "bicubic_antialias":
        resized = functional.interpolate(frames, (size, size), mode="bicubic", align_corners=False, antialias=True)
        return resized.clamp(0, 1)
    return functional.interpolate(
        frames,
        (size, size),
        mode="bilinear",
        align_corners=rule == "align_corners",
        antialias=rule == "half_pixel_antialias",
    )


def _legacy_axis(frames: Tensor, size: int, axis: int) -> Tensor:
    length = frames.shape[axis]
    # Official: the positions are float32, which decides what they round to.
    scale = torch.tensor(length, dtype=torch.float32) / size
    position = torch.arange(size, dtype=torch.float32) * scale
    lower = position.floor()
    weight = (position - lower).to(frames)
    if axis == -2:
        weight = weight[:, None]
    before = lower.long().clamp(max=length - 1)
    after = (before + 1).clamp(max=length - 1)
    low, high = (frames.index_select(axis, index.to(frames.device)) for index in (before, after))
    return torch.lerp(low, high, weight)


def _shorter_side_to(frames: Tensor, size: int) -> Tensor:
    height, width = frames.shape[-2:]
    scale = size / min(height, width)
    sides = (size, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), size)
    return functional.interpolate(frames, sides, mode="bilinear", align_corners=False)


def _center_crop(frames: Tensor, size: int) -> Tensor:
    top, left = (frames.shape[-2] - size) // 2, (frames.shape[-1] - size) // 2
    return frames[..., top : top + size, left : left + size]
