from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from zoo.adversarial import Phase
from zoo.batch import Batch
from zoo.methods.deep_spatial_transformation import losses
from zoo.methods.deep_spatial_transformation.discriminators import Discriminator
from zoo.methods.deep_spatial_transformation.explanation import show_rendered
from zoo.methods.deep_spatial_transformation.losses import LossWeights, Stage
from zoo.methods.deep_spatial_transformation.motion_extraction import Layout
from zoo.methods.deep_spatial_transformation.networks import Frame, PoseGenerator, Rendered, initialise
from zoo.methods.deep_spatial_transformation.structure import draw_heatmaps
from zoo.methods.deep_spatial_transformation.structured import Memory, StructureDriven, to_network, to_picture
from zoo.nn.features import FeatureNetworkName
from zoo.nn.norm import Norm
from zoo.pose import Skeleton


class DeepSpatialTransformation(StructureDriven):
    """Deep Image Spatial Transformation for Person Image Generation (Ren et al., CVPR 2020), frame by frame.

    Estimates where each target pixel finds its content in the source (flow and occlusion mask, from both poses), and
    renders the target pose with local attention around those positions. The defaults are the published DeepFashion
    configuration.

    Training takes two stages: ``flow`` trains the flow estimator alone, ``all`` starts from its weights
    (``init_from``) and trains everything.

    Args:
        stage: What is trained.
        width: Channels of source encoder and renderer after the first halving.
        max_width: Of their widest map.
        layers: Their halvings.
        blocks: Residual blocks per doubling, the doubling one included.
        attention_levels: Levels (1/2^L of the picture) at which flows are estimated and the source is attended to.
        patch_sizes: Side of the attended patch at each of these levels.
        attention_sum: Whether attention sums the weighted patch. Published is its average, a k^2-th of the weighted
            mean, which a short run has to make up first.
        flow_width: Channels of the flow estimator after the first halving.
        flow_max_width: Of its widest map.
        flow_layers: Its halvings.
        norm: Normalisation of the generator: ``instance`` as published, after which a picture's brightness and contrast
            are forgotten, or ``batch``, an option of the official code, which keeps them.
        init_gain: Of the generator's orthogonal initial weights. The published 0.02 is for the published rate; rates of
            1e-3 and more overwhelm such small weights in the first steps, and all features become alike.
        heatmap_sigma: Of the joints' Gaussians, in pixels; 6 at every size as published.
        discriminator_width: Channels of the discriminator after the first halving.
        discriminator_max_width: Of its widest map.
        discriminator_layers: Its halvings.
        perceptual: Network of the losses: ``vgg19`` as published, or the cheaper ``vgg16`` or ``alexnet``.
        loss_weights: Weights of the loss terms; those not named keep the stage's published value.
        generator_learning_rate: Adam's, for the generator and for the flow estimator alone.
        discriminator_learning_rate: Adam's, for the discriminator.
        milestones: Epochs after which both fall to a tenth; as published they stay.
        denoiser: Layout of the skeleton denoiser that comes with the weights; None without one, see
            ``attach_denoiser``.
        denoiser_channels: Its width.
        denoiser_layers: Its depth.
        init_from: Weights file or checkpoint that training starts from.
    """

    denoiser_layouts: ClassVar[tuple[Layout, ...]] = ("body_18",)

    generator: PoseGenerator

    def __init__(
        self,
        stage: Stage = "all",
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
        self.sizes = self.configure_sizes(structure_channels=18)
        self.configure_losses()
        self.configure_denoiser()
        self.generator = PoseGenerator(self.sizes)
        initialise(self.generator, init_gain)
        self.discriminator = Discriminator(3, discriminator_width, discriminator_max_width, discriminator_layers)
        if stage == "flow":
            self.phases = (Phase("flow", ("generator.flow_net",)),)
        elif self.weights["adversarial"]:
            self.phases = (Phase("discriminator", ("discriminator",)), Phase("generator", ("generator",)))
        else:
            self.phases = (Phase("generator", ("generator",)),)

    def structure(self, pose: Tensor, skeleton: Skeleton, pictures: Tensor) -> Tensor:
        """Heat maps (N, 18, H, W)."""
        height, width = pictures.shape[-2:]
        return draw_heatmaps(pose, height, width, self.hparams["heatmap_sigma"])

    # ------------------------------------------------------------------ training

    def training_forward(self, batch: Batch) -> dict[str, Any]:
        """Renders the driving frames from the source; the B x T pairs are independent.

        In stage ``flow`` only motions are estimated.
        """
        frames = batch["driving"].shape[1]
        source = Frame(to_network(batch["source"][:, 0]), self.structures(batch, "source")[:, 0])
        source = Frame(*(repeat_frames(tensor, frames) for tensor in source))
        structures = self.structures(batch, "driving").flatten(0, 1)
        rendered = {"source": source.picture, "target": to_network(batch["driving"].flatten(0, 1))}
        if self.hparams["stage"] == "flow":
            (motions,) = self.generator.flow_net(*source, structures)
            return rendered | {"motions": motions}
        out: Rendered = self.generator(source, self.generator.source(source.picture), structures)
        return rendered | {"motions": out.motions[0], "picture": out.picture}

    def losses(self, phase: str, batch: Batch, rendered: dict[str, Any]) -> dict[str, Tensor]:
        """Weighted loss terms of the discriminator, of the generator, or of the flow estimator alone."""
        target = rendered["target"]
        if phase == "discriminator":
            real, generated = self.discriminator(target), self.discriminator(rendered["picture"].detach())
            return {"adversarial": losses.discriminator_adversarial(real, generated)}
        target_maps = self.fixed_maps(target)
        source_maps = self.fixed_maps(rendered["source"]) if self.weights["sampling_correctness"] else {}
        terms = self.flow_terms(rendered["motions"], source_maps, target_maps)
        if phase == "generator":
            terms |= self.picture_terms(rendered["picture"], target, target_maps)
            if weight := self.weights["adversarial"]:
                terms["adversarial"] = weight * losses.judged_real(self.discriminator(rendered["picture"]))
        return terms

    # ------------------------------------------------------------------ inference

    def source_features(self, picture: Tensor) -> list[Tensor]:
        """The source's maps of levels 1, 2, ..."""
        return self.generator.source(picture)

    def render(self, state: Memory, driving: Batch) -> tuple[Tensor, Memory]:
        """Renders a chunk (B, t, 3, H, W)."""
        frames = driving["driving"].shape[1]
        picture = to_picture(self._render(state, driving).picture)
        return picture.float().unflatten(0, (-1, frames)), replace(state, seen=state.seen + frames)

    def _render(self, state: Memory, driving: Batch) -> Rendered:
        frames = driving["driving"].shape[1]
        source = Frame(*(repeat_frames(tensor, frames) for tensor in state.reference))
        features = [repeat_frames(maps, frames) for maps in state.features]
        return self.generator(source, features, self.driving_structures(state, driving).flatten(0, 1))

    def explain(self, state: Memory, driving: Batch) -> dict[str, Tensor]:
        """Driving frames, drawn structures, and the source as it was warped, with flow, occlusion and attention."""
        frames = driving["driving"].shape[1]
        before = replace(state, seen=state.seen - frames)
        structures = self.driving_structures(before, driving)
        out = self._render(before, driving)
        views = show_rendered(out, [to_picture(repeat_frames(state.reference.picture, frames))], ["source"])
        views = {name: view.unflatten(0, (-1, frames)) for name, view in views.items()}
        return {"driving": driving["driving"], "structure": show_structure(structures)} | views


def show_structure(structures: Tensor) -> Tensor:
    """Channels of structures (B, t, C, H, W) in [0, 1] as grey pictures (B, t, 3, H, W): the brightest of them."""
    return structures.amax(2, keepdim=True).expand(-1, -1, 3, -1, -1)


def repeat_frames(tensor: Tensor, frames: int) -> Tensor:
    """(B, ...) -> (B x frames, ...), each element ``frames`` times; no copy is made for a single frame."""
    return torch.repeat_interleave(tensor, frames, 0) if frames > 1 else tensor
