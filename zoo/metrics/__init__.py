"""Metrics on clips and on sets of clips, one torchmetrics class per file: ``update(...)``, then ``compute()``."""

from zoo.metrics.aed import AED
from zoo.metrics.akd import AKD
from zoo.metrics.clip_metric import ClipMetric, Need
from zoo.metrics.csim import CSIM
from zoo.metrics.embedding import IdentityEmbedding
from zoo.metrics.estimated import ESTIMATED, EstimatedName, build_estimated
from zoo.metrics.fid import FID
from zoo.metrics.flicker import Flicker
from zoo.metrics.flow import Farneback, FlowEstimator, MissingPackageError
from zoo.metrics.fvd import FVD
from zoo.metrics.jitter import Jitter
from zoo.metrics.keypoints import KeypointEstimator
from zoo.metrics.kid import KID
from zoo.metrics.l1 import L1
from zoo.metrics.lpips import LPIPS
from zoo.metrics.mkr import MKR
from zoo.metrics.ms_ssim import MSSSIM
from zoo.metrics.psnr import PSNR
from zoo.metrics.region import Region
from zoo.metrics.registry import CLIP_METRICS, ClipMetricName, build
from zoo.metrics.ssim import SSIM
from zoo.metrics.temporal_lpips import TemporalLPIPS
from zoo.metrics.tof import TOF
from zoo.metrics.warping_error import WarpingError

__all__ = [
    "AED",
    "AKD",
    "CLIP_METRICS",
    "CSIM",
    "ESTIMATED",
    "FID",
    "FVD",
    "KID",
    "L1",
    "LPIPS",
    "MKR",
    "MSSSIM",
    "PSNR",
    "SSIM",
    "TOF",
    "ClipMetric",
    "ClipMetricName",
    "EstimatedName",
    "Farneback",
    "Flicker",
    "FlowEstimator",
    "IdentityEmbedding",
    "Jitter",
    "KeypointEstimator",
    "MissingPackageError",
    "Need",
    "Region",
    "TemporalLPIPS",
    "WarpingError",
    "build",
    "build_estimated",
]
