from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from zoo.warp import Keypoints, RandomTransform, in_float32

Judged = list[tuple[list[Tensor], Tensor]]
"""A discriminator's answer: for each scale its feature maps and its map of verdicts."""


class LossWeights(TypedDict, total=False):
    """Weight of each loss term; 0 switches the term off.

    Attributes:
        perceptual: One weight for each tapped layer of the perceptual network.
        generator_gan: Adversarial term of the generator; 0 leaves the discriminator untrained.
        discriminator_gan: Adversarial term of the discriminator.
        feature_matching: One weight for each discriminator block.
        equivariance_value: Keypoints follow a known deformation.
        equivariance_jacobian: So do their local frames.
    """

    perceptual: list[float]
    generator_gan: float
    discriminator_gan: float
    feature_matching: list[float]
    equivariance_value: float
    equivariance_jacobian: float


VOX_256: LossWeights = {
    "perceptual": [10, 10, 10, 10, 10],
    "generator_gan": 0,
    "discriminator_gan": 1,
    "feature_matching": [10, 10, 10, 10],
    "equivariance_value": 10,
    "equivariance_jacobian": 10,
}
"""The published weights of vox-256, where no adversarial term is used."""


def generator_adversarial(generated: Judged) -> Tensor:
    """Least squares: the mean of (1 - D(generated))^2, summed over scales."""
    return torch.stack([((1 - verdict) ** 2).mean() for _, verdict in generated]).sum()


def discriminator_adversarial(real: Judged, generated: Judged) -> Tensor:
    """Least squares: the mean of (1 - D(real))^2 + D(generated)^2, summed over scales."""
    pairs = zip(real, generated, strict=True)
    return torch.stack([((1 - r) ** 2 + g**2).mean() for (_, r), (_, g) in pairs]).sum()


def feature_matching(real: Judged, generated: Judged, weights: Sequence[float]) -> Tensor:
    """Weighted mean absolute difference of the discriminator's features, summed over scales and blocks."""
    terms = [
        weight * (r - g).abs().mean()
        for (real_maps, _), (generated_maps, _) in zip(real, generated, strict=True)
        for weight, r, g in zip(weights, real_maps, generated_maps, strict=False)
    ]
    return torch.stack(terms).sum()


@in_float32
def equivariance_value(driving: Keypoints, transformed: Keypoints, transform: RandomTransform) -> Tensor:
    """Keypoints of the deformed frame, moved back, are those of the frame: mean |p - T(p_T)| (equation 9)."""
    return (driving.value - transform.positions(transformed.value)).abs().mean()


@in_float32
def equivariance_jacobian(driving: Keypoints, transformed: Keypoints, transform: RandomTransform) -> Tensor:
    """The same for the local frames: mean |1 - J^-1 dT/dq(p_T) J_T| (equation 11)."""
    assert driving.jacobian is not None and transformed.jacobian is not None
    expected = transform.jacobians(transformed.value) @ transformed.jacobian
    ratio = torch.linalg.inv(driving.jacobian.float()) @ expected.float()
    return (torch.eye(2, device=ratio.device) - ratio).abs().mean()
