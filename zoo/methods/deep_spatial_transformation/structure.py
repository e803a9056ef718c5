"""What the networks see of a pose: heat maps and drawings, made on the pose's device."""

import torch
from torch import Tensor

from zoo.pose import COCO_17, Skeleton, snapped, to_pixels
from zoo.pose.heatmaps import gaussian_heatmaps

Limbs = tuple[tuple[int, int], ...]
"""Pairs of joint numbers, in the order in which they are drawn."""

COCO_LIMBS: Limbs = (
    (0, 1), (1, 3), (0, 2), (2, 4), (5, 7), (7, 9), (6, 8), (8, 10),
    (11, 12), (5, 6), (11, 13), (12, 14), (13, 15), (14, 16), (5, 11), (6, 12),
)  # fmt: skip
"""The limbs of COCO-17 as the animation version draws them."""

HUMAN36M_17 = Skeleton(
    name="human36m_17",
    joints=(
        "hip", "right_hip", "right_knee", "right_foot", "left_hip", "left_knee", "left_foot",
        "spine", "thorax", "neck", "head",
        "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
    ),
    limbs=(
        (0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8),
        (8, 9), (9, 10), (8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16),
    ),
)  # fmt: skip
"""What the published motion extraction network makes of them."""

_DISK = 2  # radius of a joint in a drawing, in pixels


def draw_heatmaps(pose: Tensor, height: int, width: int, sigma: float, truncate: bool = True) -> Tensor:
    """Heat maps of poses (N, K, 3), one per joint: (N, K, height, width) in [0, 1].

    Official: positions are cut down to whole pixels for the image version.
    """
    pixels = to_pixels(pose, (height, width))
    points = (snapped(pixels, pose.dtype) if truncate else pixels)[..., :2]
    return gaussian_heatmaps(points, pose[..., 2] > 0, height, width, sigma, truncate)


def draw_skeleton(pose: Tensor, limbs: Limbs, height: int, width: int) -> Tensor:
    """Pictures of skeletons: anti-aliased grey limbs, and joints in colours that tell them apart.

    Limbs are drawn one over the other, the joints last. A limb with a missing end isn't drawn. Brightness differs from
    the official one by at most 1 of 255, where that depends on the round-off of double precision.

    Official: brightness is 0 to 255, unlike everything else that enters a network.

    Args:
        pose: (N, 17, 3).
        limbs: Which joints are joined.
        height: Of the drawings.
        width: Of the drawings.

    Returns:
        (N, 3, height, width), whole numbers in 0 ... 255.
    """
    joints = snapped(to_pixels(pose, (height, width)), pose.dtype)[..., :2].trunc()
    present = (pose[..., 2] > 0) & (joints != 0).all(-1)  # Official: in the first row or column is missing
    rows = torch.arange(height, device=pose.device, dtype=pose.dtype)[:, None]
    columns = torch.arange(width, device=pose.device, dtype=pose.dtype)
    drawing = pose.new_zeros(len(pose), 3, height, width)
    for start, end in limbs:
        level, covered = _line(joints[:, start], joints[:, end], rows, columns)
        covered &= (present[:, start] & present[:, end])[:, None, None]
        drawing = torch.where(covered[:, None], level[:, None], drawing)
    for joint, colour in enumerate(_joint_colours(pose)):
        x, y = joints[:, joint, :, None, None].unbind(1)
        covered = ((columns - x) ** 2 + (rows - y) ** 2 < _DISK**2) & present[:, joint, None, None]
        drawing = torch.where(covered[:, None], colour[:, None, None], drawing)
    return drawing


def _line(start: Tensor, end: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Zingl's anti-aliased lines in closed form: level 0 ... 255 and which pixels are covered, (N, H, W) each.

    A pixel's level falls linearly with its distance from the line, up to one pixel, inside the box of both ends.
    """
    x0, y0 = start[..., None, None].unbind(1)
    x1, y1 = end[..., None, None].unbind(1)
    length = torch.hypot(x1 - x0, y1 - y0).clamp(min=1)
    across = ((columns - x0) * (y1 - y0) - (rows - y0) * (x1 - x0)).abs()
    inside = (columns >= torch.minimum(x0, x1)) & (columns <= torch.maximum(x0, x1))
    inside = inside & (rows >= torch.minimum(y0, y1)) & (rows <= torch.maximum(y0, y1))
    level = (255 * (1 - across / length) + 5e-5).floor()  # the summand stands above single precision's round-off
    return level, inside & (across < length)


def _joint_colours(like: Tensor) -> Tensor:
    """Colours of the joints' numbers, as in Pascal VOC's palette: bits dealt to R, G, B from the highest, (17, 3)."""
    number = torch.arange(len(COCO_17.joints), device=like.device)
    colours = torch.zeros(len(number), 3, device=like.device, dtype=torch.int64)
    for place in range(3):
        for channel in range(3):
            colours[:, channel] |= ((number >> (3 * place + channel)) & 1) << (7 - place)
    return colours.to(like.dtype)


def draw_animation_structure(pose: Tensor, limbs: Limbs, height: int, width: int, sigma: float) -> Tensor:
    """Heat maps and drawing of the animation version: (N, 17, 3) -> (N, 20, height, width)."""
    heatmaps = draw_heatmaps(pose, height, width, sigma, truncate=False)
    return torch.cat([heatmaps, draw_skeleton(pose, limbs, height, width)], dim=1)
