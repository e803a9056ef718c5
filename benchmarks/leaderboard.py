"""The leaderboard as files: results in, ``LEADERBOARD.md`` and ``leaderboard.html`` out."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import protocol
from benchmarks.ablations.sections import ablations, with_ablations
from benchmarks.board.page import LIMIT, Film, find_films, page
from benchmarks.board.places import filled, pages_below
from benchmarks.board.published import PUBLISHED, Published, read_published
from benchmarks.board.tables import Board, Cell, Column, Entry, build_board
from benchmarks.schema import Result, read_result
from zoo.errors import FileError, OptionError
from zoo.video.atomic import replaced_on_success

MARKDOWN, PAGE = "LEADERBOARD.md", "leaderboard.html"

_OVERVIEW_COLUMNS = (
    "lpips_alex",
    "moving_l1",
    "l1",
    "ssim",
    "akd_mediapipe",
    "frames_per_second",
    "peak_memory_megabytes",
)

_INTRODUCTION = """\
# Leaderboard

Written by `python -m benchmarks render` from `benchmarks/results`; don't edit. In brackets: 95 % bootstrap interval
over clips. ±: standard deviation over training seeds. **Bold**: best method of a column. ≈: not told apart from the
best: on these clips (paired sign-flip test, p at least 0.05), or because training seeds of the two overlap. Baselines
bound each table and aren't ranked, nor is a method that failed on a clip, nor a figure without clips that others have.
"""


def render(
    results: Path,
    output: Path,
    videos: Path | None = None,
    hashes: Mapping[str, str] | None = None,
    published: Path = PUBLISHED,
    limit: int = LIMIT,
    real_clips: bool = False,
) -> list[Board]:
    """Writes ``LEADERBOARD.md`` and ``leaderboard.html``, and prints what was left out.

    README and method pages in the output folder get the tables of now, where they have a place for them.

    Args:
        results: The folder of results, ``<protocol>/*.json``.
        output: The folder to write to.
        videos: The folder of videos that `run` made, shown by the page; None shows none.
        hashes: Protocol -> its hash now; by default of ``benchmarks/protocols``.
        published: What publications report.
        limit: Bytes that the page may take; clips that don't fit are left out.
        real_clips: Shows videos of real clips, too. Those may not be redistributed: such a page isn't for others.

    Returns:
        The tables, in the order of the protocols' names.

    Raises:
        FileError: There are no results, a result or ``published`` isn't as it should be, or nothing can be written to
            the output folder.
    """
    boards, left_out = read_boards(results, hashes, published)
    if not boards:
        problem = "holds no result of a protocol's present hash" if results.is_dir() else "is no folder"
        raise FileError(results, problem, "name the folder of results, which `python -m benchmarks run` writes")
    reported = read_published(published)
    films = films_to_show(boards, videos, real_clips)
    texts = {MARKDOWN: markdown(boards, ablations(results)), PAGE: page(boards, films, limit)}
    for path in pages_below(output):
        text = with_overviews(path.read_text("utf-8"), boards)
        text = with_published(with_ablations(text, results), reported)
        texts[str(path.relative_to(output))] = text
    for name, text in texts.items():
        with replaced_on_success(output / name) as temporary:
            temporary.write_text(text, "utf-8")
        print(output / name)
    for line in left_out:
        print(f"left out: {line}")
    return boards


def read_boards(
    results: Path, hashes: Mapping[str, str] | None = None, published: Path = PUBLISHED
) -> tuple[list[Board], list[str]]:
    """The tables of a folder of results, those of most methods first, and what was left out of them, a line each.

    Results that were taken under another hash than their protocol has now belong to another table, and are left out; so
    are folders that no protocol is called after.

    Args:
        results: The folder, ``<protocol>/*.json``.
        hashes: Protocol -> its hash now; by default of ``benchmarks/protocols``.
        published: What publications report.

    Raises:
        FileError: A result or ``published`` isn't as it should be.
    """
    hashes = protocol.hashes() if hashes is None else hashes
    reported = read_published(published)
    boards, left_out = [], []
    for folder in sorted(path for path in results.glob("*/") if path.is_dir()):
        if folder.name not in hashes:
            left_out.append(f"{folder.name}/: no protocol has this name")
            continue
        current, stale = _current(folder, hashes[folder.name])
        left_out += stale
        if current:
            boards.append(build_board(current, reported, stale))
    return sorted(boards, key=lambda board: (-len(board.entries), board.name)), left_out


