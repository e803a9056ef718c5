"""Fréchet distance between two sets of features, as FVD and FID have it; its interval, and its value at infinity."""

from typing import NamedTuple

import torch
from torch import Tensor


class Interval(NamedTuple):
    """Bounds of a confidence interval."""

    low: float
    high: float


def frechet_distance(x: Tensor, y: Tensor, unbiased: bool = True) -> Tensor:
    """Fréchet distance between Gaussians fitted to two sets (Dowson and Landau 1982; Heusel et al. 2017, eq. 6).

    ‖μ_x - μ_y‖² + tr Σ_x + tr Σ_y - 2 tr (Σ_x Σ_y)^½. With centred features A and B, Σ_x = AᵀA and Σ_y = BᵀB, the last
    trace is the sum of the singular values of ABᵀ. No square root of a matrix is taken, which makes it exact to
    rounding for sets smaller than their dimension too. May be negative by rounding.

    Args:
        x: Features (N, D).
        y: Features (M, D).
        unbiased: Covariances divided by N - 1 (the original code) instead of N (StyleGAN-V).

    Returns:
        A float64 scalar on the CPU; NaN where a set is too small for its covariance.

    Raises:
        ValueError: The shapes don't fit together.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"features should be (N, D) and (M, D), not {tuple(x.shape)} and {tuple(y.shape)}")
    if min(len(x), len(y)) < (2 if unbiased else 1):
        return torch.tensor(torch.nan, dtype=torch.float64)
    x, y = x.detach().cpu().double(), y.detach().cpu().double()
    return _from_factors(x.mean(0) - y.mean(0), _covariance_factor(x, unbiased), _covariance_factor(y, unbiased))


def gaussian_frechet_distance(mean_x: Tensor, covariance_x: Tensor, mean_y: Tensor, covariance_y: Tensor) -> Tensor:
    """Fréchet distance from stored statistics, where the features are gone.

    Args:
        mean_x: (D,).
        covariance_x: (D, D), symmetric and positive semi-definite.
        mean_y: (D,).
        covariance_y: (D, D).

    Returns:
        A float64 scalar on the CPU. For covariances without full rank about 1e-8 of it is lost to rounding;
        :func:`frechet_distance` isn't so limited.
    """
    means = (mean_x.detach().cpu().double(), mean_y.detach().cpu().double())
    return _from_factors(means[0] - means[1], _matrix_factor(covariance_x), _matrix_factor(covariance_y))


def frechet_interval(
    x: Tensor, y: Tensor, unbiased: bool = True, resamples: int = 200, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Confidence interval of the Fréchet distance at this number of features, by bootstrap over them.

    Draws with replacement see fewer different features, so their distances lie higher as a whole. What is used is how
    far they spread around their own mean, reflected at the distance of the sets (the basic bootstrap for the expected
    distance at this number). That small sets raise the distance itself isn't part of it; see
    :func:`frechet_at_infinity`. It errs on the wide side where there are fewer features than dimensions: about twice
    the width that simulated sets of 64 to 256 features in 400 dimensions call for.

    Where the sets are equally large, their features are drawn in pairs: right for predictions beside their true clips,
    and no mistake for unrelated sets. Features are taken as independent, which those of one video's clips or frames
    are not: of these the interval is too narrow.

    Args:
        x: Features (N, D).
        y: Features (M, D).
        unbiased: As in :func:`frechet_distance`.
        resamples: Draws.
        confidence: Share of the spread that lies inside.
        seed: Of the draws.

    Returns:
        The bounds; NaN where there is no distance.
    """
    generator = torch.Generator().manual_seed(seed)
    x, y = x.detach().cpu().double(), y.detach().cpu().double()
    value = frechet_distance(x, y, unbiased)
    if value.isnan():
        return Interval(torch.nan, torch.nan)
    draws = torch.stack([_resampled_distance(x, y, unbiased, generator) for _ in range(resamples)])
    tail = (1 - confidence) / 2
    lowest, highest = (draws - draws.mean()).quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(value.item() - highest, value.item() - lowest)


