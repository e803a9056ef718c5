"""How each metric on clips is called in options, logs and results."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

from zoo.errors import OptionError
from zoo.metrics.clip_metric import ClipMetric
from zoo.metrics.flicker import Flicker
from zoo.metrics.flow import MissingPackageError
from zoo.metrics.l1 import L1
from zoo.metrics.lpips import LPIPS
from zoo.metrics.ms_ssim import MSSSIM
from zoo.metrics.psnr import PSNR
from zoo.metrics.ssim import SSIM
from zoo.metrics.temporal_lpips import TemporalLPIPS
from zoo.metrics.tof import TOF
from zoo.metrics.warping_error import WarpingError
from zoo.weights.networks import MissingWeightsError

ClipMetricName = Literal[
    "l1", "moving_l1", "subject_l1",
    "psnr", "moving_psnr", "subject_psnr",
    "ssim", "moving_ssim", "subject_ssim",
    "ms_ssim", "moving_ms_ssim", "subject_ms_ssim",
    "lpips_alex", "moving_lpips_alex", "subject_lpips_alex",
    "lpips_vgg16", "moving_lpips_vgg16", "subject_lpips_vgg16",
    "tlp100_alex", "tlp100_vgg16",
    "tof", "warping_error_farneback", "warping_error_farneback_along_own_flow",
    "flicker",
]  # fmt: skip

CLIP_METRICS: dict[ClipMetricName, Callable[[], ClipMetric]] = {
    "l1": L1,
    "moving_l1": partial(L1, "moving"),
    "subject_l1": partial(L1, "subject"),
    "psnr": PSNR,
    "moving_psnr": partial(PSNR, "moving"),
    "subject_psnr": partial(PSNR, "subject"),
    "ssim": SSIM,
    "moving_ssim": partial(SSIM, "moving"),
    "subject_ssim": partial(SSIM, "subject"),
    "ms_ssim": MSSSIM,
    "moving_ms_ssim": partial(MSSSIM, "moving"),
    "subject_ms_ssim": partial(MSSSIM, "subject"),
    "lpips_alex": partial(LPIPS, "alex"),
    "moving_lpips_alex": partial(LPIPS, "alex", "moving"),
    "subject_lpips_alex": partial(LPIPS, "alex", "subject"),
    "lpips_vgg16": partial(LPIPS, "vgg16"),
    "moving_lpips_vgg16": partial(LPIPS, "vgg16", "moving"),
    "subject_lpips_vgg16": partial(LPIPS, "vgg16", "subject"),
    "tlp100_alex": partial(TemporalLPIPS, "alex"),
    "tlp100_vgg16": partial(TemporalLPIPS, "vgg16"),
    "tof": TOF,
    "warping_error_farneback": WarpingError,
    "warping_error_farneback_along_own_flow": partial(WarpingError, flow_of="prediction"),
    "flicker": Flicker,
}
"""AKD, MKR, jitter, AED and CSIM aren't among them: they need an estimator, whose name is part of theirs."""


def build(names: Iterable[str]) -> tuple[dict[str, ClipMetric], dict[str, str]]:
    """Builds metrics.

    Args:
        names: Of ``CLIP_METRICS``.

    Returns:
        The metrics by name, and the names of those whose weights or packages are missing, with the reason and the
        command that fetches them.

    Raises:
        OptionError: There is no such metric.
    """
    metrics: dict[str, ClipMetric] = {}
    skipped: dict[str, str] = {}
    for name in names:
        if name not in CLIP_METRICS:
            raise OptionError(f"no metric is called {name!r}; there are {', '.join(sorted(CLIP_METRICS))}")
        try:
            metrics[name] = CLIP_METRICS[name]()
        except (MissingWeightsError, MissingPackageError) as missing:
            skipped[name] = str(missing)
    return metrics, skipped
