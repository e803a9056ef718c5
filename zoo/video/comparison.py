from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path

from torch import Tensor

from .info import VideoInfo
from .panels import grid, magnify
from .probe import probe
from .read import iter_frames
from .write import VideoWriter


def write_comparison(
    columns: Mapping[str, Sequence[str | Path] | str | Path], output: str | Path, magnification: int = 1
) -> Path:
    """Writes clips side by side, each column under its title, one row per clip.

    It has the frame rate of the first clip that moves, and ends with the shortest; a picture stands still.

    Args:
        columns: Title -> the column's videos or pictures from top to bottom, as many in each column; or a single one.
        output: Where to; the ending chooses the format, as for :class:`VideoWriter`.
        magnification: How many times larger than stored clips are shown.

    Returns:
        The path of the output.

    Raises:
        ValueError: No column moves, or columns differ in length.
        VideoError: A clip can't be read, or the output can't be written.
    """
    lists = [
        [probe(file) for file in ([files] if isinstance(files, str | Path) else files)] for files in columns.values()
    ]
    if len({len(clips) for clips in lists}) != 1:
        raise ValueError(f"each column needs as many clips, not {[len(clips) for clips in lists]}")
    moving = [clip for clips in lists for clip in clips if clip.frames > 1]
    if not moving:
        raise ValueError("only pictures were given; at least one column needs videos")
    rows = [zip(*map(_frames, row), strict=False) for row in zip(*lists, strict=True)]
    with VideoWriter(output, moving[0].fps) as writer:
        for moment in zip(*rows, strict=False):  # until the shortest ends
            pictures = [[magnify(frame[None], magnification)[0] for frame in row] for row in moment]
            writer.write(grid(pictures, list(columns)))
    return Path(output)


def _frames(clip: VideoInfo) -> Iterator[Tensor]:
    return iter_frames(clip) if clip.frames > 1 else repeat(next(iter_frames(clip)))
