from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Adam

from zoo.adversarial import AdversarialTraining, Phase
from zoo.base import MotionOptions
from zoo.batch import Batch, Condition
from zoo.errors import OptionError
from zoo.methods.dwnet import losses, networks, official
from zoo.methods.dwnet.losses import PERCEPTUAL_TAP_WEIGHTS, PUBLISHED, LossWeights
from zoo.methods.dwnet.networks import Frame, GridPadding, Rendered, Warping, network_surface
from zoo.nn.features import FeatureNetworkName
from zoo.nn.norm import Norm
from zoo.nn.perceptual import PerceptualLoss
from zoo.pose import show_surface
from zoo.warp import SurfaceWarp, resize_grid, surface_warp
from zoo.weights.checkpoint import load_state, without_unfitting

SMALLEST: dict[FeatureNetworkName, int] = {"alexnet": 31, "vgg16": 16, "vgg19": 16}
"""Pixels of the smallest side of a picture that leave something for the loss network's last tap."""


@dataclass(frozen=True)
class Memory:
    """What DwNet remembers between chunks; B clips.

    Attributes:
        source: The source and its features.
        source_surface: (B, 3, H, W): its surface map, as in the batch.
        previous: The last generated frame; None before the first.
        previous_surface: (B, 3, H, W): the driving frame's map that it was generated from.
        before: The same memory before the last chunk, without its own.
    """

    source: Frame
    source_surface: Tensor
    previous: Frame | None = None
    previous_surface: Tensor | None = None
    before: "Memory | None" = None


