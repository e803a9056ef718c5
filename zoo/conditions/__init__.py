"""Conditions estimated from videos."""

from zoo.conditions.estimator import ESTIMATORS, PoseEstimator, check_finds, load_estimator
from zoo.conditions.surface import SurfaceEstimator, load_surface_estimator
from zoo.conditions.surface_files import (
    SurfaceEncoding,
    decode_surface,
    encode_surface,
    find_encoding,
    iter_surface_pictures,
    paint_parts,
    recognise_parts,
)
from zoo.conditions.track import Smoothing, clean_track, estimate_track, missing_rates

__all__ = [
    "ESTIMATORS",
    "PoseEstimator",
    "Smoothing",
    "SurfaceEncoding",
    "SurfaceEstimator",
    "check_finds",
    "clean_track",
    "decode_surface",
    "encode_surface",
    "estimate_track",
    "find_encoding",
    "iter_surface_pictures",
    "load_estimator",
    "load_surface_estimator",
    "missing_rates",
    "paint_parts",
    "recognise_parts",
]
