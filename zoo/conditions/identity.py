"""Who is in a frame, told by the clothes: for AED and CSIM where no re-identification network is at hand."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from zoo.conditions.keypoints import MediaPipeKeypoints
from zoo.nn.features import Frozen, feature_network
from zoo.weights import networks

_CORNERS = ("right_shoulder", "left_shoulder", "right_hip", "left_hip")
_MARGIN = 1.15  # by which the crop is larger than the box around shoulders and hips
_LEAST = 0.02  # a person seen from the side is that wide at least, in halves of the frame
_SIDE = 128
_LAST_RELU = 11  # of AlexNet's convolutions


class TorsoAlexNet:
    """An embedding of the person's clothes: AlexNet (ImageNet) on a crop of the torso, as `zoo.metrics.AED` needs it.

    The square around shoulders and hips, which MediaPipe finds, is resampled to 128 pixels; the outputs of AlexNet's
    last convolution are averaged over it and brought to unit length: 256 numbers, distances from 0 to 2. A frame
    without a torso is NaN.

    It isn't trained to tell people apart. Of two frames of different clips it finds those of the same synthetic person
    (64 x 64) nearer than those of another with a probability of 0.84 (whole frames: 0.59, Inception on them: 0.66).
    Never compare it with published figures of AED, which see through OpenFace or a re-identification network.

    Raises:
        OptionError: The runtime of MediaPipe's networks isn't installed.
        MissingWeightsError: A network isn't on this machine; names the command that fetches it.
    """

    name = "torso_alexnet"

    def __init__(self) -> None:
        networks.path("lpips_alex")  # raises now, not after a training
        self._keypoints = MediaPipeKeypoints()
        self._network = Frozen(partial(feature_network, "alexnet", (_LAST_RELU,)))

    def __call__(self, frames: Tensor) -> Tensor:
        """Embeds frames (N, 3, H, W), RGB in [0, 1]; returns (N, 256), NaN in the row of a frame without a torso."""
        joints = self._keypoints(frames)[:, [self._keypoints.skeleton.index(name) for name in _CORNERS]]
        crops = functional.grid_sample(
            frames.float(), _squares(joints).to(frames.device), padding_mode="border", align_corners=False
        )
        (features,) = self._network(crops)
        embeddings = functional.normalize(features.mean((2, 3)), dim=1)
        found = (joints[..., 2] > 0).all(dim=1).to(frames.device)
        return embeddings.where(found[:, None], torch.nan)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


def _squares(joints: Tensor) -> Tensor:
    """Sampling grids (N, 128, 128, 2) of the squares around joints (N, K, 3), x and y in [-1, 1]."""
    low, high = joints[..., :2].amin(dim=1), joints[..., :2].amax(dim=1)
    half = ((high - low).amax(dim=1) / 2 * _MARGIN).clamp(min=_LEAST)
    across = (2 * torch.arange(_SIDE) + 1) / _SIDE - 1
    square = torch.stack(torch.meshgrid(across, across, indexing="xy"), dim=-1)
    return (low + high)[:, None, None] / 2 + half[:, None, None, None] * square
