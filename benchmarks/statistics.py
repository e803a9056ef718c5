"""Which differences are real: bootstrap intervals over clips, and paired comparison on the same clips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.95
RESAMPLES = 2000
PERMUTATIONS = 9999


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same clips.

    Attributes:
        difference: Mean over clips of first minus second.
        low: Lower end of its 95 % bootstrap interval.
        high: Upper end.
        p_value: Two-sided, of the sign-flip permutation test: how often a difference at least as large comes about
            when which method is which is decided clip by clip at random.
        clips: On how many clips both have a value.
    """

    difference: float
    low: float
    high: float
    p_value: float
    clips: int


def mean_interval(values: Sequence[float], seed: int = 0) -> list[float] | None:
    """The 95 % percentile bootstrap interval of the mean over clips.

    Args:
        values: One per clip, without NaN.
        seed: Of the resampling.

    Returns:
        Low and high end; None for fewer than two clips, from which nothing follows about others.
    """
    if len(values) < 2:
        return None
    interval = stats.bootstrap(
        (np.asarray(values, float),),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return [float(interval.low), float(interval.high)]


def compare(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Comparison:
    """Compares two methods, clip by clip.

    Args:
        first: A value per clip.
        second: The same clips' values of another method, in the same order.
        seed: Of resampling and permutations.

    Raises:
        ValueError: The lengths differ, or there are fewer than two clips.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"a paired comparison needs the same two or more clips, not {len(first)} and {len(second)}")
    differences = np.asarray(first, float) - np.asarray(second, float)
    low, high = mean_interval(differences.tolist(), seed) or [np.nan, np.nan]
    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        rng=np.random.default_rng(seed),
    )
    return Comparison(float(differences.mean()), low, high, float(test.pvalue), len(differences))


def compare_rows(
    first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]], metric: str, seed: int = 0
) -> Comparison | None:
    """Compares two results' rows on the clips for which both have a value of the metric; None below two clips."""
    ours, theirs = _by_clip(first, metric), _by_clip(second, metric)
    common = sorted(ours.keys() & theirs.keys())
    if len(common) < 2:
        return None
    return compare([ours[clip] for clip in common], [theirs[clip] for clip in common], seed)


def _by_clip(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[tuple[str, str, int], float]:
    return {
        (row["clip"], row["source"], row["source_frame"]): row[metric] for row in rows if row.get(metric) is not None
    }
