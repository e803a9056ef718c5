import math
import os
import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter, Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from zoo import video
from zoo.base import AnimationModule
from zoo.batch import Batch, truth
from zoo.data import VideoDataModule
from zoo.framing import to_bytes
from zoo.measurement import (
    Measurement,
    SetMetricName,
    build_sets,
    check_clip_names,
    check_prediction,
    clip_name,
    describe,
    set_record,
    set_remark,
)
from zoo.metrics import ClipMetric, ClipMetricName, build
from zoo.metrics.feature_sets import SetMetric
from zoo.report import Row, machine, print_comparison, sha256_of, totals, versions, write_json

COPY_SOURCE = "copy_source"
"""The baseline that shows the source picture all the time: a method that doesn't beat it animates nothing."""

FRAMES_SHOWN = 3
"""Frames of a clip in a sample grid."""


class Evaluator(Callback):
    """Measures what validation and test steps return, beside the baseline that copies the source.

    The steps return a prediction (B, T, 3, H, W) in [0, 1]; it is compared with the batch's ``target``, else with its
    ``driving`` frames. Totals are logged as ``val/l1``, ``val/copy_source/l1``, ... and can be monitored. Testing also
    writes ``test.json`` (every clip, totals, versions, machine, seed, weights) and prints a table. Sample pictures go
    to ``samples/`` and to the loggers. Over several processes each clip counts once.

    Args:
        metrics: What to measure. A metric whose weights or package are missing is skipped, with a warning that names
            the command that fetches them; so is one that needs what the data doesn't have, such as masks.
        sets: What to measure on all test clips together: `fvd`, `fid`. About a second of CPU per 16 frames for FVD.
        samples: Clips in the sample grid; 0 draws none.
        output: Folder for pictures and results; by default the logger's.
    """

    def __init__(
        self,
        metrics: tuple[ClipMetricName, ...] = ("l1", "moving_l1", "psnr", "ssim", "lpips_alex"),
        sets: tuple[SetMetricName, ...] = (),
        samples: int = 4,
        output: str | None = None,
    ) -> None:
        self.names = metrics
        self.set_names = sets
        self.samples = samples
        self.output = output
        self.skipped: dict[str, str] = {}
        self._metrics: dict[str, ClipMetric] = {}
        self._sets: dict[str, SetMetric] = {}
        self._measurement = Measurement({})
        self._grid: list[Tensor] = []
        self._explained: dict[str, Tensor] = {}
        self._baseline: dict[str, float] | None = None
        self._started = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Builds the metrics; learns which of them lack their weights."""
        self._baseline = None
        self._metrics, self.skipped = build(self.names)
        self._sets, without_weights = build_sets(self.set_names if stage == "test" else ())
        if trainer.world_size > 1:  # features are gathered, which NCCL does between graphics cards alone
            for metric in self._sets.values():
                metric.to(trainer.strategy.root_device)
        self.skipped |= without_weights
        for name, reason in self.skipped.items():
            rank_zero_warn(f"{name} is skipped: {reason}")

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets the clips of the previous epoch."""
        self._start()

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets the clips of a previous test; every test measures the baseline itself."""
        self._start()
        self._baseline = None

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measures the batch, and keeps a few of its frames for the sample grid."""
        self._add(trainer, pl_module, outputs, batch)

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs totals and pictures."""
        rows = self._gather()
        folder = self._folder(trainer)
        if trainer.sanity_checking:
            return
        if self._baseline is None:
            self._baseline = totals(rows, [f"{COPY_SOURCE}/{name}" for name in self._measured()])
        self._log(pl_module, "val", totals(rows, self._measured()) | self._baseline)
        if trainer.is_global_zero:
            self._write_pictures(trainer, folder / "samples", f"step-{trainer.global_step:08d}")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs totals and pictures, writes ``test.json``, prints the comparison with the baseline."""
        rows = self._gather()
        folder = self._folder(trainer)
        summary = totals(rows, [*self._measured(), *(f"{COPY_SOURCE}/{name}" for name in self._measured())])
        sets = {name: _set_summary(metric) for name, metric in self._sets.items()}  # gathers: in every process
        self._log(pl_module, "test", summary | {name: value["value"] for name, value in sets.items()})
        if not trainer.is_global_zero:
            return
        self._write_pictures(trainer, folder / "samples", "test")
        write_json(folder / "test.json", self._result(trainer, pl_module, rows, summary) | {"sets": sets})
        directions = {name: bool(self._metrics[name].higher_is_better) for name in self._measured()}
        print_comparison(type(pl_module).__name__, summary, directions, len(rows), self.skipped)
        for name, value in sets.items():
            print(f"{name} ↓ {value['value']:.2f} ({set_remark(value)})")
        if self._measurement.without_truth:
            print(f"{self._measurement.without_truth} clips of this process have no true frames and were not measured")
        print(f"every clip: {folder / 'test.json'}")

    # --- one batch

    def _start(self) -> None:
        self._measurement = Measurement(self._metrics, self._sets)
        self._grid, self._explained = [], {}
        self._started = time.perf_counter()

    def _add(self, trainer: Trainer, pl_module: LightningModule, prediction: Any, batch: Batch) -> None:
        prediction = check_prediction(prediction, batch)
        if trainer.is_global_zero and not trainer.sanity_checking and self.samples:
            self._show(pl_module, prediction, batch)
        predictions = {"": prediction}
        if self._baseline is None:
            predictions[f"{COPY_SOURCE}/"] = batch["source"][:, :1].expand_as(prediction)
        self._measurement.add(batch, predictions)

    # --- all batches

    def _gather(self) -> list[Row]:
        """The measured rows of all processes, in an order that doesn't depend on how clips were spread over them."""
        rows = [row for row in self._measurement.rows if row.keys() & self._metrics.keys()]
        if torch.distributed.is_initialized():
            shards: list[list[Row]] = [[] for _ in range(torch.distributed.get_world_size())]
            torch.distributed.all_gather_object(shards, rows)
            rows = [row for shard in shards for row in shard]
        for name, reason in self._measurement.unmeasured(rows).items():
            if name not in self.skipped:
                rank_zero_warn(f"{name} is skipped: {reason}")
            self.skipped[name] = reason
        return sorted(rows, key=lambda row: (row["clip"], row["source"], row["source_frame"]))

    def _measured(self) -> list[str]:
        return [name for name in self._metrics if name not in self.skipped]

    def _folder(self, trainer: Trainer) -> Path:
        log_dir = trainer.log_dir  # a broadcast: every process has to ask
        return Path(self.output or log_dir or ".")

    def _log(self, pl_module: LightningModule, stage: str, values: Mapping[str, float]) -> None:
        known = {f"{stage}/{name}": value for name, value in values.items() if not math.isnan(value)}
        pl_module.log_dict(known, sync_dist=True)  # equal in all processes, whose mean they therefore are

    def _result(
        self, trainer: Trainer, pl_module: LightningModule, rows: list[Row], summary: dict[str, float]
    ) -> dict[str, Any]:
        data = trainer.datamodule  # type: ignore[attr-defined]
        return {
            "method": f"{type(pl_module).__module__}.{type(pl_module).__qualname__}",
            "arguments": plain_options(pl_module.hparams),
            "data": data_options(data) if isinstance(data, VideoDataModule) else None,
            "clips": len(rows),
            "totals": summary,
            "skipped": self.skipped,
            "quantised": False,
            "weights": {
                "checkpoint": Path(trainer.ckpt_path).name if trainer.ckpt_path else None,
                "steps": _steps(trainer.ckpt_path),
                "sha256": sha256_of(pl_module.state_dict()),
            },
            "seed": int(os.environ["PL_GLOBAL_SEED"]) if "PL_GLOBAL_SEED" in os.environ else None,
            "seconds": round(time.perf_counter() - self._started, 3),
            "processes": trainer.world_size,
            "precision": str(trainer.precision),
            "versions": versions(),
            "machine": machine(pl_module.device),
            "per_clip": rows,
        }

    # --- pictures

    @torch.no_grad()
    def _show(self, pl_module: LightningModule, prediction: Tensor, batch: Batch) -> None:
        if not self._grid and isinstance(pl_module, AnimationModule):
            self._explained = {name: to_bytes(picture).cpu() for name, picture in pl_module.pictures(batch).items()}
        for clip in range(min(len(prediction), self.samples - len(self._grid))):
            block = _sample(batch["source"][clip, 0], batch["driving"][clip], prediction[clip], truth(batch)[clip])
            if not self._grid or block.shape == self._grid[0].shape:
                self._grid.append(block)

    def _write_pictures(self, trainer: Trainer, folder: Path, name: str) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # which has no folder, and leaves nothing behind
            return
        pictures = dict(self._explained)
        if self._grid:
            pictures["samples"] = torch.cat(self._grid, dim=1)
        for title, picture in pictures.items():
            file = name if title == "samples" else f"{name}-{title}"
            video.write_image(folder / f"{file}.png", picture)
            for logger in trainer.loggers:
                log_picture(logger, title, picture, trainer.global_step)


