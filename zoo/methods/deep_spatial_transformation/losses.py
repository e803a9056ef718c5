"""The loss terms, unweighted, and the features that most of them compare."""

from collections.abc import Mapping
from functools import partial
from typing import Literal, TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.nn.features import FeatureNetworkName, Frozen, feature_network
from zoo.warp.precision import in_float32
from zoo.warp.resampling import sample_gaussian

Stage = Literal["flow", "all"]

TAPS: dict[FeatureNetworkName, dict[str, int]] = {
    "vgg19": {
        "relu1_1": 1, "relu2_1": 6, "relu2_2": 8, "relu3_1": 11, "relu3_4": 17,
        "relu4_1": 20, "relu4_4": 26, "relu5_1": 29, "relu5_2": 31,
    },
    "vgg16": {  # a stage has three layers instead of four: relu3_3 and relu4_3 stand in for relu3_4 and relu4_4
        "relu1_1": 1, "relu2_1": 6, "relu2_2": 8, "relu3_1": 11, "relu3_4": 15,
        "relu4_1": 18, "relu4_4": 22, "relu5_1": 25, "relu5_2": 27,
    },
    "alexnet": {  # one layer for each stage
        "relu1_1": 1, "relu2_1": 4, "relu2_2": 4, "relu3_1": 7, "relu3_4": 7,
        "relu4_1": 9, "relu4_4": 9, "relu5_1": 11, "relu5_2": 11,
    },
}  # fmt: skip
"""Layers by VGG-19's names, and what is nearest to them in the other networks."""

PERCEPTUAL_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
STYLE_LAYERS = ("relu2_2", "relu3_4", "relu4_4", "relu5_2")

CORRESPONDENCE: dict[FeatureNetworkName, dict[int, str]] = {
    "vgg19": {1: "relu2_1", 2: "relu3_1", 3: "relu4_1"},
    "vgg16": {1: "relu2_1", 2: "relu3_1", 3: "relu4_1"},
    "alexnet": {1: "relu1_1", 2: "relu1_1", 3: "relu2_1"},  # nearest in size: AlexNet's first layer is at a quarter
}
"""Level of a flow -> the layer whose features it should bring together."""

Maps = Mapping[str, Tensor]
"""Layer, by VGG-19's names -> feature maps (B, C, h, w)."""


class LossWeights(TypedDict, total=False):
    """Weight of each loss term; 0 switches the term off.

    Attributes:
        reconstruction: Mean absolute difference of the pictures.
        perceptual: Mean absolute difference of features.
        style: Mean absolute difference of the features' Gram matrices.
        adversarial: Of the generator against each discriminator; 0 leaves the discriminators untrained.
        sampling_correctness: Flows bring together what looks alike.
        affine_regularisation: Flows are locally affine.
    """

    reconstruction: float
    perceptual: float
    style: float
    adversarial: float
    sampling_correctness: float
    affine_regularisation: float


PUBLISHED: dict[Stage, LossWeights] = {
    "flow": {"sampling_correctness": 20, "affine_regularisation": 0.01},
    "all": {
        "reconstruction": 5,
        "perceptual": 0.5,
        "style": 500,
        "adversarial": 2,
        "sampling_correctness": 5,
        "affine_regularisation": 0.0025,
    },
}
"""The published weights of either stage."""


class LossFeatures:
    """A frozen ImageNet network's features of pictures in [-1, 1], by layer.

    Official: pictures go into the network as they are, without ImageNet's normalisation.

    Args:
        network: A published network by name; its weights are looked up when features are first computed.
        layers: Which layers are wanted, by VGG-19's names.

    Raises:
        MissingWeightsError: At the first call: the weights aren't on this machine; names the command.
    """

    def __init__(self, network: FeatureNetworkName, layers: set[str]) -> None:
        self._taps = {layer: tap for layer, tap in TAPS[network].items() if layer in layers}
        self._numbers = sorted(set(self._taps.values()))
        self._network = Frozen(partial(feature_network, network, self._numbers, normalise=False))

    def __call__(self, pictures: Tensor) -> Maps:
        """Features of (B, 3, H, W); gradients reach the pictures where they are asked for."""
        outputs = dict(zip(self._numbers, self._network(pictures), strict=True))
        return {layer: outputs[tap] for layer, tap in self._taps.items()}


@in_float32
def gram(features: Tensor) -> Tensor:
    """F F^T / (C H W) of (B, C, H, W), as (B, C, C)."""
    flat = features.flatten(2)
    return flat @ flat.mT / flat[0].numel()