def overview(board: Board, methods: Sequence[str] = ()) -> str:
    """A board's table with a few of its columns, as README and method pages show it.

    Args:
        board: The whole table.
        methods: Whose rows, with budget and machine; by default everybody's, with the best of each column marked.
    """
    columns = [column for key in _OVERVIEW_COLUMNS for column in board.columns if column.key == key]
    rows = [["method", *(column.label for column in columns)], ["---", *("---:" for _ in columns)]]
    for entry in board.entries:
        if methods and entry.method not in methods:
            continue
        name = f"{entry.title}, {entry.made_by}" if methods and entry.kind != "baseline" else entry.name
        name += " (baseline)" if entry.kind == "baseline" else ""
        row = [_escaped(name)]
        for column in columns:
            cell = entry.cells[column.key]
            text = column.number(cell.value) if methods else _marked(column, cell)
            row.append(f"{text} ({cell.note})" if cell.is_partial else text)
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def with_overviews(page: str, boards: Sequence[Board]) -> str:
    """A page with the overviews of now between `<!-- leaderboard: PROTOCOL [METHOD ...] -->` and `<!-- end -->`.

    Raises:
        OptionError: A page names a protocol that has no results of its present hash.
    """
    by_name = {board.name: board for board in boards}

    def now(words: Sequence[str]) -> str:
        protocol_name, *methods = words
        if protocol_name not in by_name:
            raise OptionError(
                f"a page shows results of {protocol_name}, but there are none of its present hash; "
                f"run `python -m benchmarks run {protocol_name}` first"
            )
        return overview(by_name[protocol_name], methods)

    return filled(page, "leaderboard", now)


def with_published(page: str, published: Sequence[Published]) -> str:
    """A page with what a method's publications report between `<!-- published: METHOD -->` and `<!-- end -->`.

    Raises:
        OptionError: A page names a method of which nothing is reported.
    """

    def now(words: Sequence[str]) -> str:
        rows = [row for row in published if [row.method] == list(words)]
        if not rows:
            raise OptionError(f"a page shows published figures of {' '.join(words)}, but there are none")
        lines = ["| published | data | where | not comparable because |", "|---|---|---|---|"]
        for row in rows:
            cells = (row.figures_in_words, f"{row.data}, {row.resolution}", f"{row.source}, {row.table}", row.differs)
            lines.append(f"| {' | '.join(_escaped(cell) for cell in cells)} |")
        return "\n".join(lines)

    return filled(page, "published", now)


def films_to_show(boards: Sequence[Board], videos: Path | None, real_clips: bool = False) -> dict[str, list[Film]]:
    """The clips that a page may show, by protocol: generated ones, and real ones only where they are asked for.

    Raises:
        FileError: There is no folder of videos.
    """
    if videos is None:
        return {}
    if not videos.is_dir():
        raise FileError(videos, "is no folder", "name the `videos` in the folder that `run` worked in")
    generated = protocol.generated()
    return find_films([board for board in boards if real_clips or board.name in generated], videos)


def markdown(boards: Sequence[Board], further: Sequence[str] = ()) -> str:
    """The text of ``LEADERBOARD.md``: what was measured, a section for each table, then further ones."""
    return "\n".join([_INTRODUCTION, coverage(boards), *(_section(board) for board in boards), *further])


