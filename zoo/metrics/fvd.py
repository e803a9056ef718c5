from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from zoo.errors import OptionError
from zoo.metrics.clip_metric import unit_range
from zoo.metrics.feature_sets import Counts, SetMetric, Side, check_sets
from zoo.metrics.frechet import frechet_distance
from zoo.metrics.i3d import CLASSES, I3D, SHORTEST
from zoo.metrics.precision import full_float32
from zoo.metrics.resizing import Resizing, check_resizing, resize
from zoo.nn.features import Frozen
from zoo.weights import networks

_CLIPS_AT_ONCE = 8
"""On a GPU. A CPU gains nothing from more than one."""


class ClipBackbone(Protocol):
    """A network that FVD looks through. Numbers of two of them aren't comparable."""

    @property
    def name(self) -> str:
        """How results call it."""

    @property
    def size(self) -> int:
        """Side of the square frames that it takes."""

    @property
    def shortest(self) -> int:
        """The fewest frames of a clip that it takes."""

    @property
    def dimensions(self) -> int:
        """Length of a feature."""

    def features(self, clips: Tensor) -> Tensor:
        """Features of clips (N, T, 3, size, size), RGB in [0, 1]; returns (N, dimensions)."""


class FVD(SetMetric):
    """Fréchet video distance (Unterthiner et al. 2018) between predicted and true clips. Lower is better.

    Features are the 400 logits of the I3D network of TF-Hub (Kinetics-400), as in the original; the distance is taken
    in float64 without a matrix square root (see :func:`zoo.metrics.frechet.frechet_distance`). Videos are cut into
    clips of ``frames``, one after the other without overlap; what is left at the end doesn't count. A video that is
    shorter than ``frames`` is one clip, unless it is shorter than the network's 9 frames: then it is skipped, and
    counted in ``skipped``.

    Values of different conventions can't be compared, nor those of different numbers of clips: at equal
    distributions the distance falls as 1 / N. State ``counts`` beside it. Below 256 clips per set it is a
    ``diagnostic``; the literature's standard is 2048. The network runs in float32 whatever the trainer's precision.

    Args:
        convention: How frames are resized to 224 x 224; see ``zoo.metrics.resizing.Resizing``.
        frames: Frames of a clip.
        every: Takes every n-th frame of a video.
        unbiased: Covariances divided by N - 1 (the original) instead of N (StyleGAN-V).
        backbone: Another network than I3D, such as one that is more sensitive to motion.

    Raises:
        MissingWeightsError: The weights aren't on this machine; names the command that fetches them.
        OptionError: An option is out of range.

    Example:
        >>> import torch
        >>> metric = FVD()
        >>> metric.update(torch.zeros(2, 9, 3, 64, 64), torch.ones(2, 9, 3, 64, 64))
        >>> round(metric.compute().item(), 2), metric.counts.prediction, metric.diagnostic
        (492.63, 2, True)
    """

    fewest = 256

    def __init__(
        self,
        convention: Resizing = "half_pixel",
        frames: int = 16,
        every: int = 1,
        unbiased: bool = True,
        backbone: ClipBackbone | None = None,
    ) -> None:
        check_resizing(convention)
        backbone = backbone or I3DLogits()
        if frames < backbone.shortest:
            raise OptionError(f"frames: {backbone.name} needs clips of at least {backbone.shortest}, not {frames}")
        if every < 1:
            raise OptionError(f"every: should be at least 1, not {every}")
        seen_through = f"{backbone.name}_{convention}_{frames}f" + (f"_every{every}" if every > 1 else "")
        super().__init__(f"fvd_{seen_through}" + ("" if unbiased else "_biased"), seen_through, backbone.dimensions)
        self.convention = convention
        self.frames = frames
        self.every = every
        self.unbiased = unbiased
        self.fewest_frames = (backbone.shortest - 1) * every + 1
        self._backbone = (backbone,)  # a network inside a tuple is no sub-module, and stays out of the state
        self._skipped = f"{seen_through}_skipped"
        self.add_state(self._skipped, torch.zeros(2, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Takes videos into the sets.

        Args:
            prediction: (B, T, 3, H, W), RGB in [0, 1], or uint8.
            target: True videos, not necessarily of the same scenes, number or length, but with frames of equal size.

        Raises:
            ValueError: A shape doesn't fit, or values are out of range.
        """
        check_sets(prediction, target, (5,), "(B, T, 3, H, W)")
        with torch.no_grad():
            self._add("prediction", prediction)
            self._add("target", target)

    def compute(self) -> Tensor:
        """The distance, a float64 scalar; NaN where a set has fewer than two clips."""
        return frechet_distance(*self.features(), self.unbiased).to(self.device)

    @property
    def skipped(self) -> Counts:
        """How many videos of each set were too short for the network."""
        return Counts(*getattr(self, self._skipped).tolist())

    def _add(self, side: Side, videos: Tensor) -> None:
        (backbone,) = self._backbone
        for video in videos[:, :: self.every]:
            if len(video) < backbone.shortest:
                getattr(self, self._skipped)[("prediction", "target").index(side)] += 1
                continue
            frames = min(self.frames, len(video))
            clips = video[: len(video) // frames * frames].unflatten(0, (-1, frames))
            for portion in clips.split(1 if videos.device.type == "cpu" else _CLIPS_AT_ONCE):
                resized = resize(unit_range(portion.flatten(0, 1)), backbone.size, self.convention)
                with full_float32(videos.device):
                    self._store(side, backbone.features(resized.unflatten(0, portion.shape[:2])))


class I3DLogits:
    """The backbone of FVD as it was published: I3D of TF-Hub, before softmax.

    Raises:
        MissingWeightsError: The weights aren't on this machine; names the command that fetches them.
    """

    name = "i3d"
    size = 224
    shortest = SHORTEST
    dimensions = CLASSES

    def __init__(self) -> None:
        networks.path("i3d")  # raises now, not after the first epoch
        self._network = Frozen(I3D.published)

    def features(self, clips: Tensor) -> Tensor:
        """Logits of clips (N, T, 3, 224, 224), RGB in [0, 1]; returns (N, 400)."""
        clips = 2 * clips.transpose(1, 2) - 1
        if clips.device.type == "cpu":
            clips = clips.contiguous(memory_format=torch.channels_last_3d)  # a little faster there
        return self._network(clips)


FVD_VARIANTS: dict[str, Callable[[], FVD]] = {
    "fvd": FVD,
    "fvd_tensorflow": partial(FVD, "tf1_legacy"),
    "fvd_stylegan_v": partial(FVD, unbiased=False),
    "fvd_stylegan_v_128f": partial(FVD, frames=128, unbiased=False),
    "fvd_stylegan_v_128f_subsample8f": partial(FVD, frames=16, every=8, unbiased=False),
    "fvd_videogpt": partial(FVD, "short_side_center_crop"),
}
"""Published ways to resize and estimate, and lengths of clips, by the code that they come from.

Which clips are compared is up to the caller: every window of a video counts, and a shorter video as one clip (see
`FVD`), where StyleGAN-V draws one window of 2048 videos.

``fvd_tensorflow`` is the original. VideoGPT's own port of the network has another constant in its norms, which moves
its values by about 0.2 %; the network here is the original's throughout.
"""
