from collections.abc import Sequence

from torch import Tensor

from zoo.batch import Condition
from zoo.data.source import Clip, ClipSource, Split
from zoo.pose import Skeleton, draw_surface


class DrawnSurfaces:
    """Clips whose surface maps are drawn around their poses, whatever maps they have.

    What a method makes of videos that have poses alone.

    Args:
        source: Where the clips come from.
    """

    def __init__(self, source: ClipSource) -> None:
        self._source = source

    @property
    def skeleton(self) -> Skeleton:
        """The format of the poses."""
        return self._source.skeleton

    @property
    def conditions(self) -> frozenset[Condition]:
        """Which of ``pose``, ``iuv`` and ``mask`` every clip has; ``iuv`` where it has poses."""
        own = self._source.conditions
        return own | {"iuv"} if "pose" in own else own - {"iuv"}

    def clips(self, split: Split) -> list[Clip]:
        """The clips of a split, in a fixed order."""
        return self._source.clips(split)

    def find(self, name: str) -> Clip | None:
        """The clip that a pair list calls ``name``, or None."""
        return self._source.find(name)

    def frames(self, clip: Clip, indices: Sequence[int]) -> Tensor:
        """Pictures: uint8 (N, 3, H, W) RGB, as stored."""
        return self._source.frames(clip, indices)

    def condition(self, clip: Clip, name: Condition, indices: Sequence[int]) -> Tensor:
        """One condition of the same frames."""
        if name != "iuv":
            return self._source.condition(clip, name, indices)
        return draw_surface(self._source.condition(clip, "pose", indices), self.skeleton, (clip.height, clip.width))

    def target(self, source: Clip, driving: Clip, indices: Sequence[int]) -> Tensor | None:
        """The true frames of the source's person doing the driving motion, where they are known."""
        return self._source.target(source, driving, indices)

    def target_condition(self, source: Clip, driving: Clip, name: Condition, indices: Sequence[int]) -> Tensor | None:
        """One condition of the true frames, where they are known."""
        if name != "iuv":
            return self._source.target_condition(source, driving, name, indices)
        pose = self._source.target_condition(source, driving, "pose", indices)
        return None if pose is None else draw_surface(pose, self.skeleton, (source.height, source.width))

    def summary(self) -> str:
        """What there is, and where surface maps come from."""
        return f"{self._source.summary()}\n  surface maps: drawn around the poses"