class DwNet(AdversarialTraining):
    """DwNet: dense warp-based network for pose-guided human video generation (Zablotskaia et al., BMVC 2019).

    The surface maps of two pictures say where each pixel of one finds its content in the other. This coarse warp is
    refined by a network; source and previous output are warped by it in feature space, and decoded together with the
    driving map. The defaults are the published configuration; data needs ``driving_frames: 2``.

    Args:
        width: Channels of encoders and decoder at full resolution; doubled by every halving.
        downsamplings: Halvings of the encoders. Refined warps have the size of the smallest features.
        blocks: Residual blocks of the decoder.
        warping: ``refined`` as published; ``coarse`` leaves the refiner out, ``none`` warps no features at all.
        grid_padding: What warps find outside of a picture; published is its reflection.
        norm: Normalisation of both networks: ``instance`` as published, after which a picture's brightness and contrast
            are forgotten, or ``batch``, an option of the official code, which keeps them.
        previous_frame: Whether a frame also looks at the one generated before; without, it looks at the source twice.
            Official training without it sees one driving frame a sample: ``data.driving_frames: 1``.
        discriminator_width: Channels of the discriminator's first block.
        discriminator_layers: How often each of its copies halves its picture.
        discriminator_scales: Pyramid levels that are judged.
        perceptual: Network of the losses: ``vgg19`` as published, or the cheaper ``vgg16`` or ``alexnet``.
        loss_weights: Weights of the generator's terms; those not named keep the published value.
        learning_rate: Adam's, for generator and discriminator.
    """

    conditions: ClassVar[tuple[Condition, ...]] = ("iuv",)
    inference_networks: ClassVar[tuple[str, ...]] = ("generator",)
    official_files: ClassVar[tuple[str, ...]] = official.NETWORKS

    def __init__(
        self,
        width: int = 64,
        downsamplings: int = 2,
        blocks: int = 9,
        warping: Warping = "refined",
        grid_padding: GridPadding = "reflection",
        norm: Norm = "instance",
        previous_frame: bool = True,
        discriminator_width: int = 64,
        discriminator_layers: int = 3,
        discriminator_scales: int = 2,
        perceptual: FeatureNetworkName = "vgg19",
        loss_weights: LossWeights | None = None,
        learning_rate: float = 2e-4,
    ) -> None:
        super().__init__()
        given = loss_weights or {}
        if warping != "refined" and given.get("warp"):
            raise OptionError(f"loss_weights.warp teaches the refiner, which `warping: {warping}` doesn't have")
        self.weights = LossWeights(**PUBLISHED | {"warp": float(warping == "refined")} | given)
        self.save_hyperparameters()
        self.hparams["loss_weights"] = self.weights  # all of them: a file must not follow defaults
        self.generator = networks.WarpGenerator(width, downsamplings, blocks, warping, grid_padding, norm)
        self.discriminator = networks.discriminator(
            discriminator_width, discriminator_layers, discriminator_scales, norm
        )
        self.phases = (Phase("generator", ("generator",)), Phase("discriminator", ("discriminator",)))
        # Official: the network sees [-1, 1] as it is, without ImageNet's normalisation.
        self.perceptual_loss = PerceptualLoss(perceptual, PERCEPTUAL_TAP_WEIGHTS, normalise=False)

    @property
    def size_multiple(self) -> int:
        """The encoders halve the picture ``downsamplings`` times."""
        return 2 ** self.hparams["downsamplings"]

    def _check_size(self, pictures: Tensor) -> None:
        super()._check_size(pictures)
        least = max(4, 2 * self.size_multiple)  # stem and smallest features are padded by reflection
        if min(pictures.shape[-2:]) < least:
            height, width = pictures.shape[-2:]
            raise OptionError(
                f"DwNet needs pictures of at least {least} x {least} here, not {height} x {width}; raise `data.size`, "
                "or lower `downsamplings`"
            )

    # ------------------------------------------------------------------ training

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Looks whether the loss network can take pictures of the warps' size, then does as every method.

        Raises:
            OptionError: It can't.
        """
        side, network = min(batch["source"].shape[-2:]) // self.size_multiple, self.hparams["perceptual"]
        if self.weights["warp"] and side < (least := SMALLEST[network]):
            raise OptionError(
                f"the warp loss compares pictures of {side} pixels here, but {network} needs {least}; raise "
                "`data.size`, lower `downsamplings`, take another `perceptual`, or set `loss_weights.warp` to 0"
            )
        super().on_train_batch_start(batch, batch_idx)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Renders the driving frames in turn; both phases play after each, and the next sees what they changed."""
        previous = None
        for moment in range(batch["driving"].shape[1]):
            rendered = self.training_forward(batch, moment, previous)
            for phase, optimizer in zip(self.phases, self._phase_optimizers(), strict=True):
                self.play(phase, optimizer, batch, rendered)
            if self.hparams["previous_frame"]:
                previous = rendered["rendered"].picture.detach().float()  # Official: no gradients through time

    def training_forward(self, batch: Batch, moment: int = 0, previous: Tensor | None = None) -> dict[str, Any]:
        """Renders one driving frame.

        Args:
            batch: The whole clip.
            moment: Number of the driving frame.
            previous: (B, 3, H, W) in [-1, 1]: the frame generated before; None for the first.
        """
        surface = batch["driving_iuv"][:, moment]
        source = self.generator.encode(to_network(batch["source"][:, 0]))
        source_grid = self.coarse_warp(batch["source_iuv"][:, 0], surface).grid
        before, previous_grid = None, source_grid
        if previous is not None:
            before = self.generator.encode(previous)
            previous_grid = self.coarse_warp(batch["driving_iuv"][:, moment - 1], surface).grid
        seen = network_surface(surface)
        return {
            "rendered": self.generator(seen, source, source_grid, before, previous_grid),
            "surface": seen,
            "target": to_network(batch["driving"][:, moment]),
            "pictures": (source.picture, source.picture if previous is None else previous),
        }

    def losses(self, phase: str, batch: Batch, rendered: dict[str, Any]) -> dict[str, Tensor]:
        """Weighted loss terms of one frame, of the generator or of the discriminator."""
        surface, target, out = rendered["surface"], rendered["target"], rendered["rendered"]
        if phase == "discriminator":
            return losses.discriminator_terms(self.discriminator, surface, target, out.picture.detach())
        return losses.generator_terms(
            self.weights,
            self.discriminator,
            self.perceptual_loss,
            surface,
            target,
            out,
            rendered["pictures"],
            self.generator.grid_padding,
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One Adam per phase; learning rates stay."""
        # Official: a decay is written down, but its test on the sample counter never holds with batches of 8.
        networks = [self.get_submodule(name) for phase in self.phases for name in phase.trains]
        return [Adam(n.parameters(), lr=self.hparams["learning_rate"], betas=(0.5, 0.999)) for n in networks]

    # ------------------------------------------------------------------ animation

    def encode(self, source: Batch, options: MotionOptions) -> Memory:
        """Encodes the first source frame of each clip, (B, S, 3, H, W)."""
        return Memory(self.generator.encode(to_network(source["source"][:, 0])), source["source_iuv"][:, 0])

    def render(self, state: Memory, driving: Batch) -> tuple[Tensor, Memory]:
        """Renders a chunk (B, t, 3, H, W), frame after frame."""
        frames, _ = self._render(state, driving)
        last = frames[-1].picture.float()
        pictures = torch.stack([frame.picture for frame in frames], 1).float()
        previous = self.generator.encode(last) if self.hparams["previous_frame"] else None
        return to_picture(pictures), replace(
            state,
            previous=previous,
            previous_surface=driving["driving_iuv"][:, -1],
            before=replace(state, before=None),
        )

    def _render(self, state: Memory, driving: Batch) -> tuple[list[Rendered], SurfaceWarp]:
        """The chunk's frames, and the coarse warps from the source, (B x t, H, W, 2)."""
        surfaces = driving["driving_iuv"]  # B, t, 3, H, W
        shape = surfaces.shape[:2]
        from_source = self.coarse_warp(state.source_surface[:, None].expand_as(surfaces), surfaces)
        source_grids = previous_grids = from_source.grid.unflatten(0, shape)
        if self.hparams["previous_frame"]:
            first = surfaces[:, 0] if state.previous_surface is None else state.previous_surface
            before = torch.cat([first[:, None], surfaces[:, :-1]], 1)
            previous_grids = self.coarse_warp(before, surfaces).grid.unflatten(0, shape)
        frames: list[Rendered] = []
        previous = state.previous
        for moment, surface in enumerate(network_surface(surfaces).unbind(1)):
            if frames and self.hparams["previous_frame"]:
                previous = self.generator.encode(frames[-1].picture.float())
            grids = source_grids[:, moment], previous_grids[:, moment]
            frames.append(self.generator(surface, state.source, grids[0], previous, grids[1]))
        return frames, from_source

    def coarse_warp(self, source: Tensor, target: Tensor) -> SurfaceWarp:
        """From maps (..., 3, H, W) to maps of the same shape; the warps' leading dimensions are flattened to one."""
        return surface_warp(source.flatten(0, -4), target.flatten(0, -4))

    def explain(self, state: Memory, driving: Batch) -> dict[str, Tensor]:
        """Driving frames and their maps, what the coarse and the refined warp bring of the source, and the result.

        Where the coarse warp knows nothing it is grey.
        """
        assert state.before is not None
        surfaces = driving["driving_iuv"]
        frames, coarse = self._render(state.before, driving)
        shape, size = surfaces.shape[:2], surfaces.shape[-2:]
        source = state.source.picture.repeat_interleave(shape[1], 0)
        known, padding = coarse.valid[:, None], self.generator.grid_padding
        views = {"coarse_warp": torch.where(known, networks.sample(source, coarse.grid, padding), 0.0)}
        if frames[0].source is not None:
            refined = torch.stack([frame.source.grid for frame in frames if frame.source], 1).flatten(0, 1)
            views["refined_warp"] = networks.sample(source, resize_grid(refined, *size), padding)
        views = {name: to_picture(view.float()).clamp(0, 1).unflatten(0, shape) for name, view in views.items()}
        result = to_picture(torch.stack([frame.picture for frame in frames], 1).float())
        return {"driving": driving["driving"], "surface": show_surface(surfaces)} | views | {"result": result}

    # ------------------------------------------------------------------ official weights

    def load_official(self, checkpoint: dict[str, Any]) -> None:
        """Loads official networks, see :func:`official.rename`."""
        tensors = official.rename(checkpoint)
        if self.hparams["warping"] != "refined":  # Official: the refiner is built where it isn't looked at
            tensors = {name: tensor for name, tensor in tensors.items() if ".warp_refiner." not in name}
        load_state(self, without_unfitting(self, tensors, ("discriminator",)))


def to_network(pictures: Tensor) -> Tensor:
    """Pictures in [0, 1] as the networks want them, in [-1, 1]."""
    return 2 * pictures - 1


def to_picture(output: Tensor) -> Tensor:
    """The inverse."""
    return (output + 1) / 2
