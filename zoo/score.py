"""``zoo score``: videos that any program made, measured as our own methods are."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from zoo.animation import find_device
from zoo.batch import Batch
from zoo.data.walk import find_clips, without_suffix
from zoo.errors import FileError, OptionError
from zoo.evaluator import COPY_SOURCE
from zoo.measurement import Measurement, SetMetricName, build_sets, set_remark, set_value
from zoo.metrics import ESTIMATED, ClipMetric, ClipMetricName, EstimatedName, build, build_estimated
from zoo.metrics.feature_sets import SetMetric
from zoo.report import machine, print_comparison, totals, versions, write_json
from zoo.video import VideoInfo, probe, read_frames

FPS_TOLERANCE = 0.01
"""Relative; containers round the times of frames, and 30 stands for 29.97 in many files."""

_NAMED = 3  # clips that an error lists before it says how many more there are


def score(
    prediction: str | Path,
    target: str | Path,
    source: str | Path | None = None,
    metrics: tuple[ClipMetricName | EstimatedName, ...] = ("l1", "moving_l1", "psnr", "ssim", "lpips_alex"),
    output: str | Path = "score.json",
    name: str | None = None,
    sets: tuple[SetMetricName, ...] = ("fvd",),
    keypoints: str = "zoo.conditions.keypoints.MediaPipeKeypoints",
    identity: str = "zoo.conditions.identity.TorsoAlexNet",
    device: str = "auto",
) -> dict[str, Any]:
    """Measures a folder of videos, made by any program, against a folder of true ones.

    Clips are paired by name without the ending: ``prediction/ada/1.mp4`` belongs to ``target/ada/1.gif``. A clip is a
    video, a gif, a folder of frames, a strip of square frames or a picture. Pairs must agree in length, size and frame
    rate (to 1 %; pictures have none). Everything is checked before anything is measured, and the result is written at
    the end, whole. One pair of clips is held in memory at a time.

    Example: zoo score --prediction results/ --target test/

    Args:
        prediction: The videos to be measured.
        target: What they should be.
        source: The pictures (or clips, whose first frame counts) that the predictions were made from, by the same
            names; they decide which region moves, and are the baseline that copies the source. By default each target's
            first frame, as in reconstruction.
        metrics: What to measure on each clip, as a list: [l1,psnr]. A metric whose weights are missing is skipped; the
            table then says how to get them. ``akd``, ``mkr`` and ``jitter`` look for keypoints in predictions and
            targets alike; ``aed`` compares who is seen with the source.
        sets: What to measure on all clips together: [fvd], which needs clips of at least nine frames and is a mere
            diagnostic below 256 clips of 16; [fvd,fid], or [] for nothing. FVD in other publications' conventions:
            ``fvd_tensorflow``, ``fvd_stylegan_v`` (also ``_128f`` and ``_128f_subsample8f``), ``fvd_videogpt``.
        output: Where to write the result: every clip, totals, versions and machine, as JSON.
        name: What the table calls the program; by default the name of the prediction folder.
        keypoints: Who finds keypoints: the dotted path of a class, see :class:`zoo.metrics.KeypointEstimator`.
        identity: Who tells people apart: the same, see :class:`zoo.metrics.IdentityEmbedding`.
        device: Where to compute: ``auto`` takes a graphics card where there is one; or ``cpu``, ``cuda:1``.

    Returns:
        What was written.

    Raises:
        FileError: A clip can't be read, has no partner, or differs from it; names the clip and what was expected.
        OptionError: There is no such metric, or a folder doesn't fit its option.
    """
    _check_output(Path(output))
    clip_metrics, set_metrics, skipped = _build(metrics, sets, {"keypoints": keypoints, "identity": identity})
    pairs = find_pairs(Path(prediction), Path(target), None if source is None else Path(source))
    _check_lengths(pairs, {**clip_metrics, **set_metrics})
    computing = find_device(device)
    for metric in (*clip_metrics.values(), *set_metrics.values()):
        metric.to(computing)
    measurement = Measurement(clip_metrics, set_metrics)
    for pair in track(pairs, "measuring", console=Console(stderr=True), transient=True):
        _measure(pair, measurement, computing)
    result = {
        "name": name or Path(prediction).resolve().name,
        "clips": len(pairs),
        "source": "first target frame" if source is None else Path(source).resolve().name,
        "totals": totals(measurement.rows, [*clip_metrics, *(f"{COPY_SOURCE}/{metric}" for metric in clip_metrics)]),
        "sets": {metric: set_value(measure, seed=0) for metric, measure in set_metrics.items()},
        "skipped": skipped,
        "quantised": True,
        "versions": versions(),
        "machine": machine(computing),
        "per_clip": measurement.rows,
    }
    _write(Path(output), result)
    _show(result, clip_metrics)
    print(f"every clip: {output}")
    return result


@dataclass(frozen=True)
class Pair:
    """Clips of one name, which were found to fit each other."""

    name: str
    prediction: VideoInfo
    target: VideoInfo
    source: VideoInfo


def find_pairs(prediction: Path, target: Path, source: Path | None = None) -> list[Pair]:
    """The clips of two folders by name, sorted, all of them checked.

    Args:
        prediction: The videos to be measured.
        target: What they should be.
        source: What they were made from, by the same names; by default the targets, whose first frame counts.

    Raises:
        FileError: A folder has no clips, a clip has no partner, can't be read, or differs in length, size or rate.
    """
    predictions, targets = _clips_by_name(prediction), _clips_by_name(target)
    sources = targets if source is None else _clips_by_name(source)
    _check_partners(prediction, predictions, target, targets)
    if missing := sorted(targets.keys() - sources.keys()):
        raise FileError(str(source), f"has no source for {_named(missing)}", "add it, or leave `--source` out")
    pairs = []
    for name in sorted(targets):
        true = probe(targets[name])
        pair = Pair(name, probe(predictions[name]), true, _probe_source(sources[name], true))
        _check_pair(pair)
        pairs.append(pair)
    return pairs


def _clips_by_name(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileError(folder, "is no folder" if folder.exists() else "does not exist", "give a folder of videos")
    clips: dict[str, Path] = {}
    for path in find_clips(folder):
        name = without_suffix(path.relative_to(folder)).as_posix()
        if name in clips:
            raise FileError(path, f"has the same name as {clips[name].name}", "keep one clip per name")
        clips[name] = path
    if not clips:
        raise FileError(folder, "has no clips in it", "give a folder of videos, gifs, frame folders or pictures")
    return clips


def _probe_source(path: Path, target: VideoInfo) -> VideoInfo:
    """A picture of the target's size is a picture, though it could be taken for a strip of square frames."""
    source = probe(path)
    whole = (source.height, source.frames * source.width)
    return probe(path, kind="image") if source.kind == "strip" and whole == (target.height, target.width) else source


