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
from zoo.metrics import ALIGNED_METRICS, AlignedMetricName, ClipMetric, MovingRegionL1
from zoo.report import Row, machine, print_comparison, sha256_of, totals, versions, write_json
from zoo.weights.networks import MissingWeightsError

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
        metrics: What to measure. A metric whose weights are missing is skipped, with a warning that names the command
            that fetches them.
        samples: Clips in the sample grid; 0 draws none.
        output: Folder for pictures and results; by default the logger's.
    """

    def __init__(
        self,
        metrics: tuple[AlignedMetricName, ...] = ("l1", "moving_l1", "psnr", "ssim", "lpips_alex"),
        samples: int = 4,
        output: str | None = None,
    ) -> None:
        self.names = metrics
        self.samples = samples
        self.output = output
        self.skipped: dict[str, str] = {}
        self._metrics: dict[str, ClipMetric] = {}
        self._rows: list[Row] = []
        self._without_truth = 0
        self._grid: list[Tensor] = []
        self._explained: dict[str, Tensor] = {}
        self._baseline: dict[str, float] | None = None
        self._started = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Builds the metrics; learns which of them lack their weights."""
        self._baseline = None
        self._metrics, self.skipped = {}, {}
        for name in self.names:
            if name not in ALIGNED_METRICS:
                raise ValueError(f"no metric is called {name!r}; there are {sorted(ALIGNED_METRICS)}")
            try:
                self._metrics[name] = ALIGNED_METRICS[name]()
            except MissingWeightsError as missing:
                self.skipped[name] = str(missing)
                rank_zero_warn(f"{name} is skipped: {missing}")

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
            self._baseline = totals(rows, [f"{COPY_SOURCE}/{name}" for name in self._metrics])
        self._log(pl_module, "val", totals(rows, self._metrics) | self._baseline)
        if trainer.is_global_zero:
            self._write_pictures(trainer, folder / "samples", f"step-{trainer.global_step:08d}")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs totals and pictures, writes ``test.json``, prints the comparison with the baseline."""
        rows = self._gather()
        folder = self._folder(trainer)
        summary = totals(rows, [*self._metrics, *(f"{COPY_SOURCE}/{name}" for name in self._metrics)])
        self._log(pl_module, "test", summary)
        if not trainer.is_global_zero:
            return
        self._write_pictures(trainer, folder / "samples", "test")
        write_json(folder / "test.json", self._result(trainer, pl_module, rows, summary))
        directions = {name: bool(metric.higher_is_better) for name, metric in self._metrics.items()}
        print_comparison(type(pl_module).__name__, summary, directions, len(rows), self.skipped)
        if self._without_truth:
            print(f"{self._without_truth} clips of this process have no true frames and were not measured")
        print(f"every clip: {folder / 'test.json'}")

    # --- one batch

    def _start(self) -> None:
        self._rows, self._grid, self._explained = [], [], {}
        self._without_truth = 0
        self._started = time.perf_counter()

    def _add(self, trainer: Trainer, pl_module: LightningModule, prediction: Any, batch: Batch) -> None:
        expected = truth(batch)
        if not isinstance(prediction, Tensor) or prediction.shape != expected.shape:
            found = tuple(prediction.shape) if isinstance(prediction, Tensor) else type(prediction).__name__
            raise ValueError(f"validation_step and test_step should return {tuple(expected.shape)}, not {found}")
        if trainer.is_global_zero and not trainer.sanity_checking and self.samples:
            self._show(pl_module, prediction, batch)
        clips = self._measurable(batch)
        rows = [self._describe(batch, clip) for clip in clips]
        source = batch["source"][clips, 0]
        prediction, expected = prediction[clips], expected[clips]
        if clips:
            self._measure(rows, "", prediction, expected, source)
        if clips and self._baseline is None:
            self._measure(rows, f"{COPY_SOURCE}/", source[:, None].expand_as(expected), expected, source)
        self._rows += rows

    def _measurable(self, batch: Batch) -> list[int]:
        """Which clips count: no copies that fill up a shard, no transfer between clips whose result nobody knows."""
        clips = list(range(len(batch["driving"])))
        if "valid" in batch:
            clips = [clip for clip in clips if batch["valid"][clip]]
        if "target" in batch or "source_clip" not in batch:
            return clips
        known = [clip for clip in clips if batch["source_clip"][clip] == batch["driving_clip"][clip]]
        self._without_truth += len(clips) - len(known)
        return known

    def _describe(self, batch: Batch, clip: int) -> Row:
        frames = truth(batch).shape[1]
        row: Row = {"clip": "", "source": "", "source_frame": 0, "frames": frames}
        if "driving_clip" in batch:
            row |= {"clip": batch["driving_clip"][clip], "source": batch["source_clip"][clip]}
        if "source_frame" in batch:
            row["source_frame"] = int(batch["source_frame"][clip])
        return row

    def _measure(self, rows: list[Row], prefix: str, prediction: Tensor, expected: Tensor, source: Tensor) -> None:
        for name, metric in self._metrics.items():
            metric.reset()
            if isinstance(metric, MovingRegionL1):
                metric.update(prediction, expected, source)
            else:
                metric.update(prediction, expected)
            for row, value in zip(rows, metric.per_clip().tolist(), strict=True):
                row[prefix + name] = value

    # --- all batches

    def _gather(self) -> list[Row]:
        """The rows of all processes, in an order that doesn't depend on how clips were spread over them."""
        rows = self._rows
        if torch.distributed.is_initialized():
            shards: list[list[Row]] = [[] for _ in range(torch.distributed.get_world_size())]
            torch.distributed.all_gather_object(shards, rows)
            rows = [row for shard in shards for row in shard]
        return sorted(rows, key=lambda row: (row["clip"], row["source"], row["source_frame"]))

    def _folder(self, trainer: Trainer) -> Path:
        log_dir = trainer.log_dir  # a broadcast: every process has to ask
        return Path(self.output or log_dir or ".")

    def _log(self, pl_module: LightningModule, stage: str, values: Mapping[str, float]) -> None:
        known = {f"{stage}/{name}": value for name, value in values.items() if not math.isnan(value)}
        pl_module.log_dict(known, sync_dist=True)  # equal in all processes, whose mean they therefore are

    def _result(
        self, trainer: Trainer, pl_module: LightningModule, rows: list[Row], summary: dict[str, float]
    ) -> dict[str, Any]:
        return {
            "method": f"{type(pl_module).__module__}.{type(pl_module).__qualname__}",
            "arguments": _plain(pl_module.hparams),
            "data": _data_options(trainer),
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
            self._explained = {name: _as_bytes(picture) for name, picture in pl_module.pictures(batch).items()}
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
            name = f"{batch['source_clip'][clip]}--{batch['driving_clip'][clip]}"
            if first := int(batch["source_frame"][clip]):
                name += f"--{first:06d}"
            fps = Fraction(float(batch["fps"][clip])).limit_denominator(1001)
            with video.VideoWriter(folder / f"{name.replace('/', '_')}.mp4", fps) as writer:
                writer.write(_as_bytes(frames))


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
    return _as_bytes(torch.cat(rows, dim=1))


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments, without what LightningCLI adds to them."""
    return {name: value for name, value in options.items() if not name.startswith("_")}


def _data_options(trainer: Trainer) -> dict[str, Any] | None:
    """How the clips were chosen and fitted; the folder by its name alone, for results that are published."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    return _plain(data.hparams) | {"path": data.name} if isinstance(data, VideoDataModule) else None


def _steps(checkpoint: str | Path | None) -> int | None:
    """Training steps behind a checkpoint."""
    if not checkpoint:
        return None
    return torch.load(checkpoint, weights_only=True, map_location="meta")["global_step"]


def _as_bytes(pictures: Tensor) -> Tensor:
    """Pictures in [0, 1] as uint8 on the CPU, rounded half to even."""
    return (pictures.float() * 255).round().clamp(0, 255).to(torch.uint8).cpu()
