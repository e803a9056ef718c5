import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Adam
from torch.optim.lr_scheduler import MultiStepLR

from zoo.adversarial import AdversarialTraining, Phase
from zoo.base import MotionOptions
from zoo.batch import Batch
from zoo.errors import OptionError
from zoo.methods.pose_attentive_reassembling import losses
from zoo.methods.pose_attentive_reassembling.losses import DEFAULTS, CrossPass, LossWeights
from zoo.methods.pose_attentive_reassembling.networks import (
    Background,
    BackgroundNetwork,
    Encoder,
    KeypointHead,
    Pose,
    Reassembled,
    Reassembler,
    Similarity,
    Sources,
    check_strides,
)
from zoo.methods.pose_attentive_reassembling.retrieval import Attention, AttentionScale, Memory
from zoo.methods.pose_attentive_reassembling.views import over_frames, show_attention
from zoo.nn.features import FeatureNetworkName
from zoo.nn.lsgan import distance_to
from zoo.nn.patch_discriminator import PatchDiscriminator
from zoo.nn.perceptual import PerceptualLoss
from zoo.nn.pyramid import Pyramid
from zoo.pictures import draw_points
from zoo.warp import RandomTransform
from zoo.weights.checkpoint import initialise_from


@dataclass(frozen=True)
class State:
    """What is remembered between chunks; B clips of N source frames.

    Attributes:
        pictures: (B, N, 3, H, W) the source frames themselves.
        sources: What results are reassembled from.
        generated: The last results as something to look into, where the method does that.
        pose: Of the chunk that was rendered last.
        rendered: That chunk.
    """

    pictures: Tensor
    sources: Sources
    generated: Memory | None = None
    pose: Pose | None = None
    rendered: Reassembled | None = None


