from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from zoo.adversarial import AdversarialTraining, Phase
from zoo.base import MotionOptions
from zoo.batch import Batch, Condition
from zoo.errors import OptionError
from zoo.methods.everybody_dance_now import losses, networks, official
from zoo.methods.everybody_dance_now.faces import crop, paste
from zoo.methods.everybody_dance_now.losses import PERCEPTUAL_TAP_WEIGHTS, LossWeights, published_weights
from zoo.methods.everybody_dance_now.networks import Body, FaceNetwork
from zoo.methods.everybody_dance_now.subject import Subject
from zoo.nn.features import FeatureNetworkName
from zoo.nn.patchgan import PatchGAN
from zoo.nn.perceptual import PerceptualLoss
from zoo.pose import PUBLISHED_CANVAS, SKELETONS, Skeleton, draw_figure, face_boxes, snapped, to_pixels
from zoo.pose.statistics import Mode
from zoo.weights.checkpoint import (
    WeightsError,
    load_state,
    load_weights,
    naming_file,
    stored_tensors,
    without_unfitting,
)

Stage = Literal["global", "local", "face"]


@dataclass(frozen=True)
class Playback:
    """What Everybody Dance Now remembers between chunks; B clips.

    Attributes:
        previous: (B, 3, H, W) in about [-1, 1]: the frame before, at first mid-grey.
        poses: (B, T, K, 3) the whole track, moved into the subject's place, where that was asked for.
        moment: Number of the next frame.
    """

    previous: Tensor
    poses: Tensor | None = None
    moment: int = 0


