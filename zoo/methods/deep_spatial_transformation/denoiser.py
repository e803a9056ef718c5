"""The skeleton denoiser: learns to clean detected poses of a whole clip before they drive an animation."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Adam

from zoo.base import AnimationModule, MotionOptions
from zoo.batch import Batch, Condition
from zoo.errors import OptionError
from zoo.methods.deep_spatial_transformation import official
from zoo.methods.deep_spatial_transformation.motion_extraction import WINDOW, Layout, TrackCleaner
from zoo.pose import BODY_18
from zoo.weights.checkpoint import load_state


class SkeletonDenoiser(AnimationModule):
    """The motion extraction network of Ren et al. (IEEE TIP 2020), trained on true tracks that are made noisy.

    It takes windows of 24 frames with their surroundings (40 frames on each side as published) and gives clean joints
    for the 24. In training true poses get jitter and lose joints; the network has to restore them. Published training
    pairs a detector's poses with motion capture (Human3.6M) instead.

    Training needs ``data.driving_frames: 24`` and ``data.pose_window: 40`` (half the receptive field); it looks at no
    pictures, so ``data.size`` may be small. It animates nothing itself: ``attach_denoiser`` of the animating methods
    takes its weights.

    Args:
        layout: ``body_18``: BODY_18 in and out. ``human36m_17``: COCO-17 in and Human3.6M-17 out as published; its
            weights can be imported, but not trained on noisy copies, whose joints are other ones.
        channels: Width; 256 as published.
        layers: The receptive field is 3^layers frames; 4 as published.
        dropout: Share of features dropped in training.
        jitter: Standard deviation of the noise on training coordinates, in the batch's units (2 is the whole picture).
        drop: Share of the training joints that are lost, each by itself.
        drop_frames: Share of the training frames that lose all joints.
        learning_rate: Adam's.
    """

    conditions: ClassVar[tuple[Condition, ...]] = ("pose",)
    inference_networks: ClassVar[tuple[str, ...]] = ("cleaner",)

    def __init__(
        self,
        layout: Layout = "human36m_17",
        channels: int = 256,
        layers: int = 4,
        dropout: float = 0.15,
        jitter: float = 0.03,
        drop: float = 0.1,
        drop_frames: float = 0.02,
        learning_rate: float = 1e-4,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.cleaner = TrackCleaner(layout, channels, layers, dropout)

    def clean(self, track: Tensor) -> Tensor:
        """Cleans tracks (B, T, 18, 3) of BODY_18, see :class:`TrackCleaner`; in eval mode without dropout."""
        return self.cleaner(track)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean squared error of the restored joints, over those whose truth is known.

        Raises:
            OptionError: The layout can't be trained, or the data isn't windowed as the network needs it.
        """
        if self.cleaner.skeleton is not BODY_18:
            raise OptionError("layout human36m_17 can't be trained on noisy copies; set `model.layout: body_18`")
        true = self._track(batch)
        restored = self.cleaner.positions(self.corrupt(true))
        middle = true[:, self.cleaner.context : -self.cleaner.context]
        known = (middle[..., 2:] > 0).to(restored.dtype)
        error = ((restored - middle[..., :2]).square() * known).sum() / (2 * known.sum()).clamp(min=1)
        self.log("train/squared_error", error.detach(), prog_bar=True, batch_size=len(true))
        return error

    def _track(self, batch: Batch) -> Tensor:
        """(B, 24 + 2 context, 18, 3): the driving frames' poses and those around them."""
        reach = self.cleaner.context
        windows = batch.get("pose_window")
        if windows is None or windows.shape[1:3] != (WINDOW, 2 * reach + 1):
            raise OptionError(
                f"the denoiser trains on {WINDOW} frames with {reach} poses on either side; "
                f"set `data.driving_frames: {WINDOW}` and `data.pose_window: {reach}`"
            )
        return torch.cat([windows[:, 0, :reach], windows[:, :, reach], windows[:, -1, reach + 1 :]], dim=1)

    def corrupt(self, pose: Tensor, jitter: float | None = None) -> Tensor:
        """Poses (B, T, K, 3) as a poor detector would give them: with jitter, lost joints and lost frames.

        Args:
            pose: True ones.
            jitter: Standard deviation of the noise; by default that of training.
        """
        options = self.hparams
        noise = (options["jitter"] if jitter is None else jitter) * torch.randn_like(pose[..., :2])
        kept = torch.rand_like(pose[..., 2:]) >= options["drop"]
        kept &= torch.rand_like(pose[..., :1, 2:]) >= options["drop_frames"]
        noisy = torch.cat([pose[..., :2] + noise, pose[..., 2:]], -1)
        return torch.where(kept & (pose[..., 2:] > 0), noisy, torch.zeros_like(noisy))

    def configure_optimizers(self) -> Adam:
        """Adam as for the other networks of this method."""
        return Adam(self.cleaner.parameters(), lr=self.hparams["learning_rate"], betas=(0.0, 0.999))

    def check_options(self, options: MotionOptions) -> None:
        """Always raises, before anything of a clip is looked at: a denoiser animates nothing."""
        raise OptionError(
            "SkeletonDenoiser cleans poses and animates nothing; give its weights as `--denoiser` beside the "
            "`--weights` of a trained DeepSpatialTransformation or DeepSpatialAnimation (in Python: to their "
            "`attach_denoiser`)"
        )

    def load_official(self, checkpoint: dict[str, Any]) -> None:
        """Loads an official motion extraction network."""
        load_state(self, official.rename_denoiser(checkpoint))
