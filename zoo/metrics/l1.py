from torch import Tensor

from zoo.metrics.clip_metric import FrameMetric, unit_range


class L1(FrameMetric):
    """Mean absolute difference over pixels and channels, pictures in [0, 1]. Lower is better, 0 to 1.

    Example:
        >>> import torch
        >>> metric = L1()
        >>> metric.update(torch.zeros(1, 2, 3, 8, 8), torch.full((1, 2, 3, 8, 8), 0.25))
        >>> metric.compute().item()
        0.25
    """

    higher_is_better = False

    def measure(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Measures frames (N, C, H, W); returns (N,)."""
        return (unit_range(prediction) - unit_range(target)).abs().mean((1, 2, 3))