class EverybodyDanceNow(AdversarialTraining):
    """Everybody Dance Now (Chan, Ginosar, Zhou, Efros, ICCV 2019).

    Learns one person from a long clip: a generator paints each frame from the drawn pose and the frame before. It is
    trained in stages, each of which starts from the one before (``init_from``): ``global`` at half the final size,
    ``local`` at the final size, and ``face``, which freezes the body and adds a residual to the face. The defaults are
    the published configuration of each stage; data needs ``driving_frames: 2``.

    Args:
        stage: Which stage this is.
        body: Which generator the face stage refines: that of the stage before it.
        temporal_smoothing: Show the previous output to the generator, and two frames at once to the discriminator.
            Without, frames are independent: pix2pixHD, the paper's baseline.
        skeleton: Format of the poses, one of ``zoo.pose.SKELETONS``.
        canvas: Height and width at which stick figures are drawn before they are reduced; None draws at the pictures'
            own size.
        face_points: How many points of the face are drawn: 8, 9 or 22.
        normalisation: Which formulas ``retarget`` takes: the ``paper``'s, which place every video, or those of the
            ``released`` code, which need people who come nearer and go farther.
        median_window: Frames over which retargeted poses are smoothed, odd; 1 leaves them.
        generator_width: Channels of the global generator at its full resolution. The local one encloses the same, and
            has half as many at its own.
        generator_downsamplings: Halvings of the global generator.
        generator_blocks: Residual blocks of the global generator.
        enhancer_blocks: Residual blocks that the local generator adds.
        discriminator_width: Channels of each discriminator's first block.
        discriminator_layers: Halvings of each discriminator of the body; that of faces has three.
        discriminator_scales: Pyramid levels that are judged; None is the official code's 2 for the global generator and
            3 for the local one.
        face_size: Height and width of the square around the face, pixels.
        face_network: ``global`` as published; ``unet`` is the official code's other choice.
        face_width: Channels of the face generator at full resolution.
        face_downsamplings: Its halvings.
        face_blocks: Its residual blocks.
        face_discriminator_width: Channels of the face discriminator's first block.
        perceptual: Perceptual network: ``vgg19`` as published, or the cheaper ``vgg16`` or ``alexnet``.
        loss_weights: Weights of the generators' terms; those not named keep the published value.
        reconstruct_first: The term ``reconstruction`` compares both frames, not only the second one: at the start of a
            clip it is the first that is shown. Not part of the official code.
        generator_steps: Optimiser steps of the body generator with the same gradient: 2 as in the official code, 1 as
            in the paper.
        learning_rate: Adam's.
        constant_epochs: Epochs before the learning rate falls.
        decay_epochs: Epochs in which it falls to 0; with 0 it stays.
        init_from: Weights file or checkpoint of the stage before. Checkpoints hold the discriminator too.
    """

    conditions: ClassVar[tuple[Condition, ...]] = ("pose",)
    needs_source: ClassVar[bool] = False
    skeleton: Skeleton
    motion_options: ClassVar[frozenset[str]] = frozenset({"retarget"})
    inference_networks: ClassVar[tuple[str, ...]] = ("generator", "face_generator", "subject")
    official_files: ClassVar[tuple[str, ...]] = tuple(official.NETWORKS)

    def __init__(
        self,
        stage: Stage = "global",
        body: Body = "local",
        temporal_smoothing: bool = True,
        skeleton: str = "body_23_whole",
        canvas: Sequence[int] | None = (1080, 1920),
        face_points: int = 8,
        normalisation: Mode = "paper",
        median_window: int = 7,
        generator_width: int = 64,
        generator_downsamplings: int = 4,
        generator_blocks: int = 9,
        enhancer_blocks: int = 3,
        discriminator_width: int = 64,
        discriminator_layers: int = 3,
        discriminator_scales: int | None = None,
        face_size: int = 128,
        face_network: FaceNetwork = "global",
        face_width: int = 64,
        face_downsamplings: int = 3,
        face_blocks: int = 5,
        face_discriminator_width: int = 64,
        perceptual: FeatureNetworkName = "vgg19",
        loss_weights: LossWeights | None = None,
        reconstruct_first: bool = False,
        generator_steps: int = 2,
        learning_rate: float = 2e-4,
        constant_epochs: int = 100,
        decay_epochs: int = 100,
        init_from: str | None = None,
    ) -> None:
        super().__init__()
        self.body: Body = body if stage == "face" else stage
        loss_weights = published_weights(self.body, temporal_smoothing) | (loss_weights or {})
        self.save_hyperparameters()
        self.hparams["loss_weights"] = loss_weights  # all of them: a file must not follow defaults
        self.hparams["canvas"] = None if canvas is None else tuple(canvas)
        if skeleton not in SKELETONS:
            raise OptionError(f"skeleton {skeleton!r} is unknown; known are {', '.join(SKELETONS)}")
        face_multiple = 2**face_downsamplings if face_network == "global" else networks.UNET_MULTIPLE
        if stage == "face" and face_size % face_multiple:
            raise OptionError(f"face_size {face_size} isn't a multiple of {face_multiple}, as the face generator needs")
        if self.body == "local" and generator_width % 2:
            raise OptionError(f"generator_width {generator_width} is odd; the local generator takes half of it")

        self.weights = loss_weights
        self.temporal_smoothing = temporal_smoothing
        self.skeleton = SKELETONS[skeleton]
        self.subject = Subject(self.skeleton)
        self.generator = networks.body_generator(
            self.body,
            6 if temporal_smoothing else 3,
            generator_width,
            generator_downsamplings,
            generator_blocks,
            enhancer_blocks,
        )
        self.discriminator = networks.body_discriminator(
            12 if temporal_smoothing else 6,
            discriminator_width,
            discriminator_layers,
            discriminator_scales or (2 if self.body == "global" else 3),
        )
        self.face_generator: nn.Module | None = None
        self.face_discriminator: PatchGAN | None = None
        if stage == "face":
            self.face_generator = networks.face_generator(face_network, face_width, face_downsamplings, face_blocks)
            self.face_discriminator = networks.face_discriminator(face_discriminator_width)
            # Official: nothing but the two face networks learns in the published five epochs.
            self.generator.requires_grad_(False)
            self.discriminator.requires_grad_(False)
            self.phases = (Phase("generator", ("face_generator",)), Phase("discriminator", ("face_discriminator",)))
        else:
            self.phases = (
                Phase("generator", ("generator",), steps=generator_steps),
                Phase("discriminator", ("discriminator",)),
            )
        # Official: the network sees [-1, 1] as it is, without ImageNet's normalisation.
        self.perceptual_loss = PerceptualLoss(perceptual, PERCEPTUAL_TAP_WEIGHTS, normalise=False)

    @property
    def size_multiple(self) -> int:
        """The generator halves the picture ``generator_downsamplings`` times, the local one once more."""
        return 2 ** (self.hparams["generator_downsamplings"] + (self.body == "local"))

    def _check_size(self, pictures: Tensor) -> None:
        super()._check_size(pictures)
        least = 2 * self.size_multiple  # the smallest features are padded by reflection
        if self.face_generator is not None:
            least = max(least, self.hparams["face_size"])
        if min(pictures.shape[-2:]) < least:
            height, width = pictures.shape[-2:]
            raise OptionError(
                f"EverybodyDanceNow needs pictures of at least {least} x {least} here, not {height} x {width}; raise "
                "`data.size`, or lower `generator_downsamplings` or `face_size`"
            )

    def setup(self, stage: str) -> None:
        """Takes over the stage before.

        Raises:
            OptionError: The face stage was given none.
        """
        if stage != "fit":
            return
        if self.hparams["init_from"]:
            self.take_over(self.hparams["init_from"])
        elif self.face_generator is not None:
            raise OptionError("the face stage refines a trained generator; name its checkpoint with `init_from`")

    def take_over(self, path: str | Path) -> None:
        """Loads what a file of the stage before shares with this one: body, discriminator and the subject's poses.

        The local generator's enhancer, the discriminator's third scale and the face networks keep their own start.

        Raises:
            WeightsError: The file can't be used, its networks have other widths, or it lacks the body's discriminator,
                which the face stage compares whole frames by and never trains.
        """
        earlier, stored = load_weights(path, EverybodyDanceNow).state_dict(), stored_tensors(path)
        own = self.state_dict()
        shared = {key: tensor for key, tensor in earlier.items() if key in own and key in stored}
        judged = self.weights["gan"] or self.weights["feature_matching"]
        lacking = any(key.startswith("discriminator.") and key not in shared for key in own)
        if self.face_generator is not None and judged and lacking:
            raise WeightsError(
                path,
                "doesn't hold the body's whole discriminator, which the face stage judges frames by",
                "give the checkpoint (`last.ckpt`) of the stage before, or set `loss_weights.gan` and "
                "`loss_weights.feature_matching` to 0",
            )
        with naming_file(path):
            for key, tensor in shared.items():
                if tensor.shape != own[key].shape:
                    raise ValueError(f"{key!r} is {tuple(tensor.shape)}, but this stage has {tuple(own[key].shape)}")
        self.load_state_dict(shared, strict=False)

    # ------------------------------------------------------------------ painting

    def draw(self, poses: Tensor, size: Sequence[int]) -> Tensor:
        """Stick figures (..., 3, H, W) in [0, 1] of poses (..., K, 3)."""
        canvas, face_points = self.hparams["canvas"], self.hparams["face_points"]
        height, width = size
        figures = draw_figure(poses.flatten(0, -3), self.skeleton, (height, width), canvas, face_points)
        return figures.to(poses.dtype).unflatten(0, poses.shape[:-2])

    def paint(self, figure: Tensor, previous: Tensor, boxes: Tensor | None) -> Tensor:
        """One frame from its stick figure and the frame before, the face refined where the stage knows how.

        Args:
            figure: (B, 3, H, W) in [0, 1].
            previous: (B, 3, H, W) in about [-1, 1]; not looked at without temporal smoothing.
            boxes: (B, 4) from :meth:`faces`.

        Returns:
            (B, 3, H, W) in [-1, 1]; a refined face may reach beyond.
        """
        frame = self.generator(torch.cat([figure, previous], dim=1) if self.temporal_smoothing else figure)
        if boxes is None:
            return frame
        assert self.face_generator is not None
        face = crop(frame, boxes)
        residual = self.face_generator(torch.cat([crop(figure, boxes), face], dim=1))
        return paste(frame, boxes, face + residual)

    def faces(self, poses: Tensor, size: Sequence[int]) -> Tensor | None:
        """Boxes (B, 4) around the faces of poses (B, K, 3); None outside the face stage."""
        if self.face_generator is None:
            return None
        height, width = size
        pixels = snapped(to_pixels(poses.double(), PUBLISHED_CANVAS), poses.dtype)
        return face_boxes(pixels, self.skeleton, (height, width), side=self.hparams["face_size"])

    # ------------------------------------------------------------------ training

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Trains as every adversarial method, and remembers where the subject stands."""
        super().training_step(batch, batch_idx)
        height, width = batch["driving"].shape[-2:]
        self.subject.remember(batch["driving_pose"].flatten(0, 1), (height, width))

    def training_forward(self, batch: Batch) -> dict[str, Any]:
        """Paints the driving frames (B, 2, 3, H, W) in order; gradients of the second reach the first.

        Raises:
            OptionError: A clip of the batch doesn't have the frames that the temporal discriminator compares.
        """
        frames, poses = 2 * batch["driving"] - 1, batch["driving_pose"]
        if not self.temporal_smoothing:  # every frame is a sample of its own
            frames, poses = frames.flatten(0, 1)[:, None], poses.flatten(0, 1)[:, None]
        elif frames.shape[1] != 2:
            raise OptionError(f"training takes 2 frames of a clip, not {frames.shape[1]}; set `data.driving_frames: 2`")
        size = frames.shape[-2:]
        figures = self.draw(poses, size)
        boxes = self.faces(poses[:, 0], size)  # Official: the first frame's box serves both
        generated: list[Tensor] = []
        previous = torch.zeros_like(frames[:, 0])
        for figure in figures.unbind(1):
            previous = self.paint(figure, previous, boxes)
            generated.append(previous)
        return {"figures": figures, "frames": frames, "generated": torch.stack(generated, dim=1), "boxes": boxes}

    def losses(self, phase: str, batch: Batch, rendered: dict[str, Any]) -> dict[str, Tensor]:
        """Weighted loss terms of the generator or of the discriminator that this stage trains."""
        figures, frames, generated = rendered["figures"], rendered["frames"], rendered["generated"]
        boxes, weights, perceptual = rendered["boxes"], self.weights, self.perceptual_loss
        if phase == "generator":
            both = self.hparams["reconstruct_first"]
            terms = losses.generator_terms(weights, self.discriminator, perceptual, figures, frames, generated, both)
            if self.face_discriminator is not None:
                terms |= losses.face_generator_terms(
                    weights, self.face_discriminator, perceptual, figures, frames, generated, boxes
                )
            return terms
        if self.face_discriminator is not None:
            return losses.face_discriminator_terms(self.face_discriminator, figures, frames, generated.detach(), boxes)
        return losses.discriminator_terms(self.discriminator, figures, frames, generated.detach())

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One Adam per phase; the learning rate stays for some epochs, then falls linearly."""
        options = self.hparams
        optimizers = []
        for phase in self.phases:
            parameters = [p for name in phase.trains for p in self.get_submodule(name).parameters()]
            optimizers.append(Adam(parameters, lr=options["learning_rate"], betas=(0.5, 0.999)))

        def factor(epoch: int) -> float:
            falling = max(0, epoch - options["constant_epochs"])
            return max(0.0, 1 - falling / options["decay_epochs"]) if options["decay_epochs"] else 1.0

        return optimizers, [LambdaLR(optimizer, factor) for optimizer in optimizers]

    # ------------------------------------------------------------------ animation

    def encode(self, source: Batch, options: MotionOptions) -> Playback:
        """Starts from a grey frame of the source's size: who is shown is in the weights, not in the source."""
        return Playback(torch.zeros_like(source["source"][:, 0]))

    def uses_track(self, options: MotionOptions) -> bool:
        """Only moving the driver to the subject's place looks ahead."""
        return options.retarget

    def track(self, driving: Batch) -> dict[str, Tensor]:
        """The driving poses, ``pose`` (B, t, K, 3)."""
        return {"pose": driving["driving_pose"]}

    def adapt(self, state: Playback, track: dict[str, Tensor]) -> Playback:
        """Moves and scales the driving poses (B, T, K, 3) as if the subject of training had danced them."""
        height, width = state.previous.shape[-2:]
        mode, window = self.hparams["normalisation"], self.hparams["median_window"]
        placed = [self.subject.place(poses, (height, width), mode, window) for poses in track["pose"]]
        return replace(state, poses=torch.stack(placed))

    def render(self, state: Playback, driving: Batch) -> tuple[Tensor, Playback]:
        """Paints a chunk (B, t, 3, H, W), frame after frame."""
        poses = self.poses(state, driving)
        size = driving["driving"].shape[-2:]
        previous, frames = state.previous, []
        for moment, figure in zip(poses.unbind(1), self.draw(poses, size).unbind(1), strict=True):
            previous = self.paint(figure, previous, self.faces(moment, size))
            frames.append(previous)
        state = replace(state, previous=previous, moment=state.moment + len(frames))
        return ((torch.stack(frames, dim=1) + 1) / 2).clamp(0, 1), state

    def poses(self, state: Playback, driving: Batch) -> Tensor:
        """The poses (B, t, K, 3) of a chunk that begins at the state's moment."""
        poses = driving["driving_pose"]
        return poses if state.poses is None else state.poses[:, state.moment : state.moment + poses.shape[1]]

    def explain(self, state: Playback, driving: Batch) -> dict[str, Tensor]:
        """The driving frames, and the stick figures that were painted from."""
        frames = driving["driving"]
        poses = self.poses(replace(state, moment=state.moment - frames.shape[1]), driving)
        return {"driving": frames, "figure": self.draw(poses, frames.shape[-2:])}

    # ------------------------------------------------------------------ official weights

    def load_official(self, checkpoint: dict[str, Any]) -> None:
        """Loads official networks, see :func:`official.rename`; those that this stage doesn't have are ignored.

        The method then knows no poses of its subject, which ``retarget`` needs.
        """
        known = {name: tensors for name, tensors in checkpoint.items() if getattr(self, official.NETWORKS[name])}
        tensors = official.rename(known) | self.subject.state_dict(prefix="subject.")
        load_state(self, without_unfitting(self, tensors, ("discriminator", "face_discriminator")))
