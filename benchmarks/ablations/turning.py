"""Which frames more sources are good for: those of people who turn around, by the side that they show.

``python -m benchmarks turning WEIGHTS`` animates the clips of `synthetic-64-turning` from one, two and four
of their own frames. The first one shows the person's front. Where further sources help because they show other sides,
frames of those sides gain more by them than frames of the front do. Frames near a source are left out; they hardly
differ.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from pydantic import with_config
from torch import Tensor
from tqdm import tqdm
from typing_extensions import TypedDict

import zoo
from benchmarks.ablations.reading import OPEN, read
from benchmarks.board import charts
from benchmarks.board.places import filled
from benchmarks.board.tables import metric_column
from benchmarks.evaluation import batches
from benchmarks.metadata import RESULTS, machine_name, metadata
from benchmarks.protocol import find_suite
from benchmarks.statistics import compare, mean_interval
from zoo.base import AnimationModule
from zoo.data import VideoDataModule
from zoo.errors import OptionError
from zoo.metrics import L1
from zoo.report import sha256_of, write_json
from zoo.weights.reference import METHODS, find_reference_weights

PROTOCOL = "synthetic-64-turning"
SOURCES = (1, 2, 4)
SIDES = ("front", "side", "back")
METRIC = "subject_l1"
LABEL = "source frames, of the clip itself"
PICTURE = "turning-subject_l1.svg"

APART = 4
"""Frames between a source and the nearest frame that is measured: about a twelfth of a turn."""

_TORSO_BACK, _TORSO_FRONT = 1, 2  # DensePose's parts
_MOSTLY = 0.8
"""A frame shows front or back where so much of the visible torso is it, else the side."""

Values = Sequence[float | None]
"""One per clip; None for a clip without such frames."""


@with_config(OPEN)
class Gain(TypedDict):
    """How a clip's gain in frames of one side compares with its gain in those of the front."""

    difference: float
    low: float
    high: float
    p_value: float
    clips: int


@with_config(OPEN)
class Turning(TypedDict):
    """What was found."""

    method: str  # its folder in zoo/methods
    weights: str  # METHOD/TAG, or the file's name
    protocol: str
    hash: str
    clips: int
    sources: list[int]  # numbers of them
    sides: dict[str, list[list[float | None]]]  # side -> number of sources -> value per clip
    gains: dict[str, list[Gain]]  # side and back -> every number of sources but the first


def turning(weights: str, results: Path = RESULTS) -> tuple[str, Path, Path]:
    """Measures, and writes the result and the chart of the method's page.

    Args:
        weights: METHOD/TAG of weights that come with the zoo, or a weights file.
        results: Where the result goes.

    Returns:
        The table in words, and the paths of the result and of the chart.

    Raises:
        ZooError: The weights can't be used.
    """
    method = zoo.load(weights).eval()
    known = weights in find_reference_weights()
    folder = type(method).__module__.split(".")[2]  # zoo.methods.FOLDER.module
    (protocol,) = find_suite(PROTOCOL).protocols
    found: dict[str, Any] = {
        "method": folder,
        "weights": weights if known else Path(weights).name,
        "sha256": sha256_of(method.inference_state()),
        "protocol": protocol.name,
        "hash": protocol.hash,
        **measure(method),
    }
    path = results / f"turning-{folder}--{machine_name()}.json"
    write_json(path, metadata("turning", torch.get_num_threads()) | found)
    drawn = METHODS / folder / "pictures" / PICTURE
    drawn.parent.mkdir(parents=True, exist_ok=True)
    drawn.write_text(picture(found), "utf-8")
    return table(read_turning(path)), path, drawn


@torch.inference_mode()
def measure(method: AnimationModule, clips: int | None = None, sources: Sequence[int] = SOURCES) -> dict[str, Any]:
    """The person's L1 by the side that frames show, and what frames of other sides gain beyond those of the front.

    Args:
        method: One that takes several sources, in eval mode.
        clips: So many of the protocol's, the first ones; None takes all.
        sources: How many frames of each clip are the sources, the first of them one.

    Returns:
        ``clips``, their number; ``sources``; ``sides``: of each the values per clip for every number of sources;
        ``gains``: of side and back, for every number of sources but the first, how a clip's gain there compares with
        its gain in frames of the front.

    Raises:
        OptionError: The method looks at one source.
    """
    if not method.takes_several_sources:
        raise OptionError(f"{type(method).__name__} looks at one source, however many there are")
    sides: dict[str, list[list[float | None]]] = {side: [] for side in SIDES}
    for count in tqdm(sources, desc="turning", unit="number of sources"):
        for values in sides.values():
            values.append([])
        for number, batch in enumerate(batches(_open_data(method, count))):
            if number == clips:
                break
            prediction, mask = method.test_step(batch, number), batch["driving_mask"]
            for side, frames in frames_of_sides(batch["driving_iuv"][0], sources).items():
                metric = L1("subject")
                if frames:
                    metric.update(prediction[:, frames], batch["driving"][:, frames], mask=mask[:, frames])
                sides[side][-1].append(float(metric.compute()) if frames else None)
    return {"clips": len(sides["front"][0]), "sources": [*sources], "sides": sides, "gains": _gains(sides)}


