from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

Need = Literal["target", "source", "mask", "pose", "driving"]
Known = Mapping[Need, Tensor]

_PIXELS_AT_ONCE = 2**18
"""Frames are measured in portions of about so many pixels, so that memory
doesn't follow the clip's length (and stays in reach of the cache: larger ones are slower on a CPU)."""


class ClipMetric(Metric, ABC):
    """A number per clip, averaged over clips: what all metrics but those between sets share.

    Values are kept in float64; over several processes they are gathered, and each clip counts once.

    Published figures are often means over the frames of all clips together, in which a long clip weighs more: those of
    First Order Motion Model among them. For these give frames (T, C, H, W) instead of clips: each picture is then a
    clip of its own. A first frame that is the source itself, which they include, is left out by ``clip[:, 1:]``.

    Args:
        name: How results call it.

    Attributes:
        name: How results call it, with everything that keeps it from being compared with another.
        needs: Which of the keyword arguments of ``update`` it takes. The others may be given, and are ignored.
        fewest_frames: The shortest clip that it is defined for.
    """

    is_differentiable = False
    full_state_update = False
    needs: tuple[Need, ...] = ("target",)
    fewest_frames = 1

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.set_dtype(torch.float64)  # also what a process without any clip contributes
        # A state of its own name: torchmetrics' MetricCollection takes two metrics for one and the same while states
        # of equal names hold equal values, as L1 and LPIPS of a perfect first batch.
        self._state = f"{name}_values"
        self.add_state(self._state, [], dist_reduce_fx="cat")

    def update(
        self,
        prediction: Tensor,
        target: Tensor | None = None,
        source: Tensor | None = None,
        mask: Tensor | None = None,
        pose: Tensor | None = None,
        driving: Tensor | None = None,
    ) -> None:
        """Measures clips. What ``needs`` doesn't name may be left out.

        Args:
            prediction: (B, T, C, H, W), or (N, C, H, W) where every picture is a clip of its own. RGB in [0, 1], or
                uint8.
            target: What the prediction should be, in the same shape.
            source: The picture from which the clip was made, (B, C, H, W).
            mask: Where the true frames show the subject, (B, T, 1, H, W) in [0, 1] or bool.
            pose: Keypoints of the true frames, (B, T, K, 3): x, y in [-1, 1] (``x = (2 * px + 1) / W - 1``) and a
                confidence, 0 for a missing one.
            driving: The frames whose motion the prediction should show, in the prediction's shape.

        Raises:
            ValueError: Something that the metric needs is missing, a shape doesn't fit, the clip is too short, or
                values are out of range.
        """
        given = {"target": target, "source": source, "mask": mask, "pose": pose, "driving": driving}
        known: dict[Need, Tensor] = {}
        for need in self.needs:
            value = given[need]
            if value is None:
                raise ValueError(f"{self.name} needs {need}= beside the prediction")
            known[need] = value
        self._check(prediction, known)
        with torch.no_grad():
            self._store(
                [
                    self._measure_clip(clip, {need: value[number] for need, value in known.items()})
                    for number, clip in enumerate(prediction)
                ]
            )

    def compute(self) -> Tensor:
        """The mean over clips, float64; NaN where there is nothing to average."""
        values = getattr(self, self._state)
        return dim_zero_cat(values).nanmean() if len(values) else torch.tensor(torch.nan).double()

    def per_clip(self) -> Tensor:
        """The values (clips,) that this process has measured, in the order of the updates; NaN for one without."""
        values = getattr(self, self._state)
        return dim_zero_cat(values) if len(values) else torch.zeros(0, dtype=torch.float64)

    def lacks(self, given: Collection[str]) -> str:
        """Why it can't be measured where only ``given`` is known beside the prediction; empty where it can."""
        missing = [need for need in self.needs if need not in given]
        return f"it needs the {' and the '.join(missing)} of each clip, which the data doesn't have" if missing else ""

    @abstractmethod
    def _measure_clip(self, prediction: Tensor, known: Known) -> Tensor:
        """Measures a clip (T, C, H, W), or a single picture (C, H, W); returns a scalar, NaN for no value."""

    def _check(self, prediction: Tensor, known: Known) -> None:
        target = known.get("target", prediction)
        check_pictures(prediction, target)
        shape = prediction.shape
        clips = prediction.ndim == 5
        if (self.fewest_frames > 1 and not clips) or (clips and shape[1] < self.fewest_frames):
            raise ValueError(
                f"{self.name} needs clips (B, T, C, H, W) of at least {self.fewest_frames} frames, not {tuple(shape)}"
            )
        if "source" in known:
            _check_shape("source", "(B, C, H, W)", known["source"], (shape[0], *shape[-3:]), prediction)
            check_range("source", known["source"])
        if "driving" in known:
            _check_shape("driving", "(B, T, C, H, W)", known["driving"], tuple(shape), prediction)
            check_range("driving", known["driving"])
        if "mask" in known:
            expected = (*shape[:-3], 1, *shape[-2:])
            _check_shape("mask", "(B, T, 1, H, W)", known["mask"], expected, prediction)
            if known["mask"].dtype == torch.uint8:  # 1, or 255?
                raise ValueError("mask should be floating point in [0, 1] or bool, not torch.uint8")
            check_range("mask", known["mask"].float())
        if "pose" in known:
            keypoints = known["pose"].shape[-2] if known["pose"].ndim > 1 else 0
            _check_shape("pose", "(B, T, K, 3)", known["pose"], (*shape[:-3], keypoints, 3), prediction)
            if not known["pose"].isfinite().all():
                raise ValueError("pose holds NaN or infinity; a missing keypoint has confidence 0")

    def _store(self, values: list[Tensor]) -> None:
        if values:
            getattr(self, self._state).append(torch.stack(values).to(self.device, torch.float64))


