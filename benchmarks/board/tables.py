"""Tables of the leaderboard, computed from results alone: which rows and columns, who is best, what is told apart."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from benchmarks.board.published import Published
from benchmarks.schema import Result, SetValue, Speed, video_folder
from benchmarks.statistics import LEVEL, Comparison, compare_rows, mean_interval
from zoo.metrics import CLIP_METRICS

ORDER_BY = ("lpips_alex", "l1")
"""Metrics that order a table before anybody presses a heading: the first that it has."""

_DIGITS = 4  # significant ones of the largest figure of a column

_ACRONYMS = {"l1", "psnr", "ssim", "lpips", "tlp100", "tof", "fvd", "fid", "akd", "mkr", "aed", "csim"}
"""Words of metrics' names that tables write in capitals."""

Cost = Literal["frames_per_second", "encode_seconds", "peak_memory_megabytes", "parameters"]
_COSTS: dict[Cost, tuple[str, bool, str]] = {
    "frames_per_second": ("frames/s", True, "driving frames animated per second"),
    "encode_seconds": ("encode s", False, "seconds once per animation, before the first frame"),
    "peak_memory_megabytes": ("memory MB", False, "peak memory while animating"),
    "parameters": ("parameters", False, "of the networks that animation needs"),
}
"""Key in a result's `speed` -> label, whether higher is better, explanation."""

_TIMES = ("frames_per_second", "encode_seconds")
"""Costs that processors of one name, of which there are several generations, don't share."""


@dataclass(frozen=True)
class Cell:
    """One figure of a row.

    Attributes:
        value: None where there is none.
        low: Of the 95 % bootstrap interval over clips.
        high: The same.
        spread: Standard deviation over the seeds; None for a single one.
        note: What has to stand beside it, such as the number of clips behind FVD.
        is_best: Of its column, among the methods that are ranked, of which there are others.
        difference: Minus the best of its column, clip by clip; None in the best itself and where clips can't be paired.
        seeds_differ: Whether every seed is better than every seed of the best, or every one worse.
        is_partial: Clips are missing for which other rows of the column have a value; then it isn't ranked there.
        is_tied: Ranked, and not told apart from the best.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    spread: float | None = None
    note: str = ""
    is_best: bool = False
    difference: Comparison | None = None
    seeds_differ: bool = True
    is_partial: bool = False
    is_tied: bool = False

    @property
    def is_real(self) -> bool:
        """Whether these clips tell it apart from the best, and no other seed would have turned the order round."""
        return self.difference is not None and self.difference.p_value < 1 - LEVEL and self.seeds_differ


@dataclass(frozen=True)
class Column:
    """A metric, or a cost.

    Attributes:
        key: Of the metric.
        label: With an arrow to where it is better.
        higher_is_better: Whether the arrow points up.
        explained: What it is, in a line.
        unranked_because: Why nobody is best in it; empty where somebody is.
        decimals: Of its figures.
    """

    key: str
    label: str
    higher_is_better: bool
    explained: str = ""
    unranked_because: str = ""
    decimals: int = 4

    @property
    def is_ranked(self) -> bool:
        """Whether somebody is best in it."""
        return not self.unranked_because

    @property
    def best_order(self) -> str:
        """The order in which the best comes first."""
        return "descending" if self.higher_is_better else "ascending"

    def number(self, value: float | None) -> str:
        """A figure of this column as text."""
        return "–" if value is None else f"{value:z,.{self.decimals}f}".replace(",", " ").replace("-", "−")

    def signed(self, value: float) -> str:
        """A difference between figures of this column as text."""
        return f"{value:+z.{self.decimals}f}".replace("-", "−")


@dataclass(frozen=True)
class Run:
    """One result of an entry: its label (the seed), and a cell per column."""

    label: str
    measured: int
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Entry:
    """A row: a method with one recipe on one machine, its seeds summed up.

    Attributes:
        method: Its folder in zoo/methods, or the name of an external program.
        recipe: What it was trained by, if it was.
        title: What the method is called.
        name: The same, told apart from the table's other rows.
        kind: Who made the clips; baselines are never ranked.
        made_by: Recipe, budget and machine in words.
        measured: Clips with a value, the fewest of all seeds.
        expected: Clips of the protocol.
        errors: Clip -> what went wrong there.
        skipped: Metric -> why it wasn't measured.
        cells: By column.
        runs: One per seed.
        results: Where all this comes from.
    """

    method: str
    recipe: str | None
    title: str
    name: str
    kind: Literal["method", "baseline", "external"]
    made_by: str
    measured: int
    expected: int
    errors: Mapping[str, str]
    skipped: Mapping[str, str]
    cells: Mapping[str, Cell]
    runs: Sequence[Run]
    results: Sequence[Result]

    @property
    def video_folder(self) -> str:
        """Where its videos lie below the protocol's folder."""
        return video_folder(self.method, self.recipe)

    @property
    def is_complete(self) -> bool:
        """Whether every clip was measured; else it isn't ranked."""
        return self.measured == self.expected

    @property
    def is_ranked(self) -> bool:
        """Whether it can be best."""
        return self.is_complete and self.kind != "baseline"

    def is_ranked_in(self, column: Column) -> bool:
        """Whether it can be best in this column."""
        cell = self.cells[column.key]
        return self.is_ranked and column.is_ranked and cell.value is not None and not cell.is_partial


