from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from zoo.batch import Condition
from zoo.pose import Skeleton

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Clip:
    """A run of frames that shows one person.

    Attributes:
        name: What the clip is called in lists and results; unique within its source.
        identity: Who it shows; clips of one person share it.
        frames: How many frames the clip has.
        fps: Frames per second.
        height: Height of a frame as stored, pixels.
        width: Width of a frame as stored, pixels.
        recording: What it is a run of frames of, such as a file.
        start: Frame k of the clip is frame ``start + k`` of its recording.
    """

    name: str
    identity: str
    frames: int
    fps: float
    height: int
    width: int
    recording: str
    start: int = 0

    @property
    def scene(self) -> tuple[str, str]:
        """Recording and person: clips that share them show the same clothes and place."""
        return self.recording, self.identity


class ClipSource(Protocol):
    """Where clips come from: a folder of videos, or people who are generated.

    Frame indices count from the start of the clip; any order, duplicates allowed.
    """

    @property
    def skeleton(self) -> Skeleton:
        """The format of the poses."""
        ...

    @property
    def conditions(self) -> frozenset[Condition]:
        """Which of ``pose``, ``iuv`` and ``mask`` every clip has."""
        ...

    def clips(self, split: Split) -> list[Clip]:
        """The clips of a split, in a fixed order."""
        ...

    def find(self, name: str) -> Clip | None:
        """The clip that a pair list calls ``name``, or None."""
        ...

    def frames(self, clip: Clip, indices: Sequence[int]) -> Tensor:
        """Pictures: uint8 (N, 3, H, W) RGB, as stored."""
        ...

    def condition(self, clip: Clip, name: Condition, indices: Sequence[int]) -> Tensor:
        """One condition of the same frames.

        Returns:
            ``pose``: float32 (N, K, 3) with x, y in pixels of the stored frame, where a pixel's centre is a whole
            number, and a confidence in [0, 1]; a missing joint is 0 in all three. ``iuv``: uint8 (N, 3, H, W) with I in
            0..24 and U, V in 0..255. ``mask``: uint8 (N, 1, H, W), 255 on the subject.
        """
        ...

    def target(self, source: Clip, driving: Clip, indices: Sequence[int]) -> Tensor | None:
        """The true frames of the source's person doing the driving clip's motion, seen by the source's camera.

        Returns:
            uint8 (N, 3, H, W), or None where the source does not know them.
        """
        ...

    def target_condition(self, source: Clip, driving: Clip, name: Condition, indices: Sequence[int]) -> Tensor | None:
        """One condition of the true frames, as ``condition`` gives it, or None where the source does not know them."""
        ...

    def summary(self) -> str:
        """What there is: clips, frames, sizes and identities per split, what was dropped and why; several lines."""
        ...