def portions(clip: Tensor, overlap: int = 0) -> Iterator[Tensor]:
    """Cuts a clip (T, C, H, W), or a single picture (C, H, W), into portions (t, C, H, W) of bounded size.

    Args:
        clip: The frames.
        overlap: How many frames of a portion the next one begins with: 1 for what looks at consecutive frames.
    """
    frames = clip if clip.ndim == 4 else clip[None]
    step = max(1, _PIXELS_AT_ONCE // (frames.shape[-2] * frames.shape[-1]))
    for first in range(0, max(1, len(frames) - overlap), step):
        yield frames[first : first + step + overlap]


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
    if target is not prediction:
        check_range("target", target)


def check_range(name: str, pictures: Tensor) -> None:
    """Raises ValueError unless pictures are uint8, or floating point in [0, 1]; the error names the first bad clip."""
    if pictures.dtype == torch.uint8 or pictures.numel() == 0:
        return
    if not pictures.is_floating_point():
        raise ValueError(f"{name} should be floating point in [0, 1] or uint8, not {pictures.dtype}")
    if _in_range(pictures):
        return
    number, clip = next((number, clip) for number, clip in enumerate(pictures) if not _in_range(clip))
    low, high = (bound.item() for bound in clip.detach().aminmax())
    found = f"its values reach from {low:.3g} to {high:.3g}" if low == low else "it holds NaN"
    raise ValueError(f"{name} should be in [0, 1] (or uint8), but look at clip {number} of the batch: {found}")


def _in_range(pictures: Tensor) -> bool:
    low, high = (bound.item() for bound in pictures.detach().aminmax())
    return low >= -0.01 and high <= 1.01  # False for NaN too


def _check_shape(name: str, letters: str, value: Tensor, expected: tuple[int, ...], prediction: Tensor) -> None:
    if value.shape != expected:
        raise ValueError(
            f"{name} should be {letters} beside a prediction {tuple(prediction.shape)}, not {tuple(value.shape)}"
        )
