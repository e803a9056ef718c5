"""Metrics on clips, one torchmetrics class per file: ``update(prediction, target)``, then ``compute()``."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from zoo.metrics.clip_metric import ClipMetric
from zoo.metrics.l1 import L1
from zoo.metrics.lpips import LPIPS
from zoo.metrics.moving_region import MovingRegionL1
from zoo.metrics.psnr import PSNR
from zoo.metrics.ssim import SSIM

__all__ = ["ALIGNED_METRICS", "L1", "LPIPS", "PSNR", "SSIM", "AlignedMetricName", "ClipMetric", "MovingRegionL1"]

AlignedMetricName = Literal["l1", "moving_l1", "psnr", "ssim", "lpips_alex", "lpips_vgg16"]

ALIGNED_METRICS: dict[AlignedMetricName, Callable[[], ClipMetric]] = {
    "l1": L1,
    "moving_l1": MovingRegionL1,
    "psnr": PSNR,
    "ssim": SSIM,
    "lpips_alex": partial(LPIPS, "alex"),
    "lpips_vgg16": partial(LPIPS, "vgg16"),
}
"""How each metric is called in logs and results. They compare a prediction with the true frames."""
