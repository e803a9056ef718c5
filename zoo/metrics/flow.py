"""Optical flow for the temporal metrics."""

import importlib
from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor

from zoo.errors import ZooError
from zoo.metrics.clip_metric import unit_range


class MissingPackageError(ZooError, ImportError):
    """A metric needs a package that isn't installed; names the command that installs it."""


class FlowEstimator(Protocol):
    """Finds where pixels move."""

    @property
    def name(self) -> str:
        """How results call it."""

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Finds the flow from frames to frames.

        Args:
            first: (N, 3, H, W), RGB in [0, 1].
            second: The same shape.

        Returns:
            (N, 2, H, W): x, y in pixels; a pixel p of ``first`` is found at p + flow(p) of ``second``.
        """


class Farneback:
    """Farnebäck's flow (2003) on grey frames, computed by OpenCV with TecoGAN's settings. Needs no weights.

    Raises:
        MissingPackageError: OpenCV isn't installed.
    """

    name = "farneback"

    def __init__(self) -> None:
        _opencv()  # raises now, not after the first epoch

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Finds the flow (N, 2, H, W) in pixels from frames (N, 3, H, W) in [0, 1] to others."""
        pairs = zip(_grey(first), _grey(second), strict=True)
        flows = [_opencv().calcOpticalFlowFarneback(*pair, None, 0.5, 3, 15, 3, 5, 1.2, 0) for pair in pairs]
        return torch.stack([torch.from_numpy(flow).permute(2, 0, 1) for flow in flows]).to(first.device)


def _grey(frames: Tensor) -> list[Any]:
    """Frames (N, 3, H, W) as N arrays (H, W) uint8, as a video file would hold them."""
    pixels = (unit_range(frames) * 255).round().clamp(0, 255).to(torch.uint8)
    arrays = rearrange(pixels, "n c h w -> n h w c").cpu().numpy()
    return [_opencv().cvtColor(frame, _opencv().COLOR_RGB2GRAY) for frame in arrays]


def _opencv() -> Any:
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise MissingPackageError('optical flow needs OpenCV: pip install "animation-zoo[flow]"') from error
