"""Letterboxing to a common frame, and boxes around faces."""

import torch
from torch import Tensor

from zoo.errors import OptionError
from zoo.pose.drawing import PUBLISHED_CANVAS, published_scale
from zoo.pose.skeleton import Skeleton

_FACE_BUFFER = 70  # pixels on each side of the nose, on the published canvas


def letterbox(size: tuple[int, int], canvas: tuple[int, int] = PUBLISHED_CANVAS) -> tuple[float, tuple[float, float]]:
    """How a picture is fitted into a canvas: scaled to touch its sides, in the middle.

    Args:
        size: Height and width of the picture, pixels.
        canvas: Height and width of the canvas, pixels.

    Returns:
        The scale s and the shift (tx, ty): a point (x, y) of the picture lies at (s·x + tx, s·y + ty).
    """
    vertical, horizontal = canvas[0] / size[0], canvas[1] / size[1]
    if horizontal > vertical:
        return vertical, ((canvas[1] - vertical * size[1]) / 2, 0.0)
    return horizontal, (0.0, (canvas[0] - horizontal * size[0]) / 2)


def letterbox_pose(pose: Tensor, size: tuple[int, int], canvas: tuple[int, int] = PUBLISHED_CANVAS) -> Tensor:
    """Poses of a picture that was fitted into a canvas by `letterbox`.

    Args:
        pose: (..., K, 3) with x, y in pixels and confidence.
        size: Height and width of the picture, pixels.
        canvas: Height and width of the canvas, pixels.

    Returns:
        The same shape, in pixels of the canvas. Official: missing joints move too; their confidence stays 0.
    """
    scale, shift = letterbox(size, canvas)
    return torch.cat([pose[..., :2] * scale + pose.new_tensor(shift), pose[..., 2:]], dim=-1)


def face_boxes(
    pose: Tensor,
    skeleton: Skeleton,
    size: tuple[int, int] = (512, 1024),
    canvas: tuple[int, int] = PUBLISHED_CANVAS,
    side: int = 128,
) -> Tensor:
    """Square boxes around faces.

    They are centred on the nose, or where it is missing on the middle of both ears, or on the ear that there is. The
    box of a frame without any of them lies in the upper left corner.

    Args:
        pose: (N, K, 3) float64 with x, y in pixels of the canvas and confidence.
        skeleton: The format of the K joints.
        size: Height and width of the pictures that boxes are for, pixels; they are the canvas resized.
        canvas: Height and width of the canvas, pixels.
        side: Height and width of the boxes, pixels.

    Returns:
        (N, 4) int64: top, bottom, left, right in the pictures, to be used as half-open slices. They never leave the
        picture.

    Raises:
        OptionError: A box is larger than the picture.
    """
    if side > min(size):
        raise OptionError(f"a face box of {side} pixels doesn't fit into a picture of {size[1]}x{size[0]}")
    nose, right, left = (pose[:, skeleton.index(joint)] for joint in ("nose", "right_ear", "left_ear"))
    one_ear = torch.where(right[:, 2:] > 0, right, left)
    ears = torch.where((right[:, 2:] > 0) & (left[:, 2:] > 0), (right + left) / 2, one_ear)
    x, y = torch.where(nose[:, 2:] > 0, nose, ears)[:, :2].double().unbind(dim=1)
    buffer = _FACE_BUFFER * published_scale(canvas)
    ends: list[Tensor] = []
    for middle, length, border in ((y, size[0], canvas[0]), (x, size[1], canvas[1])):
        low = ((middle - buffer).clamp(min=0) * length / border).long()
        high = ((middle + buffer).clamp(max=border) * length / border).long()
        ends += fit_interval(low, high, side, length)
    return torch.stack(ends, dim=1)


def fit_interval(low: Tensor, high: Tensor, length: int, limit: int) -> tuple[Tensor, Tensor]:
    """Intervals of a given length around others, moved inside [0, limit].

    Args:
        low: Integers.
        high: Integers.
        length: The wanted length.
        limit: Where intervals must end.

    Returns:
        Their new ends.
    """
    end = high + torch.div(length - (high - low), 2, rounding_mode="floor")
    end = torch.where(high - low == length, high, end).clamp(max=limit)
    start = (end - length).clamp(min=0)
    return start, start + length
