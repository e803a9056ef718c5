from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

_PIXELS_AT_ONCE = 2**18
"""Frames are measured in portions of about so many pixels, so that memory
doesn't follow the clip's length (and stays in reach of the cache: larger ones are slower on a CPU)."""


class ClipMetric(Metric, ABC):
    """A number per clip, averaged over clips: what all metrics on aligned frames share.

    Values are kept in float64; over several processes they are gathered, and each clip counts once.
    """

    is_differentiable = False
    full_state_update = False
    values: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.set_dtype(torch.float64)  # also what a process without any clip contributes
        self.add_state("values", [], dist_reduce_fx="cat")

    def compute(self) -> Tensor:
        """The mean over clips, float64; NaN where there is nothing to average."""
        return dim_zero_cat(self.values).nanmean() if len(self.values) else torch.tensor(torch.nan).double()

    def per_clip(self) -> Tensor:
        """The values (clips,) that this process has measured, in the order of the updates."""
        return dim_zero_cat(self.values) if len(self.values) else torch.zeros(0, dtype=torch.float64)

    def _store(self, values: list[Tensor]) -> None:
        if values:
            self.values.append(torch.stack(values).to(self.device, torch.float64))


class FrameMetric(ClipMetric):
    """A number per frame; a clip's value is the mean over its frames, so that a long clip weighs no more."""

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Measures clips.

        Args:
            prediction: (B, T, C, H, W), or (N, C, H, W) where every picture is a clip of its own. RGB in [0, 1], or
                uint8.
            target: What the prediction should be, in the same shape.

        Raises:
            ValueError: The shapes differ, or values are outside [0, 1].
        """
        check_pictures(prediction, target)
        with torch.no_grad():
            self._store([self._measure_clip(*clip) for clip in zip(prediction, target, strict=True)])

    @abstractmethod
    def measure(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Measures frames (N, C, H, W), as they were given to ``update``; returns (N,)."""

    def _measure_clip(self, prediction: Tensor, target: Tensor) -> Tensor:
        frames = zip(portions(prediction), portions(target), strict=True)
        return torch.cat([self.measure(*pair).to(self.device, torch.float64) for pair in frames]).mean()


def portions(clip: Tensor) -> Iterator[Tensor]:
    """Cuts a clip (T, C, H, W), or a single picture (C, H, W), into portions (t, C, H, W) of bounded size."""
    frames = clip if clip.ndim == 4 else clip[None]
    yield from frames.split(max(1, _PIXELS_AT_ONCE // (frames.shape[-2] * frames.shape[-1])))


def unit_range(pictures: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Pictures as floating point in [0, 1]; uint8 is divided by 255."""
    return pictures.to(dtype) / 255 if pictures.dtype == torch.uint8 else pictures.to(dtype)


def in_float64(pictures: Tensor) -> Tensor:
    """Pictures as float64 in [0, 1], on the CPU where their device doesn't know float64."""
    return unit_range(pictures.cpu() if pictures.device.type == "mps" else pictures, torch.float64)


def check_pictures(prediction: Tensor, target: Tensor) -> None:
    """Checks shape and range of what is compared.

    Raises:
        ValueError: Says what was expected and what was found.
    """
    if prediction.shape != target.shape or prediction.ndim not in (4, 5):
        raise ValueError(
            "prediction and target should both be (B, T, C, H, W) or (N, C, H, W), not "
            f"{tuple(prediction.shape)} and {tuple(target.shape)}"
        )
    check_range("prediction", prediction)
    check_range("target", target)


def check_range(name: str, pictures: Tensor) -> None:
    """Raises ValueError unless pictures are uint8, or floating point in [0, 1]."""
    if pictures.dtype == torch.uint8 or pictures.numel() == 0:
        return
    if not pictures.is_floating_point():
        raise ValueError(f"{name} should be floating point in [0, 1] or uint8, not {pictures.dtype}")
    low, high = (bound.item() for bound in pictures.detach().aminmax())
    if not (low >= -0.01 and high <= 1.01):  # written so that NaN fails too
        raise ValueError(f"{name} should be in [0, 1] (or uint8), but its values reach from {low:.3g} to {high:.3g}")
