"""How good given weights are as one thing changes: the number of source frames, the poses' noise, the driver's size."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired

import torch
from pydantic import ConfigDict, with_config
from torch import Tensor
from tqdm import tqdm
from typing_extensions import TypedDict

import zoo
from benchmarks.ablations.reading import OPEN, read
from benchmarks.board import charts
from benchmarks.board.places import filled
from benchmarks.board.tables import metric_column
from benchmarks.evaluation import Animate, evaluate, open_data
from benchmarks.measures import build_measures
from benchmarks.metadata import machine_name, metadata
from benchmarks.protocol import find_suite
from benchmarks.statistics import mean_interval
from zoo.base import AnimationModule, MotionOptions
from zoo.batch import Batch
from zoo.errors import OptionError
from zoo.methods.deep_spatial_transformation import SkeletonDenoiser
from zoo.methods.pose_attentive_reassembling import PoseAttentiveReassembling
from zoo.report import sha256_of, write_json
from zoo.weights import load_weights
from zoo.weights.reference import METHODS, find_reference_weights

_STRICT = ConfigDict(extra="forbid", strict=True)

ASIDE = 0.3
"""Towards where, on both axes of a picture that is 2 wide, smaller drivers stand."""


@with_config(_STRICT)
class Figure(TypedDict):
    """A metric's mean over clips, with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float
    clips: NotRequired[int]  # that have a value; the first sweeps lack this and the next
    expected: NotRequired[int]  # that were animated


@with_config(OPEN)
class Sweep(TypedDict):
    """What a sweep found; beside these keys when, with which code and on which machine."""

    sweep: str
    method: str  # its folder in zoo/methods
    weights: str  # METHOD/TAG, or the file's name
    sha256: str  # of the weights, as they are in their file
    denoiser_sha256: NotRequired[str]  # of the weights of the skeleton denoiser that was given beside them
    protocol: str
    hash: str  # of the protocol, of which only some metrics were measured
    clips: int
    values: list[float]
    series: dict[str, dict[str, list[Figure]]]  # way of animating -> metric -> one figure a value


@dataclass(frozen=True)
class Take:
    """A way of animating a protocol's clips.

    Attributes:
        animate: What is measured.
        data: Options of the data module.
    """

    animate: Animate
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Axis:
    """What changes, and what is measured meanwhile.

    Attributes:
        name: Of files, and on the command line.
        label: What its values are.
        protocol: Whose clips are animated: its name, or its file.
        metrics: What is measured of each clip.
        values: Of what changes.
        takes: Method and value -> the ways of animating, by what charts call them.
    """

    name: str
    label: str
    protocol: str
    metrics: tuple[str, ...]
    values: tuple[float, ...]
    takes: Callable[[AnimationModule, float], dict[str, Take]]


def with_sources(method: AnimationModule, count: float) -> dict[str, Take]:
    """From so many frames of the source's clip, its first one among them.

    Where a method joins the backgrounds of all sources, the first one's alone is a second way: the two tell what that
    does from what attention does.

    Raises:
        OptionError: The method looks at one source only.
    """
    takes = {"all sources": Take(method.test_step, _sources(method, count))}
    if isinstance(method, PoseAttentiveReassembling) and method.generator.background in ("mean", "seen"):
        changed = copy.deepcopy(method)
        changed.generator.background = "first"
        takes["background of the first source"] = Take(changed.test_step, _sources(method, count))
    return takes


def with_own_sources(method: AnimationModule, count: float) -> dict[str, Take]:
    """From so many frames of the clip that drives.

    Raises:
        OptionError: The method looks at one source only.
    """
    return {"all sources": Take(method.test_step, _sources(method, count))}


def _sources(method: AnimationModule, count: float) -> dict[str, Any]:
    if not method.takes_several_sources:
        raise OptionError(f"{type(method).__name__} looks at one source, however many there are")
    return {"source_frames": int(count)}