@dataclass(frozen=True)
class Board:
    """The table of one protocol.

    Attributes:
        name: Of the protocol.
        hash: Of everything in it that changes a number.
        title: In words.
        columns: From left to right: metrics, then costs.
        entries: From best to worst by `ordered_by`; those that aren't ranked at the end.
        ordered_by: Key of a column.
        best: Column -> the name of the best in it.
        published: What publications report about its methods.
        stale: Files that were measured under another hash, with the reason why they are left out.
        other_pictures: Rows that saw other pictures than most, though the protocol is the same; a line each.
        other_recipes: Rows whose seeds were trained with different configurations; a line each.
    """

    name: str
    hash: str
    title: str
    columns: Sequence[Column]
    entries: Sequence[Entry]
    ordered_by: str
    best: Mapping[str, str]
    published: Sequence[tuple[str, Published]] = ()
    stale: Sequence[str] = ()
    other_pictures: Sequence[str] = ()
    other_recipes: Sequence[str] = ()

    @property
    def order(self) -> Column:
        """The column that orders the entries."""
        return next(column for column in self.columns if column.key == self.ordered_by)

    @property
    def compared(self) -> list[Column]:
        """Columns whose figures can be compared clip by clip."""
        return [column for column in self.columns if any(entry.cells[column.key].difference for entry in self.entries)]


def build_board(results: Sequence[Result], published: Iterable[Published] = (), stale: Sequence[str] = ()) -> Board:
    """The table of results that were all taken under one protocol.

    Args:
        results: At least one.
        published: What publications report; entries about other methods are left out.
        stale: Left out results, a line each.
    """
    groups: dict[tuple[str, ...], list[Result]] = defaultdict(list)
    for result in results:
        groups[_identity(result)].append(result)
    columns = _columns(results)
    entries = _with_names([_entry(group, columns) for group in groups.values()])
    entries = _with_partial_cells(entries, columns)
    best = {column.key: found for column in columns if (found := _best(entries, column))}
    titles = {entry.method: entry.title for entry in entries}
    preferred = [column for key in ORDER_BY for column in columns if column.key == key]
    order = next((column for column in (*preferred, *columns) if column.is_ranked), columns[0])
    rivals = Counter(column.key for column in columns for entry in entries if entry.is_ranked_in(column))
    compared = [_compare(entry, columns, best, rivals) for entry in entries]
    return Board(
        **results[0]["protocol"],
        columns=columns,
        entries=sorted(compared, key=lambda entry: _place(entry, order)),
        ordered_by=order.key,
        best={key: entry.name for key, entry in best.items()},
        published=[(titles[row.method], row) for row in published if row.method in titles],
        stale=stale,
        other_pictures=_other_pictures(results),
        other_recipes=[line for entry in compared if (line := _other_recipe(entry))],
    )


def _other_recipe(entry: Entry) -> str:
    """Which seeds of a row were trained with another configuration than the last measured one, in words."""
    recorded = [result for result in entry.results if result["training"] and "config" in result["training"]]
    configs = {result["seed"]: {**result["training"]["config"], "seed_everything": None} for result in recorded}  # type: ignore[index]
    if not recorded:
        return ""
    newest = max(recorded, key=lambda result: result["date"])["seed"]
    others = sorted(str(seed) for seed, config in configs.items() if config != configs[newest])
    if not others:
        return ""
    seeds = ", ".join(others)
    return f"{entry.name}: seed {seeds} was trained with another configuration than seed {newest}; run it again"


