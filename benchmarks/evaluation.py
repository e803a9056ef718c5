"""Animating a protocol's clips and measuring them; a clip on which the method fails doesn't end it."""

import hashlib
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import torch
from lightning import seed_everything
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from benchmarks.measures import Measures
from benchmarks.protocol import Protocol
from benchmarks.schema import ClipRow, Evaluation, SetValue
from benchmarks.statistics import mean_interval
from zoo.base import AnimationModule
from zoo.batch import Batch, truth
from zoo.data import VideoDataModule
from zoo.framing import to_bytes
from zoo.measurement import Measurement, check_prediction, clip_name, describe, set_value
from zoo.metrics.clip_metric import check_pictures
from zoo.report import Row, totals
from zoo.video import VideoWriter

Animate = Callable[[Batch, int], Tensor]
"""A batch and its number -> the prediction (B, T, 3, H, W), as a method's ``test_step``."""

FILMS = 6
"""So many clips of a protocol are kept as videos."""


def open_data(
    protocol: Protocol, root: Path | None, method: AnimationModule, measures: Measures, of_method: dict[str, Any]
) -> VideoDataModule:
    """The protocol's clips, with the conditions that the method and the metrics need, as far as the clips have them.

    Args:
        protocol: Which clips.
        root: The folder in which the folders of real clips lie.
        method: Says which conditions it needs.
        measures: Say the same.
        of_method: Options of the data module that are the method's own, such as how many source frames it takes.

    Raises:
        ZooError: The clips can't be used.
    """
    needed = {need for metric in measures.clips.values() for need in metric.needs}
    provided = protocol.provides(of_method)
    conditions = tuple(name for name in provided if name in needed or name in method.conditions)
    options = of_method | protocol.data_options(root)
    return VideoDataModule(conditions=conditions, strict=True, workers=0, seed=protocol.content["seed"], **options)


def batches(data: VideoDataModule) -> Iterator[Batch]:
    """The clips to evaluate, one at a time, on the CPU."""
    for batch in data.test_dataloader():
        yield cast(Batch, data.on_after_batch_transfer(batch, 0))


def evaluate(
    protocol: Protocol,
    animate: Animate,
    data: VideoDataModule,
    measures: Measures,
    device: torch.device,
    films: Path | None = None,
) -> tuple[Evaluation, str]:
    """Animates and measures every clip.

    Args:
        protocol: What is measured.
        animate: ``test_step`` of a method in eval mode, on the device.
        data: The clips.
        measures: The protocol's metrics, built.
        device: Where the method computes.
        films: Folder for the first clips as videos.

    Returns:
        The evaluation, and the fingerprint of what was evaluated.
    """
    seed = protocol.content["seed"]
    seed_everything(seed, verbose=False)
    measurement = Measurement(measures.clips, measures.sets)
    for metric in (*measures.clips.values(), *measures.sets.values()):
        metric.to(device)
    failed: list[Row] = []
    prints: list[bytes] = []
    for number, batch in enumerate(batches(data)):
        prints.append(_fingerprint(batch))
        batch = move_data_to_device(batch, device)
        try:
            with torch.inference_mode():
                prediction = check_prediction(animate(batch, number), batch)
                check_pictures(prediction, truth(batch))
        except Exception as error:  # whatever a method raises on one clip is that clip's row
            message = " ".join(str(error).splitlines()[:1])
            failed.append(describe(batch, 0) | {"error": f"{type(error).__name__}: {message}"})
            continue
        measurement.add(batch, {"": prediction})
        if films is not None and number < FILMS:
            _write_film(films, batch, prediction)
    fingerprint = hashlib.sha256(b"".join(sorted(prints))).hexdigest()
    return _summed_up(measurement, measures, failed, seed), fingerprint


def _summed_up(measurement: Measurement, measures: Measures, failed: list[Row], seed: int) -> Evaluation:
    measured = measurement.rows
    skipped = measures.skipped | measurement.unmeasured(measured)
    names = [name for name in measures.clips if name not in skipped]
    rows = sorted([*measured, *failed], key=lambda row: (row["clip"], row["source"], row["source_frame"]))
    found = {name: [row.get(name, math.nan) for row in measured] for name in names}  # some clips have no true frames
    values = {name: [value for value in values if not math.isnan(value)] for name, values in found.items()}
    return {
        "expected": len(rows),
        "measured": len(measured),
        "errors": {_label(row): row["error"] for row in failed},
        "totals": dict(totals(measured, names)),
        "intervals": {name: mean_interval(values[name], seed) for name in names},
        "per_clip": cast(list[ClipRow], rows),
        "sets": {name: cast(SetValue, set_value(metric, seed)) for name, metric in measures.sets.items()},
        "skipped": skipped,
    }


def _label(row: Row) -> str:
    if row["source"] == row["clip"] and not row["source_frame"]:
        return row["clip"]
    return f"{row['source']} (frame {row['source_frame']}) -> {row['clip']}"


def _fingerprint(batch: Batch) -> bytes:
    """SHA-256 over names and pictures of a batch, in bytes as they were read."""
    digest = hashlib.sha256(f"{batch['source_clip']} {batch['driving_clip']} {batch['frame'].tolist()}".encode())
    for frames in (batch["source"], batch["driving"], truth(batch)):
        digest.update(to_bytes(frames).numpy().tobytes())
    return digest.digest()


def _write_film(folder: Path, batch: Batch, prediction: Tensor) -> None:
    fps = Fraction(float(batch["fps"][0])).limit_denominator(1001)
    with VideoWriter(folder / f"{clip_name(describe(batch, 0))}.mp4", fps) as writer:
        writer.write(to_bytes(prediction[0]).cpu())