class PredictionWriter(BasePredictionWriter):
    """Writes what predict steps return as ``predictions/<source>--<driving>.mp4``, with the driving clip's frame rate.

    Args:
        output: Folder for the videos; by default ``predictions`` in the logger's folder.
    """

    def __init__(self, output: str | None = None) -> None:
        super().__init__(write_interval="batch")
        self.output = output

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks that no video would replace another.

        Raises:
            FileError: Two clips are called alike.
        """
        data = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, VideoDataModule):
            check_clip_names(data.test_pairs())

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Writes one video per clip of the batch."""
        log_dir = trainer.log_dir  # a broadcast: every process has to ask
        folder = Path(self.output) if self.output else Path(log_dir or ".") / "predictions"
        for clip, frames in enumerate(prediction):
            if "valid" in batch and not batch["valid"][clip]:
                continue
            name = clip_name(describe(batch, clip))
            fps = Fraction(float(batch["fps"][clip])).limit_denominator(1001)
            with video.VideoWriter(folder / f"{name}.mp4", fps) as writer:
                writer.write(to_bytes(frames).cpu())


def log_picture(logger: Logger, name: str, picture: Tensor, step: int) -> None:
    """Gives a picture to a logger that takes pictures.

    Args:
        logger: TensorBoard and wandb take pictures; others are left alone.
        name: What it shows.
        picture: RGB, uint8 (3, H, W).
        step: The optimiser steps done so far.
    """
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, picture, step)
    elif isinstance(logger, WandbLogger):
        logger.log_image(name, [picture.permute(1, 2, 0).numpy()], step)


