"""MediaPipe's pose as what the metrics on keypoints look through."""

import hashlib
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from zoo.conditions.mediapipe import MediaPipePose
from zoo.pose import BODY_18, convert_pose

_SIDE = 256
"""Smaller frames are enlarged to about this side: at 64 pixels MediaPipe misses every fourth joint of real people."""

_REMEMBERED = 64  # portions of clips: those of a clip and of its prediction, while several metrics ask for them


class MediaPipeKeypoints:
    """The joints (``body_18``) of the person who fills most of a frame, as `zoo.metrics.KeypointEstimator` says.

    Each frame on its own (`MediaPipePose.in_whole`): following a person trembles by pixels even in a still clip. On
    true frames of 64 x 64 its distance (AKD) from the known joints is 0.9 pixels on synthetic people, 0.3 and 0.8 from
    the joints found in 256 x 256 of fashion and Tai Chi, and it misses none. What was found is remembered, so that
    metrics which look at the same clip one after the other share the work.

    Raises:
        OptionError: The runtime isn't installed.
        MissingWeightsError: The networks aren't on this machine; names the command that fetches them.
    """

    name = "mediapipe"
    skeleton = BODY_18

    def __init__(self) -> None:
        self._pose = MediaPipePose()
        self._known: OrderedDict[bytes, Tensor] = OrderedDict()

    def __call__(self, frames: Tensor) -> Tensor:
        """Finds the joints.

        Args:
            frames: (N, 3, H, W), RGB in [0, 1].

        Returns:
            (N, 18, 3): x, y in [-1, 1] (``x = (2 * px + 1) / W - 1``) and confidence, on the CPU.
        """
        pictures = (frames.cpu().float() * 255).round().clamp(0, 255).to(torch.uint8)
        key = hashlib.sha256(f"{tuple(pictures.shape)}".encode() + pictures.numpy().tobytes()).digest()
        if key not in self._known:
            self._known[key] = self._find(pictures)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return self._known[key]

    def _find(self, pictures: Tensor) -> Tensor:
        scale = max(1, round(_SIDE / max(pictures.shape[-2:])))
        if scale > 1:
            enlarged = functional.interpolate(pictures.float(), scale_factor=scale, mode="bicubic", align_corners=False)
            pictures = enlarged.round().clamp(0, 255).to(torch.uint8)
        found = torch.stack([self._pose.in_whole(picture) for picture in pictures])
        height, width = pictures.shape[-2:]
        place = (2 * found[..., :2] + 1) / torch.tensor([width, height]) - 1
        found = torch.cat([place, found[..., 2:]], dim=-1).where(found[..., 2:] > 0, 0.0)
        return convert_pose(found, self._pose.skeleton, self.skeleton)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()  # the runtime's networks can't be pickled; they are read again
