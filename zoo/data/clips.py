import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.batch import Condition
from zoo.data.cache import ByteCache
from zoo.data.fitting import Fit, Policy
from zoo.data.source import Clip, ClipSource
from zoo.errors import FileError

Sample = dict[str, Any]
"""One item of a batch, without its leading dimension and still in bytes."""


class Timeline:
    """A clip as it looks after resampling to another frame rate, by the nearest frame in time.

    Args:
        clip: The clip.
        fps: Frames per second wanted; None leaves it as it is.
    """

    def __init__(self, clip: Clip, fps: float | None) -> None:
        self._step = 1.0 if fps is None else clip.fps / fps  # stored frames from one resampled frame to the next
        self._last = clip.frames - 1
        self.fps = clip.fps if fps is None else fps
        self.frames = int(self._last / self._step + 1e-6) + 1

    def most_shown(self, moments: np.ndarray) -> int:
        """How many of the clip's frames a run of resampled frame numbers shows at most, wherever it begins."""
        return min(len(moments), int((moments[-1] - moments[0]) * self._step) + 2)

    def stored(self, moments: np.ndarray) -> list[int]:
        """The clip's frame numbers at resampled frame numbers; those before the start or after the end repeat it."""
        frames = np.floor(moments * self._step + 0.5).astype(int)
        return np.clip(frames, 0, self._last).tolist()


class FittedClips:
    """Frames and conditions of clips, brought to one size and kept while they fit into memory.

    Args:
        source: Where the clips come from.
        conditions: Which conditions samples carry.
        size: Height and width of the pictures.
        policy: How frames of another aspect are brought to that size.
        pose_window: How many poses before and after each driving frame samples carry.
        cache: Where fitted frames are kept.
    """

    def __init__(
        self,
        source: ClipSource,
        conditions: tuple[Condition, ...],
        size: tuple[int, int],
        policy: Policy,
        pose_window: int,
        cache: ByteCache,
    ) -> None:
        self.source = source
        self.conditions = conditions
        self.size = size
        self.policy = policy
        self.pose_window = pose_window
        self.cache = cache

    def frames(self, role: str, clip: Clip, indices: Sequence[int]) -> Sample:
        """The pictures and conditions of some frames, under the batch's names.

        Args:
            role: ``source``, ``driving`` or ``other``.
            clip: Which clip.
            indices: N frame numbers, any order.

        Returns:
            ``role`` (N, 3, H, W) uint8, the conditions beside it, the clip's name and its identity.
        """
        sample: Sample = {
            role: self._fitted(clip, None, indices),
            f"{role}_clip": clip.name,
            f"{role}_identity": clip.identity,
        }
        for name in self.conditions:
            sample[f"{role}_{name}"] = self._fitted(clip, name, indices)
        return sample

    def driving(self, clip: Clip, timeline: Timeline, moments: np.ndarray) -> Sample:
        """The driving part of a sample.

        Args:
            clip: Which clip.
            timeline: The clip at the wanted frame rate.
            moments: T frame numbers on that timeline.
        """
        indices = timeline.stored(moments)
        sample = self.frames("driving", clip, indices) | {"frame": torch.tensor(indices), "fps": timeline.fps}
        if self.pose_window:
            around = np.arange(-self.pose_window, self.pose_window + 1)
            window = timeline.stored((moments[:, None] + around).ravel())
            poses = self._fitted(clip, "pose", window)
            sample["pose_window"] = poses.unflatten(0, (len(moments), len(around)))
        return sample

    def target(self, source: Clip, driving: Clip, indices: Sequence[int]) -> Sample:
        """The true frames of the source's person doing the driving motion, and their conditions.

        Returns:
            ``target`` (N, 3, H, W) uint8 and the conditions beside it; nothing where they are not known.
        """
        frames = self.source.target(source, driving, indices)
        if frames is None:
            return {}
        fit = self._fit(source)
        sample = {"target": fit.pictures(frames)}
        for name in self.conditions:
            condition = self.source.target_condition(source, driving, name, indices)
            if condition is not None:
                sample[f"target_{name}"] = _fit_condition(fit, name, condition)
        return sample

    def _fit(self, clip: Clip) -> Fit:
        return Fit.plan((clip.height, clip.width), self.size, self.policy)

    def _fitted(self, clip: Clip, name: Condition | None, indices: Sequence[int]) -> Tensor:
        """One condition, or the pictures when ``name`` is None, of the frames asked for."""
        found: dict[int, Tensor] = {}
        for index in indices:
            kept = self.cache.get((clip.name, name, index))
            if kept is not None:
                found[index] = kept
        missing = sorted(set(indices) - found.keys())
        if missing:
            fit = self._fit(clip)
            if name is None:
                frames = fit.pictures(self.source.frames(clip, missing))
            else:
                frames = _fit_condition(fit, name, self.source.condition(clip, name, missing))
            for index, frame in zip(missing, frames, strict=True):
                found[index] = frame.clone()  # owns its memory, unlike a slice of all frames
                self.cache.put((clip.name, name, index), found[index])
        return torch.stack([found[index] for index in indices])


