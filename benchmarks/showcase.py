"""What the methods made of the same clips, side by side in one moving picture."""

from pathlib import Path

from benchmarks.board import Board
from benchmarks.page import Film, find_films
from zoo.errors import FileError, OptionError
from zoo.video import write_comparison

SOURCE, TRUTH = "copy_source", "oracle"
"""The baselines whose videos show a clip's source picture, and its true frames."""

MAGNIFICATION = 2


def showcase(board: Board, videos: Path, output: Path, clips: int = 2) -> Path:
    """Writes source, every method's result and truth side by side, one row per clip.

    Args:
        board: The protocol's table; methods stand in its order.
        videos: A folder with ``<protocol>/<method>/<clip>.mp4``, as `run` leaves it.
        output: The picture; its ending chooses the format (.gif, .mp4, .webm).
        clips: How many of the clips, at even distances among those that every column has.

    Raises:
        OptionError: ``clips`` is below 1.
        FileError: There is no clip that source, truth and a method have.
    """
    if clips < 1:
        raise OptionError(f"clips is {clips}; show one at least")
    methods = [entry.method for entry in board.entries if entry.kind != "baseline"]
    found = [_columns(film) for film in find_films([board], videos)[board.name]]
    shown = [name for name in methods if any(name in columns for columns in found)]
    order = [SOURCE, *shown, TRUTH]
    complete = [columns for columns in found if all(name in columns for name in order)]
    if not shown or not complete:
        remedy = f"run `python -m benchmarks run {board.name}` with these baselines"
        raise FileError(videos / board.name, f"has no clip of a method, {SOURCE} and {TRUTH}", remedy)
    count = min(clips, len(complete))
    chosen = [complete[place * len(complete) // count] for place in range(count)]
    titles = {entry.method: entry.title for entry in board.entries}
    titles |= {SOURCE: "source", TRUTH: "truth = driving clip"}
    columns = {titles[name]: [clip[name] for clip in chosen] for name in order}
    return write_comparison(columns, output, MAGNIFICATION)


def _columns(film: Film) -> dict[str, Path]:
    """Method -> its video."""
    return {take.path.parent.name: take.path for take in film.takes}
