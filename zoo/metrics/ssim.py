from kornia.metrics import ssim
from torch import Tensor

from zoo.metrics.clip_metric import in_float64
from zoo.metrics.frame_metric import FrameMetric
from zoo.metrics.region import Region, average, crop

WINDOW = 11


class SSIM(FrameMetric):
    """Structural similarity (Wang et al. 2004) as its authors define it. Higher is better, -1 to 1.

    Gaussian window of 11 pixels, σ = 1.5, K1 = 0.01, K2 = 0.03, data range 1, no sample covariance; mean over the
    pixels that the whole window reaches (5 cropped on each side), then over R, G, B. In float64, since float32 loses
    four digits on smooth pictures. Equals scikit-image with ``gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False``; torchmetrics differs, because it keeps the borders.

    Args:
        region: Over which of these pixels: the whole ``frame``, its ``moving`` part or the ``subject``; see
            ``FrameMetric``. The windows around them look over the region's edge.

    Example:
        >>> import torch
        >>> metric = SSIM()
        >>> metric.update(torch.zeros(1, 2, 3, 16, 16), torch.ones(1, 2, 3, 16, 16))
        >>> f"{metric.compute():.3e}"
        '9.999e-05'
    """

    higher_is_better = True

    def __init__(self, region: Region = "frame") -> None:
        super().__init__("ssim", region)

    def measure(self, prediction: Tensor, target: Tensor, region: Tensor | None) -> tuple[Tensor, Tensor]:
        """Measures frames (N, C, H, W); returns values and weights (N,).

        Raises:
            ValueError: The frames are smaller than the window.
        """
        if min(prediction.shape[-2:]) < WINDOW:
            raise ValueError(f"SSIM needs frames of at least {WINDOW} x {WINDOW} pixels, not {tuple(prediction.shape)}")
        return average(similarity(in_float64(prediction), in_float64(target)), crop(region, WINDOW // 2))


def similarity(first: Tensor, second: Tensor) -> Tensor:
    """The similarity at each pixel that the whole window reaches: pictures (N, C, H, W) to (N, C, H - 10, W - 10)."""
    return ssim(first, second, WINDOW, max_val=1.0, eps=0.0, padding="valid")
