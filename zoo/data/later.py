from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from zoo.batch import Condition
from zoo.data.source import Clip, ClipSource, Split
from zoo.pose import Skeleton


class LaterMotion:
    """The training people at a later time: the first part of each of their clips trains, the rest is tested on.

    The only split on which a method that learns one person can be compared with the others.

    Args:
        source: Where the clips come from; its training clips are divided, the others are left alone.
        share: Of each clip, at its end, that is tested on.
        window: The tested part is cut into clips of so many frames, a shorter rest left out; None leaves it whole.
    """

    def __init__(self, source: ClipSource, share: float, window: int | None) -> None:
        self._source = source
        self._whole: dict[str, Clip] = {}
        self._train: list[Clip] = []
        self._test: list[Clip] = []
        for clip in source.clips("train"):
            cut = clip.frames - round(share * clip.frames)
            self._train += self._parts(clip, 0, cut, cut)
            self._test += self._parts(clip, cut, clip.frames, window or clip.frames - cut)

    def _parts(self, clip: Clip, start: int, end: int, window: int) -> list[Clip]:
        parts = []
        for first in range(start, end - window + 1, max(1, window)) if window else []:
            name = f"{clip.name}[{first}:{first + window}]"
            self._whole[name] = clip
            parts.append(replace(clip, name=name, frames=window, start=clip.start + first))
        return parts

    @property
    def skeleton(self) -> Skeleton:
        """The format of the poses."""
        return self._source.skeleton

    @property
    def conditions(self) -> frozenset[Condition]:
        """Which of ``pose``, ``iuv`` and ``mask`` every clip has."""
        return self._source.conditions

    def clips(self, split: Split) -> list[Clip]:
        """First parts to train on; the later ones to validate and to test on."""
        return list(self._train if split == "train" else self._test)

    def find(self, name: str) -> Clip | None:
        """The part of that name, ``clip[first:end]``, or None."""
        return next((clip for clip in [*self._test, *self._train] if clip.name == name), None)

    def frames(self, clip: Clip, indices: Sequence[int]) -> Tensor:
        """Pictures: uint8 (N, 3, H, W) RGB, as stored."""
        return self._source.frames(self._whole[clip.name], self._shifted(clip, indices))

    def condition(self, clip: Clip, name: Condition, indices: Sequence[int]) -> Tensor:
        """One condition of the same frames."""
        return self._source.condition(self._whole[clip.name], name, self._shifted(clip, indices))

    def target(self, source: Clip, driving: Clip, indices: Sequence[int]) -> Tensor | None:
        """The true frames of the source's person doing the driving motion, where they are known."""
        whole = self._whole[source.name], self._whole[driving.name]
        return self._source.target(*whole, self._shifted(driving, indices))

    def target_condition(self, source: Clip, driving: Clip, name: Condition, indices: Sequence[int]) -> Tensor | None:
        """One condition of the true frames, where they are known."""
        whole = self._whole[source.name], self._whole[driving.name]
        return self._source.target_condition(*whole, name, self._shifted(driving, indices))

    def summary(self) -> str:
        """What there is, and how it was divided."""
        return (
            f"{self._source.summary()}\n  of the training clips: the first parts train ({len(self._train)} clips), "
            f"later ones are tested on ({len(self._test)} clips)"
        )

    def _shifted(self, clip: Clip, indices: Sequence[int]) -> list[int]:
        first = clip.start - self._whole[clip.name].start
        return [first + index for index in indices]
