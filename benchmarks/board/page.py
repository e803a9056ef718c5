"""The leaderboard as one HTML file that needs nothing else: style, script, charts and videos are in it."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmarks.board import charts
from benchmarks.board.tables import Board, Entry
from zoo.evaluator import COPY_SOURCE

TEMPLATES = Path(__file__).parent / "templates"
LIMIT = 4_000_000
"""Bytes of a page; clips that don't fit are left out."""

VIDEO_TYPES = {".mp4": "video/mp4", ".webm": "video/webm"}


@dataclass(frozen=True)
class Take:
    """A clip by one method."""

    title: str
    path: Path

    @property
    def uri(self) -> str:
        """The whole file as an address."""
        content = base64.b64encode(self.path.read_bytes()).decode("ascii")
        return f"data:{VIDEO_TYPES[self.path.suffix]};base64,{content}"


@dataclass(frozen=True)
class Film:
    """A clip by every method, which play side by side."""

    clip: str
    takes: Sequence[Take]

    @property
    def title(self) -> str:
        """The clip's name; where somebody else is the source, both."""
        source, _, driving = self.clip.partition("--")
        return f"{source} moved by {driving}" if driving and source != driving else source


@dataclass
class Shown:
    """The videos of one protocol, and how many clips were left out."""

    films: list[Film] = field(default_factory=list)
    left_out: int = 0


@dataclass(frozen=True)
class Charts:
    """The drawings of one protocol: quality against speed, and training curves by heading."""

    scatter: Markup | None
    curves: Mapping[str, list[Markup]]


def page(boards: Sequence[Board], films: Mapping[str, list[Film]] | None = None, limit: int = LIMIT) -> str:
    """The page of some tables.

    Args:
        boards: One per protocol.
        films: Protocol -> its clips, see :func:`find_films`.
        limit: Bytes that the page may take.
    """
    drawn = {board.name: Charts(scatter(board), training_curves(board)) for board in boards}
    empty = {board.name: Shown() for board in boards}
    room = limit - len(_fill(boards, empty, drawn).encode())
    shown = _fitting(boards, films or {}, room)
    return _fill(boards, shown, drawn)


def table(board: Board) -> str:
    """The HTML of one table alone, as it stands in the page."""
    return _piece("table", board)


def find_films(boards: Sequence[Board], videos: Path) -> dict[str, list[Film]]:
    """The clips of each protocol that there are videos of, sorted by name; takes are in the order of the table.

    Args:
        boards: Of the protocols.
        videos: A folder with ``<protocol>/<method>--<recipe>/<clip>.mp4`` (or .webm; no recipe for baselines).
    """
    return {board.name: list(_films(board, videos / board.name)) for board in boards}


def _films(board: Board, folder: Path) -> Iterator[Film]:
    names = {entry.video_folder: entry.name for entry in board.entries}
    found = {path.name: _videos(path) for path in sorted(folder.glob("*/"))}
    folders = [*(name for name in names if name in found), *(name for name in found if name not in names)]
    for clip in sorted({clip for files in found.values() for clip in files}):
        takes = [
            Take(names.get(name, f"{name}, without a row"), found[name][clip])
            for name in folders
            if clip in found[name]
        ]
        yield Film(clip, takes)


def _videos(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in VIDEO_TYPES}


def _fitting(boards: Sequence[Board], films: Mapping[str, list[Film]], room: int) -> dict[str, Shown]:
    """As many clips as there is room for: first one of each protocol, then the second of each, and so on."""
    shown = {board.name: Shown() for board in boards}
    waiting = [(place, name, film) for name in shown for place, film in enumerate(films.get(name, []))]
    for _, name, film in sorted(waiting, key=lambda item: item[0]):
        cost = len(_piece("play", film).encode())
        if cost <= room:
            shown[name].films.append(film)
            room -= cost
        else:
            shown[name].left_out += 1
    return shown


# --- charts


def scatter(board: Board) -> Markup | None:
    """What orders the table against speed, with the baselines as bounds; None where no method has both."""
    column = board.order
    points, bounds = [], []
    for entry in board.entries:
        quality, rate = entry.cells[column.key], entry.cells.get("frames_per_second")
        if quality.value is None:
            continue
        if entry.kind == "baseline":
            bounds.append((entry.name, quality.value))
        elif rate and rate.value:
            points.append(charts.Point(entry.name, rate.value, quality.value, quality.low, quality.high))
    if not points:
        return None
    speed = next(each for each in board.columns if each.key == "frames_per_second")
    label = "driving frames per second" + (f" ({speed.unranked_because})" if speed.unranked_because else "")
    return charts.scatter(points, bounds, label, column.label, not column.higher_is_better)


def training_curves(board: Board) -> dict[str, list[Markup]]:
    """What validation measured, all methods in one chart per term; then each method's losses."""
    validation: dict[str, list[charts.Curve]] = {}
    losses: dict[str, list[Markup]] = {}
    for entry in board.entries:
        for term, lines in _curves(entry).items():
            if term.startswith("val/"):
                validation.setdefault(term, []).extend(lines)
            else:
                losses.setdefault(f"Losses of {entry.name}", []).append(charts.curves(term, lines))
    compared = [charts.curves(term, lines) for term, lines in validation.items()]
    return ({"Validation": compared} if compared else {}) | losses


def _curves(entry: Entry) -> dict[str, list[charts.Curve]]:
    """Term -> a line per seed, all under the row's name."""
    terms: dict[str, list[charts.Curve]] = {}
    for result in entry.results:
        curve = result["training"]["curve"] if result["training"] else {}
        steps = [step or 0.0 for step in curve.get("step", [])]  # never None, which the type of curves allows
        for term, values in curve.items():
            is_no_curve = term == "step" or term.startswith(f"val/{COPY_SOURCE}/")
            if not is_no_curve and any(value is not None for value in values):
                terms.setdefault(term, []).append(charts.Curve(entry.name, steps, values))
    return terms


# --- templates


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _fill(boards: Sequence[Board], films: Mapping[str, Shown], drawn: Mapping[str, Charts]) -> str:
    style = charts.style() + Markup((TEMPLATES / "page.css").read_text("utf-8"))
    script = Markup((TEMPLATES / "page.js").read_text("utf-8"))
    template = _environment().get_template("page.html")
    return template.render(boards=boards, films=films, charts=drawn, style=style, script=script)


def _piece(macro: str, content: Any) -> str:
    """What one macro makes of its content."""
    return str(vars(_environment().get_template("macros.html").module)[macro](content))