def coverage(boards: Sequence[Board]) -> str:
    """A section that says how many seeds of each method were trained for each table, so that gaps are seen."""
    trained = [{entry.title: _seeds(board, entry.title) for entry in board.entries} for board in boards]
    titles = sorted({title for seeds in trained for title, number in seeds.items() if number})
    lines = [["protocol", *map(_escaped, titles)], ["---", *("---:" for _ in titles)]]
    for board, seeds in zip(boards, trained, strict=True):
        lines.append([f"`{board.name}`", *(str(seeds.get(title) or "–") for title in titles)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    explained = "Training seeds of the recipe that has most of them there; –: none was run, or the method doesn't fit."
    return f"## What was measured\n\n{explained}\n\n{table}\n"


def _seeds(board: Board, title: str) -> int:
    """How many seeds a method's recipe of most seeds has; whatever machine trained them."""
    seeds: dict[str | None, set[int | None]] = defaultdict(set)
    for entry in board.entries:
        if entry.title == title:
            seeds[entry.recipe] |= {result["seed"] for result in entry.results if result["training"]}
    return max(map(len, seeds.values()))


def _current(folder: Path, expected: str) -> tuple[list[Result], list[str]]:
    """Results under the protocol's present hash, and a line for each other one."""
    current, stale = [], []
    for path in sorted(folder.glob("*.json")):
        result = read_result(path)
        found = result["protocol"]["hash"]
        if found == expected:
            current.append(result)
        else:
            stale.append(f"{folder.name}/{path.name}: measured under hash {found}, the protocol now has {expected}")
    return current, stale


# --- Markdown


def _section(board: Board) -> str:
    heading = ["method", "clips", *(_heading(column) for column in board.columns)]
    rows = [heading, ["---", *("---:" for _ in heading[1:])], *(_row(entry, board.columns) for entry in board.entries)]
    parts = [
        f"## {board.title}",
        f"Protocol `{board.name}`, hash `{board.hash}`.",
        "\n".join(f"| {' | '.join(row)} |" for row in rows),
    ]
    notes = [f"- *Left out*: {line}" for line in board.stale]
    notes += [f"- *Not the same clips*: {line}" for line in board.other_pictures]
    notes += [f"- *Not one recipe*: {line}" for line in board.other_recipes]
    for entry in board.entries:
        notes += [f"- *{entry.name}*, failed on {clip}: {text}" for clip, text in entry.errors.items()]
        notes += [f"- *{entry.name}*, {name} was skipped: {reason}" for name, reason in entry.skipped.items()]
    for title, row in board.published:
        notes.append(
            f"- *Published*, {title} on {row.data} ({row.resolution}): {row.figures_in_words}. {row.source}, "
            f"{row.table}. {row.differs}"
        )
    if notes:
        parts.append("\n".join(_escaped(note) for note in notes))
    return "\n\n".join(parts) + "\n"


def _heading(column: Column) -> str:
    return column.label if column.is_ranked else f"{column.label} ({column.unranked_because})"


def _row(entry: Entry, columns: Sequence[Column]) -> list[str]:
    kind = "" if entry.kind == "method" else f" ({entry.kind})"
    seeds = f", {len(entry.runs)} seeds" if len(entry.runs) > 1 else ""
    clips = str(entry.measured) if entry.is_complete else f"{entry.measured} of {entry.expected}, not ranked"
    name = _escaped(f"{entry.title}{kind}, {entry.made_by}{seeds}")
    return [name, clips, *(_figure(column, entry.cells[column.key]) for column in columns)]


def _marked(column: Column, cell: Cell) -> str:
    """A figure, bold where it is the best, with a sign where it isn't told apart from that."""
    text = column.number(cell.value)
    if cell.is_best:
        text = f"**{text}**"
    return f"{text} ≈" if cell.is_tied else text


def _figure(column: Column, cell: Cell) -> str:
    text = _marked(column, cell)
    if cell.spread is not None:
        text += f" ± {column.number(cell.spread)}"
    if cell.low is not None:
        text += f" [{column.number(cell.low)}, {column.number(cell.high)}]"
    return f"{text} ({cell.note})" if cell.note else text


def _escaped(text: str) -> str:
    """Text that can't end a table's cell or a line of a list."""
    return " ".join(text.split()).replace("|", "\\|")
