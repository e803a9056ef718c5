"""Warps between two pictures of one person whose body surface is charted: DensePose's 24 parts with U and V.

Maps hold the part I in {0..24} and U, V in [0, 1], stored in 8 bits, so that charts are grids of 256 x 256 places.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.warp.grids import coordinate_grid

PARTS = 24
_SIDE = 256  # places along U and along V
_TABLE_ROWS = 2**15  # rows of charts (256 places of 8 bytes) that are laid out at once
_CANDIDATES = 2**20  # rows that are compared at once, over all pixels that look for their match


class SurfaceWarp(NamedTuple):
    """Where each pixel of one picture finds its content in another.

    Attributes:
        grid: (N, H, W, 2) float32 backward warp: (x, y) in [-1, 1], the outermost pixel centres at -1 and 1
            (``align_corners=True``). Pixels of which nothing is known point to (-1, -1), the first pixel.
        valid: (N, H, W) bool: whether the position is known, because the same part of the body is seen there, or
            because both pictures show the background.
    """

    grid: Tensor
    valid: Tensor


@torch.no_grad()
def surface_warp(source: Tensor, target: Tensor) -> SurfaceWarp:
    """The coarse warp of DwNet (section 3.2 of arXiv 1910.09139): surface points meet their nearest of the same part.

    - On the person each pixel looks where the source shows the nearest (U, V) of its part; if the source doesn't show
      that part, nothing is known.
    - On the background each pixel looks at its own place, unless the source's person stands there, who hides it.

    Convention: backward warp on :func:`zoo.warp.coordinate_grid`. Not differentiable. Without a person in the source,
    nothing is known of the target's; without one in the target, there is only background.

    Args:
        source: (N, 3, H, W): I in {0..24}, U and V in [0, 1]; the picture to sample from.
        target: (N, 3, H, W), the picture to produce.

    Raises:
        ValueError: The maps differ in shape, or hold parts beyond 24.
    """
    height, width = source.shape[-2:]
    match = nearest_surface(source, target)
    seen_in_source, person = (surface[:, 0].round() > 0 for surface in (source, target))
    places = coordinate_grid(height, width, source.new_empty(0, dtype=torch.float64)).float()  # as rounded officially
    # Official: what isn't known points to the first pixel, which is a place like any other.
    grid = torch.where((seen_in_source | person)[..., None], -1.0, places)
    found = match >= 0
    grid[found] = places.flatten(0, 1)[match[found]]
    return SurfaceWarp(grid, torch.where(person, found, ~seen_in_source))


def nearest_surface(source: Tensor, target: Tensor) -> Tensor:
    """For each pixel of the target's person the source's pixel of the same part with the nearest (U, V).

    Distances are Euclidean, in 8-bit steps of U and V; of several nearest pixels the first in reading order is taken.
    Exactly what comparing all pairs gives, in less time: per row of a chart (one U) a scan finds the nearest place of
    every V, and each pixel then compares the rows of its part, at most 256.

    Memory is bounded: samples are laid out ``_TABLE_ROWS`` rows of charts at a time (64 MiB a tensor; more only where a
    single sample has more, at most 12 MiB a tensor then), comparisons ``_CANDIDATES`` at a time (8 MiB a tensor).

    Args:
        source: (N, 3, H, W): I in {0..24}, U and V in [0, 1].
        target: (N, 3, H, W).

    Returns:
        (N, H, W) int64: the source's pixel ``row * W + column``; -1 on the background, and where the source doesn't
        show the part.

    Raises:
        ValueError: The maps differ in shape, or hold parts beyond 24.
    """
    if source.shape != target.shape or source.ndim != 4 or source.shape[1] != 3:
        raise ValueError(f"surface maps should both be (N, 3, H, W), not {tuple(source.shape)}, {tuple(target.shape)}")
    group = max(1, _TABLE_ROWS // min(PARTS * _SIDE, source.shape[-2] * source.shape[-1]))
    pairs = zip(source.split(group), target.split(group), strict=True)
    return torch.cat([_nearest(ours, theirs) for ours, theirs in pairs])


class _Points(NamedTuple):
    """The pixels that show a person. All (P,) int64; ordered by sample, then in reading order."""

    pixel: Tensor  # in its picture
    chart: Tensor  # one for each sample and part
    u: Tensor  # 0..255
    v: Tensor


def _points(surface: Tensor) -> _Points:
    part, u, v = surface.flatten(2).unbind(1)
    part = part.round().long()
    sample, pixel = (part != 0).nonzero(as_tuple=True)
    part = part[sample, pixel]
    if len(part) and not 0 < int(part.amin()) <= int(part.amax()) <= PARTS:
        raise ValueError(f"a surface map has parts from {int(part.amin())} to {int(part.amax())}, not 0 to {PARTS}")
    places = ((_SIDE - 1) * torch.stack([u[sample, pixel], v[sample, pixel]])).round().long().clamp(0, _SIDE - 1)
    return _Points(pixel, sample * (PARTS + 1) + part, places[0], places[1])


def _nearest(source: Tensor, target: Tensor) -> Tensor:
    size = source.shape[-2] * source.shape[-1]
    known, wanted = _points(source), _points(target)
    match = torch.full((len(target), size), -1, device=target.device)
    if len(known.pixel) and len(wanted.pixel):
        rows, row = (known.chart * _SIDE + known.u).unique(return_inverse=True)  # R, ordered by chart, then by U
        bits = (size - 1).bit_length()
        table = _nearest_in_rows(known, row, len(rows), bits)
        sample = wanted.chart // (PARTS + 1)
        match[sample, wanted.pixel] = _best_of_rows(wanted, rows, table, bits)
    return match.unflatten(1, target.shape[-2:])


def _nearest_in_rows(known: _Points, row: Tensor, rows: int, bits: int) -> Tensor:
    """For every V of every row the squared distance to its nearest place, and that place's pixel in the low ``bits``.

    Ordered so, the smaller number is the nearer pixel, and of equally near ones the first.

    Returns:
        (256, rows) int64.
    """
    narrow = torch.int32 if bits < 22 else torch.int64  # V from -256 to 511 above the pixel
    none = 1 << bits
    places = torch.full((_SIDE * rows,), none, device=row.device, dtype=narrow)
    places.scatter_reduce_(0, known.v * rows + row, known.pixel.to(narrow), "amin")
    places = places.view(_SIDE, rows)  # the first pixel at each place
    v = torch.arange(_SIDE, device=row.device, dtype=narrow)[:, None]
    taken, packed = places < none, places | (v << bits)
    before = torch.where(taken, packed, -_SIDE << bits)
    after = torch.where(taken, packed, 2 * _SIDE << bits)
    for step in (1, 2, 4, 8, 16, 32, 64, 128):  # the last taken place up to here, the first one from here on
        before[step:] = torch.maximum(before[step:], before[:-step])
        after[:-step] = torch.minimum(after[:-step], after[step:])
    down, up = v - (before >> bits), (after >> bits) - v
    distance = torch.minimum(down, up)
    first = torch.minimum(
        before.bitwise_and_(none - 1).masked_fill_(down > distance, none),
        after.bitwise_and_(none - 1).masked_fill_(up > distance, none),
    )
    return first.long().add_(distance.square_().long(), alpha=none)


def _best_of_rows(wanted: _Points, rows: Tensor, table: Tensor, bits: int) -> Tensor:
    """The nearest pixel over all rows of each wanted point's chart: (P,), -1 where the chart has none."""
    charts = rows // _SIDE
    start, end = (torch.searchsorted(charts, wanted.chart, right=right) for right in (False, True))
    count = end - start
    most = int(count.amax())
    if not most:
        return torch.full_like(start, -1)
    worst = torch.iinfo(torch.int64).max
    # A point's candidates lie side by side: views of `most` neighbours, one beginning at each place.
    cells = F.pad(table.flatten(), (0, most)).unfold(0, most, 1)
    row_u = F.pad(rows % _SIDE, (0, most)).unfold(0, most, 1)
    beyond = torch.arange(most, device=rows.device)
    best = []
    for some in torch.arange(len(start), device=rows.device).split(max(1, _CANDIDATES // most)):
        distance = (row_u[start[some]] - wanted.u[some, None]).square_().bitwise_left_shift_(bits)
        distance += cells[wanted.v[some] * len(rows) + start[some]]
        best.append(distance.masked_fill_(beyond >= count[some, None], worst).amin(1))
    nearest = torch.cat(best)
    return torch.where(nearest < worst, nearest & ((1 << bits) - 1), -1)
