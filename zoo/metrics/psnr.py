from torch import Tensor

from zoo.metrics.clip_metric import in_float64
from zoo.metrics.frame_metric import FrameMetric
from zoo.metrics.region import Region, average

CAP = 100.0
"""Decibels that identical frames count, whose ratio is infinite."""


class PSNR(FrameMetric):
    """Peak signal-to-noise ratio in dB: 10 log10(1 / MSE) per frame, MSE over its pixels and channels.

    Averaged over frames (which isn't the ratio of the averaged MSE) with at most 100 dB each. Higher is better.

    Args:
        region: Where the MSE of each frame is taken: the whole ``frame``, its ``moving`` part or the ``subject``; see
            ``FrameMetric``. Frames in which the region is empty are left out; the others weigh the same.

    Example:
        >>> import torch
        >>> metric = PSNR()
        >>> metric.update(torch.zeros(1, 2, 3, 8, 8), torch.full((1, 2, 3, 8, 8), 0.1))
        >>> round(metric.compute().item(), 4)
        20.0
    """

    higher_is_better = True

    def __init__(self, region: Region = "frame") -> None:
        super().__init__("psnr", region)

    def measure(self, prediction: Tensor, target: Tensor, region: Tensor | None) -> tuple[Tensor, Tensor]:
        """Measures frames (N, C, H, W); returns values and weights (N,)."""
        squared_error, pixels = average((in_float64(prediction) - in_float64(target)).square(), region)
        return (-10 * squared_error.log10()).clamp(max=CAP), pixels > 0
