from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo.adversarial import Phase
from zoo.batch import Batch, Condition
from zoo.errors import OptionError
from zoo.methods.deep_spatial_transformation import losses
from zoo.methods.deep_spatial_transformation.discriminators import RUN, Discriminator, TemporalDiscriminator
from zoo.methods.deep_spatial_transformation.explanation import show_rendered
from zoo.methods.deep_spatial_transformation.losses import LossWeights, Maps
from zoo.methods.deep_spatial_transformation.module import show_structure
from zoo.methods.deep_spatial_transformation.motion_extraction import Layout
from zoo.methods.deep_spatial_transformation.networks import (
    DanceGenerator,
    Frame,
    RecurrentGenerator,
    Rendered,
    Sizes,
    initialise,
)
from zoo.methods.deep_spatial_transformation.structure import COCO_LIMBS, draw_animation_structure
from zoo.methods.deep_spatial_transformation.structured import Memory, StructureDriven, to_network, to_picture
from zoo.nn.features import FeatureNetworkName
from zoo.nn.norm import Norm
from zoo.pose import BODY_18, COCO_17, Skeleton, convert_pose


class DeepSpatialAnimation(StructureDriven):
    """Deep Spatial Transformation for Pose-Guided Person Image Generation and Animation (Ren et al., IEEE TIP 2020).

    As :class:`DeepSpatialTransformation`, but each frame looks at two pictures, the source and the frame generated
    before, with a flow estimator and attention of their own; a second discriminator judges short runs of frames. The
    defaults are the published FashionVideo configuration.

    A training sample is a clip. It is rendered in chunks; both phases play after each, and gradients flow through the
    recurrence inside a chunk.

    Args:
        width: Channels of source encoders and renderer after the first halving.
        max_width: Of their widest map.
        layers: Their halvings.
        blocks: Residual blocks per doubling, the doubling one included.
        attention_levels: Levels (1/2^L of the picture) at which flows are estimated and both pictures are attended to.
        patch_sizes: Side of the attended patch at each of these levels.
        attention_sum: Whether attention sums the weighted patch. Published is its average, a k^2-th of the weighted
            mean, which a short run has to make up first.
        flow_width: Channels of a flow estimator after the first halving.
        flow_max_width: Of its widest map.
        flow_layers: Its halvings.
        norm: Normalisation of the generator: ``instance`` as published, after which a picture's brightness and contrast
            are forgotten, or ``batch``, an option of the official code, which keeps them.
        init_gain: Of the generator's orthogonal initial weights. The published 0.02 is for the published rate; rates of
            1e-3 and more overwhelm such small weights in the first steps, and all features become alike.
        heatmap_sigma: Of the joints' Gaussians, in pixels; 6 at every size as published.
        chunk: Frames rendered between two optimiser steps.
        foreground: Sampling correctness counts on the subject only (as for iPER); training then needs masks.
        discriminator_width: Channels of both discriminators after the first halving.
        discriminator_max_width: Of their widest map.
        discriminator_layers: Their halvings.
        perceptual: Network of the losses: ``vgg19`` as published, or the cheaper ``vgg16`` or ``alexnet``.
        loss_weights: Weights of the loss terms; those not named keep the published value.
        generator_learning_rate: Adam's, for the generator.
        discriminator_learning_rate: Adam's, for both discriminators.
        milestones: Epochs after which both fall to a tenth; as published they stay.
        denoiser: Layout of the skeleton denoiser that comes with the weights; None without one, see
            ``attach_denoiser``.
        denoiser_channels: Its width.
        denoiser_layers: Its depth.
        init_from: Weights file or checkpoint that training starts from.
    """

    denoiser_layouts: ClassVar[tuple[Layout, ...]] = ("body_18", "human36m_17")
    structure_channels: ClassVar[int] = 20
    shown_channels: ClassVar[int] = 17
    """How many of them, the first, ``explain`` shows: the heat maps, whose drawing is brighter than any picture."""

    run: ClassVar[int] = RUN
    """Frames that the video discriminator looks at."""

    generator: RecurrentGenerator

    def __init__(
        self,
        width: int = 64,
        max_width: int = 512,
        layers: int = 3,
        blocks: int = 2,
        attention_levels: Sequence[int] = (2, 3),
        patch_sizes: Sequence[int] = (5, 3),
        attention_sum: bool = False,
        flow_width: int = 32,
        flow_max_width: int = 256,
        flow_layers: int = 5,
        norm: Norm = "instance",
        init_gain: float = 0.02,
        heatmap_sigma: float = 6.0,
        chunk: int = 6,
        foreground: bool = False,
        discriminator_width: int = 32,
        discriminator_max_width: int = 128,
        discriminator_layers: int = 4,
        perceptual: FeatureNetworkName = "vgg19",
        loss_weights: LossWeights | None = None,
        generator_learning_rate: float = 1e-4,
        discriminator_learning_rate: float = 1e-5,
        milestones: Sequence[int] = (),
        denoiser: Layout | None = None,
        denoiser_channels: int = 256,
        denoiser_layers: int = 4,
        init_from: str | None = None,
    ) -> None:
        super().__init__()
        attention_levels, patch_sizes = tuple(attention_levels), tuple(patch_sizes)
        milestones = tuple(milestones)
        self.save_hyperparameters()
        if denoiser and denoiser not in self.denoiser_layouts:
            raise OptionError(f"{type(self).__name__} takes no denoiser of layout {denoiser}")
        self.sizes = self.configure_sizes(self.structure_channels)
        self.configure_losses()
        self.configure_denoiser()
        self.generator = self.build_generator(self.sizes)
        initialise(self.generator, init_gain)
        judged = (discriminator_width, discriminator_max_width, discriminator_layers)
        self.discriminator = Discriminator(3, *judged)
        self.video_discriminator = self.build_video_discriminator(*judged)
        self.phases = (Phase("generator", ("generator",)),)
        if self.weights["adversarial"]:
            if chunk < self.run:
                raise OptionError(f"chunk {chunk} is shorter than the {self.run} frames that are judged together")
            self.phases = (Phase("discriminator", ("discriminator", "video_discriminator")), *self.phases)

    @property
    def training_conditions(self) -> tuple[Condition, ...]:
        """Poses; masks too where correctness counts on the subject only."""
        return ("pose", "mask") if self.hparams["foreground"] else ("pose",)

    # ------------------------------------------------------------------ what the face version does otherwise

    def build_generator(self, sizes: Sizes) -> RecurrentGenerator:
        """The network that renders."""
        return DanceGenerator(sizes)

    def build_video_discriminator(self, width: int, max_width: int, layers: int) -> nn.Module:
        """The network that judges runs."""
        return TemporalDiscriminator(width, max_width, layers)

    def judge_run(self, frames: Tensor) -> Tensor:
        """What the video discriminator says about runs (B, run, 3, H, W)."""
        return self.video_discriminator(frames.transpose(1, 2))

    def previous_maps(self, rendered: dict[str, Any], target_maps: list[Maps]) -> list[Maps]:
        """For each frame of a chunk, features of what the previous branch's flow should find: the true frame before."""
        return [self.fixed_maps(rendered["before"]), *target_maps[:-1]]

    def structure(self, pose: Tensor, skeleton: Skeleton, pictures: Tensor) -> Tensor:
        """Heat maps and drawing, (N, 20, H, W), of COCO-17 without the neck, or of what the denoiser gives."""
        limbs = skeleton.limbs
        if skeleton is BODY_18:
            pose, limbs = convert_pose(pose, BODY_18, COCO_17), COCO_LIMBS
        height, width = pictures.shape[-2:]
        return draw_animation_structure(pose, limbs, height, width, self.hparams["heatmap_sigma"])

    # ------------------------------------------------------------------ training

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Renders the clip chunk by chunk and lets every phase play after each.

        Raises:
            OptionError: The clip can't be cut into whole chunks.
        """
        frames, chunk = batch["driving"].shape[1], self.hparams["chunk"]
        if frames % chunk:
            raise OptionError(
                f"{frames} driving frames aren't whole chunks of {chunk}; set `data.driving_frames` to a multiple"
            )
        previous = None
        for start in range(0, frames, chunk):
            rendered = self.training_forward(batch, start, previous)
            for phase, optimizer in zip(self.phases, self._phase_optimizers(), strict=True):
                self.play(phase, optimizer, batch, rendered)
            previous = Frame(*(tensor.detach() for tensor in rendered["last"]))

    def training_forward(self, batch: Batch, start: int = 0, previous: Frame | None = None) -> dict[str, Any]:
        """Renders one chunk of the clip.

        Args:
            batch: The whole clip.
            start: Its frame with which the chunk starts.
            previous: The frame generated before; None takes the source.
        """
        part = slice(start, start + self.hparams["chunk"])
        joints = self.joints(batch["driving_pose"])  # of the whole clip: what is missing is taken from other frames
        chunk = Batch(driving=batch["driving"][:, part], driving_pose=joints[:, part])
        reference = Frame(to_network(batch["source"][:, 0]), self.structures(batch, "source")[:, 0])
        previous = previous or reference
        structures = self.structures(chunk, "driving")
        features = self.source_features(reference.picture)
        frames: list[Rendered] = self.generator(reference, features, previous, structures)
        return {
            "frames": frames,
            "pictures": torch.stack([frame.picture for frame in frames], 1),
            "target": to_network(chunk["driving"]),
            "masks": batch["driving_mask"][:, part] if self.hparams["foreground"] else None,
            "reference": reference.picture,
            "before": to_network(batch["driving"][:, start - 1]) if start else reference.picture,
            "previous": previous.picture,
            "last": Frame(frames[-1].picture, structures[:, -1]),
        }

    def losses(self, phase: str, batch: Batch, rendered: dict[str, Any]) -> dict[str, Tensor]:
        """Weighted loss terms of a chunk, those of the generator summed over its frames."""
        if phase == "discriminator":
            return self._discriminator_losses(rendered["pictures"].detach(), rendered["target"])
        pictures, target, masks = rendered["pictures"], rendered["target"], rendered["masks"]
        target_maps = [self.fixed_maps(frame) for frame in target.unbind(1)]
        terms: list[dict[str, Tensor]] = []
        if self.weights["sampling_correctness"] or self.weights["affine_regularisation"]:
            reference = self.fixed_maps(rendered["reference"])
            sources = [(previous, reference) for previous in self.previous_maps(rendered, target_maps)]
            for i, frame in enumerate(rendered["frames"]):
                mask = None if masks is None else masks[:, i]
                for name, motions, maps in zip(("previous", "reference"), frame.motions, sources[i], strict=True):
                    flow = self.flow_terms(motions, maps, target_maps[i], mask)
                    terms.append({f"{term}_{name}": value for term, value in flow.items()})
        for i in range(target.shape[1]):
            terms.append(self.picture_terms(pictures[:, i], target[:, i], target_maps[i]))
        total = summed(terms)
        if weight := self.weights["adversarial"]:
            frame, run = self._draw(target.shape[1])
            total["adversarial"] = weight * losses.judged_real(self.discriminator(pictures[:, frame]))
            total["adversarial_video"] = weight * losses.judged_real(self.judge_run(pictures[:, run]))
        return total

    def _discriminator_losses(self, pictures: Tensor, target: Tensor) -> dict[str, Tensor]:
        frame, run = self._draw(target.shape[1])
        verdicts = self.discriminator(target[:, frame]), self.discriminator(pictures[:, frame])
        of_runs = self.judge_run(target[:, run]), self.judge_run(pictures[:, run])
        return {
            "adversarial": losses.discriminator_adversarial(*verdicts),
            "adversarial_video": losses.discriminator_adversarial(*of_runs),
        }

    def _draw(self, frames: int) -> tuple[int, slice]:
        """Which frame and which run of a chunk are judged, drawn anew for each phase."""
        frame, start = self.draw_index(frames), self.draw_index(frames - self.run + 1)
        return frame, slice(start, start + self.run)

    def draw_index(self, count: int) -> int:
        """A random number below ``count``."""
        return int(torch.randint(count, ()))

    # ------------------------------------------------------------------ inference

    def source_features(self, picture: Tensor) -> list[Tensor]:
        """The source's maps of levels 1, 2, ..."""
        return self.generator.source_reference(picture)

    def render(self, state: Memory, driving: Batch) -> tuple[Tensor, Memory]:
        """Renders a chunk (B, t, 3, H, W), each frame from the source and the one before."""
        structures = self.driving_structures(state, driving)
        previous = state.previous or state.reference
        frames = self.generator(state.reference, state.features, previous, structures)
        pictures = to_picture(torch.stack([frame.picture for frame in frames], 1)).float()
        last = Frame(frames[-1].picture, structures[:, -1])
        return pictures, replace(state, seen=state.seen + len(frames), before=previous, previous=last)

    def explain(self, state: Memory, driving: Batch) -> dict[str, Tensor]:
        """Driving frames, drawn structures, and what was taken from the previous frame and from the source."""
        assert state.before is not None
        chunk = replace(state, seen=state.seen - driving["driving"].shape[1])
        structures = self.driving_structures(chunk, driving)
        frames = self.generator(state.reference, state.features, state.before, structures)
        previous = [state.before.picture, *(frame.picture for frame in frames[:-1])]
        views = [
            show_rendered(frame, [to_picture(before), to_picture(state.reference.picture)], ["previous", "source"])
            for frame, before in zip(frames, previous, strict=True)
        ]
        shown = {name: torch.stack([view[name] for view in views], 1) for name in views[0]}
        structure = show_structure(structures[:, :, : self.shown_channels])
        return {"driving": driving["driving"], "structure": structure} | shown


def summed(terms: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Adds up terms of the same name."""
    total: dict[str, Tensor] = {}
    for part in terms:
        for name, term in part.items():
            total[name] = total[name] + term if name in total else term
    return total
