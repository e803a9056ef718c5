from abc import abstractmethod

import torch
from torch import Tensor

from zoo.errors import OptionError
from zoo.metrics.clip_metric import ClipMetric, Known, portions, unit_range
from zoo.metrics.region import NEEDS, Region, moving_region

_PREFIX: dict[Region, str] = {"frame": "", "moving": "moving_", "subject": "subject_"}


class FrameMetric(ClipMetric):
    """A number per frame against the true frame; a clip's value is the mean over its frames.

    So a long clip weighs no more than a short one. A static background hides everything else in a number over whole
    frames, hence the regions:

    * ``moving``: where the true frame moved away from the source (see ``moving_region``);
    * ``subject``: where the mask of the true frame exceeds 0.5.

    A mean over pixels is then taken over the region's pixels of the whole clip, so that a frame weighs as much as its
    region is large. A clip whose region is empty has no value (NaN) and is left out of the mean.

    Args:
        name: How the metric is called over the whole frame; a region puts its own name before it.
        region: ``frame``, ``moving`` or ``subject``.

    Raises:
        OptionError: There is no such region.
    """

    def __init__(self, name: str, region: Region) -> None:
        if region not in NEEDS:
            raise OptionError(f"region: there is no {region!r}; there are {', '.join(NEEDS)}")
        super().__init__(_PREFIX[region] + name)
        self.region = region
        self.needs = NEEDS[region]

    @abstractmethod
    def measure(self, prediction: Tensor, target: Tensor, region: Tensor | None) -> tuple[Tensor, Tensor]:
        """Measures frames.

        Args:
            prediction: (N, C, H, W), as it was given to ``update``.
            target: The same shape.
            region: (N, 1, H, W) bool; None is the whole frame.

        Returns:
            The frames' values (N,), and how much each counts in its clip (N,): 0 for a frame without a value.
        """

    def _measure_clip(self, prediction: Tensor, known: Known) -> Tensor:
        values, weights = [], []
        masks = portions(known["mask"]) if self.region == "subject" else None
        for predicted, true in zip(portions(prediction), portions(known["target"]), strict=True):
            region = None
            if self.region == "moving":
                region = moving_region(unit_range(true), unit_range(known["source"]))
            elif masks is not None:
                region = next(masks) > 0.5
            value, weight = self.measure(predicted, true, region)
            values.append(value.to(self.device, torch.float64))
            weights.append(weight.to(self.device, torch.float64))
        value, weight = torch.cat(values), torch.cat(weights)
        return value.where(weight > 0, 0) @ weight / weight.sum()  # 0 / 0 where nothing counts: NaN
