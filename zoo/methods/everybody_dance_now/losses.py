from typing import TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.methods.everybody_dance_now.faces import crop
from zoo.methods.everybody_dance_now.networks import Body
from zoo.nn.lsgan import distance_to, feature_matching, judged_as
from zoo.nn.patchgan import MultiScalePatchGAN, PatchGAN
from zoo.nn.perceptual import PerceptualLoss

PERCEPTUAL_TAP_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""pix2pixHD's weights of the perceptual network's five taps, shallow to deep."""


class LossWeights(TypedDict, total=False):
    """Weight of each term of the generators; 0 switches a term off.

    Attributes:
        gan: The temporal discriminator's verdict on two frames.
        feature_matching: Distance of its features.
        perceptual: Perceptual distance of the frames, the mean over both.
        reconstruction: Mean absolute difference of the last frame, or of both; an option of the official code, off as
            published.
        face_gan: The face discriminator's verdict, the mean over both frames.
        face_perceptual: Perceptual distance of the faces, the mean over both frames.
    """

    gan: float
    feature_matching: float
    perceptual: float
    reconstruction: float
    face_gan: float
    face_perceptual: float


def published_weights(body: Body, temporal_smoothing: bool) -> LossWeights:
    """The official code's weights, which depend on the body generator; pix2pixHD's without temporal smoothing."""
    # Official: the perceptual terms of the two frames are averaged for the global generator, added for the local one.
    return {
        "gan": 1,
        "feature_matching": 10,
        "perceptual": 20 if body == "local" and temporal_smoothing else 10,
        "reconstruction": 0,
        "face_gan": 1,
        "face_perceptual": 10,
    }


def stacked(figures: Tensor, frames: Tensor) -> Tensor:
    """What the temporal discriminator judges: T figures, then T frames (B, T, 3, H, W), as channels (B, 6 T, H, W)."""
    return torch.cat([figures.flatten(1, 2), frames.flatten(1, 2)], dim=1)


def generator_terms(
    weights: LossWeights,
    discriminator: MultiScalePatchGAN,
    perceptual: PerceptualLoss,
    figures: Tensor,
    frames: Tensor,
    generated: Tensor,
    reconstruct_first: bool,
) -> dict[str, Tensor]:
    """Weighted terms of whole frames; figures, true and generated frames are (B, T, 3, H, W)."""
    terms = {}
    if weights["gan"] or weights["feature_matching"]:
        judged = discriminator(stacked(figures, generated))
        if weights["gan"]:
            terms["gan"] = weights["gan"] * judged_as(judged, real=True)
        if weights["feature_matching"]:
            with torch.no_grad():
                real = discriminator(stacked(figures, frames))
            terms["feature_matching"] = weights["feature_matching"] * feature_matching(real, judged)
    if weights["perceptual"]:
        distance = perceptual(generated.flatten(0, 1), frames.flatten(0, 1))
        terms["perceptual"] = weights["perceptual"] * distance
    if weights["reconstruction"]:
        compared = slice(None) if reconstruct_first else slice(-1, None)  # Official: the second frame alone
        terms["reconstruction"] = weights["reconstruction"] * F.l1_loss(generated[:, compared], frames[:, compared])
    return terms


def discriminator_terms(
    discriminator: MultiScalePatchGAN, figures: Tensor, frames: Tensor, generated: Tensor
) -> dict[str, Tensor]:
    """Terms of the temporal discriminator, half of each as official."""
    return {
        "real": 0.5 * judged_as(discriminator(stacked(figures, frames)), real=True),
        "generated": 0.5 * judged_as(discriminator(stacked(figures, generated)), real=False),
    }


def face_generator_terms(
    weights: LossWeights,
    discriminator: PatchGAN,
    perceptual: PerceptualLoss,
    figures: Tensor,
    frames: Tensor,
    generated: Tensor,
    boxes: Tensor,
) -> dict[str, Tensor]:
    """Weighted terms of the squares around the faces (B, 4) of (B, T, 3, H, W)."""
    terms = {}
    if weights["face_gan"]:
        verdicts = judge_faces(discriminator, figures, generated, boxes)
        terms["face_gan"] = weights["face_gan"] * faces_judged_as(verdicts, real=True)
    if weights["face_perceptual"]:
        pairs = zip(generated.unbind(1), frames.unbind(1), strict=True)
        distances = [perceptual(crop(ours, boxes), crop(truth, boxes)) for ours, truth in pairs]
        terms["face_perceptual"] = weights["face_perceptual"] * torch.stack(distances).mean()
    return terms


def face_discriminator_terms(
    discriminator: PatchGAN, figures: Tensor, frames: Tensor, generated: Tensor, boxes: Tensor
) -> dict[str, Tensor]:
    """Terms of the face discriminator, half of each as official."""
    real = judge_faces(discriminator, figures, frames, boxes)
    fake = judge_faces(discriminator, figures, generated, boxes)
    return {
        "face_real": 0.5 * faces_judged_as(real, real=True),
        "face_generated": 0.5 * faces_judged_as(fake, real=False),
    }


def judge_faces(discriminator: PatchGAN, figures: Tensor, frames: Tensor, boxes: Tensor) -> list[Tensor]:
    """The face discriminator's logits (B, 1, h, w) for each of T moments, which it sees one by one."""
    return [discriminator(crop(moment, boxes)) for moment in torch.cat([figures, frames], dim=2).unbind(1)]


def faces_judged_as(logits: list[Tensor], real: bool) -> Tensor:
    """Least squares against one answer, the mean over frames.

    Args:
        logits: (B, 1, h, w) for each frame.
        real: The answer.
    """
    # Official: only the last sample of a batch counts, which is the mean at the published batch of one.
    return torch.stack([distance_to(frame, real) for frame in logits]).mean()
