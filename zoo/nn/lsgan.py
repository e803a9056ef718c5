"""Least-squares adversarial losses of pix2pixHD and of the methods that are built on it (arXiv 1711.11585)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.nn.patchgan import Judged


def judged_as(judged: Judged, real: bool) -> Tensor:
    """How far a discriminator is from an answer: the mean of (D - 1)^2 or of D^2, summed over its scales.

    With ``real`` true this is the generator's loss on generated pictures, and the discriminator's on real ones; with
    false it is the discriminator's on generated pictures.
    """
    return torch.stack([distance_to(scale[-1], real) for scale in judged]).sum()


def distance_to(logits: Tensor, real: bool) -> Tensor:
    """The same for one map of logits."""
    return F.mse_loss(logits, torch.full_like(logits, float(real)))


def feature_matching(real: Judged, generated: Judged) -> Tensor:
    """Mean absolute differences of a discriminator's features on real and on generated pictures (equation 4).

    Summed over blocks and averaged over scales; weighted by 4 over the number of blocks with features, so that its size
    doesn't depend on their number.

    Args:
        real: Of the real pictures; no gradient flows here.
        generated: Of the generated pictures.
    """
    terms = []
    for real_scale, generated_scale in zip(real, generated, strict=True):
        *features, _ = zip(generated_scale, real_scale, strict=True)
        weight = 4 / len(features) / len(real)
        terms += [weight * F.l1_loss(ours, truth.detach()) for ours, truth in features]
    return torch.stack(terms).sum()
