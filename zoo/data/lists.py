import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from zoo.data.errors import DataError
from zoo.data.source import Split

_SPLITS: dict[str, Split] = {split: split for split in get_args(Split)} | {"valid": "val", "validation": "val"}


@dataclass(frozen=True)
class ListedClip:
    """A row of a split list.

    Attributes:
        video: The clip's name as written.
        identity: Who it shows, where the list says so.
        split: Which split it belongs to, where the list says so.
        start: First frame.
        end: One past the last frame; None is the file's end.
    """

    video: str
    identity: str | None
    split: Split | None
    start: int
    end: int | None


@dataclass(frozen=True)
class ListedPair:
    """A row of a pair list: the names of the source and the driving clip, and the number of the source frame."""

    source: str
    driving: str
    frame: int


def read_split_list(path: Path) -> list[ListedClip]:
    """The clips that a csv names.

    Columns: ``video`` (or ``name`` or ``id``), and optionally ``identity`` (or ``person`` or ``subject``), ``split``
    (train, val or test), ``start`` and ``end`` (half-open range of frames). Other columns are ignored, and so are rows
    whose video is empty.

    Raises:
        DataError: No such file or columns, no rows, or a value that is not understood.
    """
    listed = []
    for line, row in read_rows(path):
        video = read_column(path, row, "video", "name", "id")
        if not video:
            continue
        split = row.get("split", "").lower()
        if split and split not in _SPLITS:
            raise DataError(path, f"line {line} has split {split!r}", "write train, val or test")
        start, end = read_number(path, line, row, "start"), read_number(path, line, row, "end")
        identity = row.get("identity") or row.get("person") or row.get("subject") or None
        listed.append(ListedClip(video, identity, _SPLITS.get(split), start or 0, end))
    if not listed:
        raise DataError(path, "lists no clips", "write a row per clip under a header with `video`, `identity`, `split`")
    return listed


def read_pair_list(path: Path) -> list[ListedPair]:
    """The pairs that a csv in First Order Motion's format names.

    Columns: ``source`` and ``driving``, and optionally ``frame`` (number of the source frame). ``distance`` and other
    columns are ignored.

    Raises:
        DataError: No such file or columns, no rows, or a value that is not understood.
    """
    pairs = []
    for line, row in read_rows(path):
        source, driving = read_column(path, row, "source"), read_column(path, row, "driving")
        if not source or not driving:
            raise DataError(path, f"line {line} leaves `source` or `driving` empty", "name both clips")
        pairs.append(ListedPair(source, driving, read_number(path, line, row, "frame") or 0))
    if not pairs:
        raise DataError(path, "lists no pairs", "write a row per pair under the header `distance,source,driving,frame`")
    return pairs


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and values by column; byte-order mark, spaces and the case of the header don't matter."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip().lower() for name in next(reader, [])]
            if not header:
                raise DataError(path, "is empty", "write a header and a row per clip or pair")
            for values in reader:
                if any(values):
                    yield reader.line_num, dict(zip(header, (value.strip() for value in values), strict=False))
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "check the path of the list") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"is not a csv in UTF-8 ({error})", "save it as text") from error


def read_column(path: Path, row: dict[str, str], *names: str) -> str:
    """The entry of the first of these columns that the list has; an error names them if there is none."""
    for name in names:
        if name in row:
            return row[name]
    raise DataError(
        path, f"has no column {names[0]!r}, only {', '.join(map(repr, row))}", f"name a column {names[0]!r}"
    )


def read_number(path: Path, line: int, row: dict[str, str], name: str) -> int | None:
    """A frame number, or None where the entry is empty; an error names the line if it is no number."""
    text = row.get(name, "")
    if not text:
        return None
    if not text.isdecimal():
        raise DataError(path, f"line {line} has {name} {text!r}", "write a frame number, 0 or greater")
    return int(text)
