from torch import Tensor

from zoo.metrics.clip_metric import unit_range
from zoo.metrics.frame_metric import FrameMetric
from zoo.metrics.region import Region, average


class L1(FrameMetric):
    """Mean absolute difference over pixels and channels, pictures in [0, 1]. Lower is better, 0 to 1.

    Args:
        region: Where: the whole ``frame``, its ``moving`` part or the ``subject``; see ``FrameMetric``.

    Example:
        >>> import torch
        >>> metric = L1()
        >>> metric.update(torch.zeros(1, 2, 3, 8, 8), torch.full((1, 2, 3, 8, 8), 0.25))
        >>> metric.compute().item()
        0.25

        >>> moving = L1("moving")
        >>> source = torch.zeros(1, 3, 16, 16)
        >>> truth = torch.zeros(1, 2, 3, 16, 16)
        >>> truth[..., 4:6, 4:6] = 0.5
        >>> moving.update(source.unsqueeze(1).expand_as(truth), truth, source)
        >>> moving.compute().item()  # 0.5 in 4 of the 64 pixels of the dilated region
        0.03125
    """

    higher_is_better = False

    def __init__(self, region: Region = "frame") -> None:
        super().__init__("l1", region)

    def measure(self, prediction: Tensor, target: Tensor, region: Tensor | None) -> tuple[Tensor, Tensor]:
        """Measures frames (N, C, H, W); returns values and weights (N,)."""
        return average((unit_range(prediction) - unit_range(target)).abs(), region)
