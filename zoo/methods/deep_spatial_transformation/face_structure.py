"""What the face version sees of a face: edges, distances to its curves, and labels of its parts."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_cdt
from scipy.optimize import curve_fit

from zoo.errors import ZooError

Array = NDArray[np.int64]

Point = tuple[int, int]
"""x, y."""


class FacePart(NamedTuple):
    """Curves through landmarks, and the label of the area that they enclose."""

    label: int
    curves: tuple[tuple[int, ...], ...]


PARTS = (
    FacePart(1, ((*range(17), *range(68, 83), 0),)),  # outline, and the forehead of `with_forehead`
    FacePart(2, (tuple(range(17, 22)),)),  # right brow
    FacePart(2, (tuple(range(22, 27)),)),
    FacePart(3, ((28, 31), tuple(range(31, 36)), (35, 28))),  # nose
    FacePart(4, ((36, 37, 38, 39), (39, 40, 41, 36))),  # right eye
    FacePart(4, ((42, 43, 44, 45), (45, 46, 47, 42))),
    FacePart(5, (tuple(range(48, 55)), (54, 55, 56, 57, 58, 59, 48))),  # mouth
    FacePart(6, (tuple(range(60, 65)), (64, 65, 66, 67, 60))),  # inside of the lips
)
CHANNELS = 1 + sum(len(part.curves) for part in PARTS) + 1
_STEEP = 1  # parabolas of a larger quadratic coefficient are left out


def draw_face(landmarks: Array, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Draws the structure of one face.

    Args:
        landmarks: (68, 2): x, y of dlib's landmarks in whole pixels.
        picture: (H, W) grey, 0 to 255, whose edges are shown around the face.

    Returns:
        (16, H, W): the edges of face and surroundings in [0, 1]; for each of 14 curves the distance to it in pixels,
        over 3 * 255 and at most 1; labels 0 to 6 of the parts.

    Raises:
        ZooError: scikit-image, which finds the edges, isn't installed.
    """
    landmarks = with_forehead(landmarks)
    height, width = picture.shape
    lines = np.zeros((height, width), bool)
    labels = np.zeros((height, width), np.uint8)
    distances = []
    for part in PARTS:
        for curve in part.curves:
            line = np.zeros_like(lines)
            for first in range(0, len(curve) - 1, 2):
                columns, rows = smooth_curve(landmarks[list(curve[first : first + 3])])
                line[rows.clip(0, height - 1), columns.clip(0, width - 1)] = True
            lines |= line
            distances.append(_distance(line))
        corners = [joint for curve in part.curves for joint in curve]
        fill_polygon(labels, landmarks[corners], part.label)
    around = _edges(picture) & (labels == 0)
    # Official: in bytes, so that an edge of the surroundings on a line of the face becomes 254 instead of 510.
    edges = 255 * lines.astype(np.uint8) + 255 * around.astype(np.uint8)
    return np.concatenate([np.stack([edges, *distances]).astype(np.float32) / 255, labels[None]], dtype=np.float32)