def frames_of_sides(surface: Tensor, sources: Sequence[int]) -> dict[str, list[int]]:
    """The frames that show each side and are apart from all sources, of however many these numbers of them are.

    Args:
        surface: Of the whole clip, as in :func:`sides_shown`.
        sources: How many frames are the sources, spread as by `zoo.data.VideoDataModule`.
    """
    last = len(surface) - 1
    near = {
        int(source) + offset
        for count in sources
        for source in torch.linspace(0, last, count).round().tolist()
        for offset in range(1 - APART, APART)
    }
    shown = sides_shown(surface)
    return {side: [i for i, each in enumerate(shown) if each == side and i not in near] for side in SIDES}


def sides_shown(surface: Tensor) -> list[str | None]:
    """Which of ``SIDES`` each frame shows; None for a frame without a torso.

    Args:
        surface: DensePose's parts, u and v (T, 3, H, W), the parts as numbers 0 to 24.
    """
    back, front = ((surface[:, 0] == part).sum((1, 2)) for part in (_TORSO_BACK, _TORSO_FRONT))
    shares = (back / (back + front)).tolist()  # NaN without either
    return [
        None if share != share else "back" if share > _MOSTLY else "front" if share < 1 - _MOSTLY else "side"
        for share in shares
    ]


def read_turning(path: Path) -> Turning:
    """Reads such a result and checks it.

    Raises:
        FileError: It isn't one.
    """
    return read(path, Turning, "turning")


def table(found: Turning) -> str:
    """Such a result as Markdown: a row for each side, a column for each number of sources."""
    column = metric_column(METRIC, [fmean(_known(values)) for side in SIDES for values in found["sides"][side]])
    rows = [[LABEL, *map(str, found["sources"])]]
    rows.append(["---", *("---:" for _ in found["sources"])])
    for side in SIDES:
        cells = []
        for values, (low, high) in zip(found["sides"][side], _intervals(found, side), strict=True):
            cells.append(f"{column.number(fmean(_known(values)))} [{column.number(low)}, {column.number(high)}]")
        clips = len(_known(found["sides"][side][0]))
        rows.append([f"{column.label}, frames of the {side} ({clips} clips)", *cells])
    for side, gains in found["gains"].items():
        cells = [f"{gain['difference']:+.4f} (p = {gain['p_value']:.4f})" for gain in gains]
        label = f"gain since one source, of the {side} beyond the front's ({gains[0]['clips']} clips)"
        rows.append([label, "", *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def picture(found: Mapping[str, Any]) -> str:
    """Such a result as the text of an SVG file: a curve for each side."""
    curves = [
        charts.Curve(
            f"frames of the {side}",
            found["sources"],
            [fmean(_known(values)) for values in found["sides"][side]],
            _intervals(found, side),
        )
        for side in SIDES
    ]
    return charts.standalone(charts.curves(metric_column(METRIC, []).label, curves, LABEL))


def with_turning(page: str, results: Path) -> str:
    """A page with the tables of now between `<!-- turning: RESULT -->` and `<!-- end -->`, RESULT without `.json`."""
    return filled(page, "turning", lambda words: table(read_turning(results / f"{words[0]}.json")))


def _open_data(method: AnimationModule, count: int) -> VideoDataModule:
    """The protocol's clips, from so many of their own frames."""
    (protocol,) = find_suite(PROTOCOL).protocols
    conditions = dict.fromkeys(["iuv", "mask", *method.conditions])
    return VideoDataModule(
        **protocol.data_options(None), source_frames=count, conditions=tuple(conditions), strict=True, workers=0
    )


def _gains(sides: Mapping[str, Sequence[Values]]) -> dict[str, list[dict[str, float]]]:
    """Of clips that have frames of both sides."""

    def since_one(side: str, place: int) -> list[float | None]:
        pairs = zip(sides[side][0], sides[side][place], strict=True)
        return [None if first is None or now is None else first - now for first, now in pairs]

    gains: dict[str, list[dict[str, float]]] = {"side": [], "back": []}
    for side, compared in gains.items():
        for place in range(1, len(sides["front"])):
            both = zip(since_one(side, place), since_one("front", place), strict=True)
            pairs = [(ours, front) for ours, front in both if ours is not None and front is not None]
            compared.append(vars(compare([ours for ours, _ in pairs], [front for _, front in pairs])))
    return gains


def _known(values: Values) -> list[float]:
    return [value for value in values if value is not None]


def _intervals(found: Mapping[str, Any], side: str) -> list[tuple[float, float]]:
    intervals = (mean_interval(_known(values)) for values in found["sides"][side])
    return [(interval[0], interval[1]) for interval in intervals if interval is not None]