class PoseAttentiveReassembling(AdversarialTraining):
    """Cross-Identity Motion Transfer through Pose-Attentive Video Reassembling (Jeon et al., ECCV 2020).

    Every position of the result looks up, by similarity of learned-keypoint embeddings, appearance anywhere in any
    number of source frames; what it finds is decoded. A second training pass transfers to another person and back.
    No code was published, and the paper's settings weren't available to us: the defaults are our choices, see the
    README. What is said to be no part of the published method is off by default.

    Args:
        num_keypoints: Keypoints K.
        temperature: Of the spatial softmax over the keypoints' maps.
        keypoint_variance: Variance of the blobs that keypoints are rendered as.
        width: Channels of encoder and decoder at full resolution.
        max_width: Their widest level.
        encoder_down_blocks: Halvings before keypoints are found.
        encoder_blocks: Residual blocks of the encoder.
        heatmap_width: Channels of the keypoint hourglass at its full resolution.
        heatmap_max_width: Its widest level.
        heatmap_blocks: Its levels.
        pose_channels: Channels of queries and keys.
        appearance_channels: Channels of the values and of the decoder's residual blocks.
        decoder_blocks: Residual blocks of the decoder.
        background: What the background is made of: ``mean``: all source frames, completed and averaged; ``seen``: what
            each of them shows of it, completed where none does, which is not part of the published method; ``first``:
            the first, completed; ``none``: all of a result is the object.
        background_width: Channels of the background network at full resolution.
        background_max_width: Its widest level.
        background_blocks: Its levels.
        similarity: Of queries and keys: ``dot``, their dot product, or ``distance``: the nearer, the more similar. The
            latter is no part of the published method.
        attention_scale: Factor of the similarities, or ``rsqrt``: one over the square root of the keys' channels.
        attention_strides: Strides of the levels at which appearance is looked up, coarse to fine, each half of the one
            before. More than one is no part of the published method.
        attention_parents: Finer levels look only at the children of so many positions of the level above; None lets
            them look everywhere. Not part of the published method.
        top_k: Largest logits per query that take part; None lets all. Not part of the published method.
        pose_coordinates: Show each position's coordinates to the pose embedding: an ablation, tends to copy. Not part
            of the published method.
        generated_frames: How many of the results before are looked into, too; train with several ``driving_frames``.
            Not part of the published method.
        generated_start: Epochs, or parts of one, before training looks into them; earlier it learns worse.
        discriminator_width: Channels before the discriminator's first block.
        discriminator_max_width: Its widest block.
        discriminator_blocks: Its blocks.
        discriminator_spectral: Spectral normalisation in the discriminator.
        pyramid_scales: Picture sizes at which pictures are compared.
        perceptual: Perceptual network.
        loss_weights: Weights of the loss terms; those not named keep the default.
        cross_start: Epochs, or parts of one, before the cross-identity pass begins.
        cross_ramp: Epochs in which its weight then rises to the whole.
        cross_detach: No gradient from the way back into the pseudo driving frames, in which the network could else hide
            the driving frames.
        sigma_affine: Strength of the affine part of the equivariance transform.
        sigma_tps: Strength of its thin-plate part.
        points_tps: Control points per side of its thin-plate part.
        learning_rate: Adam's, for generator and discriminator.
        milestones: Epochs after which learning rates fall to a tenth.
        init_from: Weights file or checkpoint that training starts from.
    """

    takes_several_sources: ClassVar[bool] = True
    inference_networks: ClassVar[tuple[str, ...]] = ("generator",)

    def __init__(
        self,
        num_keypoints: int = 20,
        temperature: float = 0.1,
        keypoint_variance: float = 0.01,
        width: int = 64,
        max_width: int = 256,
        encoder_down_blocks: int = 2,
        encoder_blocks: int = 2,
        heatmap_width: int = 128,
        heatmap_max_width: int = 512,
        heatmap_blocks: int = 3,
        pose_channels: int = 128,
        appearance_channels: int = 256,
        decoder_blocks: int = 6,
        background: Background = "mean",
        background_width: int = 32,
        background_max_width: int = 512,
        background_blocks: int = 5,
        similarity: Similarity = "dot",
        attention_scale: AttentionScale = "rsqrt",
        attention_strides: Sequence[int] = (4,),
        attention_parents: int | None = None,
        top_k: int | None = None,
        pose_coordinates: bool = False,
        generated_frames: int = 0,
        generated_start: float = 0,
        discriminator_width: int = 32,
        discriminator_max_width: int = 512,
        discriminator_blocks: int = 4,
        discriminator_spectral: bool = True,
        pyramid_scales: Sequence[float] = (1, 0.5, 0.25, 0.125),
        perceptual: FeatureNetworkName = "vgg19",
        loss_weights: LossWeights | None = None,
        cross_start: float = 10,
        cross_ramp: float = 10,
        cross_detach: bool = True,
        sigma_affine: float = 0.05,
        sigma_tps: float = 0.005,
        points_tps: int = 5,
        learning_rate: float = 2e-4,
        milestones: Sequence[int] = (60, 90),
        init_from: str | None = None,
    ) -> None:
        super().__init__()
        weights = DEFAULTS | (loss_weights or {})
        attention_strides, pyramid_scales = tuple(attention_strides), tuple(pyramid_scales)
        milestones = tuple(milestones)
        self.save_hyperparameters()
        # All of them: what a file was trained with must not follow defaults.
        self.hparams["loss_weights"] = weights
        check_strides(attention_strides)
        if weights["generator_gan"] and len(weights["feature_matching"]) != discriminator_blocks:
            raise OptionError(f"loss_weights.feature_matching needs a weight for each of {discriminator_blocks} blocks")

        self.weights = weights
        levels = round(math.log2(attention_strides[0]))
        encoder = Encoder(width, max_width, encoder_down_blocks, encoder_blocks, max(0, levels - encoder_down_blocks))
        keypoint_head = KeypointHead(
            encoder.widths[encoder.stride],
            num_keypoints,
            heatmap_width,
            heatmap_max_width,
            heatmap_blocks,
            temperature,
        )
        background_network = None
        if background != "none":
            background_network = BackgroundNetwork(
                background_width, background_max_width, background_blocks, visibility=background == "seen"
            )
        self.generator = Reassembler(
            encoder,
            keypoint_head,
            Attention(attention_scale, top_k),
            similarity,
            attention_strides,
            pose_channels,
            appearance_channels,
            keypoint_variance,
            pose_coordinates,
            decoder_blocks,
            background_network,
            background,
            attention_parents,
            generated_frames,
            colours=bool(weights["retrieval"]),
        )
        self.discriminator = PatchDiscriminator(
            3, discriminator_width, discriminator_max_width, discriminator_blocks, discriminator_spectral
        )
        self.pyramid = Pyramid(pyramid_scales)
        self.perceptual_loss = PerceptualLoss(perceptual, weights["perceptual"])
        self.phases = (Phase("generator", ("generator",)),)
        if weights["generator_gan"]:
            self.phases += (Phase("discriminator", ("discriminator",)),)

    @property
    def size_multiple(self) -> int:
        """Encoder, keypoint hourglass and background network halve pictures again and again."""
        options = self.hparams
        multiple = max(
            options["attention_strides"][0], 2 ** (options["encoder_down_blocks"] + options["heatmap_blocks"])
        )
        return multiple if options["background"] == "none" else max(multiple, 2 ** options["background_blocks"])

    def setup(self, stage: str) -> None:
        """Takes over the weights that training starts from."""
        if stage == "fit" and self.hparams["init_from"]:
            initialise_from(self, self.hparams["init_from"])

    # ------------------------------------------------------------------ training

    def training_forward(self, batch: Batch) -> dict[str, Any]:
        """Reconstructs the driving frames from source frames of their clip, directly and through another person.

        Args:
            batch: ``source`` (B, S, 3, H, W), of whose S frames a random number is used, ``driving`` (B, T, 3, H, W),
                and for the cross-identity pass ``other`` (B, O, 3, H, W): frames of someone else.

        Raises:
            OptionError: The cross-identity pass has no frames of other people.
        """
        if self.weights["cross"] and "other" not in batch:
            raise OptionError(
                f"{type(self).__name__} trains across identities: set `data.other_frames` (as many as "
                "`data.source_frames`), or switch that off with `model.loss_weights.cross: 0`"
            )
        driving = batch["driving"]
        count = int(torch.randint(1, batch["source"].shape[1] + 1, ()))
        sources = self.generator.encode_sources(batch["source"][:, :count])
        pose = self.generator.pose(driving)
        own = self._reassemble(sources, pose)
        rendered: dict[str, Any] = {"own": own, "background": sources.background, "keypoints": pose.keypoints}
        if self.weights["equivariance"]:
            rendered["deformed"] = self.deform(driving)
        if weight := self.weights["cross"] * self.cross_ramp():
            crossed = self.cross(sources, pose, batch["other"][:, :count], weight)
            rendered["cross"] = crossed
            if self.weights["equivariance"]:
                rendered["cross_deformed"] = self.deform(crossed.pseudo.detach())
        return rendered

    def cross(self, sources: Sources, pose: Pose, other: Tensor, weight: float) -> CrossPass:
        """Transfers the pose to another person, and the result's pose back to the sources.

        Args:
            sources: Of A.
            pose: Of A's driving frames.
            other: (B, N, 3, H, W) frames of B.
            weight: Of the loss terms.
        """
        pseudo = self._reassemble(self.generator.encode_sources(other), pose).prediction
        seen = pseudo.detach() if self.hparams["cross_detach"] else pseudo
        pseudo_pose = self.generator.pose(seen)
        returned = self._reassemble(sources, pseudo_pose).prediction
        return CrossPass(weight, other, pseudo, returned, pseudo_pose.keypoints)

    def _reassemble(self, sources: Sources, pose: Pose) -> Reassembled:
        start = self.hparams["generated_start"]
        return self.generator.reassemble(sources, pose, looks_back=not start or self.epochs() >= start)[0]

    def epochs(self) -> float:
        """How many epochs training has gone through, the part of the present one counted in."""
        return self.trainer.global_step / self.trainer.num_training_batches

    def cross_ramp(self) -> float:
        """The share of its weight that the cross-identity pass has by now, in [0, 1]."""
        return losses.ramp(self.epochs(), self.hparams["cross_start"], self.hparams["cross_ramp"])

    def deform(self, frames: Tensor) -> tuple[RandomTransform, Tensor]:
        """Random deformations of frames (B, T, 3, H, W), and the keypoints (B x T, K, 2) of what comes out."""
        sigma_affine, sigma_tps, points = (self.hparams[n] for n in ("sigma_affine", "sigma_tps", "points_tps"))
        flat = frames.flatten(0, 1)
        transform = RandomTransform.draw(len(flat), sigma_affine, sigma_tps, points, flat)
        deformed = transform.frames(flat, align_corners=True).unflatten(0, frames.shape[:2])
        return transform, self.generator.detect(deformed).flatten(0, 1)

    def losses(self, phase: str, batch: Batch, rendered: dict[str, Any]) -> dict[str, Tensor]:
        """Weighted loss terms; those of the cross-identity pass are called ``cross_...``."""
        own: Reassembled = rendered["own"]
        crossed: CrossPass | None = rendered.get("cross")
        generated, truth = own.prediction.flatten(0, 1), batch["driving"].flatten(0, 1)
        if phase == "discriminator":
            terms = {"disc_gan": self._discriminate(truth, generated)}
            if crossed is not None:
                pseudo, other = crossed.pseudo.flatten(0, 1), crossed.other.flatten(0, 1)
                terms["cross_disc_gan"] = crossed.weight * self._discriminate(other, pseudo)
            return terms

        weights = self.weights
        terms = self._reconstruction(generated, truth)
        if weights["generator_gan"]:
            features, verdict = self.discriminator(generated)
            terms["gen_gan"] = weights["generator_gan"] * distance_to(verdict, real=True)
            if any(weights["feature_matching"]):
                real_features, _ = self.discriminator(truth)
                terms["feature_matching"] = losses.feature_matching(
                    real_features, features, weights["feature_matching"]
                )
        if weights["equivariance"]:
            terms["equivariance"] = self._equivariance(rendered["keypoints"], *rendered["deformed"])
        if weights["mask"]:
            terms["mask"] = weights["mask"] * own.mask.mean()
        if weights["layers"]:
            terms["layers"] = weights["layers"] * losses.layers(own, rendered["background"], batch["driving"])
        if weights["retrieval"]:
            terms["retrieval"] = weights["retrieval"] * losses.retrieval(own, rendered["background"], batch["driving"])
        if crossed is not None:
            terms |= self._cross_losses(crossed, truth, rendered)
        return terms

    def _cross_losses(self, crossed: CrossPass, truth: Tensor, rendered: dict[str, Any]) -> dict[str, Tensor]:
        weights = self.weights
        returned = self._reconstruction(crossed.returned.flatten(0, 1), truth)
        terms = {f"cross_{name}": term for name, term in returned.items()}
        if weights["generator_gan"]:  # nothing else makes a pseudo driving frame look like one of B
            _, verdict = self.discriminator(crossed.pseudo.flatten(0, 1))
            terms["cross_gen_gan"] = weights["generator_gan"] * distance_to(verdict, real=True)
        terms = {name: crossed.weight * term for name, term in terms.items()}
        if weights["equivariance"]:  # keypoints of pictures, whoever made them: outside the ramp
            terms["cross_equivariance"] = self._equivariance(crossed.keypoints, *rendered["cross_deformed"])
        return terms

    def _reconstruction(self, generated: Tensor, truth: Tensor) -> dict[str, Tensor]:
        levels = list(zip(self.pyramid(generated).values(), self.pyramid(truth).values(), strict=True))
        terms = {}
        if any(self.weights["perceptual"]):
            terms["perceptual"] = torch.stack([self.perceptual_loss(g, t) for g, t in levels]).sum()
        if weight := self.weights["reconstruction"]:
            terms["reconstruction"] = weight * torch.stack([F.l1_loss(g, t) for g, t in levels]).sum()
        return terms

    def _discriminate(self, real: Tensor, generated: Tensor) -> Tensor:
        (_, on_real), (_, on_generated) = self.discriminator(real), self.discriminator(generated.detach())
        return self.weights["discriminator_gan"] * (distance_to(on_real, True) + distance_to(on_generated, False))

    def _equivariance(self, keypoints: Tensor, transform: RandomTransform, transformed: Tensor) -> Tensor:
        return self.weights["equivariance"] * losses.equivariance(keypoints.flatten(0, 1), transformed, transform)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One Adam per phase."""
        networks = [self.generator, self.discriminator][: len(self.phases)]
        optimizers = [Adam(n.parameters(), self.hparams["learning_rate"], betas=(0.5, 0.999)) for n in networks]
        return optimizers, [MultiStepLR(o, list(self.hparams["milestones"]), gamma=0.1) for o in optimizers]

    # ------------------------------------------------------------------ animation

    def encode(self, source: Batch, options: MotionOptions) -> State:
        """Encodes all source frames, (B, S, 3, H, W), once."""
        return State(source["source"], self.generator.encode_sources(source["source"]))

    def render(self, state: State, driving: Batch) -> tuple[Tensor, State]:
        """Renders a chunk (B, t, 3, H, W)."""
        pose = self.generator.pose(driving["driving"])
        rendered, generated = self.generator.reassemble(state.sources, pose, state.generated)
        return rendered.prediction, replace(state, generated=generated, pose=pose, rendered=rendered)

    def attention_maps(self, state: State, points: Tensor | None = None, level: int = 0) -> Tensor:
        """Where in every source frame queries looked, in the chunk that was rendered last.

        With ``generated_frames`` it is the attention among the source frames alone.

        Args:
            state: As ``render`` returned it.
            points: (Q, 2) places in the driving frames, (x, y) in [-1, 1], pixel centres at the ends; by default each
                frame's own keypoints.
            level: Attention level, coarse to fine.

        Returns:
            (B, t, Q, N, h, w), with sum 1 over all positions of all frames.
        """
        assert state.pose is not None
        keypoints = state.pose.keypoints
        places = keypoints if points is None else points.to(keypoints).expand(*keypoints.shape[:2], -1, -1)
        return self.generator.looked_at(state.sources.memory, state.pose, places, level)

    def explain(self, state: State, driving: Batch, points: Tensor | None = None) -> dict[str, Tensor]:
        """Where queries looked in every source frame, each in its colour; and object, mask and background.

        Args:
            state: As ``render`` returned it for this chunk.
            driving: The chunk.
            points: (Q, 2) places in the driving frames to show, (x, y) in [-1, 1]; by default the keypoints.
        """
        assert state.pose is not None and state.rendered is not None
        frames = driving["driving"]
        places = state.pose.keypoints if points is None else points.to(frames).expand(*frames.shape[:2], -1, -1)
        views = {"driving_points": over_frames(draw_points, frames, places)}
        maps = self.attention_maps(state, points).movedim(3, 0)  # N, B, t, Q, h, w
        more = (maps - 1 / maps[:, 0, 0, 0].numel()).clamp(min=0)  # than a query that looks everywhere alike
        strongest = more.amax(dim=(0, -2, -1)).clamp(min=1e-6)[..., None, None]  # of each query, among all frames
        for number, looked_at in enumerate(more / strongest):
            pictures = state.pictures[:, number, None].expand_as(frames)
            views[f"source_{number + 1}"] = over_frames(show_attention, pictures, looked_at)
        views |= {"object": state.rendered.object, "mask": state.rendered.mask.expand_as(frames)}
        if state.sources.background is not None:
            views["background"] = state.sources.background[:, None].expand_as(frames)
        return views