def with_forehead(landmarks: Array) -> Array:
    """Adds 15 points above the ears, the jaw mirrored and flattened to two thirds: (68, 2) -> (83, 2)."""
    jaw = landmarks[:17]
    baseline = (jaw[0, 1] + jaw[-1, 1]) / 2
    forehead = jaw[1:-1].copy()
    forehead[:, 1] = (baseline + (baseline - forehead[:, 1]) * 2 // 3).astype(int)
    return np.concatenate([landmarks, forehead[::-1]])


def smooth_curve(points: Array) -> tuple[Array, Array]:
    """Whole pixels on the line through two points, or on the parabola through three.

    Args:
        points: (2 or 3, 2): x, y.

    Returns:
        Columns and rows; none where the parabola bends too much, or none can be fitted.
    """
    x, y = points.T
    if np.abs(np.diff(x)).max() < np.abs(np.diff(y)).max():
        rows, columns = _parabola(y, x)
        return columns, rows
    return _parabola(x, y)


def _parabola(along: Array, across: Array) -> tuple[Array, Array]:
    curve: Callable[..., NDArray[np.float64]] = _quadratic if len(along) == 3 else _linear
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no covariance can be estimated from as many points as coefficients
        try:
            coefficients, _ = curve_fit(curve, along, across)
        except RuntimeError:  # points that coincide, as small faces have them
            return np.zeros(0, int), np.zeros(0, int)
    if len(along) == 3 and abs(coefficients[0]) > _STEEP:
        return np.zeros(0, int), np.zeros(0, int)
    start, end = sorted((along[0], along[-1]))
    places = np.linspace(start, end, end - start)
    return places.astype(int), curve(places, *coefficients).astype(int)


# Written as in the official code: which whole number a value is cut down to can depend on its last bit.
def _linear(x: NDArray[np.float64], a: float, b: float) -> NDArray[np.float64]:
    return a * x + b


def _quadratic(x: NDArray[np.float64], a: float, b: float, c: float) -> NDArray[np.float64]:
    return a * x**2 + b * x + c


def fill_polygon(picture: NDArray[np.uint8], corners: Array, value: int) -> None:
    """Fills a polygon and its outline, as OpenCV's ``fillPoly``; what lies outside the picture is left out.

    Official: edges are cut off at the picture's border, at whole pixels, before they are drawn and before their slope
    is taken, which bends those that leave it a little.

    Args:
        picture: (H, W), changed in place.
        corners: (N, 2): x, y.
        value: What is filled in.
    """
    height, width = picture.shape
    points: list[Point] = [(x, y) for x, y in corners.tolist()]
    edges = [_cut_off(start, end, height, width) for start, end in pairwise([*points, points[0]])]
    for edge in edges:
        if edge.seen:
            columns, rows = _outline(*edge.seen)
            picture[rows, columns] = value
    for row in range(max(0, int(corners[:, 1].min())), min(height, int(corners[:, 1].max()) + 1)):
        crossings = sorted(edge.crossing(row) for edge in edges if edge.top <= row < edge.bottom)
        for left, right in zip(crossings[::2], crossings[1::2], strict=True):
            picture[row, max(0, -(-left >> 16)) : max(0, (right >> 16) + 1)] = value


@dataclass(frozen=True)
class _Edge:
    """An edge of a polygon: where it runs, and the rows that it bounds.

    Attributes:
        start: A point on it.
        end: Another one, in another row, unless it is level.
        top: First row that the whole edge bounds.
        bottom: The row behind the last one.
        seen: The ends of the part that is inside the picture; None where there is none.
    """

    start: Point
    end: Point
    top: int
    bottom: int
    seen: tuple[Point, Point] | None

    def crossing(self, row: int) -> int:
        """The column where it crosses a row that it bounds, with 16 bits after the point."""
        (x0, y0), (x1, y1) = sorted((self.start, self.end), key=lambda point: point[1])
        slope = int(((x1 - x0) << 16) / (y1 - y0))  # towards zero, as C divides
        return (x0 << 16) + slope * (row - y0)


def _cut_off(start: Point, end: Point, height: int, width: int) -> _Edge:
    """An edge between any points, as OpenCV's ``clipLine`` leaves it (Cohen and Sutherland's algorithm)."""
    top, bottom = sorted((start[1], end[1]))
    first, last = start, end
    sides = ((1, height - 1), (0, width - 1))  # above and below first, then left and right
    for axis, highest in sides:
        if not _outside(first, height, width) & _outside(last, height, width):
            first = _moved_inside(first, last, axis, highest)
            last = _moved_inside(last, first, axis, highest)
    seen = None if _outside(first, height, width) or _outside(last, height, width) else (first, last)
    if first[1] == last[1]:  # too little is left to tell a slope: rows of the whole edge, columns of what is left
        first, last = (first[0], start[1]), (last[0], end[1])
    return _Edge(first, last, top, bottom, seen)


def _outside(point: Point, height: int, width: int) -> int:
    """On which sides of the picture a point lies, a bit each."""
    x, y = point
    return (x < 0) | (x >= width) << 1 | (y < 0) << 2 | (y >= height) << 3


def _moved_inside(point: Point, other: Point, axis: int, highest: int) -> Point:
    """A point moved along its edge to the border that it lies beyond; others stay."""
    border = min(max(point[axis], 0), highest)
    if border == point[axis]:
        return point
    share = (border - point[axis]) * (other[1 - axis] - point[1 - axis]) / (other[axis] - point[axis])
    across = point[1 - axis] + int(share)
    return (border, across) if axis == 0 else (across, border)


def _outline(start: Point, end: Point) -> tuple[Array, Array]:
    """Columns and rows of Bresenham's line, drawn from left to right."""
    (x0, y0), (x1, y1) = sorted((start, end), key=lambda point: point[0])
    across, down = x1 - x0, y1 - y0
    longer, shorter = max(across, abs(down)), min(across, abs(down))
    steps = np.arange(longer + 1)
    aside = (2 * shorter * steps + longer - 1) // max(1, 2 * longer)
    columns, rows = (aside, steps) if abs(down) > across else (steps, aside)
    return x0 + columns, y0 + int(np.sign(down)) * rows


def _distance(line: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """City-block distance to a line over 3, at most 255; that everywhere where there is no line."""
    if not line.any():
        return np.full(line.shape, 255, np.uint8)
    return (distance_transform_cdt(~line, metric="taxicab") / 3).clip(0, 255).astype(np.uint8)


def _edges(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    try:
        from skimage.feature import canny
    except ModuleNotFoundError as missing:
        raise ZooError("the face version finds edges with scikit-image; `pip install scikit-image`") from missing
    return canny(picture)
