from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.methods.pose_attentive_reassembling.networks import Reassembled
from zoo.warp import RandomTransform, in_float32


class LossWeights(TypedDict, total=False):
    """Weight of each loss term; 0 switches the term off.

    Attributes:
        perceptual: One weight for each tapped layer of the perceptual network.
        reconstruction: Mean absolute difference of the pictures, at each scale of the pyramid.
        generator_gan: Adversarial term of the generator; 0 leaves the discriminator untrained.
        discriminator_gan: Adversarial term of the discriminator.
        feature_matching: One weight for each discriminator block.
        equivariance: Keypoints follow a known deformation.
        cross: The cross-identity pass after its warm-up, but for its equivariance, which keeps its own weight; 0 trains
            by self-reconstruction alone.
        mask: Keeps the foreground small: mean of the mask.
        layers: Mean absolute difference of the driving frames from the object alone, and from the background alone. Not
            part of the published method.
        retrieval: Mean absolute difference of the driving frames from the source's own colours, looked up like its
            appearance, where the background fails. Not part of the published method.
    """

    perceptual: list[float]
    reconstruction: float
    generator_gan: float
    discriminator_gan: float
    feature_matching: list[float]
    equivariance: float
    cross: float
    mask: float
    layers: float
    retrieval: float


DEFAULTS: LossWeights = {
    "perceptual": [10, 10, 10, 10, 10],
    "reconstruction": 0,
    "generator_gan": 1,
    "discriminator_gan": 1,
    "feature_matching": [10, 10, 10, 10],
    "equivariance": 10,
    "cross": 1,
    "mask": 0,
    "layers": 0,
    "retrieval": 0,
}
"""Ours, after First Order Motion's: the paper's weights aren't known to us."""


@dataclass(frozen=True)
class CrossPass:
    """A transfer from A's frames to another person B, and from the result back to A.

    Attributes:
        weight: Of all its loss terms, in this step.
        other: (B, N, 3, H, W) true frames of B.
        pseudo: (B, T, 3, H, W) the pseudo driving frames: B in the poses of A's driving frames.
        returned: (B, T, 3, H, W) A, driven by them; should be A's driving frames.
        keypoints: (B, T, K, 2) of the pseudo driving frames.
    """

    weight: float
    other: Tensor
    pseudo: Tensor
    returned: Tensor
    keypoints: Tensor


def feature_matching(real: Sequence[Tensor], generated: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Weighted mean absolute difference of the discriminator's features, summed over its blocks."""
    pairs = zip(weights, real, generated, strict=True)
    return torch.stack([weight * F.l1_loss(ours, truth.detach()) for weight, truth, ours in pairs]).sum()


@in_float32
def equivariance(keypoints: Tensor, transformed: Tensor, transform: RandomTransform) -> Tensor:
    """Keypoints of the deformed frame, moved back, are those of the frame: mean |K(d) - T(K(T o d))|.

    Args:
        keypoints: (N, K, 2) of frames.
        transformed: (N, K, 2) of the frames that ``transform`` deformed.
        transform: One deformation per frame.
    """
    return (keypoints - transform.positions(transformed)).abs().mean()


def layers(own: Reassembled, background: Tensor | None, driving: Tensor) -> Tensor:
    """Mean absolute difference of driving frames from the object alone, and from the background alone.

    Without it the two can agree on a grey object that is half transparent everywhere: where the object shows nothing
    better than the background, nothing tells the mask where it belongs, and little of the error reaches the object.
    The object is judged where the background fails, in proportion to how much: there is the subject. Elsewhere the
    background shows, and what the object is doesn't matter.

    Args:
        own: What was made of the driving frames.
        background: (B, 3, H, W), or None: the object is judged everywhere.
        driving: (B, T, 3, H, W).
    """
    of_object = (failing(background, driving) * (own.object - driving).abs()).mean()
    return of_object if background is None else of_object + (background[:, None] - driving).abs().mean()


def retrieval(own: Reassembled, background: Tensor | None, driving: Tensor) -> Tensor:
    """Mean absolute difference of driving frames from the source's colours that attention finds for them.

    The attention alone can make it small: it tells keypoints and pose embedding, without a way through the decoder,
    what belongs to what, as the sampling correctness of flow-based methods does. Counted where the background fails.

    Args:
        own: What was made of the driving frames; with colours.
        background: (B, 3, H, W), or None: counted everywhere.
        driving: (B, T, 3, H, W).
    """
    assert own.colours is not None
    small = resized(driving, own.colours)
    return (resized(failing(background, driving), own.colours) * (own.colours - small).abs()).mean()


def failing(background: Tensor | None, driving: Tensor) -> Tensor:
    """Where and how much the background fails to be the driving frame, (B, T, 1, H, W), with mean 1; without gradient.

    Args:
        background: (B, 3, H, W); None fails everywhere.
        driving: (B, T, 3, H, W).
    """
    if background is None:
        return torch.ones_like(driving[:, :, :1])
    error = (background[:, None] - driving).abs().detach().mean(dim=2, keepdim=True)
    return error / error.mean().clamp(min=1e-6)


def resized(frames: Tensor, like: Tensor) -> Tensor:
    """Frames (B, T, C, H, W) averaged to the size of ``like`` (..., h, w)."""
    height, width = like.shape[-2:]
    return F.adaptive_avg_pool2d(frames.flatten(0, 1), (height, width)).unflatten(0, frames.shape[:2])


def ramp(epoch: float, start: float, length: float) -> float:
    """0 up to the epoch ``start``, 1 from ``start + length`` on, and a straight line between."""
    if epoch < start:
        return 0.0
    return 1.0 if epoch >= start + length else (epoch - start) / length
