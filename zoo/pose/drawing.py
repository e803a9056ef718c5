"""Stick figures as Everybody Dance Now draws them."""

from functools import lru_cache

import torch
from torch import Tensor

from zoo.errors import OptionError
from zoo.pose.coordinates import snapped, to_pixels
from zoo.pose.raster import Canvas, resize_lanczos
from zoo.pose.skeleton import (
    BODY_18,
    BODY_23,
    BODY_25,
    COCO_17,
    FACE_68,
    MEDIAPIPE_33,
    WHOLE_18,
    Skeleton,
    convert_pose,
)

PUBLISHED_CANVAS = (1080, 1920)
"""Height and width at which Everybody Dance Now draws; strokes are given for this size."""

_DRAWN_AS = {COCO_17.name: BODY_18, MEDIAPIPE_33.name: BODY_25, FACE_68.name: WHOLE_18}
_BODY_RADIUS, _BODY_HALF_WIDTH = 8, 4
_FACE_RADIUS = 4
_HAND_RADIUS, _HAND_HALF_WIDTH = 3, 2
_HAND_CONFIDENCE = 0.05
_FACE_CONFIDENCE = 0.2  # the mean of all 70 points
_FRAMES_AT_ONCE = 8  # bounds the memory of a canvas of 1920x1080

_FACE_POINTS = {
    8: (27, 30, 8, 0, 16, 33, 68, 69),
    9: (27, 30, 8, 0, 16, 33, 68, 69, 62),
    22: (27, 30, 8, 0, 16, 31, 33, 35, 68, 69, 36, 39, 42, 45, 17, 21, 22, 26, 48, 51, 54, 57),
}
_FINGERS = tuple(
    pair
    for first in (1, 5, 9, 13, 17)
    for pair in ((first, first + 1), (first + 1, first + 2), (first + 2, first + 3), (0, first))
)

