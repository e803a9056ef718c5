"""Intervals and paired comparison against closed forms and counting by hand."""

import itertools

import numpy as np
import pytest

from benchmarks.statistics import compare, compare_rows, mean_interval


def test_interval_is_the_normal_one_for_many_clips():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    low, high = mean_interval(values.tolist(), seed=0)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_covers_as_often_as_it_says():
    draw = np.random.default_rng(2)
    intervals = [mean_interval(draw.exponential(1.0, 40).tolist(), seed) for seed in range(200)]
    covered = np.mean([low <= 1.0 <= high for low, high in intervals])
    assert 0.88 <= covered <= 0.98  # 95 %, a little less for skewed values, with a standard error of 1.5 %


def test_interval_is_repeatable_and_needs_two_clips():
    values = [1.0, 2.0, 4.0, 8.0]
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)
    assert mean_interval([5.0, 5.0, 5.0], seed=0) == [5.0, 5.0]
    assert mean_interval([5.0], seed=0) is None


def test_permutation_p_value_is_counted_by_hand():
    first, second = [1.0, 2.0, 3.5, 4.0, 6.0], [0.5, 1.0, 3.0, 4.5, 3.0]
    differences = np.subtract(first, second)
    means = [np.mean(np.multiply(signs, differences)) for signs in itertools.product((-1, 1), repeat=5)]
    by_hand = np.mean(np.abs(means) >= abs(differences.mean()) - 1e-12)
    result = compare(first, second)
    assert result.p_value == pytest.approx(by_hand)
    assert result.difference == pytest.approx(differences.mean())
    assert result.clips == 5


def test_a_constant_advantage_is_certain_and_none_is_none():
    values = np.random.default_rng(0).uniform(size=20)
    better = compare((values - 0.1).tolist(), values.tolist())
    assert better.p_value < 1e-3
    assert better.high < 0
    same = compare(values.tolist(), values.tolist())
    assert same.p_value == 1
    assert same.low == same.high == 0
    with pytest.raises(ValueError, match="same two or more clips"):
        compare([1.0], [1.0])


def test_rows_are_paired_by_clip_whatever_their_order():
    def row(clip, value):
        return {"clip": clip, "source": "s", "source_frame": 0, "l1": value}

    first = [row("a", 1.0), row("b", 2.0), row("c", None), row("d", 4.0)]
    second = [row("d", 3.0), row("c", 9.0), row("b", 1.0)]
    result = compare_rows(first, second, "l1")
    assert result is not None
    assert (result.clips, result.difference) == (2, 1.0)
    assert compare_rows(first, second[:1], "l1") is None
