"""What the image, the animation and the face version share."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import MultiStepLR

from zoo.adversarial import AdversarialTraining
from zoo.base import MotionOptions
from zoo.batch import Batch, Condition
from zoo.errors import OptionError, PoseError
from zoo.methods.deep_spatial_transformation import losses, official
from zoo.methods.deep_spatial_transformation.denoiser import SkeletonDenoiser
from zoo.methods.deep_spatial_transformation.losses import CORRESPONDENCE, PERCEPTUAL_LAYERS, STYLE_LAYERS, Maps
from zoo.methods.deep_spatial_transformation.motion_extraction import Layout, TrackCleaner
from zoo.methods.deep_spatial_transformation.networks import Frame, Motions, Sizes
from zoo.pose import BODY_18, Skeleton, retarget_limbs, to_pixels, to_units
from zoo.weights.checkpoint import initialise_from, load_state, load_weights, without_unfitting

ADAM_BETAS = (0.0, 0.999)

_FLOW = "generator.flow_net."


@dataclass(frozen=True)
class Memory:
    """What is remembered between chunks; B sources.

    Attributes:
        reference: The source and its structure.
        features: Of the generator's source encoder, levels 1, 2, ...
        body: The source's pose (B, K, 3) that driving poses are fitted to; None leaves them.
        denoise: Whether driving poses are cleaned.
        adapted: The whole driving track after fitting, cleaning or filling, (B, T, K, 3), once it was looked at.
        skeleton: The format of ``adapted``.
        seen: Driving frames rendered so far.
        previous: The last generated frame; None before the first. Only the animation versions need it.
        before: The same as it was before the last chunk.
    """

    reference: Frame
    features: list[Tensor]
    body: Tensor | None = None
    denoise: bool = False
    adapted: Tensor | None = None
    skeleton: Skeleton = BODY_18
    seen: int = 0
    previous: Frame | None = None
    before: Frame | None = None


class StructureDriven(AdversarialTraining, ABC):
    """Structures instead of poses, the loss terms, the skeleton denoiser, official weights.

    A sub-class builds ``generator`` (with ``sizes``) and says in :meth:`structure` what the networks see of a pose.
    """

    conditions: ClassVar[tuple[Condition, ...]] = ("pose",)
    inference_networks: ClassVar[tuple[str, ...]] = ("generator", "denoiser")
    official_files: ClassVar[tuple[str, ...]] = tuple(official.NETWORKS)

    skeleton: Skeleton | None = BODY_18

    denoiser_layouts: ClassVar[tuple[Layout, ...]] = ()
    """What a denoiser may give."""

    sizes: Sizes
    generator: nn.Module

    def configure_sizes(self, structure_channels: int) -> Sizes:
        """Widths and depths from the constructor's arguments.

        Raises:
            OptionError: Attention levels and patch sizes don't fit together, or a level isn't there.
        """
        options = self.hparams
        levels, patches = options["attention_levels"], options["patch_sizes"]
        if len(levels) != len(patches) or not levels:
            raise OptionError(
                f"patch_sizes {tuple(patches)} needs one size for each of attention_levels {tuple(levels)}"
            )
        highest = min(options["layers"], options["flow_layers"] - 1)
        if wrong := sorted(set(levels) - set(range(1, highest + 1))):
            raise OptionError(f"attention_levels {wrong} aren't among 1 to {highest}, which both networks have")
        return Sizes(
            structure_channels,
            options["width"],
            options["max_width"],
            options["layers"],
            options["blocks"],
            dict(sorted(zip(levels, patches, strict=True))),
            options["flow_width"],
            options["flow_max_width"],
            options["flow_layers"],
            options["norm"],
            options["attention_sum"],
        )

    def configure_losses(self) -> None:
        """Loss weights, those not given as published, and the features that the terms need."""
        stage: losses.Stage = self.hparams.get("stage", "all")
        weights = losses.LossWeights(**self.hparams["loss_weights"] or {})
        network = self.hparams["perceptual"]
        if stage == "flow" and (unused := sorted(set(weights) - set(losses.PUBLISHED["flow"]))):
            raise OptionError(f"loss_weights {unused} have no meaning in stage flow, which renders no pictures")
        self.weights = losses.LossWeights(**losses.PUBLISHED[stage] | weights)
        self.hparams["loss_weights"] = self.weights  # all of them: what was trained with must not follow defaults
        self.correspondence = {level: CORRESPONDENCE[network][level] for level in self._corresponding_levels()}
        layers = set(self.correspondence.values())
        layers |= set(PERCEPTUAL_LAYERS) if self.weights.get("perceptual") else set()
        layers |= set(STYLE_LAYERS) if self.weights.get("style") else set()
        self.features = losses.LossFeatures(network, layers)

    def _corresponding_levels(self) -> tuple[int, ...]:
        levels = tuple(self.sizes.patch_sizes) if self.weights.get("sampling_correctness") else ()
        if unknown := sorted(set(levels) - set(CORRESPONDENCE["vgg19"])):
            raise OptionError(
                f"no features are known to compare at levels {unknown}; set loss_weights.sampling_correctness to 0"
            )
        return levels

    def configure_denoiser(self) -> None:
        """The skeleton denoiser, if there is to be one; never trained here."""
        options = self.hparams
        self.denoiser: TrackCleaner | None = None
        if layout := options["denoiser"]:
            self.denoiser = TrackCleaner(layout, options["denoiser_channels"], options["denoiser_layers"])
            self.denoiser.requires_grad_(False)

    def attach_denoiser(self, path: str | Path) -> None:
        """Takes over a trained :class:`SkeletonDenoiser`, which ``save_weights`` then keeps beside the generator.

        Args:
            path: Its weights file or checkpoint.

        Raises:
            WeightsError: The file can't be used.
            OptionError: The method isn't driven by poses of bodies, or can't draw the denoiser's joints.
        """
        trained = load_weights(path, SkeletonDenoiser)
        layout = trained.hparams["layout"]
        if layout not in self.denoiser_layouts:
            known = " or ".join(self.denoiser_layouts) or "none at all"
            raise OptionError(f"{path}: a denoiser of layout {layout}; {type(self).__name__} takes {known}")
        names = {"denoiser": "layout", "denoiser_channels": "channels", "denoiser_layers": "layers"}
        self.hparams.update({ours: trained.hparams[theirs] for ours, theirs in names.items()})
        self.denoiser = trained.cleaner.requires_grad_(False).to(self.device).train(self.training)

    @property
    def motion_options(self) -> frozenset[str]:  # type: ignore[override]
        """Fitting the driving poses to the source's body; and cleaning them, with a denoiser."""
        if not self.denoiser_layouts:  # not driven by bodies
            return frozenset()
        return frozenset({"retarget"} if self.denoiser is None else {"retarget", "denoise"})

    def check_options(self, options: MotionOptions) -> None:
        """Refuses motion options; poses can be cleaned where there is a denoiser.

        Raises:
            OptionError: There is none, or the method doesn't know an option at all.
        """
        if options.denoise and self.denoiser is None and self.denoiser_layouts:
            raise OptionError(
                "there is no denoiser in these weights; give one with `--denoiser FILE` (in Python: "
                "`attach_denoiser`), or leave out `--denoise`"
            )
        super().check_options(options)

    @property
    def size_multiple(self) -> int:
        """The flow estimator and the renderer halve the picture."""
        return 2 ** max(self.sizes.layers, self.sizes.flow_layers)

    def _check_size(self, pictures: Tensor) -> None:
        super()._check_size(pictures)
        height, width = pictures.shape[-2:]
        if height * width == 4**self.sizes.flow_layers:
            raise OptionError(
                f"{type(self).__name__} can't normalise the single value that the flow estimator leaves of "
                f"{height} x {width} pixels; raise `data.size` or lower `flow_layers`"
            )
        for level, patch in self.sizes.patch_sizes.items():
            if self.training and min(height, width) >> level < patch and self.weights["affine_regularisation"]:
                raise OptionError(
                    f"a patch of {patch} doesn't fit into level {level} of {height} x {width} pixels; raise "
                    "`data.size`, lower `patch_sizes`, or set loss_weights.affine_regularisation to 0"
                )

    def setup(self, stage: str) -> None:
        """Takes over the weights that training starts from."""
        if stage == "fit" and self.hparams["init_from"]:
            initialise_from(self, self.hparams["init_from"])

    # ------------------------------------------------------------------ structures

    @abstractmethod
    def structure(self, pose: Tensor, skeleton: Skeleton, pictures: Tensor) -> Tensor:
        """What the networks see of poses.

        Args:
            pose: (N, K, 3).
            skeleton: The format of the K joints.
            pictures: (N, 3, H, W) in [0, 1] of the same frames; only their size matters where the pose says it all.

        Returns:
            (N, C, H, W).
        """

    def structures(self, batch: Batch, role: str, poses: Tensor | None = None, skeleton: Skeleton = BODY_18) -> Tensor:
        """Structures of all source or driving frames of a batch, (B, T, C, H, W).

        Args:
            batch: With ``<role>`` and ``<role>_pose``.
            role: ``source`` or ``driving``.
            poses: (B, T, K, 3), adapted poses that are drawn instead of the batch's own.
            skeleton: Their format.

        Raises:
            OptionError: Poses and pictures differ in length, or it isn't a pose of the expected joints.
        """
        pictures = batch[role]  # type: ignore[literal-required]
        given = batch[f"{role}_pose"]  # type: ignore[literal-required]
        if given.shape[1] != pictures.shape[1]:
            raise OptionError(f"{role}_pose has {given.shape[1]} frames, but {role} has {pictures.shape[1]}")
        poses = self.joints(given) if poses is None else poses
        drawn = self.structure(poses.flatten(0, 1), skeleton, pictures.flatten(0, 1))
        return drawn.unflatten(0, poses.shape[:2])

    def joints(self, pose: Tensor) -> Tensor:
        """The joints that structures show, of poses (B, T, K, 3).

        Raises:
            OptionError: They are of another format.
        """
        if pose.shape[2] != len(BODY_18.joints):
            expected = f"the {len(BODY_18.joints)} joints of BODY_18"
            raise OptionError(f"{type(self).__name__} needs {expected}; these poses have {pose.shape[2]}")
        return pose

    # ------------------------------------------------------------------ loss terms

    def picture_terms(self, generated: Tensor, target: Tensor, target_maps: Maps) -> dict[str, Tensor]:
        """Weighted terms that compare generated pictures with the truth, (N, 3, H, W) in [-1, 1]."""
        weights = self.weights
        terms = {}
        if weights["reconstruction"]:
            terms["reconstruction"] = weights["reconstruction"] * nn.functional.l1_loss(generated, target)
        maps = self.features(generated) if weights["perceptual"] or weights["style"] else {}
        if weights["perceptual"]:
            terms["perceptual"] = weights["perceptual"] * losses.perceptual(maps, target_maps)
        if weights["style"]:
            terms["style"] = weights["style"] * losses.style(maps, target_maps)
        return terms

    def flow_terms(
        self, motions: Motions, source_maps: Maps, target_maps: Maps, mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Weighted terms of the flows, summed over levels; ``mask`` (N, 1, H, W) says where correctness counts."""
        weights = self.weights
        terms = {}
        if weights["sampling_correctness"]:
            correctness = []
            for level, layer in self.correspondence.items():
                flow, target = motions[level].flow, target_maps[layer]
                height, width = target.shape[-2:]
                # the flow is in pixels of its own map, which AlexNet's maps aren't as large as
                flow = flow * flow.new_tensor([width / flow.shape[-1], height / flow.shape[-2]])[:, None, None]
                correctness.append(losses.sampling_correctness(flow, source_maps[layer], target, mask))
            terms["sampling_correctness"] = weights["sampling_correctness"] * torch.stack(correctness).sum()
        if weights["affine_regularisation"]:
            bending = [
                losses.affine_regularisation(motions[level].flow, patch)
                for level, patch in self.sizes.patch_sizes.items()
            ]
            terms["affine_regularisation"] = weights["affine_regularisation"] * torch.stack(bending).sum()
        return terms

    @torch.no_grad()
    def fixed_maps(self, pictures: Tensor) -> Maps:
        """Features of pictures in [-1, 1] that take no gradient; none where no term needs them."""
        needed = ("sampling_correctness", "perceptual", "style")
        return self.features(pictures) if any(self.weights.get(name) for name in needed) else {}

    def adam(self, *names: str, rate: str) -> Adam:
        """Adam for networks by attribute name, with the learning rate of a constructor argument."""
        parameters = [p for name in names for p in self.get_submodule(name).parameters()]
        return Adam(parameters, lr=self.hparams[rate], betas=ADAM_BETAS)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One Adam per phase."""
        rates = {"discriminator": "discriminator_learning_rate"}
        optimizers = [self.adam(*p.trains, rate=rates.get(p.name, "generator_learning_rate")) for p in self.phases]
        return optimizers, [MultiStepLR(o, list(self.hparams["milestones"]), gamma=0.1) for o in optimizers]

    # ------------------------------------------------------------------ inference

    def encode(self, source: Batch, options: MotionOptions) -> Memory:
        """Encodes the first source frame of each clip, (B, S, 3, H, W).

        Raises:
            PoseError: Driving poses are to be fitted to a source that shows no limb.
        """
        first = Batch(source=source["source"][:, :1], source_pose=source["source_pose"][:, :1])
        reference = Frame(to_network(first["source"][:, 0]), self.structures(first, "source")[:, 0])
        body = fitted_body(self.joints(first["source_pose"])[:, 0]) if options.retarget else None
        return Memory(reference, self.source_features(reference.picture), body, options.denoise)

    @abstractmethod
    def source_features(self, picture: Tensor) -> list[Tensor]:
        """The source's maps of levels 1, 2, ..."""

    def uses_track(self, options: MotionOptions) -> bool:
        """Fitting and cleaning look ahead."""
        return options.retarget or options.denoise

    def track(self, driving: Batch) -> dict[str, Tensor]:
        """The driving poses, (B, t, K, 3)."""
        return {"pose": driving["driving_pose"]}

    def adapt(self, state: Memory, track: dict[str, Tensor]) -> Memory:
        """Fits the whole driving track to the source's body, then cleans it, each where it was asked for."""
        poses, skeleton = self.joints(track["pose"]), BODY_18
        if state.body is not None:
            height, width = state.reference.picture.shape[-2:]
            size = (height, width)
            pairs = zip(to_pixels(poses.double(), size), to_pixels(state.body.double(), size), strict=True)
            fitted = torch.stack([retarget_limbs(clip, BODY_18, body) for clip, body in pairs])
            poses = to_units(fitted, size).to(poses.dtype)
        if state.denoise:
            assert self.denoiser is not None
            poses, skeleton = self.denoiser(poses), self.denoiser.skeleton
        return replace(state, adapted=poses, skeleton=skeleton)

    def driving_structures(self, state: Memory, driving: Batch) -> Tensor:
        """Structures (B, t, C, H, W) of the chunk that follows the frames seen so far."""
        poses = state.adapted
        if poses is not None:
            poses = poses[:, state.seen : state.seen + driving["driving"].shape[1]]
        return self.structures(driving, "driving", poses, state.skeleton)

    def load_official(self, checkpoint: dict[str, Any]) -> None:
        """Loads official networks, see :func:`official.rename`; a denoiser that is here keeps its weights.

        Official: what the first stage leaves is its flow estimator alone; the rest then keeps its weights, too.
        """
        renamed = official.rename(checkpoint)
        own = {name: tensor for name, tensor in self.state_dict().items() if name.startswith("denoiser.")}
        if self.hparams.get("stage") == "flow" and renamed and all(name.startswith(_FLOW) for name in renamed):
            rest = {name: tensor for name, tensor in self.state_dict().items() if name.startswith("generator.")}
            own |= {name: tensor for name, tensor in rest.items() if not name.startswith(_FLOW)}
        known = {name: tensor for name, tensor in renamed.items() if hasattr(self, name.partition(".")[0])}
        load_state(self, own | without_unfitting(self, known, ("discriminator", "video_discriminator")))


def fitted_body(poses: Tensor) -> Tensor:
    """The poses (B, 18, 3) of sources, once it is certain that each shows something to fit other poses to.

    Raises:
        PoseError: One has no limb of which both ends are seen.
    """
    seen = (poses[..., 2] > 0)[:, torch.tensor(BODY_18.limbs)].all(-1)  # B, limbs
    if not seen.any(1).all():
        raise PoseError(
            "shows no limb that driving poses could be fitted to",
            "give a source that shows the body, or leave out `--retarget`",
            role="source",
        )
    return poses


def to_network(pictures: Tensor) -> Tensor:
    """Pictures in [0, 1] as the networks want them, in [-1, 1]."""
    return 2 * pictures - 1


def to_picture(output: Tensor) -> Tensor:
    """The inverse."""
    return (output + 1) / 2
