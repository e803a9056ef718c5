"""What the methods made of the same clips, side by side in one moving picture."""

from collections.abc import Set as AbstractSet
from pathlib import Path

from benchmarks.board.page import Film, find_films
from benchmarks.board.tables import Board
from benchmarks.jobs import method_title
from zoo.errors import FileError, OptionError
from zoo.methods import discover
from zoo.video import write_comparison

SOURCE, TRUTH = "copy_source", "oracle"
"""The baselines whose videos show a clip's source picture, and its true frames."""

MAGNIFICATION = 2


def showcase(board: Board, videos: Path, output: Path, clips: int = 2) -> Path:
    """Writes source, every method's result and truth side by side, one row per clip.

    Of a method with several recipes or variants the best is shown. Behind the table's methods come those that have
    videos of its clips without a row in it: the ones that learn a single person show that one.

    Args:
        board: The protocol's table; methods stand in its order.
        videos: The folder of videos that `run` made.
        output: The picture; its ending chooses the format (.gif, .mp4, .webm).
        clips: How many of the clips, at even distances among those that every column has.

    Raises:
        OptionError: ``clips`` is below 1.
        FileError: There is no clip that source, truth and a method have.
    """
    if clips < 1:
        raise OptionError(f"clips is {clips}; show one at least")
    found = [_by_folder(film) for film in find_films([board], videos)[board.name]]
    shown = _titles(board, {folder for takes in found for folder in takes})
    order = {SOURCE: "source", **shown, TRUTH: "truth = driving clip"}
    complete = [takes for takes in found if all(folder in takes for folder in order)]
    if not shown or not complete:
        remedy = f"run `python -m benchmarks run {board.name}` with these baselines"
        raise FileError(videos / board.name, f"has no clip of a method, {SOURCE} and {TRUTH}", remedy)
    count = min(clips, len(complete))
    chosen = [complete[place * len(complete) // count] for place in range(count)]
    return write_comparison(
        {title: [takes[folder] for takes in chosen] for folder, title in order.items()}, output, MAGNIFICATION
    )


def _by_folder(film: Film) -> dict[str, Path]:
    """Folder of videos -> the one of this clip."""
    return {take.path.parent.name: take.path for take in film.takes}


def _titles(board: Board, folders: AbstractSet[str]) -> dict[str, str]:
    """Those folders of videos that are shown -> what their methods are called."""
    known = discover()
    titles: dict[str, str] = {}
    packages = set()
    rows = {entry.video_folder: entry for entry in board.entries}
    for folder in [*(folder for folder in rows if folder in folders), *sorted(folders - rows.keys())]:
        name = folder.partition("--")[0]
        package = known[name].__module__.rpartition(".")[0] if name in known else name
        is_shown = rows[folder].kind != "baseline" if folder in rows else name in known
        if is_shown and package not in packages:
            titles[folder] = rows[folder].title if folder in rows else method_title(known[name].__name__)
            packages.add(package)
    return titles
