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
from zoo.methods.first_order_motion_model import losses, official
from zoo.methods.first_order_motion_model.losses import VOX_256, LossWeights
from zoo.methods.first_order_motion_model.networks import (
    DenseMotion,
    Discriminator,
    Generator,
    KeypointDetector,
    Motion,
    MultiScaleDiscriminator,
)
from zoo.nn.features import FeatureNetworkName
from zoo.nn.perceptual import PerceptualLoss
from zoo.nn.pyramid import Pyramid
from zoo.pictures import draw_points, show_flow
from zoo.warp import Keypoints, RandomTransform, transfer_motion
from zoo.warp.keypoint_motion import subject_size
from zoo.weights.checkpoint import initialise_from, load_state, without_unfitting


@dataclass(frozen=True)
class Source:
    """What First Order Motion remembers of the source between chunks; B sources.

    Attributes:
        pictures: (B, 3, H, W) the source itself.
        features: (B, C, h, w) of the generator's encoder.
        small: (B, 3, h', w') the source at the dense motion's resolution.
        keypoints: Of the source.
        options: How motion is applied.
        initial: Keypoints of the initial driving frame, known once a driving frame was seen.
    """

    pictures: Tensor
    features: Tensor
    small: Tensor
    keypoints: Keypoints
    options: MotionOptions
    initial: Keypoints | None = None


