from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from zoo.base import MotionOptions
from zoo.errors import OptionError
from zoo.methods.deep_spatial_transformation import face_structure
from zoo.methods.deep_spatial_transformation.animation import DeepSpatialAnimation
from zoo.methods.deep_spatial_transformation.discriminators import Discriminator, frame_differences
from zoo.methods.deep_spatial_transformation.losses import Maps
from zoo.methods.deep_spatial_transformation.motion_extraction import Layout
from zoo.methods.deep_spatial_transformation.networks import FaceGenerator, RecurrentGenerator, Sizes
from zoo.methods.deep_spatial_transformation.structured import Memory
from zoo.pose import FACE_68, WHOLE_18, WHOLE_23, WHOLE_25, Skeleton, convert_pose, snapped, to_pixels

_FORMATS = {len(skeleton.joints): skeleton for skeleton in (FACE_68, WHOLE_18, WHOLE_23, WHOLE_25)}
_GREY = (19595, 38470, 7471)  # of 65536 parts, as Pillow weighs colours


class DeepSpatialFace(DeepSpatialAnimation):
    """The face version of :class:`DeepSpatialAnimation`: driven by 68 landmarks and the edges of the driving frames.

    One flow estimator serves both pictures, and the second discriminator judges differences of three frames. Arguments
    and defaults are those of the animation version; there is no denoiser.

    Poses hold dlib's 68 landmarks (``face_68``), or a whole-body format, whose face points include them. A frame that
    lacks a landmark takes those of the frame before it (at the start of a clip, after it); a clip without any complete
    face is drawn empty. Needs scikit-image.
    """

    skeleton: Skeleton | None = FACE_68
    denoiser_layouts: ClassVar[tuple[Layout, ...]] = ()
    structure_channels: ClassVar[int] = face_structure.CHANNELS
    shown_channels: ClassVar[int] = 1  # the edges; distances and labels would outshine them
    run: ClassVar[int] = 3

    @property
    def pose_formats(self) -> tuple[Skeleton, ...]:
        """Those with the landmarks of a face."""
        return tuple(_FORMATS.values())

    def build_generator(self, sizes: Sizes) -> RecurrentGenerator:
        """The network that renders."""
        return FaceGenerator(sizes)

    def build_video_discriminator(self, width: int, max_width: int, layers: int) -> nn.Module:
        """The network that judges differences of consecutive frames."""
        return Discriminator(3 * (self.run - 1), width, max_width, layers)

    def judge_run(self, frames: Tensor) -> Tensor:
        """What the video discriminator says about runs (B, run, 3, H, W)."""
        return self.video_discriminator(frame_differences(frames))

    def previous_maps(self, rendered: dict[str, Any], target_maps: list[Maps]) -> list[Maps]:
        """For each frame of a chunk, features of the frame *generated* before."""
        generated = rendered["pictures"].detach().unbind(1)
        return [self.fixed_maps(picture) for picture in (rendered["previous"], *generated[:-1])]

    def joints(self, pose: Tensor) -> Tensor:
        """Landmarks (B, T, 68, 3) of poses, complete in every frame where any frame of the clip is.

        Raises:
            OptionError: The poses have no landmarks of a face.
        """
        stored = _FORMATS.get(count := pose.shape[2])
        if stored is None:
            raise OptionError(
                f"DeepSpatialFace needs 68 face landmarks; these poses have {count} joints; give poses of skeleton "
                f"{' or '.join(skeleton.name for skeleton in _FORMATS.values())} beside the clips"
            )
        return fill_missing(convert_pose(pose, stored, FACE_68))

    def uses_track(self, options: MotionOptions) -> bool:
        """Landmarks of other frames fill gaps."""
        return True

    def adapt(self, state: Memory, track: dict[str, Tensor]) -> Memory:
        """Fills frames without a face."""
        return replace(state, adapted=self.joints(track["pose"]))

    def structure(self, pose: Tensor, skeleton: Skeleton, pictures: Tensor) -> Tensor:
        """Edges, distances and labels, (N, 16, H, W); drawn on the processor."""
        height, width = pictures.shape[-2:]
        points = snapped(to_pixels(pose, (height, width)), pose.dtype)[..., :2].long().cpu().numpy()
        weights = torch.tensor(_GREY, device=pictures.device)[:, None, None]
        grey = (((pictures * 255).round().long() * weights).sum(1) + 32768) >> 16
        empty = np.zeros((face_structure.CHANNELS, height, width), np.float32)
        found = (pose[..., 2] > 0).all(-1).tolist()
        drawn = [
            face_structure.draw_face(face, picture) if there else empty
            for face, picture, there in zip(points, grey.byte().cpu().numpy(), found, strict=True)
        ]
        return torch.from_numpy(np.stack(drawn)).to(pictures)


def fill_missing(landmarks: Tensor) -> Tensor:
    """Landmarks (B, T, K, 3) in which an incomplete frame is replaced by the last complete one, or by the first."""
    complete = (landmarks[..., 2] > 0).all(-1)  # B, T
    moments = torch.arange(landmarks.shape[1], device=landmarks.device)
    last = torch.where(complete, moments, -1).cummax(1).values
    first = complete.int().argmax(1, keepdim=True)  # 0 where there is none
    chosen = torch.where(last >= 0, last, first)
    return landmarks.gather(1, chosen[..., None, None].expand_as(landmarks))
