import torch
from torch import Tensor
from torch.nn import functional

from zoo.metrics.clip_metric import ClipMetric, check_pictures, check_range, portions, unit_range

THRESHOLD = 0.1
DILATION = 7


class MovingRegionL1(ClipMetric):
    """Mean absolute difference where the true clip moves away from its source. Lower is better, 0 to 1.

    Over the whole frame, copying the source scores well on every background; this looks at the rest. The region of a
    frame is where the largest channel difference between the true frame and the source exceeds 0.1, dilated by a
    7 x 7 maximum filter. A clip's value is the channel-mean absolute error averaged over the pixels of its frames'
    regions together. A clip in which nothing moves has no value (NaN) and is left out of the mean.

    Example:
        >>> import torch
        >>> metric = MovingRegionL1()
        >>> source = torch.zeros(1, 3, 16, 16)
        >>> truth = torch.zeros(1, 2, 3, 16, 16)
        >>> truth[..., 4:6, 4:6] = 0.5
        >>> metric.update(source.unsqueeze(1).expand_as(truth), truth, source)
        >>> round(metric.compute().item(), 6)  # 0.5 in 4 of the 64 pixels of the dilated region
        0.03125
    """

    higher_is_better = False

    def update(self, prediction: Tensor, target: Tensor, source: Tensor) -> None:
        """Measures clips.

        Args:
            prediction: (B, T, C, H, W), or (N, C, H, W) where every picture is a clip of its own. RGB in [0, 1], or
                uint8.
            target: What the prediction should be, in the same shape.
            source: The picture from which the clip was made, (B, C, H, W).

        Raises:
            ValueError: The shapes don't fit, or values are outside [0, 1].
        """
        check_pictures(prediction, target)
        check_range("source", source)
        if source.shape != (prediction.shape[0], *prediction.shape[-3:]):
            raise ValueError(
                f"source should be (B, C, H, W) beside a prediction {tuple(prediction.shape)}, not "
                f"{tuple(source.shape)}"
            )
        with torch.no_grad():
            self._store([self._measure_clip(*clip) for clip in zip(prediction, target, source, strict=True)])

    def _measure_clip(self, prediction: Tensor, target: Tensor, source: Tensor) -> Tensor:
        error = torch.zeros((), dtype=torch.float64)
        pixels = torch.zeros((), dtype=torch.float64)
        still = unit_range(source)
        for predicted, true in zip(portions(prediction), portions(target), strict=True):
            true = unit_range(true)
            region = moving_region(true, still)
            difference = (unit_range(predicted) - true).abs().mean(1, keepdim=True)
            error += (difference * region).sum().cpu()
            pixels += region.sum().cpu()
        return error / pixels  # 0 / 0, a clip without any motion, is NaN


def moving_region(frames: Tensor, source: Tensor) -> Tensor:
    """Where frames differ from their source, dilated.

    Args:
        frames: True frames (T, C, H, W) in [0, 1].
        source: (C, H, W) in [0, 1].

    Returns:
        (T, 1, H, W) bool.
    """
    moved = ((frames - source).abs().amax(1, keepdim=True) > THRESHOLD).to(frames.dtype)
    return functional.max_pool2d(moved, DILATION, stride=1, padding=DILATION // 2) > 0
