"""What the metrics between two sets share: features of both, kept until the end."""

from abc import ABC
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from zoo.metrics.clip_metric import check_range

Side = Literal["prediction", "target"]


class Features(NamedTuple):
    """Features of both sets, (N, D) each, float32."""

    prediction: Tensor
    target: Tensor


class Counts(NamedTuple):
    """A number for each set."""

    prediction: int
    target: int


class SetMetric(Metric, ABC):
    """A distance between what was predicted and what is true, each as one set.

    Every feature is kept, in float32, and gathered over processes, so that each counts once however the clips were
    spread. The sets may differ in size. Inside ``with metric.sync_context():`` what can be asked, such as
    ``features()``, covers all processes, else the asking one.

    Metrics that look through the same network in the same way have the same states: a torchmetrics
    ``MetricCollection`` of them computes the features once.

    Args:
        name: How results call it, with everything that keeps it from being compared with another.
        seen_through: Network and convention, as the beginning of the states' names.
        dimensions: Length of a feature.

    Attributes:
        name: See above.
        fewest: Features per set below which the distance shows faults, but ranks nothing.
        fewest_frames: The shortest clip from which it takes something.
        unbiased: Whether covariances are divided by N - 1.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    fewest: int
    fewest_frames = 1
    unbiased = True

    def __init__(self, name: str, seen_through: str, dimensions: int) -> None:
        super().__init__()
        self.name = name
        self.dimensions = dimensions
        self._states: dict[Side, str] = {side: f"{seen_through}_{side}" for side in ("prediction", "target")}
        for state in self._states.values():
            self.add_state(state, [], dist_reduce_fx="cat")

    def features(self) -> Features:
        """The features of both sets, in the order of the updates."""
        return Features(self._stored("prediction"), self._stored("target"))

    @property
    def counts(self) -> Counts:
        """How many features there are in each set."""
        return Counts(*(len(features) for features in self.features()))

    @property
    def skipped(self) -> Counts:
        """How many clips of each set were too short to give a feature."""
        return Counts(0, 0)

    @property
    def diagnostic(self) -> bool:
        """Whether there are too few features to rank anything by the distance."""
        return min(self.counts) < self.fewest

    def _stored(self, side: Side) -> Tensor:
        values = getattr(self, self._states[side])
        flat = dim_zero_cat(values) if len(values) else torch.zeros(0, device=self.device)
        return flat.reshape(-1, self.dimensions)

    def _store(self, side: Side, features: Tensor) -> None:
        # Flat, because a process without any clip contributes an empty tensor of one dimension.
        getattr(self, self._states[side]).append(features.to(self.device, torch.float32).flatten())


def check_sets(prediction: Tensor, target: Tensor, dimensions: tuple[int, ...], expected: str) -> None:
    """Checks two sets of pictures or clips, which may differ in number and length.

    Raises:
        ValueError: Says what was expected and what was found. Frames of different sizes are refused: a distance
            between them would measure how they are resized.
    """
    for name, pictures in (("prediction", prediction), ("target", target)):
        if pictures.ndim not in dimensions or pictures.shape[-3] != 3:
            raise ValueError(f"{name} should be {expected}, not {tuple(pictures.shape)}")
        check_range(name, pictures)
    if prediction.shape[-2:] != target.shape[-2:] and prediction.numel() and target.numel():
        raise ValueError(
            "prediction and target should have frames of the same size, not "
            f"{tuple(prediction.shape[-2:])} and {tuple(target.shape[-2:])}"
        )
