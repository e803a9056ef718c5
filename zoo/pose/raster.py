"""Filled discs and ellipses, and Lanczos resizing, on any device and equal to OpenCV's and Pillow's to the bit."""

import math
from functools import lru_cache

import torch
from torch import Tensor

_EDGES = 360  # an ellipse is a polygon with a corner at every degree
_FIXED_POINT = 22  # bits after the point in Pillow's resampling weights


class Canvas:
    """White pictures that discs and ellipses are drawn on, all pictures of a batch at once.

    Convention: points are whole pixels, x to the right and y down; whatever lies outside is cut off.

    Args:
        count: Number of pictures, N.
        size: Height and width, pixels.
        device: Where they are kept.
    """

    def __init__(self, count: int, size: tuple[int, int], device: torch.device) -> None:
        self.count, (self.height, self.width) = count, size
        # One pixel more than the pictures have: the place for what is cut off.
        self._pixels = torch.full((count * self.height * self.width + 1, 3), 255, dtype=torch.uint8, device=device)

    def pictures(self) -> Tensor:
        """(N, H, W, 3) uint8."""
        return self._pixels[:-1].view(self.count, self.height, self.width, 3)

    def draw_discs(self, centres: Tensor, present: Tensor, radius: int, colours: Tensor) -> None:
        """Opaque discs, later points over earlier ones (OpenCV's ``circle``, filled).

        Args:
            centres: (N, P, 2) int64.
            present: (N, P) bool; others are left out.
            radius: Pixels.
            colours: (P, 3) uint8.
        """
        x, y = (centres[:, :, None] + _disc(radius).to(centres.device)).unbind(dim=-1)  # (N, P, pixels of a disc)
        inside = (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height) & present[:, :, None]
        places = torch.where(inside, self._place(y, x), len(self._pixels) - 1)
        for point, colour in enumerate(colours):
            self._pixels[places[:, point]] = colour

    def blend_limbs(self, starts: Tensor, ends: Tensor, present: Tensor, half_width: int, colours: Tensor) -> None:
        """Ellipses that span pairs of points, 60 % opaque, one after the other.

        They are OpenCV's ``ellipse2Poly`` (whole pixels and degrees, cut off towards zero), ``fillConvexPoly`` and
        ``addWeighted``.

        Args:
            starts: (N, L, 2) float64.
            ends: (N, L, 2) float64.
            present: (N, L) bool; others are left out.
            half_width: The smaller half axis, pixels.
            colours: (L, 3) uint8.
        """
        starts, ends = starts.transpose(0, 1), ends.transpose(0, 1)  # (L, N, 2): the pixels of a limb lie together
        left, right = self._spans(*_ellipse(starts, ends, half_width))
        left, right = left.clamp(min=0), right.clamp(max=self.width - 1)
        lengths = torch.where(present.t()[..., None], (right - left + 1).clamp(min=0), 0)  # (L, N, H)
        firsts = self._place(torch.arange(self.height, device=left.device), left)
        before = lengths.flatten().cumsum(0) - lengths.flatten()
        places = torch.repeat_interleave(firsts.flatten() - before, lengths.flatten())
        places = places + torch.arange(len(places), device=places.device)
        for limb, covered in enumerate(places.split(lengths.flatten(1).sum(dim=1).tolist())):
            mixed = 2 * self._pixels[covered].int() + 3 * colours[limb].int()
            self._pixels[covered] = ((mixed + 2) // 5).to(torch.uint8)  # fifths are never rounded at a half

    def _place(self, y: Tensor, x: Tensor) -> Tensor:
        """Index of pixels; y and x have N in the first dimension, or in the last but one where y has one dimension."""
        pictures = torch.arange(self.count, device=x.device)
        pictures = pictures.view(-1, 1, 1) if y.dim() > 1 else pictures.view(-1, 1)
        return (pictures * self.height + y) * self.width + x

    def _spans(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Where convex polygons with corners (..., 361) lie in each row: their first and last column, each (..., H).

        OpenCV draws each edge as a line and then fills every row between the edges. Both round in their own way, so
        a row reaches from the outermost pixel of the two to the other.
        """
        edges = x[..., :-1], y[..., :-1], x[..., 1:], y[..., 1:]
        pixels = [self._line_pixels(*edges), self._row_crossings(*edges)]
        column, row = (torch.cat([part.flatten(-2) for part in parts], dim=-1) for parts in zip(*pixels, strict=True))
        row = torch.where((row < 0) | (row >= self.height), self.height, row)  # a row more, which is thrown away
        empty = column.new_zeros(*row.shape[:-1], self.height + 1)
        left = (empty + self.width).scatter_reduce(-1, row, column, "amin")
        right = (empty - 1).scatter_reduce(-1, row, column, "amax")
        return left[..., :-1], right[..., :-1]

    def _line_pixels(self, x0: Tensor, y0: Tensor, x1: Tensor, y1: Tensor) -> tuple[Tensor, Tensor]:
        """Columns and rows (..., 360, steps) of edges as Bresenham lines, drawn from the left to the right.

        The last pixel of shorter edges is repeated; edges out of sight lie in row -1.
        """
        x0, y0, x1, y1, seen = self._clip(x0, y0, x1, y1)
        backwards = x1 < x0
        x, y = torch.where(backwards, x1, x0), torch.where(backwards, y1, y0)
        dx, dy = (x1 - x0).abs(), torch.where(backwards, y0 - y1, y1 - y0)
        longer, shorter = torch.maximum(dx, dy.abs())[..., None], torch.minimum(dx, dy.abs())[..., None]
        steep = (dy.abs() > dx)[..., None]
        step = torch.minimum(_count_to(longer), longer)
        aside = (2 * shorter * step + longer - 1) // (2 * longer.clamp(min=1))
        column = x[..., None] + torch.where(steep, aside, step)
        row = y[..., None] + dy.sign()[..., None] * torch.where(steep, step, aside)
        return column, torch.where(seen[..., None], row, -1)

    def _clip(self, x0: Tensor, y0: Tensor, x1: Tensor, y1: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The part of lines inside the picture, ends in whole pixels (OpenCV's ``clipLine``), and whether there is any.

        Cutting changes a line's slope a little, and thereby pixels near the border.
        """
        bottom, right = self.height - 1, self.width - 1
        seen = ~(((y0 < 0) & (y1 < 0)) | ((y0 > bottom) & (y1 > bottom)))
        seen &= ~(((x0 < 0) & (x1 < 0)) | ((x0 > right) & (x1 > right)))
        y, x = torch.where(seen, y0.clamp(0, bottom), y0), x0
        x0, y0 = x + _cut(y - y0, x1 - x, y1 - y0), y
        y, x = torch.where(seen, y1.clamp(0, bottom), y1), x1
        x1, y1 = x + _cut(y - y1, x - x0, y1 - y0), y
        seen &= ~(((x0 < 0) & (x1 < 0)) | ((x0 > right) & (x1 > right)))
        x, y = torch.where(seen, x0.clamp(0, right), x0), y0
        x0, y0 = x, y + _cut(x - x0, y1 - y, x1 - x0)
        x, y = torch.where(seen, x1.clamp(0, right), x1), y1
        x1, y1 = x, y + _cut(x - x1, y - y0, x1 - x0)
        return x0, y0, x1, y1, seen

    def _row_crossings(self, x0: Tensor, y0: Tensor, x1: Tensor, y1: Tensor) -> tuple[Tensor, Tensor]:
        """Columns and rows (..., 360, rows) where edges cross rows, from their upper end down; 16 bits after the point.

        The last crossing of shorter edges is repeated.
        """
        upwards = y1 < y0
        x, y = torch.where(upwards, x1, x0), torch.where(upwards, y1, y0)
        dx, dy = torch.where(upwards, x0 - x1, x1 - x0) << 16, (y1 - y0).abs()
        slope = torch.div(2 * dx + dy, 2 * dy.clamp(min=1), rounding_mode="trunc")
        slope, dy = torch.where(dy > 0, slope, 0)[..., None], dy[..., None]
        step = torch.minimum(_count_to(dy), dy)
        return ((x[..., None] << 16) + slope * step + (1 << 15)) >> 16, y[..., None] + step


def _count_to(numbers: Tensor) -> Tensor:
    """0, 1, 2 ... up to the largest of some numbers."""
    return torch.arange(int(numbers.max()) + 1 if numbers.numel() else 1, device=numbers.device)


def _cut(moved: Tensor, run: Tensor, rise: Tensor) -> Tensor:
    """How far a line's end goes aside, cut off towards zero, when it is moved along a slope of run / rise."""
    return torch.where(moved != 0, moved.double() * run / torch.where(rise == 0, 1, rise), 0.0).trunc().long()


def _ellipse(starts: Tensor, ends: Tensor, half_width: int) -> tuple[Tensor, Tensor]:
    """Corners (..., 361) int64 of the ellipses whose long axes join points (..., 2)."""
    across = starts - ends
    centre = ((starts + ends) / 2).trunc()[..., None]
    half_length = (across.norm(dim=-1) / 2).trunc()[..., None]
    angle = torch.atan2(across[..., 1], across[..., 0]).rad2deg().trunc().long() % 360
    sines = _sines().to(starts.device)
    degrees = torch.arange(_EDGES + 1, device=starts.device)
    along, aside = half_length * sines[90 + degrees], half_width * sines[degrees]
    cosine, sine = sines[90 + angle][..., None], sines[angle][..., None]
    x = centre[..., 0, :] + along * cosine - aside * sine
    y = centre[..., 1, :] + along * sine + aside * cosine
    return x.round().long(), y.round().long()


@lru_cache
def _sines() -> Tensor:
    """OpenCV's table: sines of 0 to 450 degrees, seven decimals, in single precision."""
    return torch.tensor([round(math.sin(math.radians(degree)), 7) for degree in range(451)]).double()


@lru_cache
def _disc(radius: int) -> Tensor:
    """X and y (pixels, 2) of a disc around 0, by OpenCV's midpoint circle."""
    half_widths = [0] * (radius + 1)
    error, across, along, plus, minus = 0, radius, 0, 1, 2 * radius - 1
    while across >= along:
        half_widths[along] = max(half_widths[along], across)
        half_widths[across] = max(half_widths[across], along)
        along += 1
        error += plus
        plus += 2
        if error > 0:
            error -= minus
            across -= 1
            minus -= 2
    rows = range(-radius, radius + 1)
    return torch.tensor([(x, y) for y in rows for x in range(-half_widths[abs(y)], half_widths[abs(y)] + 1)])


def resize_lanczos(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures of another size by Pillow's Lanczos filter, which also smooths what shrinks.

    Args:
        pictures: (N, H, W, C) uint8.
        size: Height and width of the result, pixels.

    Returns:
        (N, H', W', C) uint8.
    """
    for dim, side in ((2, size[1]), (1, size[0])):
        if pictures.shape[dim] != side:
            pictures = _resample(pictures, dim, side)
    return pictures


def _resample(pictures: Tensor, dim: int, side: int) -> Tensor:
    first, weights = (tensor.to(pictures.device) for tensor in _lanczos_weights(pictures.shape[dim], side))
    lines = pictures.movedim(dim, 0).contiguous()  # whole lines are gathered much faster than pixels
    looked_at = (first[:, None] + torch.arange(weights.shape[1], device=first.device)).clamp(max=len(lines) - 1)
    drawn_on = (lines != 255).flatten(1).any(dim=1)[looked_at].any(dim=1)  # the rest of a drawing stays white
    looked_at, weights = looked_at[drawn_on], weights[drawn_on]
    total = lines.new_full((len(weights), *lines.shape[1:]), 1 << (_FIXED_POINT - 1), dtype=torch.int32)
    for line, weight in zip(looked_at.t(), weights.t(), strict=True):
        total.addcmul_(lines[line].int(), weight.view(-1, *[1] * (lines.dim() - 1)))
    resized = lines.new_full((side, *lines.shape[1:]), 255)
    resized[drawn_on] = (total >> _FIXED_POINT).clamp_(0, 255).to(torch.uint8)
    return resized.movedim(0, dim)


@lru_cache
def _lanczos_weights(old: int, new: int) -> tuple[Tensor, Tensor]:
    """The first pixel (new,) that each new pixel looks at, and the fixed-point weights (new, taps) from there on."""
    scale = old / new
    stretch = max(scale, 1.0)
    centre = (torch.arange(new, dtype=torch.float64) + 0.5) * scale
    first = (centre - 3 * stretch + 0.5).clamp(min=0).long()
    last = (centre + 3 * stretch + 0.5).long().clamp(max=old)
    taps = torch.arange(2 * math.ceil(3 * stretch) + 1)
    offset = (first[:, None] + taps - centre[:, None] + 0.5) / stretch
    weights = torch.where(offset.abs() < 3, offset.sinc() * (offset / 3).sinc(), 0.0)
    weights = torch.where(taps < (last - first)[:, None], weights, 0.0)
    weights = weights / weights.sum(dim=1, keepdim=True) * (1 << _FIXED_POINT)
    return first, (weights + weights.sign() / 2).trunc().int()
