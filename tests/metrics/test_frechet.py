import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from scipy import linalg
from torch import Tensor

from zoo.metrics.frechet import (
    frechet_at_infinity,
    frechet_distance,
    frechet_interval,
    gaussian_frechet_distance,
)


def gaussian(number: int, dimensions: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(number, dimensions, generator=generator, dtype=torch.float64) + shift


@pytest.mark.shared
def test_equals_closed_forms(shared: Path) -> None:
    folder = shared / "parity" / "metrics"
    tensors = load_file(folder / "frechet.safetensors")
    checked = 0
    for name, expected in json.loads((folder / "frechet_expected.json").read_text()).items():
        if f"{name}.x" in tensors:
            sets = tensors[f"{name}.x"], tensors[f"{name}.y"]
            assert frechet_distance(*sets).item() == pytest.approx(expected["expected"], rel=1e-12)
            biased = frechet_distance(*sets, unbiased=False).item()
            assert biased == pytest.approx(expected["expected_biased_cov"], rel=1e-12)
        else:
            statistics = (tensors[f"{name}.{key}"] for key in ("mu1", "sigma1", "mu2", "sigma2"))
            found = gaussian_frechet_distance(*statistics).item()
            assert found == pytest.approx(expected["expected"], rel=1e-12, abs=1e-12)
        checked += 1
    assert checked == 12


@pytest.mark.shared
def test_equals_recorded_fvd_from_recorded_features(shared: Path) -> None:
    folder = shared / "parity" / "metrics"
    features = load_file(folder / "fvd_features_expected.safetensors")
    for convention, expected in json.loads((folder / "fvd_expected.json").read_text())["fvd"].items():
        sets = features[f"fake.{convention}"], features[f"real.{convention}"]
        for unbiased, name in ((True, "unbiased_cov"), (False, "biased_cov")):
            assert frechet_distance(*sets, unbiased).item() == pytest.approx(expected[name], rel=1e-12)


@pytest.mark.parametrize(("numbers", "dimensions"), [((90, 70), 12), ((12, 20), 6), ((30, 200), 40)])
def test_equals_the_textbook_formula(numbers: tuple[int, int], dimensions: int) -> None:
    x = gaussian(numbers[0], dimensions, seed=0) @ gaussian(dimensions, dimensions, seed=1)
    y = gaussian(numbers[1], dimensions, seed=2, shift=0.3)
    covariances = x.T.cov(), y.T.cov()
    root = torch.from_numpy(linalg.sqrtm((covariances[0] @ covariances[1]).numpy()).real)
    expected = (x.mean(0) - y.mean(0)).square().sum() + sum(c.trace() for c in covariances) - 2 * root.trace()
    assert frechet_distance(x, y).item() == pytest.approx(expected.item(), rel=1e-6)
    statistics = x.mean(0), covariances[0], y.mean(0), covariances[1]
    assert gaussian_frechet_distance(*statistics).item() == pytest.approx(frechet_distance(x, y).item(), rel=1e-7)


@pytest.mark.parametrize("number", [5, 40])
def test_symmetric_without_order_and_zero_for_the_same_set(number: int) -> None:
    x, y = gaussian(number, 16, seed=0), gaussian(number + 3, 16, seed=1, scale=2)
    distance = frechet_distance(x, y)
    order = torch.randperm(number, generator=torch.Generator().manual_seed(3))
    assert frechet_distance(y, x).item() == pytest.approx(distance.item(), rel=1e-12)
    assert frechet_distance(x[order], y).item() == pytest.approx(distance.item(), rel=1e-12)
    assert frechet_distance(x, x[order]).item() == pytest.approx(0, abs=1e-12)
    assert frechet_distance(3 * x, 3 * y).item() == pytest.approx(9 * distance.item(), rel=1e-12)
    assert frechet_distance(x + 100, y + 100).item() == pytest.approx(distance.item(), rel=1e-9)


def test_sets_too_small_for_a_covariance_have_no_distance() -> None:
    x = gaussian(1, 4, seed=0)
    assert math.isnan(frechet_distance(x, gaussian(9, 4, seed=1)))
    assert frechet_distance(x, x + 2, unbiased=False).item() == pytest.approx(16)
    assert math.isnan(frechet_distance(x[:0], x, unbiased=False))
    assert all(math.isnan(bound) for bound in frechet_interval(x, x))
    assert math.isnan(frechet_at_infinity(gaussian(7, 4, seed=0), gaussian(9, 4, seed=1)))
    with pytest.raises(ValueError, match=r"\(N, D\) and \(M, D\)"):
        frechet_distance(x, gaussian(5, 3, seed=0))


def test_interval_is_seeded_and_grows_with_confidence() -> None:
    x, y = gaussian(60, 10, seed=0), gaussian(60, 10, seed=1, scale=1.2)
    interval = frechet_interval(x, y, resamples=50)
    assert frechet_interval(x, y, resamples=50) == interval
    assert frechet_interval(x, y, resamples=50, seed=1) != interval
    narrow = frechet_interval(x, y, resamples=50, confidence=0.5)
    assert interval.low < narrow.low < frechet_distance(x, y) < narrow.high < interval.high


def test_interval_of_resampled_rows_equals_its_definition() -> None:
    """The weights that stand for repeated rows change nothing: one draw is the distance of the drawn rows."""
    x, y = gaussian(30, 8, seed=0), gaussian(24, 8, seed=1, scale=2)
    generator = torch.Generator().manual_seed(5)
    draws = torch.stack(
        [
            frechet_distance(
                x[torch.randint(30, (30,), generator=generator)], y[torch.randint(24, (24,), generator=generator)]
            )
            for _ in range(40)
        ]
    )
    spread = (draws - draws.mean()).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    expected = frechet_distance(x, y) - spread.flip(0)
    found = frechet_interval(x, y, resamples=40, seed=5)
    assert list(found) == pytest.approx(expected.tolist(), rel=1e-9)


@pytest.mark.parametrize(("scale", "shift"), [(1.1, 0.3), (1.5, 0.8)])
def test_interval_covers_the_expected_distance(scale: float, shift: float) -> None:
    distances, intervals = [], []
    for trial in range(40):
        x, y = gaussian(80, 10, seed=trial), gaussian(80, 10, seed=1000 + trial, scale=scale, shift=shift)
        distances.append(frechet_distance(x, y).item())
        intervals.append(frechet_interval(x, y, resamples=60))
    expected = sum(distances) / len(distances)
    covered = sum(interval.low <= expected <= interval.high for interval in intervals)
    assert covered >= 34  # 38 of 40 are due; fewer than 34 would happen once in 300 runs
    width = sum(interval.high - interval.low for interval in intervals) / len(intervals)
    needed = 2 * 1.96 * torch.tensor(distances).std().item()
    assert 0.75 < width / needed < 1.5


def test_paired_sets_are_drawn_together() -> None:
    """A good prediction beside its true clip: what differs is small, however much the clips differ."""
    truth = gaussian(50, 10, seed=0)
    prediction = truth + gaussian(50, 10, seed=1, scale=0.01)
    interval = frechet_interval(prediction, truth, resamples=50)
    assert interval.high < 0.01
    assert abs(frechet_at_infinity(prediction, truth).item()) < 0.01
    assert frechet_at_infinity(truth, truth).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("numbers", [(300, 300), (300, 420)])
def test_infinity_removes_the_bias(numbers: tuple[int, int]) -> None:
    true_distance = 20 * (1.1 - 1) ** 2
    found, raw = [], []
    for trial in range(10):
        x, y = gaussian(numbers[0], 20, seed=trial), gaussian(numbers[1], 20, seed=100 + trial, scale=1.1)
        found.append(frechet_at_infinity(x, y).item())
        raw.append(frechet_distance(x, y).item())
    bias = sum(raw) / len(raw) - true_distance
    assert bias > 0.5
    assert abs(sum(found) / len(found) - true_distance) < 0.2 * bias


def test_infinity_of_a_set_many_times_larger_agrees() -> None:
    x, y = gaussian(4000, 10, seed=0), gaussian(4000, 10, seed=1, scale=1.3)
    assert frechet_at_infinity(x[:400], y[:400]).item() == pytest.approx(frechet_distance(x, y).item(), rel=0.15)