def perceptual(generated: Maps, target: Maps) -> Tensor:
    """Sum over layers of the mean absolute difference."""
    return torch.stack([F.l1_loss(generated[layer], target[layer]) for layer in PERCEPTUAL_LAYERS]).sum()


def style(generated: Maps, target: Maps) -> Tensor:
    """Sum over layers of the mean absolute difference of the Gram matrices."""
    return torch.stack([F.l1_loss(gram(generated[layer]), gram(target[layer])) for layer in STYLE_LAYERS]).sum()


@in_float32
def sampling_correctness(flow: Tensor, source: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """How much less alike the flow's choice is than the best one: mean_p exp(-c_p / c_max,p) - 1 / e (equation 3).

    c_p is the cosine similarity of the target's feature at p and the source's where the flow points to, c_max,p the
    largest one anywhere in the source. The gradient goes to the flow alone.

    Args:
        flow: (B, 2, h', w') in pixels; brought to h x w by the nearest neighbour where sizes differ.
        source: (B, C, h, w) features.
        target: (B, C, h, w) features.
        mask: (B, 1, H, W), or None: how much each position counts.
    """
    size = target.shape[-2:]
    if flow.shape[-2:] != size:
        flow = F.interpolate(flow, size)
    sampled = sample_gaussian(source.detach(), flow, kernel_size=4, dilation=1, sigma=2)
    similarity = F.cosine_similarity(sampled, target.detach(), dim=1)  # B, h, w
    best = largest_similarity(source.detach(), target.detach())
    error = torch.exp(-similarity / (best + 1e-8)) - torch.exp(similarity.new_tensor(-1.0))
    if mask is None:
        return error.mean()
    weight = F.interpolate(mask, size)[:, 0]
    return (weight * error).sum() / (weight.sum() + 1e-8)


@torch.no_grad()
def largest_similarity(source: Tensor, target: Tensor, rows: int = 1024) -> Tensor:
    """The largest cosine similarity of each target position with any source position.

    Args:
        source: (B, C, h, w).
        target: (B, C, h, w).
        rows: Target positions compared at once, each with all of the source: bounds the memory.

    Returns:
        (B, h, w).
    """
    source, target = (x / (x.norm(dim=1, keepdim=True) + 1e-8) for x in (source, target))
    positions, candidates = target.flatten(2).mT, source.flatten(2)
    best = [(part @ candidates).amax(-1) for part in positions.split(rows, dim=1)]
    return torch.cat(best, dim=1).unflatten(1, target.shape[-2:])


@in_float32
def affine_regularisation(flow: Tensor, patch_size: int) -> Tensor:
    """How far the flow is from locally affine (equation 5): the squared residual of the best affine fit.

    Summed over each k x k window and both coordinates, averaged over windows and batch. What is fitted is the position
    that the flow points to; as the position of the pixel itself is affine, fitting the flow leaves the same residual,
    with less round-off.

    Args:
        flow: (B, 2, h, w).
        patch_size: k.
    """
    k = patch_size
    residual = affine_residual(k, flow).view(k * k, 1, k, k)
    left = F.conv2d(flow.flatten(0, 1)[:, None], residual)  # 2 B, k^2, h - k + 1, w - k + 1
    return 2 * left.square().sum(1).mean()


def affine_residual(patch_size: int, like: Tensor) -> Tensor:
    """I - A (A^T A)^-1 A^T, (k^2, k^2): takes a k x k window, row by row, to what no affine function explains."""
    index = torch.arange(patch_size, device=like.device, dtype=torch.float64)
    rows, columns = torch.meshgrid(index, index, indexing="ij")
    affine = torch.stack([rows, columns, torch.ones_like(rows)], -1).flatten(0, 1)
    projection = affine @ torch.linalg.pinv(affine)
    return (torch.eye(patch_size**2, device=like.device, dtype=torch.float64) - projection).to(like.dtype)


def judged_real(verdict: Tensor) -> Tensor:
    """Least squares: the mean of (D - 1)^2, which is 0 where everything was taken for real."""
    return (verdict.float() - 1).square().mean()


def discriminator_adversarial(real: Tensor, generated: Tensor) -> Tensor:
    """Least squares: half the mean of (D(real) - 1)^2 and of D(generated)^2."""
    return 0.5 * (judged_real(real) + generated.float().square().mean())