def _sample(source: Tensor, driving: Tensor, prediction: Tensor, expected: Tensor) -> Tensor:
    """A few rows of source | driving | prediction | truth, (3, rows * H, 4 * W) in bytes."""
    moments = torch.linspace(0, len(prediction) - 1, min(FRAMES_SHOWN, len(prediction))).round().long().tolist()
    rows = [torch.cat([source, driving[m], prediction[m], expected[m]], dim=2) for m in moments]
    return to_bytes(torch.cat(rows, dim=1)).cpu()


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments, without what LightningCLI adds to them."""
    return {name: value for name, value in options.items() if not name.startswith("_")}


def _set_summary(metric: SetMetric) -> dict[str, Any]:
    value = float(metric.compute())
    with metric.sync_context():
        return {"value": value, **set_record(metric)}


def data_options(data: VideoDataModule) -> dict[str, Any]:
    """How clips were chosen and fitted; folder and lists by their names alone, for results that are published."""
    options = plain_options(data.hparams) | {"path": data.name}
    return options | {name: Path(options[name]).name for name in ("split", "pairs") if options[name]}


def _steps(checkpoint: str | Path | None) -> int | None:
    """Training steps behind a checkpoint."""
    if not checkpoint:
        return None
    return torch.load(checkpoint, weights_only=True, map_location="meta")["global_step"]