def _other_pictures(results: Sequence[Result]) -> list[str]:
    """Results whose clips aren't, to the last bit, those of most others that take as many source frames."""
    prints: dict[int, list[str]] = defaultdict(list)
    for result in results:
        prints[_source_frames(result)].append(result["dataset"]["fingerprint"])
    lines = []
    for result in results:
        own, usual = result["dataset"]["fingerprint"], statistics.mode(prints[_source_frames(result)])
        if own != usual:
            seed = "" if result["seed"] is None else f", seed {result['seed']}"
            who = f"{result['method']['title']}{seed}, {_machine(result)}"
            lines.append(
                f"{who}: saw other pictures (fingerprint {own[:12]}) than most rows (fingerprint {usual[:12]})"
            )
    return lines


def _source_frames(result: Result) -> int:
    return int((result["data"] or {}).get("source_frames", 1))


# --- columns


def _columns(results: Sequence[Result]) -> list[Column]:
    """Metrics in the order in which the results name them, metrics on sets, then costs."""
    names = dict.fromkeys(name for result in results for name in result["evaluation"]["totals"])
    columns = [metric_column(name, [result["evaluation"]["totals"].get(name) for result in results]) for name in names]
    for name in dict.fromkeys(name for result in results for name in result["evaluation"]["sets"]):
        columns += _set_columns(
            name, [sets[name] for result in results if name in (sets := result["evaluation"]["sets"])]
        )
    measured = [result["speed"] for result in results if result["speed"]]
    if measured:
        machines = {_machine(result) for result in results if result["speed"]}
        on_processors = any(result["machine"].get("device", "cpu") == "cpu" for result in results if result["speed"])
        columns += _cost_columns(measured, len(machines) > 1, on_processors)
    return columns


def metric_column(name: str, values: Iterable[float | None], explained: str = "", unranked: str = "") -> Column:
    """The column of a metric.

    Args:
        name: Of the metric.
        values: That the column shows; they decide its digits.
        explained: What it is, in a line.
        unranked: Why nobody is best in it.
    """
    higher = _higher_is_better(name)
    if name == "flicker" or name.startswith("jitter_") or name.endswith("_along_own_flow"):
        unranked = "a still picture would be best, not ranked"
    words = [word.upper() if word in _ACRONYMS else word for word in name.replace("ms_ssim", "MS-SSIM").split("_")]
    label = f"{' '.join(words)} {'↑' if higher else '↓'}"
    return Column(name, label, higher, explained, unranked, _decimals(values))


def _set_columns(name: str, values: Sequence[SetValue]) -> list[Column]:
    unranked = ""
    if any(value["diagnostic"] for value in values):
        unranked = "diagnostic, not ranked"
    elif len({value["clips"] for value in values}) > 1:
        unranked = "n differs, not ranked"
    column = metric_column(name, [value["value"] for value in values], "on all clips together", unranked)
    label = f"{column.label[:-2]} at ∞ {column.label[-1]}"
    infinity = replace(
        column,
        key=f"{name}_infinity",
        label=label,
        explained="extrapolated to infinitely many clips",
        unranked_because="extrapolated, not ranked",
    )
    return [column, infinity]


def _cost_columns(measured: Sequence[Speed], machines_differ: bool, on_processors: bool) -> list[Column]:
    sizes = {tuple(speed["size"]) for speed in measured}
    columns = []
    for key, (label, higher, explained) in _COSTS.items():
        unranked = ""
        if key != "parameters" and machines_differ:
            unranked = "machines differ, not ranked"
        elif key in _TIMES and on_processors:
            unranked = "processors of one name differ, not ranked"
        elif key == "peak_memory_megabytes" and on_processors:
            unranked = "of the whole process, not ranked"
        elif key != "parameters" and len(sizes) > 1:
            unranked = "sizes differ, not ranked"
        smallest = min((speed[key] for speed in measured if speed[key]), default=1)
        decimals = 0 if key == "parameters" else max(0, 1 - math.floor(math.log10(smallest)))
        columns.append(Column(key, f"{label} {'↑' if higher else '↓'}", higher, explained, unranked, decimals))
    return columns


def _higher_is_better(name: str) -> bool:
    if name in CLIP_METRICS:
        factory: Any = CLIP_METRICS[name]
        return bool(getattr(factory, "func", factory).higher_is_better)
    return name.startswith("csim_")  # the others that bear an estimator's name, and those on sets, are distances


def _decimals(values: Iterable[float | None]) -> int:
    """How many digits after the point the largest value needs for its four significant ones."""
    largest = max((abs(value) for value in values if value), default=0.0)
    return min(max(_DIGITS - 1 - math.floor(math.log10(largest)), 0), 6) if largest else 4


# --- rows


def _identity(result: Result) -> tuple[str, ...]:
    """What runs have in common that differ by their seed only."""
    weights = "" if result["training"] else str((result["weights"] or {}).get("sha256", ""))
    return result["method"]["name"], str(result["method"]["recipe"]), weights, _machine(result)


