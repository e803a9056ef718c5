from typing import Protocol

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from zoo.metrics.clip_metric import ClipMetric, portions, unit_range


class Estimator(Protocol):
    """Finds something in frames, such as keypoints."""

    @property
    def name(self) -> str:
        """How results call it."""

    def __call__(self, frames: Tensor) -> Tensor:
        """What it finds in frames (N, 3, H, W) in [0, 1], on any device; returns (N, ...)."""


class DetectionMetric(ClipMetric):
    """Compares what an estimator finds in frames; a frame in which it finds nothing is left out and counted.

    Args:
        name: How results call it, with the estimator's name in it.
        estimator: Finds what is compared.
    """

    def __init__(self, name: str, estimator: Estimator) -> None:
        super().__init__(name)
        # A bound method, since a network that is assigned to a metric puts its weights into every state dict.
        self._estimate = estimator.__call__
        self._skipped = f"{name}_skipped"
        self.add_state(self._skipped, [], dist_reduce_fx="cat")

    @property
    def skipped(self) -> int:
        """How many of the values that this process has looked at were left out."""
        return int(self.skipped_per_clip().sum())

    def skipped_per_clip(self) -> Tensor:
        """The same for each clip, int64 (clips,), in the order of the updates."""
        counts = getattr(self, self._skipped)
        return dim_zero_cat(counts).long() if len(counts) else torch.zeros(0, dtype=torch.int64)

    def _find(self, clip: Tensor, shape: str) -> Tensor:
        """What the estimator finds in the frames of a clip, float64 (T, ...), checked against ``shape``."""
        found = []
        for frames in portions(clip):
            result = self._estimate(unit_range(frames))
            if result.ndim != shape.count(",") + 1 or len(result) != len(frames):
                raise ValueError(
                    f"the estimator of {self.name} should return {shape} for {len(frames)} frames, "
                    f"not {tuple(result.shape)}"
                )
            found.append(result.to(self.device, torch.float64))
        return torch.cat(found)

    def _mean(self, values: Tensor) -> Tensor:
        """The mean of the values that there are (not NaN); the others are counted."""
        # As floating point: the type of what a process without any clip contributes.
        getattr(self, self._skipped).append(values.isnan().sum().to(torch.float64)[None])
        return values.nanmean()
