"""Charts as SVG that a page holds in itself; colours come from the page's style, so that they follow its theme."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

STYLE = Path(__file__).parent / "templates" / "chart.css"

SERIES = 7
"""Colours in the page's style; later series begin again."""

_WIDTH, _HEIGHT = 640, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 16, 42
_DOT = 5  # radius of a mark
_LETTER = 7.8  # pixels, the mean width of one in a label
_LINE = 15  # pixels between labels
_TICKS = 4
_POINTS = 160  # of a curve; more can't be told apart and cost bytes


@dataclass(frozen=True)
class Point:
    """A labelled mark: what it costs (x), how good it is (y), and the interval of y."""

    label: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Curve:
    """A line. Curves of one label share a colour.

    Attributes:
        label: What it is.
        x: From left to right.
        y: At each of them; None where it isn't known.
        intervals: Low and high end at each of them; none are drawn where it is empty.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    intervals: Sequence[tuple[float, float]] = ()


def scatter(
    points: Sequence[Point], bounds: Sequence[tuple[str, float]], x_label: str, y_label: str, lower_is_better: bool
) -> Markup:
    """Marks over a logarithmic x axis; better is up and to the right.

    Args:
        points: At least one.
        bounds: Labelled values of y that are drawn as dashed lines.
        x_label: What x is, positive.
        y_label: What y is.
        lower_is_better: Whether the y axis points down.
    """
    heights = [value for point in points for value in (point.y, point.low, point.high) if value is not None]
    heights += [value for _, value in bounds]
    x_axis = _Axis.logarithmic([point.x for point in points], _LEFT, _WIDTH - _RIGHT)
    top, bottom = _TOP, _HEIGHT - _BOTTOM
    y_axis = _Axis.linear(heights, *((top, bottom) if lower_is_better else (bottom, top)))
    parts = [_axes(x_axis, y_axis, x_label, y_label, bottom)]
    taken: list[tuple[float, float, float]] = []  # left, right and height of labels
    for label, value in bounds:
        y = y_axis.place(value)
        parts.append(f'<path class="bound" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text class="quiet" x="{_LEFT + 6}" y="{y - 4:.1f}">{escape(label)}</text>')
        taken.append((_LEFT + 6, _LEFT + 6 + _LETTER * len(label), y - 4))
    for point in points:
        x, ends = x_axis.place(point.x), [y_axis.place(y) for y in (point.y, point.low, point.high) if y is not None]
        heights_of_mark = {*ends, *range(math.ceil(min(ends)), math.floor(max(ends)), _LINE)}
        taken += [(x - _DOT, x + _DOT, height + 4) for height in sorted(heights_of_mark)]
    for number, point in enumerate(points):
        parts.append(_mark(point, number, x_axis, y_axis, taken))
    return _svg(_WIDTH, _HEIGHT, f"{y_label} against {x_label}", parts)


def curves(title: str, lines: Sequence[Curve], x_label: str = "step") -> Markup:
    """Lines over steps, or over something else.

    Args:
        title: What y is.
        lines: At least one with a value.
        x_label: What x is.
    """
    labels = list(dict.fromkeys(line.label for line in lines))
    width, height = 360, 200 + _LINE * len(labels)
    known = [_known(line) for line in lines]
    x_axis = _Axis.linear([x for points in known for x, _ in points], _LEFT, width - _RIGHT)
    bottom = height - _BOTTOM
    heights = [y for points in known for _, y in points]
    heights += [end for line in lines for interval in line.intervals for end in interval]
    y_axis = _Axis.linear(heights, bottom, _TOP + _LINE * (len(labels) + 1))
    parts = [_axes(x_axis, y_axis, x_label, "", bottom), f'<text x="4" y="{_TOP - 4}">{escape(title)}</text>']
    for line, points in zip(lines, known, strict=True):
        path = "L".join(f"{x_axis.place(x):.1f} {y_axis.place(y):.1f}" for x, y in points)
        whiskers = "".join(
            f"M{x_axis.place(x):.1f} {y_axis.place(low):.1f}V{y_axis.place(high):.1f}"
            for x, (low, high) in zip(line.x, line.intervals, strict=False)  # a line may have none
        )
        series = labels.index(line.label) % SERIES
        parts.append(f'<g class="series-{series}"><path class="line" d="M{path}{whiskers}"/></g>')
    for number, label in enumerate(labels):
        y = _TOP + _LINE * (number + 1)
        parts.append(f'<g class="series-{number % SERIES}"><text x="{_LEFT}" y="{y}">{escape(label)}</text></g>')
    return _svg(width, height, title, parts)


def style() -> Markup:
    """The style sheet that charts need in the page that shows them."""
    return Markup(STYLE.read_text("utf-8"))


def standalone(chart: Markup) -> str:
    """A chart as the text of a file of its own, with its style and a ground."""
    opening, rest = str(chart).split(">", 1)
    sheet = f"{style()}svg {{ background: var(--paper); }}"
    return f'{opening} xmlns="http://www.w3.org/2000/svg">\n<style>\n{sheet}\n</style>\n{rest}\n'


@dataclass(frozen=True)
class _Axis:
    """Values from low to high over pixels from start to end."""

    low: float
    high: float
    start: float
    end: float
    ticks: list[float]
    is_logarithmic: bool = False

    @classmethod
    def linear(cls, values: Sequence[float], start: float, end: float) -> "_Axis":
        low, high = min(values), max(values)
        margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
        low, high = low - margin, high + margin
        step = _round_step((high - low) / _TICKS)
        first, last = math.ceil(low / step), math.floor(high / step)
        return cls(low, high, start, end, [step * number for number in range(first, last + 1)])

    @classmethod
    def logarithmic(cls, values: Sequence[float], start: float, end: float) -> "_Axis":
        low, high = min(values) / 1.6, max(values) * 1.6
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
        return cls(low, high, start, end, [tick for tick in ticks if low <= tick <= high], is_logarithmic=True)

    def place(self, value: float) -> float:
        low, high = self.low, self.high
        if self.is_logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def _round_step(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= step * (1 - 1e-9))


def _axes(x_axis: _Axis, y_axis: _Axis, x_label: str, y_label: str, bottom: float) -> str:
    parts = [f'<path class="axis" d="M{x_axis.start} {bottom}H{x_axis.end}"/>']
    for tick in x_axis.ticks:
        x = x_axis.place(tick)
        parts.append(f'<text class="quiet" text-anchor="middle" x="{x:.1f}" y="{bottom + 16}">{tick:.6g}</text>')
    for tick in y_axis.ticks:
        y = y_axis.place(tick)
        parts.append(f'<path class="axis" d="M{x_axis.start} {y:.1f}H{x_axis.end}"/>')
        parts.append(f'<text class="quiet" text-anchor="end" x="{_LEFT - 8}" y="{y + 4:.1f}">{tick:.4g}</text>')
    middle = (x_axis.start + x_axis.end) / 2
    parts.append(f'<text class="quiet" text-anchor="middle" x="{middle}" y="{bottom + 34}">{escape(x_label)}</text>')
    parts.append(f'<text class="quiet" x="4" y="{_TOP - 4}">{escape(y_label)}</text>')
    return "".join(parts)


def _mark(point: Point, number: int, x_axis: _Axis, y_axis: _Axis, taken: list[tuple[float, float, float]]) -> str:
    x, y = x_axis.place(point.x), y_axis.place(point.y)
    parts = []
    if point.low is not None and point.high is not None:
        parts.append(f'<path class="line" d="M{x:.1f} {y_axis.place(point.low):.1f}V{y_axis.place(point.high):.1f}"/>')
    parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_DOT}"/>')
    length = _LETTER * len(point.label)
    is_left = x + 10 + length > _WIDTH  # no room at the right
    left = x - 10 - length if is_left else x + 10
    height = _free_height(left, left + length, y + 4, taken)
    taken.append((left, left + length, height))
    anchor = "end" if is_left else "start"
    edge = left + length if is_left else left
    parts.append(f'<text text-anchor="{anchor}" x="{edge:.1f}" y="{height:.1f}">{escape(point.label)}</text>')
    tip = escape(f"{point.label}: {point.y:.4g} at {point.x:.4g}")
    return f'<g class="series-{number % SERIES}"><title>{tip}</title>{"".join(parts)}</g>'


def _free_height(left: float, right: float, wanted: float, taken: Sequence[tuple[float, float, float]]) -> float:
    """The height next to the wanted one at which a label covers no other."""
    clashing = sorted(height for start, end, height in taken if start < right and left < end)
    candidates = [wanted, *(height + side for height in clashing for side in (-_LINE, _LINE))]
    free = [here for here in candidates if all(abs(here - height) >= _LINE for height in clashing)]
    return min(free, key=lambda height: abs(height - wanted), default=wanted)


def _known(line: Curve) -> list[tuple[float, float]]:
    """The points that have a value, thinned out evenly, first and last kept."""
    points = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None and math.isfinite(y)]
    if len(points) <= _POINTS:
        return points
    return [points[round(place * (len(points) - 1) / (_POINTS - 1))] for place in range(_POINTS)]


def _svg(width: int, height: int, label: str, parts: Sequence[str]) -> Markup:
    name = escape(label)
    return Markup(f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{name}">{"".join(parts)}</svg>')
