from typing import TypedDict

import torch
from torch import Tensor

from zoo.methods.dwnet.networks import GridPadding, Rendered, sample, shrink
from zoo.nn.lsgan import feature_matching, judged_as
from zoo.nn.patchgan import MultiScalePatchGAN
from zoo.nn.perceptual import PerceptualLoss

PERCEPTUAL_TAP_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""pix2pixHD's weights of the perceptual network's five taps, shallow to deep."""


class LossWeights(TypedDict, total=False):
    """Weight of each term of the generator; 0 switches a term off.

    Attributes:
        gan: The discriminator's verdict, summed over its scales.
        feature_matching: Distance of its features.
        perceptual: Perceptual distance of generated and true frame.
        warp: Perceptual distances of the true frame to source and previous frame as the refined grids warp them.
    """

    gan: float
    feature_matching: float
    perceptual: float
    warp: float


PUBLISHED: LossWeights = {"gan": 1, "feature_matching": 10, "perceptual": 10, "warp": 1}


def generator_terms(
    weights: LossWeights,
    discriminator: MultiScalePatchGAN,
    perceptual: PerceptualLoss,
    surface: Tensor,
    target: Tensor,
    rendered: Rendered,
    pictures: tuple[Tensor, Tensor],
    padding: GridPadding,
) -> dict[str, Tensor]:
    """Weighted terms of one frame.

    Args:
        weights: Of the terms.
        discriminator: Judges surface maps and frames.
        perceptual: Compares pictures in [-1, 1].
        surface: (B, 3, H, W) in [-1, 1], as the networks see it.
        target: (B, 3, H, W) in [-1, 1]: the true frame.
        rendered: The generated frame.
        pictures: Source and previous frame, (B, 3, H, W) in [-1, 1].
        padding: What warps find outside of these.
    """
    terms = {}
    if weights["gan"] or weights["feature_matching"]:
        judged = discriminator(torch.cat([surface, rendered.picture], 1))
        if weights["gan"]:
            terms["gan"] = weights["gan"] * judged_as(judged, real=True)
        if weights["feature_matching"]:
            with torch.no_grad():
                real = discriminator(torch.cat([surface, target], 1))
            terms["feature_matching"] = weights["feature_matching"] * feature_matching(real, judged)
    if weights["perceptual"]:
        terms["perceptual"] = weights["perceptual"] * perceptual(rendered.picture, target)
    if weights["warp"] and rendered.source is not None and rendered.previous is not None:
        grids = [rendered.source.grid, rendered.previous.grid]
        terms["warp"] = weights["warp"] * warp_distance(perceptual, target, pictures, grids, padding)
    return terms


def warp_distance(
    perceptual: PerceptualLoss,
    target: Tensor,
    pictures: tuple[Tensor, Tensor],
    grids: list[Tensor],
    padding: GridPadding,
) -> Tensor:
    """Sum of the perceptual distances of warped pictures to the true frame, all at the size of the grids.

    It is what teaches the refiner directly (section 3.4).

    Args:
        perceptual: Compares pictures in [-1, 1].
        target: (B, 3, H, W): the true frame.
        pictures: Source and previous frame, (B, 3, H, W).
        grids: (B, h, w, 2) for each.
        padding: What they find outside of the pictures.
    """
    target = shrink(target, grids[0])
    warped = [sample(shrink(picture, grid), grid, padding) for picture, grid in zip(pictures, grids, strict=True)]
    return torch.stack([perceptual(picture, target) for picture in warped]).sum()


def discriminator_terms(
    discriminator: MultiScalePatchGAN, surface: Tensor, target: Tensor, generated: Tensor
) -> dict[str, Tensor]:
    """Least squares on the true and on the generated frame, half of each as official."""
    return {
        "real": 0.5 * judged_as(discriminator(torch.cat([surface, target], 1)), real=True),
        "generated": 0.5 * judged_as(discriminator(torch.cat([surface, generated], 1)), real=False),
    }