def _machine(result: Result) -> str:
    machine = result["machine"]
    if machine.get("device", "cpu") != "cpu":
        return str(machine["device"])
    return f"{machine.get('processor') or 'CPU'}, {machine.get('cpus', '?')} cores"


def _threads(results: Sequence[Result]) -> str | None:
    """On how many threads a processor computed, where not on as many as it has cores; seeds may differ."""
    machines = [result["machine"] for result in results if result["machine"].get("device", "cpu") == "cpu"]
    used = {machine["threads"] for machine in machines if "threads" in machine}
    if used <= {machine.get("cpus") for machine in machines}:
        return None
    return f"{' or '.join(map(str, sorted(used)))} thread{'s' if max(used) > 1 else ''}"


def _entry(results: Sequence[Result], columns: Sequence[Column]) -> Entry:
    results = sorted(results, key=lambda result: -1 if result["seed"] is None else result["seed"])
    first = min(results, key=lambda result: result["evaluation"]["measured"])
    method = first["method"]
    runs = [_run(result, columns) for result in results]
    keys = [column.key for column in columns]
    return Entry(
        method=method["name"],
        recipe=method["recipe"],
        title=method["title"],
        name=method["title"],
        kind=method["kind"],
        made_by=_made_by(results),
        measured=first["evaluation"]["measured"],
        expected=first["evaluation"]["expected"],
        errors={clip: text for result in results for clip, text in result["evaluation"]["errors"].items()},
        skipped={name: text for result in results for name, text in result["evaluation"]["skipped"].items()},
        cells={key: _summary([run.cells[key] for run in runs], results, key) for key in keys},
        runs=runs,
        results=results,
    )


def _with_names(entries: Sequence[Entry]) -> list[Entry]:
    """The rows, told apart by their recipes where a method has several, else by all that made them."""
    of_title = Counter(entry.title for entry in entries)
    of_recipe = Counter((entry.title, entry.recipe) for entry in entries)

    def name(entry: Entry) -> str:
        if of_title[entry.title] == 1:
            return entry.title
        unique = entry.recipe and of_recipe[entry.title, entry.recipe] == 1
        return f"{entry.title}, {entry.recipe if unique else entry.made_by}"

    return [replace(entry, name=name(entry)) for entry in entries]


def _made_by(results: Sequence[Result]) -> str:
    """Recipe, budget and machine in words."""
    method = results[0]["method"]
    if method["kind"] == "external":
        return "scored from its videos"
    trainings = [result["training"] for result in results if result["training"]]
    budgets = list(dict.fromkeys(training["budget"] for training in trainings))
    if len(budgets) > 1:
        minutes = statistics.fmean(training["seconds"] for training in trainings) / 60
        steps = " or ".join(sorted({budget.partition(",")[0] for budget in budgets}))  # and in which precision
        budgets = [f"{steps}, {minutes:.1f} minutes a seed"]
    return " · ".join(part for part in (method["recipe"], *budgets, _machine(results[0]), _threads(results)) if part)


def _run(result: Result, columns: Sequence[Column]) -> Run:
    label = "no seed" if result["seed"] is None else f"seed {result['seed']}"
    return Run(label, result["evaluation"]["measured"], {column.key: _cell(result, column.key) for column in columns})


def _cell(result: Result, key: str) -> Cell:
    """One figure of one result."""
    evaluation = result["evaluation"]
    if key in evaluation["totals"]:
        low, high = evaluation["intervals"].get(key) or (None, None)
        return Cell(evaluation["totals"][key], low, high)
    if key in evaluation["sets"]:
        on_set = evaluation["sets"][key]
        low, high = _distance(on_set["low"]), _distance(on_set["high"])
        return Cell(_distance(on_set["value"]), low, high, note=f"n = {on_set['clips']}")
    if (name := key.removesuffix("_infinity")) in evaluation["sets"]:
        return Cell(evaluation["sets"][name]["infinity"])
    speed = result["speed"]
    return Cell(float(speed[key]) if speed and key in _COSTS else None)


def _distance(value: float | None) -> float | None:
    """A distance as it is shown: below 0 it is rounding, or how the resampling reflects."""
    return None if value is None else max(value, 0.0)


