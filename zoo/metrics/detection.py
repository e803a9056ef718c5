from typing import Protocol

import torch
from torch import Tensor

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

    Attributes:
        skipped: How many of the values that this process has looked at were left out.
    """

    skipped: Tensor

    def __init__(self, name: str, estimator: Estimator) -> None:
        super().__init__(name)
        # A bound method, since a network that is assigned to a metric puts its weights into every state dict.
        self._estimate = estimator.__call__
        self.add_state("skipped", torch.tensor(0), dist_reduce_fx="sum")

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
        self.skipped += values.isnan().sum()
        return values.nanmean()