def frechet_at_infinity(x: Tensor, y: Tensor, unbiased: bool = True, points: int = 15, seed: int = 0) -> Tensor:
    """The Fréchet distance without the bias of a finite number of features, extrapolated.

    The bias goes with 1 / N (Chong and Forsyth 2020, "Effectively unbiased FID and Inception Score and where to find
    them"): distances of random subsets of growing size are fitted by a line in 1 / N, whose value at 0 is the answer.
    Their smallest subset is a tenth of the set. Here it is half, since with fewer features than dimensions the
    relation is no line; and for such sets the answer still lies above the true one. Subsets of equally large sets are
    drawn in pairs, as in :func:`frechet_interval`.

    Args:
        x: Features (N, D).
        y: Features (M, D).
        unbiased: As in :func:`frechet_distance`.
        points: Sizes of subsets, from half of the set to all of it.
        seed: Of the draws.

    Returns:
        A float64 scalar on the CPU; NaN for fewer than eight features.
    """
    if min(len(x), len(y)) < 8:
        return torch.tensor(torch.nan, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    x, y = x.detach().cpu().double(), y.detach().cpu().double()
    inverse_shares, distances = [], []
    for share in torch.linspace(0.5, 1, points).tolist():
        chosen_x = _subset(len(x), share, generator)
        chosen_y = chosen_x if len(x) == len(y) else _subset(len(y), share, generator)
        inverse_shares.append(len(x) / len(chosen_x))
        distances.append(frechet_distance(x[chosen_x], y[chosen_y], unbiased))
    line = torch.stack([torch.ones(points), torch.tensor(inverse_shares)], dim=1).double()
    return torch.linalg.lstsq(line, torch.stack(distances)[:, None]).solution[0, 0]


def _subset(number: int, share: float, generator: torch.Generator) -> Tensor:
    return torch.randperm(number, generator=generator)[: round(share * number)]


def _resampled_distance(x: Tensor, y: Tensor, unbiased: bool, generator: torch.Generator) -> Tensor:
    """The distance between one draw with replacement from each set."""
    counts_x = _draw(len(x), generator)
    counts_y = counts_x if len(x) == len(y) else _draw(len(y), generator)
    factors, means = [], []
    for features, counts in ((x, counts_x), (y, counts_y)):
        drawn = counts > 0
        weights = counts[drawn, None]
        mean = (weights * features[drawn]).sum(0) / len(features)
        # A feature drawn n times is one row with weight √n: the same covariance from fewer rows.
        centred = weights.sqrt() * (features[drawn] - mean)
        factors.append(_compact(centred / (len(features) - unbiased) ** 0.5))
        means.append(mean)
    return _from_factors(means[0] - means[1], *factors)


def _draw(number: int, generator: torch.Generator) -> Tensor:
    """How often each of so many features is drawn in as many draws."""
    return torch.randint(number, (number,), generator=generator).bincount(minlength=number).double()


def _from_factors(means_apart: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The distance from factors of the covariances, Σ_x = aᵀa and Σ_y = bᵀb."""
    root_trace = torch.linalg.svdvals(a @ b.T).sum()
    return means_apart.square().sum() + a.square().sum() + b.square().sum() - 2 * root_trace


def _covariance_factor(features: Tensor, unbiased: bool) -> Tensor:
    """A matrix F with FᵀF = covariance of the features (N, D)."""
    return _compact((features - features.mean(0)) / (len(features) - unbiased) ** 0.5)


def _compact(factor: Tensor) -> Tensor:
    """A factor with at most D rows: of many rows the triangle of their QR decomposition says the same."""
    return torch.linalg.qr(factor, mode="r").R if len(factor) > factor.shape[1] else factor


def _matrix_factor(covariance: Tensor) -> Tensor:
    """A matrix F with FᵀF = covariance (D, D). Eigenvalues that are only rounding are set to 0."""
    values, vectors = torch.linalg.eigh(covariance.detach().cpu().double())
    noise = values.abs().max() * len(values) * torch.finfo(torch.float64).eps
    values = torch.where(values > noise, values, 0.0)
    return values.sqrt()[:, None] * vectors.T