def _check_partners(prediction: Path, predictions: dict[str, Path], target: Path, targets: dict[str, Path]) -> None:
    problems = []
    if missing := sorted(targets.keys() - predictions.keys()):
        problems.append(f"no prediction for {_named(missing)}")
    if unknown := sorted(predictions.keys() - targets.keys()):
        problems.append(f"no target for {_named(unknown)}")
    if problems:
        counts = f"{len(predictions)} clips, and {len(targets)} in {target}"
        remedy = "each prediction needs a target of the same name, and the other way round"
        raise FileError(prediction, f"{counts}: {', '.join(problems)}", remedy)


def _named(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(map(repr, names[:_NAMED])) + (f" and {more} more" if more > 0 else "")


def _check_pair(pair: Pair) -> None:
    ours, true, source = pair.prediction, pair.target, pair.source
    if (ours.height, ours.width) != (true.height, true.width):
        problem = f"is {ours.width} x {ours.height}, but {true.path} is {true.width} x {true.height}"
        raise FileError(ours.path, problem, "write predictions at the size of their targets")
    if ours.frames != true.frames:
        problem = f"has {ours.frames} frames, but {true.path} has {true.frames}"
        raise FileError(ours.path, problem, "write one frame for each frame of the target")
    both_timed = ours.kind == true.kind == "video"  # pictures don't know their rate
    if both_timed and abs(ours.fps - true.fps) > FPS_TOLERANCE * true.fps:
        problem = f"has {float(ours.fps):.6g} frames per second, but {true.path} has {float(true.fps):.6g}"
        raise FileError(ours.path, problem, "write predictions at the rate of their targets")
    if (source.height, source.width) != (true.height, true.width):
        problem = f"is {source.width} x {source.height}, but {true.path} is {true.width} x {true.height}"
        raise FileError(source.path, problem, "give sources at the size of their targets")


def _build(
    metrics: tuple[ClipMetricName | EstimatedName, ...],
    sets: tuple[SetMetricName, ...],
    estimators: Mapping[str, str],
) -> tuple[dict[str, ClipMetric], dict[str, SetMetric], dict[str, str]]:
    """Metrics on clips, metrics on all clips together, and those that can't be measured with the reason."""
    clip_metrics, skipped = build(name for name in metrics if name not in ESTIMATED)
    estimated = [name for name in metrics if name in ESTIMATED]
    found, missing = build_estimated(estimated, estimators, keypoints="target", identity="source")
    clip_metrics |= found
    set_metrics, skipped_sets = build_sets(sets)
    skipped |= missing | skipped_sets
    for name, metric in list(clip_metrics.items()):
        if reason := metric.lacks(("target", "source")):
            skipped[name] = reason
            del clip_metrics[name]
    if not clip_metrics and not set_metrics:
        raise OptionError(f"nothing can be measured: {'; '.join(skipped.values()) or 'no metric was asked for'}")
    return clip_metrics, set_metrics, skipped


def _check_lengths(pairs: list[Pair], metrics: Mapping[str, ClipMetric | SetMetric]) -> None:
    """Checks every clip against the fewest frames of each metric."""
    for pair in pairs:
        for name, metric in metrics.items():
            if pair.prediction.frames < metric.fewest_frames:
                problem = f"has {pair.prediction.frames} frames, but {name} needs at least {metric.fewest_frames}"
                remedy = f"give longer clips, or leave {name} out of `--metrics` or `--sets`"
                raise FileError(pair.prediction.path, problem, remedy)


def _check_output(path: Path) -> None:
    if path.is_dir():
        raise OptionError(f"{path} is a folder; give `--output` the name of a file")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise FileError(path, f"can't be written in {folder}", "choose another `--output`")


def _write(path: Path, result: Mapping[str, Any]) -> None:
    try:
        write_json(path, result)
    except OSError as error:
        raise FileError(path, f"can't be written ({error.strerror})", "choose another `--output`") from error


def _show(result: Mapping[str, Any], clip_metrics: Mapping[str, ClipMetric]) -> None:
    directions = {name: bool(metric.higher_is_better) for name, metric in clip_metrics.items()}
    print_comparison(result["name"], result["totals"], directions, result["clips"], result["skipped"])
    for name, value in result["sets"].items():
        extrapolated = "" if math.isnan(value["infinity"]) else f", at infinity {value['infinity']:.2f}"
        print(f"{name} ↓ {value['value']:.2f}{extrapolated} ({set_remark(value)})")


def _measure(pair: Pair, measurement: Measurement, device: torch.device) -> None:
    target = _frames(pair.target, device)
    batch = cast(
        Batch,
        {
            "source": read_frames(pair.source, [0])[None].to(device),
            "driving": target,
            "target": target,
            "driving_clip": [pair.name],
            "source_clip": [pair.name],
        },
    )
    predictions = {"": _frames(pair.prediction, device), f"{COPY_SOURCE}/": batch["source"].expand_as(target)}
    try:
        measurement.add(batch, predictions)
    except ValueError as error:  # a metric's own words: frames too small, too few
        raise FileError(pair.prediction.path, str(error), "leave the metric out with `--metrics`") from error


def _frames(clip: VideoInfo, device: torch.device) -> Tensor:
    """All frames as (1, T, 3, H, W) uint8."""
    return read_frames(clip, range(clip.frames))[None].to(device)