class FirstOrderMotionModel(AdversarialTraining):
    """First Order Motion Model for Image Animation (Siarohin et al., NeurIPS 2019).

    Learns keypoints with local affine frames from videos alone, turns their motion into a dense flow with an
    occlusion map, and renders the warped source. The defaults are the published vox-256 configuration.

    Args:
        num_keypoints: Keypoints K.
        estimate_jacobian: Estimate local affine frames; False is the zero-order model of Monkey-Net's kind.
        single_jacobian_map: One map of matrices for all keypoints (as in mgif-256).
        temperature: Of the spatial softmax over the heat maps.
        pad: Padding of the keypoint heads. 0 as published; 3 is the author's later advice for new trainings.
        align_corners: How pictures are sampled. True as when the published weights were trained (PyTorch 1.0);
            False is what the official code does under today's PyTorch.
        detector_width: Channels of the keypoint detector at full resolution.
        detector_max_width: Its widest level.
        detector_blocks: Its levels.
        detector_scale: Reduction of the picture before it.
        generator_width: Channels of the generator at full resolution.
        generator_max_width: Its widest level.
        generator_down_blocks: Halvings before the warp.
        bottleneck_blocks: Residual blocks after the warp.
        estimate_occlusion: Predict which pixels of the warped source to keep.
        motion_width: Channels of the dense-motion network at its full resolution.
        motion_max_width: Its widest level.
        motion_blocks: Its levels.
        motion_scale: Reduction of the source before it.
        keypoint_variance: Variance of the Gaussians shown to the dense-motion network.
        discriminator_width: Channels before the discriminator's first block.
        discriminator_max_width: Its widest block.
        discriminator_blocks: Its blocks.
        discriminator_scales: Pyramid levels that are judged.
        discriminator_spectral: Spectral normalisation in the discriminator.
        discriminator_keypoints: Show the driving keypoints to the discriminator (as in the *-adv configurations).
        discriminator_keypoint_variance: Variance of the Gaussians shown to it.
        pyramid_scales: Picture sizes at which the perceptual loss compares.
        perceptual: Perceptual network: ``vgg19`` as published, or the cheaper ``vgg16`` or ``alexnet``.
        loss_weights: Weights of the loss terms; those not named keep the published value.
        sigma_affine: Strength of the affine part of the equivariance transform.
        sigma_tps: Strength of its thin-plate part.
        points_tps: Control points per side of its thin-plate part.
        generator_learning_rate: Adam's, for generator and dense motion.
        detector_learning_rate: Adam's, for the keypoint detector; 0 freezes its weights.
        discriminator_learning_rate: Adam's, for the discriminator.
        milestones: Epochs after which learning rates fall to a tenth.
        init_from: Weights file or checkpoint that training starts from.
    """

    motion_options: ClassVar[frozenset[str]] = frozenset({"relative", "adapt_scale", "best_frame"})
    inference_networks: ClassVar[tuple[str, ...]] = ("keypoint_detector", "generator")

    def __init__(
        self,
        num_keypoints: int = 10,
        estimate_jacobian: bool = True,
        single_jacobian_map: bool = False,
        temperature: float = 0.1,
        pad: int = 0,
        align_corners: bool = True,
        detector_width: int = 32,
        detector_max_width: int = 1024,
        detector_blocks: int = 5,
        detector_scale: float = 0.25,
        generator_width: int = 64,
        generator_max_width: int = 512,
        generator_down_blocks: int = 2,
        bottleneck_blocks: int = 6,
        estimate_occlusion: bool = True,
        motion_width: int = 64,
        motion_max_width: int = 1024,
        motion_blocks: int = 5,
        motion_scale: float = 0.25,
        keypoint_variance: float = 0.01,
        discriminator_width: int = 32,
        discriminator_max_width: int = 512,
        discriminator_blocks: int = 4,
        discriminator_scales: Sequence[float] = (1,),
        discriminator_spectral: bool = True,
        discriminator_keypoints: bool = False,
        discriminator_keypoint_variance: float = 0.01,
        pyramid_scales: Sequence[float] = (1, 0.5, 0.25, 0.125),
        perceptual: FeatureNetworkName = "vgg19",
        loss_weights: LossWeights | None = None,
        sigma_affine: float = 0.05,
        sigma_tps: float = 0.005,
        points_tps: int = 5,
        generator_learning_rate: float = 2e-4,
        detector_learning_rate: float = 2e-4,
        discriminator_learning_rate: float = 2e-4,
        milestones: Sequence[int] = (60, 90),
        init_from: str | None = None,
    ) -> None:
        super().__init__()
        loss_weights = VOX_256 | (loss_weights or {})
        discriminator_scales, pyramid_scales = tuple(discriminator_scales), tuple(pyramid_scales)
        milestones = tuple(milestones)
        self.save_hyperparameters()
        self.hparams["loss_weights"] = (
            loss_weights  # all of them: what a file was trained with must not follow defaults
        )
        matching = loss_weights["feature_matching"]
        if loss_weights["generator_gan"] and any(matching) and len(matching) < discriminator_blocks:
            raise OptionError(f"loss_weights.feature_matching needs a weight for each of {discriminator_blocks} blocks")
        if missing := set(discriminator_scales) - set(pyramid_scales):
            raise OptionError(f"discriminator_scales {sorted(missing)} are not among pyramid_scales {pyramid_scales}")
        if not estimate_jacobian and loss_weights["equivariance_jacobian"]:
            raise OptionError("without Jacobians set loss_weights.equivariance_jacobian to 0")

        self.align_corners = align_corners
        self.weights = loss_weights
        self.keypoint_detector = KeypointDetector(
            num_keypoints,
            detector_width,
            detector_max_width,
            detector_blocks,
            temperature,
            detector_scale,
            estimate_jacobian,
            single_jacobian_map,
            pad,
        )
        dense_motion = DenseMotion(
            num_keypoints,
            motion_width,
            motion_max_width,
            motion_blocks,
            motion_scale,
            keypoint_variance,
            estimate_occlusion,
            align_corners,
        )
        self.generator = Generator(
            dense_motion, generator_width, generator_max_width, generator_down_blocks, bottleneck_blocks
        )
        self.discriminator = MultiScaleDiscriminator(
            discriminator_scales,
            [
                Discriminator(
                    discriminator_width,
                    discriminator_max_width,
                    discriminator_blocks,
                    discriminator_spectral,
                    num_keypoints if discriminator_keypoints else 0,
                    discriminator_keypoint_variance,
                )
                for _ in discriminator_scales
            ],
        )
        self.pyramid = Pyramid(pyramid_scales)
        self.perceptual_loss = PerceptualLoss(perceptual, loss_weights["perceptual"])
        self.phases = (Phase("generator", ("keypoint_detector", "generator")),)
        if loss_weights["generator_gan"]:
            self.phases += (Phase("discriminator", ("discriminator",)),)

    @property
    def size_multiple(self) -> int:
        """Both hourglasses halve their reduced pictures once per block; the generator halves the picture itself."""
        options = self.hparams
        return max(
            round(2 ** options["detector_blocks"] / options["detector_scale"]),
            round(2 ** options["motion_blocks"] / options["motion_scale"]),
            2 ** options["generator_down_blocks"],
        )

    def setup(self, stage: str) -> None:
        """Takes over the weights that training starts from."""
        if stage == "fit" and self.hparams["init_from"]:
            initialise_from(self, self.hparams["init_from"])

    # ------------------------------------------------------------------ training

    def training_forward(self, batch: Batch) -> dict[str, Any]:
        """Reconstructs the driving frames from the source, and detects keypoints in a deformed copy of them.

        Args:
            batch: ``source`` (B, 1, 3, H, W) and ``driving`` (B, T, 3, H, W); the B x T pairs are independent.
        """
        frames = batch["driving"].shape[1]
        driving = batch["driving"].flatten(0, 1)
        source = repeat_frames(batch["source"][:, 0], frames)
        source_keypoints = self.keypoint_detector(source)
        driving_keypoints = self.keypoint_detector(driving)
        motion = self.motion(self.generator.dense_motion_network.down(source), driving_keypoints, source_keypoints)
        prediction = self.generator.decode(self.generator.encode(source), motion)
        rendered = {
            "prediction": prediction,
            "predicted_pyramid": self.pyramid(prediction),
            "driving_pyramid": self.pyramid(driving),
            "driving_keypoints": driving_keypoints,
        }
        if self.weights["equivariance_value"] or self.weights["equivariance_jacobian"]:
            transform = rendered["transform"] = self.draw_transform(driving)
            rendered["transformed_keypoints"] = self.keypoint_detector(transform.frames(driving, self.align_corners))
        return rendered

    def draw_transform(self, frames: Tensor) -> RandomTransform:
        """One random deformation per frame (N, 3, H, W)."""
        sigma_affine, sigma_tps, points = (self.hparams[n] for n in ("sigma_affine", "sigma_tps", "points_tps"))
        return RandomTransform.draw(len(frames), sigma_affine, sigma_tps, points, frames)

    def losses(self, phase: str, batch: Batch, rendered: dict[str, Any]) -> dict[str, Tensor]:
        """Weighted loss terms of the generator or of the discriminator (the specification's names)."""
        keypoints: Keypoints = rendered["driving_keypoints"].detach()
        if phase == "discriminator":
            predicted = {scale: level.detach() for scale, level in rendered["predicted_pyramid"].items()}
            generated = self.discriminator(predicted, keypoints)
            real = self.discriminator(rendered["driving_pyramid"], keypoints)
            weight = self.weights["discriminator_gan"]
            return {"disc_gan": weight * losses.discriminator_adversarial(real, generated)}

        weights = self.weights
        terms = {}
        if any(weights["perceptual"]):
            levels = zip(rendered["predicted_pyramid"].values(), rendered["driving_pyramid"].values(), strict=True)
            terms["perceptual"] = torch.stack([self.perceptual_loss(p, d) for p, d in levels]).sum()
        if weights["generator_gan"]:
            generated = self.discriminator(rendered["predicted_pyramid"], keypoints)
            # Official: real pictures are judged even where no features are compared; spectral norms take a step by it.
            real = self.discriminator(rendered["driving_pyramid"], keypoints)
            terms["gen_gan"] = weights["generator_gan"] * losses.generator_adversarial(generated)
            if any(weights["feature_matching"]):
                terms["feature_matching"] = losses.feature_matching(real, generated, weights["feature_matching"])
        if "transform" in rendered:
            pair = rendered["driving_keypoints"], rendered["transformed_keypoints"], rendered["transform"]
            if weights["equivariance_value"]:
                terms["equivariance_value"] = weights["equivariance_value"] * losses.equivariance_value(*pair)
            if weights["equivariance_jacobian"]:
                terms["equivariance_jacobian"] = weights["equivariance_jacobian"] * losses.equivariance_jacobian(*pair)
        return terms

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One Adam per phase; the keypoint detector has its own learning rate within the generator's."""
        options = self.hparams
        groups = [
            [
                {"params": self.generator.parameters(), "lr": options["generator_learning_rate"]},
                {"params": self.keypoint_detector.parameters(), "lr": options["detector_learning_rate"]},
            ],
            [{"params": self.discriminator.parameters(), "lr": options["discriminator_learning_rate"]}],
        ]
        optimizers = [Adam(group, betas=(0.5, 0.999)) for group in groups[: len(self.phases)]]
        return optimizers, [MultiStepLR(o, list(options["milestones"]), gamma=0.1) for o in optimizers]

    # ------------------------------------------------------------------ animation

    def encode(self, source: Batch, options: MotionOptions) -> Source:
        """Encodes the first source frame of each clip, (B, S, 3, H, W)."""
        pictures = source["source"][:, 0]
        small = self.generator.dense_motion_network.down(pictures)
        keypoints = self.keypoint_detector(pictures)
        return Source(pictures, self.generator.encode(pictures), small, keypoints, options)

    def uses_track(self, options: MotionOptions) -> bool:
        """Only the search for the best frame looks ahead."""
        return options.best_frame

    def track(self, driving: Batch) -> dict[str, Tensor]:
        """The driving keypoints: ``value`` (B, t, K, 2) and ``jacobian`` (B, t, K, 2, 2)."""
        keypoints = self.detect(driving["driving"])
        return {name: tensor for name, tensor in keypoints._asdict().items() if tensor is not None}

    def adapt(self, state: Source, track: dict[str, Tensor]) -> Source:
        """Takes as initial the driving frame whose keypoints have the shape most like the source's.

        Shapes are compared centred and divided by the square root of the hull's area, as the official code compares
        68 face landmarks; the model's own keypoints need no landmark detector and aren't limited to faces.
        """
        value = track["value"]  # B, T, K, 2
        shape = normalised_shape(value.flatten(0, 1)).unflatten(0, value.shape[:2])
        distance = (shape - normalised_shape(state.keypoints.value)[:, None]).square().sum((-1, -2))
        best = distance.argmin(dim=1)
        rows = torch.arange(len(best), device=best.device)
        return replace(state, initial=Keypoints(**track).map(lambda tensor: tensor[rows, best]))

    def render(self, state: Source, driving: Batch) -> tuple[Tensor, Source]:
        """Renders a chunk (B, t, 3, H, W)."""
        batch, frames = driving["driving"].shape[:2]
        keypoints = self.detect(driving["driving"])
        if state.initial is None:
            state = replace(state, initial=keypoints.map(lambda tensor: tensor[:, 0]))
        motion = self.frame_motion(state, keypoints)
        features = repeat_frames(state.features, frames)
        return self.generator.decode(features, motion).unflatten(0, (batch, frames)), state

    def detect(self, pictures: Tensor) -> Keypoints:
        """Keypoints of (B, T, 3, H, W) as (B, T, K, 2) and (B, T, K, 2, 2)."""
        keypoints: Keypoints = self.keypoint_detector(pictures.flatten(0, 1))
        return keypoints.map(lambda tensor: tensor.unflatten(0, pictures.shape[:2]))

    def motion(self, small_source: Tensor, driving: Keypoints, source: Keypoints) -> Motion:
        """Dense motion of N pairs, see :class:`DenseMotion`."""
        return self.generator.dense_motion_network(small_source, driving, source)

    def frame_motion(self, state: Source, driving: Keypoints) -> Motion:
        """Dense motion of B x t frames for driving keypoints (B, t, K, 2), the state's options applied."""
        assert state.initial is not None
        frames = driving.value.shape[1]
        source = state.keypoints.map(lambda tensor: repeat_frames(tensor, frames))
        transferred = transfer_motion(
            source,
            driving.map(lambda tensor: tensor.flatten(0, 1)),
            state.initial.map(lambda tensor: repeat_frames(tensor, frames)),
            relative=state.options.motion == "relative",
            adapt_scale=state.options.adapt_scale,
        )
        return self.motion(repeat_frames(state.small, frames), transferred, source)

    def explain(self, state: Source, driving: Batch) -> dict[str, Tensor]:
        """Keypoints on source and driving frames, the warped source, its flow, and where it was inpainted."""
        frames = driving["driving"]
        batch, length, _, *size = frames.shape
        keypoints = self.detect(frames)
        motion = self.frame_motion(state, keypoints)
        sources = repeat_frames(state.pictures, length)
        source_points = repeat_frames(state.keypoints.value, length)
        views = {
            "source_keypoints": torch.stack([draw_points(*pair) for pair in zip(sources, source_points, strict=True)]),
            "driving_keypoints": torch.stack(
                [draw_points(*pair) for pair in zip(frames.flatten(0, 1), keypoints.value.flatten(0, 1), strict=True)]
            ),
            "warped_source": self.generator.deform(sources, motion),
            "flow": torch.stack([show_flow(grid, size) for grid in motion.deformation]),
        }
        if motion.occlusion is not None:
            views["occlusion"] = F.interpolate(motion.occlusion, size).expand(-1, 3, -1, -1)
        return {name: view.unflatten(0, (batch, length)) for name, view in views.items()}

    # ------------------------------------------------------------------ official weights

    def load_official(self, checkpoint: dict[str, Any]) -> None:
        """Loads an official checkpoint; the discriminator's entries may be missing or of another configuration."""
        load_state(self, without_unfitting(self, official.rename(checkpoint), ("discriminator",)))


def repeat_frames(tensor: Tensor, frames: int) -> Tensor:
    """(B, ...) -> (B x frames, ...), each element ``frames`` times; no copy is made for a single source."""
    return tensor.unsqueeze(1).expand(-1, frames, *tensor.shape[1:]).flatten(0, 1)


def normalised_shape(points: Tensor) -> Tensor:
    """Keypoints (N, K, 2), centred and divided by their :func:`subject_size`."""
    return (points - points.mean(1, keepdim=True)) / subject_size(points)[:, None, None]
