import torch
from kornia.filters import filter2d_separable, get_gaussian_kernel1d
from torch import Tensor
from torch.nn import functional

from zoo.metrics.clip_metric import in_float64
from zoo.metrics.frame_metric import FrameMetric
from zoo.metrics.region import Region, average, crop
from zoo.metrics.ssim import WINDOW, similarity

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents from the finest scale to the coarsest (Wang et al. 2003, section 3.2)."""
SMALLEST = WINDOW * 2 ** (len(SCALE_WEIGHTS) - 1)


class MSSSIM(FrameMetric):
    """Multi-scale structural similarity (Wang et al. 2003) over five scales. Higher is better, 0 to 1.

    The product over scales of the mean contrast-structure term, and at the coarsest scale of the mean similarity with
    its luminance, each to its scale's weight (equation 7); per channel, then the mean over R, G, B. Windows, borders
    and precision as in ``SSIM``. A scale's picture is the previous one averaged over 2 x 2 pixels; what an odd size
    leaves over is averaged alone, as in the authors' code. A negative mean, whose power doesn't exist, counts as 0.

    torchmetrics 1.9 isn't used: it keeps the padded borders at the coarsest scale, where they are most of the picture,
    averages over channels before the product, and drops what an odd size leaves over.

    Args:
        region: Over which pixels the means are taken: the whole ``frame``, its ``moving`` part or the ``subject``;
            see ``FrameMetric``. A coarser pixel belongs to the region if one of its four does. Frames whose region has
            no pixel that the window reaches, at every scale, are left out; the others weigh the same.

    Example:
        >>> import torch
        >>> metric = MSSSIM()
        >>> frames = torch.rand(1, 1, 3, 176, 176)
        >>> metric.update(frames, frames)
        >>> round(metric.compute().item(), 6)
        1.0
    """

    higher_is_better = True

    def __init__(self, region: Region = "frame") -> None:
        super().__init__("ms_ssim", region)

    def measure(self, prediction: Tensor, target: Tensor, region: Tensor | None) -> tuple[Tensor, Tensor]:
        """Measures frames (N, C, H, W); returns values and weights (N,).

        Raises:
            ValueError: The frames are smaller than the window at the coarsest scale.
        """
        if min(prediction.shape[-2:]) < SMALLEST:
            raise ValueError(
                f"MS-SSIM needs frames of at least {SMALLEST} x {SMALLEST} pixels, not {tuple(prediction.shape)}"
            )
        channels = prediction.shape[1]
        first, second = (in_float64(pictures).flatten(0, 1)[:, None] for pictures in (prediction, target))
        if region is not None:
            region = region.to(first.device).double().repeat_interleave(channels, dim=0)  # (N * C, 1, H, W)
        values, counts = first.new_ones(len(first)), torch.ones(len(first), dtype=torch.bool, device=first.device)
        for scale, weight in enumerate(SCALE_WEIGHTS):
            if scale:
                first, second = halve(first), halve(second)
                region = None if region is None else functional.max_pool2d(region, 2, ceil_mode=True)
            terms = similarity(first, second)
            if scale < len(SCALE_WEIGHTS) - 1:
                terms = terms / luminance(first, second)
            mean, pixels = average(terms, None if region is None else crop(region > 0, WINDOW // 2))
            values = values * mean.clamp(min=0) ** weight
            counts = counts & (pixels > 0)
        return values.unflatten(0, (-1, channels)).mean(1), counts[::channels]


def halve(pictures: Tensor) -> Tensor:
    """Means of 2 x 2 pixels: (N, C, H, W) to (N, C, ⌈H / 2⌉, ⌈W / 2⌉)."""
    return functional.avg_pool2d(pictures, 2, ceil_mode=True)


def luminance(first: Tensor, second: Tensor) -> Tensor:
    """The factor of the similarity that compares local means: (N, C, H, W) in [0, 1] to (N, C, H - 10, W - 10)."""
    window = get_gaussian_kernel1d(WINDOW, 1.5, device=first.device, dtype=first.dtype)
    mean, other = (filter2d_separable(pictures, window, window, padding="valid") for pictures in (first, second))
    return (2 * mean * other + 0.01**2) / (mean.square() + other.square() + 0.01**2)
