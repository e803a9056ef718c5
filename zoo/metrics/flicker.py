import torch
from torch import Tensor

from zoo.metrics.clip_metric import ClipMetric, Known, in_float64, portions
from zoo.metrics.region import average

STATIC = 2 / 255 - 1e-6
"""A change of two grey levels is no rest, however float32 rounds it."""


class Flicker(ClipMetric):
    """Mean absolute change from frame to frame where the true clip rests. Lower is better, 0 to 1.

    Frames in [0, 1]; a pixel rests in a step in which every channel of the true clip changes by less than 2 / 255. So
    the true clip's own value is below 0.0079; compare with it (measure the target as a prediction), since a prediction
    that froze has 0. A clip that rests nowhere has no value (NaN) and is left out.

    Example:
        >>> import torch
        >>> metric = Flicker()
        >>> prediction = torch.tensor([0.5, 0.6, 0.5]).view(1, 3, 1, 1, 1).expand(1, 3, 3, 8, 8)
        >>> metric.update(prediction, torch.zeros(1, 3, 3, 8, 8))
        >>> round(metric.compute().item(), 4)
        0.1
    """

    higher_is_better = False
    fewest_frames = 2

    def __init__(self) -> None:
        super().__init__("flicker")

    def _measure_clip(self, prediction: Tensor, known: Known) -> Tensor:
        means, sizes = [], []
        for predicted, true in zip(portions(prediction, 1), portions(known["target"], 1), strict=True):
            rests = frame_changes(true).amax(1, keepdim=True) < STATIC
            mean, pixels = average(frame_changes(predicted), rests)
            means.append(mean)
            sizes.append(pixels)
        mean, pixels = torch.cat(means), torch.cat(sizes)
        return mean.nan_to_num(0) @ pixels / pixels.sum()


def frame_changes(clip: Tensor) -> Tensor:
    """|I(t) - I(t-1)| in [0, 1], float64: (T, C, H, W) to (T - 1, C, H, W)."""
    return in_float64(clip).diff(dim=0).abs()
