from torch import Tensor

from zoo.metrics.clip_metric import FrameMetric, in_float64

CAP = 100.0
"""Decibels that identical frames count, whose ratio is infinite."""


class PSNR(FrameMetric):
    """Peak signal-to-noise ratio in dB: 10 log10(1 / MSE) per frame, MSE over its pixels and channels.

    Averaged over frames (which isn't the ratio of the averaged MSE) with at most 100 dB each. Higher is better.

    Example:
        >>> import torch
        >>> metric = PSNR()
        >>> metric.update(torch.zeros(1, 2, 3, 8, 8), torch.full((1, 2, 3, 8, 8), 0.1))
        >>> round(metric.compute().item(), 4)
        20.0
    """

    higher_is_better = True

    def measure(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Measures frames (N, C, H, W); returns (N,)."""
        squared_error = (in_float64(prediction) - in_float64(target)).square().mean((1, 2, 3))
        return (-10 * squared_error.log10()).clamp(max=CAP)