# Official: colours were chosen as RGB and drawn as BGR; the published labels have red and blue exchanged.
_BODY_COLOURS = {
    BODY_18.name: (
        (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0),
        (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255),
        (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
    ),
    BODY_23.name: (
        (255, 0, 0), (255, 55, 0), (255, 110, 0), (255, 165, 0), (255, 215, 0), (255, 235, 0), (255, 255, 0),
        (255, 0, 0), (175, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85), (0, 255, 170), (25, 25, 128),
        (0, 85, 255), (0, 170, 255), (0, 212, 255), (0, 255, 255), (255, 0, 0), (255, 0, 255), (238, 130, 238),
        (138, 43, 226), (75, 0, 130),
    ),
    BODY_25.name: (
        (255, 0, 85), (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0),
        (0, 255, 0), (255, 0, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255),
        (0, 0, 255), (255, 0, 170), (170, 0, 255), (255, 0, 255), (85, 0, 255), (0, 0, 255), (0, 0, 255),
        (0, 0, 255), (0, 255, 255), (0, 255, 255), (0, 255, 255),
    ),
}  # fmt: skip
_HAND_COLOURS = (
    (230, 53, 40), (231, 115, 64), (233, 136, 31), (213, 160, 13), (217, 200, 19), (170, 210, 35), (139, 228, 48),
    (83, 214, 45), (77, 192, 46), (83, 213, 133), (82, 223, 190), (80, 184, 197), (78, 140, 189), (86, 112, 208),
    (83, 73, 217), (123, 46, 183), (189, 102, 255), (218, 83, 232), (229, 65, 189), (236, 61, 141), (255, 102, 145),
)  # fmt: skip


@torch.no_grad()
def draw_figure(
    pose: Tensor,
    skeleton: Skeleton,
    size: tuple[int, int],
    canvas: tuple[int, int] | None = None,
    face_points: int = 8,
) -> Tensor:
    """Stick figures with face and hands, on the poses' device.

    Everybody Dance Now's drawing, pixel for pixel: discs and translucent limbs in OpenPose's colours on white, a few
    black points of the face, the fingers. The published labels have ``size=(512, 1024)`` and ``canvas=(1080, 1920)``:
    drawn large, then resized by Lanczos as Pillow does. A canvas of another size gets proportionally finer strokes.

    Args:
        pose: (N, K, 3) with x, y in [-1, 1] and confidence, of any device; 0 confidence means missing.
        skeleton: The format of the K joints; other formats than OpenPose's are converted to one of them.
        size: Height and width of the result, pixels.
        canvas: Height and width at which strokes are drawn; by default ``size``, which is the fastest.
        face_points: How many of the 70 face points are drawn: 8, 9 or 22.

    Returns:
        (N, 3, H, W) float32 RGB in [0, 1], white where nothing is drawn; multiples of 1/255. No gradient.

    Raises:
        OptionError: K is not the skeleton's, or ``face_points`` is another number.
    """
    canvas = canvas or size
    pixels = snapped(to_pixels(pose.double(), canvas), pose.dtype)
    pictures = [
        resize_lanczos(draw_pixels(some, skeleton, canvas, face_points).permute(0, 2, 3, 1), size)
        for some in pixels.split(_FRAMES_AT_ONCE)
    ]
    return torch.cat(pictures).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def draw_pixels(
    pose: Tensor, skeleton: Skeleton, canvas: tuple[int, int] = PUBLISHED_CANVAS, face_points: int = 8
) -> Tensor:
    """Stick figures from poses in pixels, before any resizing; `draw_figure` explains the rest.

    Args:
        pose: (N, K, 3) float64 with x, y in pixels of the canvas and confidence.
        skeleton: The format of the K joints.
        canvas: Height and width, pixels.
        face_points: How many of the 70 face points are drawn: 8, 9 or 22.

    Returns:
        (N, 3, H, W) uint8 RGB.

    Raises:
        OptionError: K is not the skeleton's, or ``face_points`` is another number.
    """
    if pose.dim() != 3 or pose.shape[1:] != (len(skeleton.joints), 3):
        raise OptionError(f"poses of {skeleton.name} are (N, {len(skeleton.joints)}, 3), not {tuple(pose.shape)}")
    if face_points not in _FACE_POINTS:
        raise OptionError(f"face_points is {face_points}; there are drawings with 8, 9 or 22 points of the face")
    if skeleton.name in _DRAWN_AS:
        pose, skeleton = convert_pose(pose, skeleton, _DRAWN_AS[skeleton.name]), _DRAWN_AS[skeleton.name]
    pose = torch.where(pose[..., 2:] > 0, pose, 0.0).double()
    paper = Canvas(len(pose), canvas, pose.device)
    _draw_body(paper, pose[:, skeleton.part("body")], skeleton.body())
    _draw_face(paper, pose[:, skeleton.part("face")], face_points)
    for hand in ("right_hand", "left_hand"):
        _draw_hand(paper, pose[:, skeleton.part(hand)])
    return paper.pictures().flip(-1).permute(0, 3, 1, 2)


def _draw_body(paper: Canvas, body: Tensor, skeleton: Skeleton) -> None:
    colours = _palette(_BODY_COLOURS[skeleton.name], body.device)
    present = body[..., 2] > 0
    paper.draw_discs(_whole(body), present, _stroke(_BODY_RADIUS, paper), colours)
    _draw_limbs(paper, body, present, skeleton.limbs, _BODY_HALF_WIDTH, colours[[start for start, _ in skeleton.limbs]])


def _draw_face(paper: Canvas, face: Tensor, points: int) -> None:
    if not face.shape[1]:
        return
    sure = face[..., 2].mean(dim=1, keepdim=True) >= _FACE_CONFIDENCE
    chosen = face[:, list(_FACE_POINTS[points])]
    black = torch.zeros(chosen.shape[1], 3, dtype=torch.uint8, device=face.device)
    paper.draw_discs(_whole(chosen), sure & (chosen[..., 2] > 0), _stroke(_FACE_RADIUS, paper), black)


def _draw_hand(paper: Canvas, hand: Tensor) -> None:
    if not hand.shape[1]:
        return
    colours = _palette(_HAND_COLOURS, hand.device)
    present = hand[..., 2] > _HAND_CONFIDENCE
    paper.draw_discs(_whole(hand), present, _stroke(_HAND_RADIUS, paper), colours)
    _draw_limbs(paper, hand, present, _FINGERS, _HAND_HALF_WIDTH, colours[[end for _, end in _FINGERS]])


def _draw_limbs(
    paper: Canvas, pose: Tensor, present: Tensor, limbs: tuple[tuple[int, int], ...], half_width: int, colours: Tensor
) -> None:
    starts, ends = [start for start, _ in limbs], [end for _, end in limbs]
    both = present[:, starts] & present[:, ends]
    paper.blend_limbs(pose[:, starts, :2], pose[:, ends, :2], both, _stroke(half_width, paper), colours)


def _stroke(pixels: int, paper: Canvas) -> int:
    return max(1, round(pixels * published_scale((paper.height, paper.width))))


def published_scale(canvas: tuple[int, int]) -> float:
    """How large a pixel of the published canvas is on another: as if its picture had been letterboxed to that one.

    Args:
        canvas: Height and width, pixels.
    """
    return max(canvas[0] / PUBLISHED_CANVAS[0], canvas[1] / PUBLISHED_CANVAS[1])


def _whole(pose: Tensor) -> Tensor:
    return pose[..., :2].trunc().long()


@lru_cache
def _palette(colours: tuple[tuple[int, int, int], ...], device: torch.device) -> Tensor:
    return torch.tensor(colours, dtype=torch.uint8, device=device)