def _fit_condition(fit: Fit, name: Condition, values: Tensor) -> Tensor:
    return fit.pose(values) if name == "pose" else fit.labels(values)


class TrainingClips(Dataset[Sample]):
    """Training samples by running number: source frames at random, and a driving run from the same clip.

    A sample is a pure function of (seed, running number), whatever process makes it. With one source and one driving
    frame this is First Order Motion's pair of frames drawn independently.

    Args:
        clips: The training clips, each long enough.
        fitted: Their frames.
        source_frames: How many source frames, drawn independently and uniformly.
        driving_frames: How many driving frames, in order, from a start drawn uniformly.
        stride: Frames from one driving frame to the next, after resampling.
        fps: Frame rate that clips are resampled to.
        repeats: The least number of times that an item counts in an epoch.
        by_identity: An item is a person, of whom a clip is drawn uniformly, instead of a clip.
        seed: What the draws depend on beside the running number.
        strict: Raise where a clip can no longer be read; else the next one takes its place, with a warning.
        sources_apart: Source frames are drawn among those that don't drive.
        other_frames: How many frames of another person's clip, drawn independently and uniformly: a person first, then
            one of the clips.
        epoch_samples: The least number of samples of an epoch; all items count as often as that takes.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        fitted: FittedClips,
        source_frames: int,
        driving_frames: int,
        stride: int,
        fps: float | None,
        repeats: int,
        by_identity: bool,
        seed: int,
        strict: bool = False,
        sources_apart: bool = False,
        other_frames: int = 0,
        epoch_samples: int = 0,
    ) -> None:
        people: dict[str, list[Clip]] = {}
        for clip in clips:
            people.setdefault(clip.identity, []).append(clip)
        self._people = people
        self._items = list(people.values()) if by_identity else [[clip] for clip in clips]
        self._fitted = fitted
        self._source_frames = source_frames
        self._moments = np.arange(driving_frames) * stride
        self._fps = fps
        self._repeats = max(repeats, math.ceil(epoch_samples / max(1, len(self._items))))
        self._seed = seed
        self._strict = strict
        self._sources_apart = sources_apart
        self._other_frames = other_frames

    def __len__(self) -> int:
        return len(self._items) * self._repeats

    def __getitem__(self, number: int) -> Sample:
        for attempt in range(len(self._items)):
            try:
                return self._sample(number, attempt)
            except FileError as error:  # it could be read when the folder was looked through
                if self._strict or attempt == len(self._items) - 1:
                    raise
                warnings.warn(f"{error}. Another clip takes its place.", stacklevel=2)
        raise IndexError(number)

    def _sample(self, number: int, attempt: int) -> Sample:
        item = self._items[(number + attempt) % len(self._items)]
        draw = np.random.default_rng((self._seed, number))
        clip = item[draw.integers(len(item))]
        timeline = Timeline(clip, self._fps)
        sources = draw.integers(timeline.frames, size=self._source_frames)
        start = draw.integers(timeline.frames - self._moments[-1])
        if self._sources_apart:
            moments = np.arange(timeline.frames)  # of a clip that is played slower several show one frame
            apart = moments[np.isin(timeline.stored(moments), timeline.stored(start + self._moments), invert=True)]
            sources = apart[draw.integers(len(apart), size=self._source_frames)]
        sample = {
            **self._fitted.frames("source", clip, timeline.stored(sources)),
            **self._fitted.driving(clip, timeline, start + self._moments),
            "index": number,
            "valid": True,
        }
        return sample | self._other(draw, clip.identity, attempt) if self._other_frames else sample

    def _other(self, draw: np.random.Generator, identity: str, attempt: int) -> Sample:
        """Frames of someone else; another attempt takes another person, whose clips may be readable."""
        others = [clips for name, clips in self._people.items() if name != identity]
        clips = others[(draw.integers(len(others)) + attempt) % len(others)]
        clip = clips[draw.integers(len(clips))]
        timeline = Timeline(clip, self._fps)
        return self._fitted.frames(
            "other", clip, timeline.stored(draw.integers(timeline.frames, size=self._other_frames))
        )


class EvaluationClips(Dataset[Sample]):
    """Evaluation samples: a source frame, and the driving frames of a clip from its start on.

    Numbers from ``len()`` on wrap around and are marked as not ``valid``: copies that fill up a distributed shard.

    Args:
        pairs: Source clip, number of the source frame, driving clip; the same clip twice is a reconstruction.
        fitted: The clips' frames.
        source_frames: How many source frames: the one that the pair says, and, for methods that take several, others
            spread evenly over the rest of the source clip.
        fps: Frame rate that clips are resampled to.
        frames: How many driving frames at most; None takes all.
        stride: Frames from one driving frame to the next, after resampling.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Clip, int, Clip]],
        fitted: FittedClips,
        source_frames: int,
        fps: float | None,
        frames: int | None,
        stride: int,
    ) -> None:
        self._pairs = pairs
        self._fitted = fitted
        self._source_frames = source_frames
        self._fps = fps
        self._frames = frames
        self._stride = stride

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, number: int) -> Sample:
        source, first, driving = self._pairs[number % len(self)]
        sources = np.linspace(first, source.frames - 1, self._source_frames)
        timeline = Timeline(driving, self._fps)
        moments = np.arange(0, timeline.frames, self._stride)[: self._frames]
        sample = {
            **self._fitted.frames("source", source, sources.round().astype(int).tolist()),
            **self._fitted.driving(driving, timeline, moments),
            "source_frame": first,
            "index": number,
            "valid": number < len(self),
        }
        if source.scene != driving.scene:
            sample |= self._fitted.target(source, driving, timeline.stored(moments))
        elif source != driving:  # an earlier moment of the same: what drives is the truth
            for name in ("", *(f"_{condition}" for condition in self._fitted.conditions)):
                sample[f"target{name}"] = sample[f"driving{name}"]
        return sample


_TEXTS = frozenset(
    {f"{role}_{name}" for role in ("source", "driving", "other") for name in ("clip", "identity")} | {"fps"}
)


def collate(samples: list[Sample]) -> Sample:
    """A batch in bytes from its samples: tensors and numbers stacked, names and frame rates in lists."""
    batch: Sample = {}
    for key, first in samples[0].items():
        values = [sample[key] for sample in samples]
        if key in _TEXTS:
            batch[key] = values
        else:
            batch[key] = torch.stack(values) if isinstance(first, Tensor) else torch.tensor(values)
    return batch