def _summary(cells: Sequence[Cell], results: Sequence[Result], key: str) -> Cell:
    """Several seeds in one figure: mean, deviation, and the interval over clips of what the seeds have on average.

    Where a seed has no value for some clip, all are averaged without it. Of what has no value per clip the interval's
    ends are averaged: as wide as if the same clips moved all seeds alike.
    """
    if len(cells) == 1:
        return cells[0]
    low: float | None
    high: float | None
    if any(key in result["evaluation"]["totals"] for result in results):
        rows = _mean_rows(results, key)
        values = [statistics.fmean(_values(result, key, rows)) for result in results] if rows else []
        low, high = mean_interval([row[key] for row in rows], seed=0) or (None, None)
    else:
        values = [cell.value for cell in cells if cell.value is not None]
        low, high = _mean_of([cell.low for cell in cells]), _mean_of([cell.high for cell in cells])
    if not values:
        return Cell(None)
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return Cell(statistics.fmean(values), low, high, spread or None, note=cells[0].note)


def _mean_of(values: Sequence[float | None]) -> float | None:
    """The mean; None where some value isn't known."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def _values(result: Result, key: str, rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """A result's values for the clips of some rows."""
    chosen = {_clip(row) for row in rows}
    found: list[Any] = result["evaluation"]["per_clip"]
    return [row[key] for row in found if _clip(row) in chosen]


def _clip(row: Mapping[str, Any]) -> tuple[str, str, int]:
    return row["clip"], row["source"], row["source_frame"]


def _mean_rows(results: Sequence[Result], key: str) -> list[dict[str, Any]]:
    """Each clip's value, averaged over seeds; clips that a seed has no value for are left out."""
    by_clip = defaultdict(list)
    for result in results:
        rows: list[Any] = result["evaluation"]["per_clip"]
        for row in rows:
            if row.get(key) is not None:
                by_clip[_clip(row)].append(row[key])
    return [
        {"clip": clip, "source": source, "source_frame": frame, key: statistics.fmean(values)}
        for (clip, source, frame), values in by_clip.items()
        if len(values) == len(results)
    ]


def _with_partial_cells(entries: Sequence[Entry], columns: Sequence[Column]) -> list[Entry]:
    """The rows with those figures marked that leave out clips for which others have a value.

    Such as clips in whose prediction no keypoint is found: a mean without them is of easier clips than the others'.
    """
    cells = [dict(entry.cells) for entry in entries]
    for column in columns:
        clips = [{_clip(row) for row in _mean_rows(entry.results, column.key)} for entry in entries]
        every: set[tuple[str, str, int]] = set().union(*clips)
        for own, measured in zip(cells, clips, strict=True):
            if len(measured) < len(every) and own[column.key].value is not None:
                note = f"n = {len(measured)} of {len(every)}, not ranked"
                own[column.key] = replace(own[column.key], note=note, is_partial=True)
    return [replace(entry, cells=own) for entry, own in zip(entries, cells, strict=True)]


# --- comparison


def _best(entries: Sequence[Entry], column: Column) -> Entry | None:
    ranked = [entry for entry in entries if entry.is_ranked_in(column)]
    return min(ranked, key=lambda entry: _place(entry, column), default=None)


def _place(entry: Entry, column: Column) -> tuple[bool, float, str]:
    """Sorts from best to worst; last come those without a value, and those whose clips weren't all measured."""
    cell = entry.cells[column.key]
    if cell.value is None or cell.is_partial or not entry.is_complete:
        return True, 0.0, entry.title
    return False, -cell.value if column.higher_is_better else cell.value, entry.title


def _compare(entry: Entry, columns: Sequence[Column], best: Mapping[str, Entry], rivals: Mapping[str, int]) -> Entry:
    """The row with what is known about each figure in relation to the best of its column.

    Who is ranked there alone, of one of ``rivals``, isn't called the best.
    """
    cells = dict(entry.cells)
    for column in columns:
        if column.key not in best:
            continue
        is_ranked = entry.is_ranked_in(column)
        if is_ranked and cells[column.key].value == best[column.key].cells[column.key].value:
            cells[column.key] = replace(cells[column.key], is_best=rivals[column.key] > 1)
            continue
        ours, theirs = (_mean_rows(row.results, column.key) for row in (entry, best[column.key]))
        if difference := compare_rows(ours, theirs, column.key):
            differ = _seeds_differ(entry, best[column.key], column.key)
            cell = replace(cells[column.key], difference=difference, seeds_differ=differ)
            cells[column.key] = replace(cell, is_tied=is_ranked and not cell.is_real)
    return replace(entry, cells=cells)


def _seeds_differ(entry: Entry, best: Entry, key: str) -> bool:
    """Whether the two rows' seeds don't overlap."""
    ours, theirs = ([run.cells[key].value for run in row.runs] for row in (entry, best))
    known, others = ([value for value in values if value is not None] for values in (ours, theirs))
    return not known or not others or max(known) < min(others) or max(others) < min(known)
