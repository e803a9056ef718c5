"""Conditions estimated from videos."""

from zoo.conditions.estimator import ESTIMATORS, PoseEstimator, load_estimator
from zoo.conditions.track import Smoothing, clean_track, estimate_track, missing_rates

__all__ = [
    "ESTIMATORS",
    "PoseEstimator",
    "Smoothing",
    "clean_track",
    "estimate_track",
    "load_estimator",
    "missing_rates",
]