def with_noisy_poses(method: AnimationModule, deviation: float) -> dict[str, Take]:
    """From driving poses with normal noise, as they are and, by a method that has a denoiser, cleaned.

    Raises:
        OptionError: The method isn't driven by poses.
    """
    if "pose" not in method.conditions:
        raise OptionError(f"{type(method).__name__} isn't driven by poses, whose noise would matter")

    def noisy(pose: Tensor, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(number)  # every take sees the same noise
        noise = torch.randn(pose[..., :2].shape, generator=generator).to(pose) * (pose[..., 2:] > 0)
        return torch.cat([pose[..., :2] + deviation * noise, pose[..., 2:]], -1)

    takes = {"poses as they are": Take(_driven_by(method, noisy, MotionOptions()))}
    if "denoise" in method.motion_options:
        takes["poses denoised"] = Take(_driven_by(method, noisy, MotionOptions(denoise=True)))
    return takes


def with_another_driver(method: AnimationModule, size: float) -> dict[str, Take]:
    """From driving poses as of a person of so many times the size who stands aside, as they are and fitted.

    Raises:
        OptionError: The method can't fit poses.
    """
    if "retarget" not in method.motion_options:
        raise OptionError(f"{type(method).__name__} doesn't fit driving poses to the body that it shows")

    def elsewhere(pose: Tensor, number: int) -> Tensor:
        places = size * pose[..., :2] + (1 - size) * ASIDE
        return torch.cat([places, pose[..., 2:]], -1)

    return {
        "poses as they are": Take(_driven_by(method, elsewhere, MotionOptions())),
        "poses normalised": Take(_driven_by(method, elsewhere, MotionOptions(retarget=True))),
    }


def _driven_by(method: AnimationModule, change: Callable[[Tensor, int], Tensor], options: MotionOptions) -> Animate:
    def animate(batch: Batch, number: int) -> Tensor:
        poses = change(batch["driving_pose"], number)
        return method.animate(Batch(**batch | {"driving_pose": poses}), options)

    return animate


SOURCES = Axis(
    "sources",
    "source frames",
    "synthetic-64-cross-identity",
    ("lpips_alex", "moving_l1", "ssim"),
    (1, 2, 4, 8),
    with_sources,
)
OWN_SOURCES = Axis(
    "own_sources",
    "source frames, of the clip itself",
    "synthetic-64-reconstruction",
    ("lpips_alex", "moving_l1", "ssim"),
    (1, 2, 4, 8),
    with_own_sources,
)
POSE_NOISE = Axis(
    "pose_noise",
    "noise of joints, σ (a picture is 2 wide)",
    "synthetic-64-reconstruction",
    ("ssim", "akd"),
    (0, 0.01, 0.02, 0.05),
    with_noisy_poses,
)
DRIVER_SIZE = Axis(
    "driver_size",
    "size of the driver, the subject's is 1",
    "synthetic-64-later-motion",
    ("lpips_alex", "moving_l1"),
    (1, 0.9, 0.8, 0.7),
    with_another_driver,
)
AXES = {axis.name: axis for axis in (SOURCES, OWN_SOURCES, POSE_NOISE, DRIVER_SIZE)}
"""What can change, by name."""


def sweep(axis: Axis, weights: str, denoiser: Path | None = None) -> Sweep:
    """Animates and measures a protocol's clips once for each value and way of animating.

    Args:
        axis: What changes.
        weights: METHOD/TAG of weights that come with the zoo, or a weights file.
        denoiser: Weights of a skeleton denoiser, for methods that are driven by bodies.

    Raises:
        ZooError: Weights, denoiser or a metric's network can't be used, or the method failed on a clip.
    """
    (protocol,) = find_suite(axis.protocol).protocols
    method = zoo.load(weights)
    fingerprint = sha256_of(method.inference_state())  # before a denoiser becomes a part of the method
    if denoiser:
        method.attach_denoiser(denoiser)
    method.eval()
    folder = type(method).__module__.split(".")[2]  # zoo.methods.FOLDER.module
    content = protocol.content
    measures = build_measures({**content, "metrics": [*axis.metrics], "sets": []})
    if measures.skipped:
        raise OptionError("; ".join(f"{metric} can't be measured: {why}" for metric, why in measures.skipped.items()))
    series: dict[str, dict[str, list[Figure]]] = {}
    clips = 0
    takes = [(label, take) for value in axis.values for label, take in axis.takes(method, value).items()]
    for label, take in tqdm(takes, desc=axis.name, unit="take"):
        data = open_data(protocol, None, method, measures, dict(take.data))
        evaluation, _ = evaluate(protocol, take.animate, data, measures, torch.device("cpu"))
        if evaluation["errors"]:
            raise OptionError(f"{weights} failed: {evaluation['errors']}")
        clips = evaluation["measured"]
        for metric in measures.clips:
            figure = _mean(evaluation["per_clip"], metric, content["seed"])
            if figure is None:
                raise OptionError(
                    f"{metric} of {label} can't be measured of what {weights} makes, for it takes two clips with a "
                    "value; leave it out of the sweep"
                )
            series.setdefault(label, {}).setdefault(metric, []).append(figure)
    found = Sweep(
        sweep=axis.name,
        method=folder,
        weights=weights if weights in find_reference_weights() else Path(weights).name,
        sha256=fingerprint,
        protocol=protocol.name,
        hash=protocol.hash,
        clips=clips,
        values=[*axis.values],
        series=series,
    )
    if denoiser:
        found["denoiser_sha256"] = sha256_of(load_weights(denoiser, SkeletonDenoiser).inference_state())
    return found


def _mean(rows: Sequence[Mapping[str, Any]], metric: str, seed: int) -> Figure | None:
    """A metric's mean over clips; None where fewer than two have a value."""
    values = [row[metric] for row in rows if metric in row and not math.isnan(row[metric])]
    interval = mean_interval(values, seed)
    if interval is None:
        return None
    return Figure(
        value=math.fsum(values) / len(values), low=interval[0], high=interval[1], clips=len(values), expected=len(rows)
    )


def write(found: Sweep, results: Path, methods: Path = METHODS) -> list[Path]:
    """Writes what a sweep found: ``<sweep>-<method>--<machine>.json``, and the charts of the method's page.

    Args:
        found: What was found.
        results: The folder of results.
        methods: The folder of the methods' folders.
    """
    path = results / f"{found['sweep']}-{found['method']}--{machine_name()}.json"
    write_json(path, found | metadata(found["sweep"], torch.get_num_threads()))
    folder = methods / found["method"] / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = pictures(found)
    for name, text in drawn.items():
        (folder / name).write_text(text, "utf-8")
    return [path, *(folder / name for name in drawn)]


def read_sweep(path: Path) -> Sweep:
    """Reads such a file and checks it.

    Raises:
        FileError: It isn't one.
    """
    return read(path, Sweep, "sweep")


def table(found: Sweep) -> str:
    """A sweep as Markdown: a row for each metric and way of animating, a column for each value."""
    rows = [[AXES[found["sweep"]].label, *(f"{value:g}" for value in found["values"])]]
    rows.append(["---", *("---:" for _ in found["values"])])
    for metric, label, figures in _lines(found):
        column = metric_column(metric, [figure["value"] for figure in figures])
        cells = (
            f"{column.number(each['value'])} [{column.number(each['low'])}, {column.number(each['high'])}]"
            + _part(each)
            for each in figures
        )
        rows.append([column.label if len(found["series"]) == 1 else f"{column.label}, {label}", *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _part(figure: Figure) -> str:
    """Says of how many clips a figure is where some have none, such as those in which no keypoint is found."""
    clips, expected = figure.get("clips"), figure.get("expected")
    return "" if clips == expected or expected is None else f" (n = {clips} of {expected})"


def pictures(found: Sweep) -> dict[str, str]:
    """A chart for each metric as the text of an SVG file, by the file's name."""
    drawn: dict[str, list[charts.Curve]] = {}
    for metric, label, figures in _lines(found):
        intervals = [(figure["low"], figure["high"]) for figure in figures]
        curve = charts.Curve(label, found["values"], [figure["value"] for figure in figures], intervals)
        drawn.setdefault(metric, []).append(curve)
    label = AXES[found["sweep"]].label
    return {
        f"{found['sweep']}-{metric}.svg": charts.standalone(
            charts.curves(metric_column(metric, []).label, curves, label)
        )
        for metric, curves in drawn.items()
    }


def _lines(found: Sweep) -> list[tuple[str, str, Sequence[Figure]]]:
    """Metric, way of animating and figures, those of one metric together."""
    metrics = dict.fromkeys(metric for series in found["series"].values() for metric in series)
    return [(metric, label, series[metric]) for metric in metrics for label, series in found["series"].items()]


def with_sweeps(page: str, results: Path) -> str:
    """A page with the tables of now between `<!-- sweep: RESULT -->` and `<!-- end -->`, RESULT without `.json`.

    Raises:
        FileError: There is no such result, or it isn't as it should be.
    """
    return filled(page, "sweep", lambda words: table(read_sweep(results / f"{words[0]}.json")))
