import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from torch import Tensor

from zoo.batch import Condition
from zoo.data.cache import ByteCache
from zoo.data.errors import DataError
from zoo.data.index import VideoIndex
from zoo.data.lists import ListedClip, read_split_list
from zoo.data.obtaining import obtaining
from zoo.data.sidecar import SideCar, check_own_sidecars, sidecar_path
from zoo.data.source import Clip, Split
from zoo.data.walk import find_clips, without_suffix
from zoo.pose import BODY_18, Skeleton
from zoo.video import VideoError, VideoInfo, read_frames

_SPLITS: tuple[Split, ...] = ("train", "val", "test")
_CONDITIONS: tuple[Condition, ...] = ("pose", "iuv", "mask")
_LAYOUT = (
    "put videos, gifs, frame folders or strips into it, in train/ and test/ sub-folders, or beside an index.csv with "
    "the columns video, identity, split, or just so: then people are split at random"
)


@dataclass(frozen=True)
class _Candidate:
    """A clip that the folder or its list names, before its file was looked at."""

    path: Path
    identity: str
    split: Split | None
    start: int = 0
    end: int | None = None


class FolderSource:
    """Clips from a folder of videos, gifs, frame folders or horizontal strips.

    Splits come from a csv list, else from ``train/``, ``val/`` and ``test/`` sub-folders, else from ``index.csv`` in
    the folder, else people are divided at random. Who a clip shows is said by the list, else by the name up to the
    first ``#`` (``identity#clip#start#end.mp4``), else by the sub-folder, else every clip shows someone else.

    Args:
        folder: The data folder.
        split_list: A csv list of clips, relative to the folder or to the working directory.
        required: Conditions that clips must have in side-cars (``dance_pose.npz`` beside ``dance.mp4``).
        test_fraction: Share of the people (of the frames, when there is one person) that a random split tests on.
        strict: Whether a clip that can't be used is an error; else it is left out and listed in the summary.
        cache: Where unpacked side-cars are kept.
        threads: How many files are checked at the same time, once.

    Raises:
        DataError: There is nothing to read, a list is wrong, or (``strict``) a clip can't be used.
    """

    def __init__(
        self,
        folder: Path,
        split_list: str | None = None,
        required: Sequence[Condition] = (),
        test_fraction: float = 0.2,
        strict: bool = False,
        cache: ByteCache | None = None,
        threads: int = 1,
    ) -> None:
        self.folder = Path(os.path.abspath(folder))  # without `..`, so that listed files can be held against it
        self._required = required
        self._strict = strict
        self._cache = cache or ByteCache(128 << 20)
        self._files: dict[str, VideoInfo] = {}
        self._sidecars: dict[tuple[str, Condition], SideCar] = {}
        self._dropped: list[str] = []
        self._notes: list[str] = []
        if not self.folder.is_dir():
            raise DataError(folder, "is not a folder", obtaining(folder))
        candidates = self._candidates(split_list)
        known = VideoIndex(self.folder).look_up(list(dict.fromkeys(found.path for found in candidates)), threads)
        found = [(candidate, clip) for candidate in candidates if (clip := self._usable(candidate, known))]
        if required:
            check_own_sidecars(candidate.path for candidate, _ in found)
        if not found:
            reasons = (
                f"no clip of {len(self._dropped)} can be used ({self._dropped[0]})" if self._dropped else "is empty"
            )
            raise DataError(folder, reasons, _LAYOUT)
        self._clips = self._divide(found, test_fraction)
        self.conditions = frozenset(condition for condition in _CONDITIONS if self._all_have(condition))
        self.skeleton = self._common_skeleton()

    def clips(self, split: Split) -> list[Clip]:
        """The clips of a split, in a fixed order."""
        return self._clips[split]

    def find(self, name: str) -> Clip | None:
        """The clip that a pair list calls ``name``: path, file name, or either without suffix; test clips first.

        Raises:
            DataError: Several clips have that name.
        """
        found = self._by_alias.get(name, [])
        found = [clip for clip in found if clip in self._clips["test"]] or found
        if len(found) > 1:
            raise DataError(
                self.folder, f"{name!r} names several clips: {found[0].name}, {found[1].name}", "write paths"
            )
        return found[0] if found else None

    @cached_property
    def _by_alias(self) -> dict[str, list[Clip]]:
        by_alias: dict[str, list[Clip]] = {}
        for clip in dict.fromkeys(clip for split in _SPLITS for clip in self._clips[split]):
            for alias in self._aliases(self._files[clip.name].path):
                by_alias.setdefault(alias, []).append(clip)
        return by_alias

    def frames(self, clip: Clip, indices: Sequence[int]) -> Tensor:
        """Pictures: uint8 (N, 3, H, W) RGB, as stored."""
        return read_frames(self._files[clip.name], [clip.start + index for index in indices])

    def condition(self, clip: Clip, name: Condition, indices: Sequence[int]) -> Tensor:
        """One condition of the same frames, from the side-car beside the clip."""
        return self._sidecar(clip.name, name).read([clip.start + index for index in indices], self._cache)

    def target(self, source: Clip, driving: Clip, indices: Sequence[int]) -> Tensor | None:
        """None: what one person would look like doing another's motion isn't known of real videos."""
        return None

    def target_condition(self, source: Clip, driving: Clip, name: Condition, indices: Sequence[int]) -> Tensor | None:
        """None, for the same reason."""
        return None

    def summary(self) -> str:
        """What there is, what was dropped and why; several lines."""
        lines = [str(self.folder)]
        for split in _SPLITS:
            clips = self._clips[split]
            sizes = list(dict.fromkeys(f"{clip.width}x{clip.height}" for clip in clips))
            shown = ", ".join(sizes[:3]) + (f" and {len(sizes) - 3} other sizes" if len(sizes) > 3 else "")
            lines.append(
                f"  {split}: {len(clips)} clips, {sum(clip.frames for clip in clips)} frames, "
                f"{len({clip.identity for clip in clips})} identities{shown and ', '}{shown}"
            )
        lines += [f"  {note}" for note in self._notes]
        if self._dropped:
            lines.append(f"  dropped {len(self._dropped)} clips:")
            lines += [f"    {reason}" for reason in self._dropped]
        return "\n".join(lines)

    # --- which clips there are

    def _candidates(self, split_list: str | None) -> list[_Candidate]:
        if split_list is not None:
            inside = self.folder / split_list
            return self._listed(inside if inside.is_file() else Path(split_list))
        roots = {split: self.folder / split for split in _SPLITS if (self.folder / split).is_dir()}
        if roots.keys() == {"train"}:
            return self._found(roots["train"], None)
        if roots:
            return [found for split, root in roots.items() for found in self._found(root, split)]
        if (self.folder / "index.csv").is_file():
            return self._listed(self.folder / "index.csv")
        return self._found(self.folder, None)

    def _found(self, root: Path, split: Split | None) -> list[_Candidate]:
        paths = find_clips(root)
        places = [path.relative_to(root).parts for path in paths]
        while places and all(len(place) > 1 and place[0] == places[0][0] for place in places):
            places = [place[1:] for place in places]  # a folder around everything says nothing about who it is
        return [_Candidate(path, _identity(place), split) for path, place in zip(paths, places, strict=True)]

    def _listed(self, path: Path) -> list[_Candidate]:
        rows = read_split_list(path)
        by_alias: dict[str, list[Path]] = {}
        if not all((self.folder / row.video).exists() for row in rows):
            for clip in find_clips(self.folder):
                for alias in self._aliases(clip):
                    by_alias.setdefault(alias, []).append(clip)
        located = [(row, self._locate(row, path, by_alias)) for row in rows]
        absent = [row.video for row, place in located if place is None]
        if absent:
            raise DataError(
                path,
                f"names {len(absent)} clips that are not in {self.folder}: {', '.join(absent[:3])}"
                + (", …" if len(absent) > 3 else ""),
                "add the files or remove the rows",
            )
        candidates = [
            _Candidate(place, row.identity or _identity((place.name,)), row.split, row.start, row.end)
            for row, place in located
            if place is not None
        ]
        if len({(found.path, found.start, found.end) for found in candidates}) < len(candidates):
            raise DataError(path, "lists a clip twice", "remove the repeated row")
        return candidates

    def _locate(self, row: ListedClip, path: Path, by_alias: dict[str, list[Path]]) -> Path | None:
        place = Path(os.path.normpath(self.folder / row.video))
        if not place.is_relative_to(self.folder):
            raise DataError(path, f"names {row.video!r}, which leaves the data folder", "list files inside the folder")
        if place.exists():
            return place
        matches = by_alias.get(row.video, [])
        return matches[0] if len(matches) == 1 else None

    def _aliases(self, path: Path) -> set[str]:
        """What a list may call a clip: its path in the folder or its split's, or its name, with suffix or without."""
        inside = path.relative_to(self.folder)
        names = {inside, Path(path.name)}
        if len(inside.parts) > 1 and inside.parts[0] in _SPLITS:
            names.add(Path(*inside.parts[1:]))
        return {name.as_posix() for name in names} | {without_suffix(name).as_posix() for name in names}

    # --- what can be used of them

    def _usable(self, candidate: _Candidate, known: dict[Path, VideoInfo | VideoError]) -> Clip | None:
        info = known[candidate.path]
        try:
            if isinstance(info, VideoError):
                raise info
            clip = self._clip(candidate, info)
            self._files[clip.name] = info
            for condition in self._required:
                self._sidecar(clip.name, condition).check()
        except (VideoError, DataError) as error:
            if self._strict:
                raise
            self._dropped.append(str(error))
            return None
        return clip

    def _clip(self, candidate: _Candidate, info: VideoInfo) -> Clip:
        end = info.frames if candidate.end is None else candidate.end
        if not candidate.start < end <= info.frames:
            raise DataError(
                candidate.path,
                f"frames {candidate.start} to {end} are listed, but it has {info.frames}",
                "correct `start` and `end` in the list",
            )
        name = recording = candidate.path.relative_to(self.folder).as_posix()
        if (candidate.start, candidate.end) != (0, None):
            name = f"{name}[{candidate.start}:{end}]"
        return Clip(
            name=name,
            identity=candidate.identity,
            frames=end - candidate.start,
            fps=float(info.fps),
            height=info.height,
            width=info.width,
            recording=recording,
            start=candidate.start,
        )

    def _sidecar(self, name: str, condition: Condition) -> SideCar:
        if (name, condition) not in self._sidecars:
            info = self._files[name]
            path = sidecar_path(info.path, condition)
            if not path.is_file():
                raise DataError(info.path, f"has no {path.name} beside it", "see `zoo prepare --help`")
            self._sidecars[name, condition] = SideCar(path, condition, info.frames, info.height, info.width)
        return self._sidecars[name, condition]

    def _all_have(self, condition: Condition) -> bool:
        files = {self._files[clip.name].path for split in _SPLITS for clip in self._clips[split]}
        return all(sidecar_path(path, condition).is_file() for path in files)

    def _common_skeleton(self) -> Skeleton:
        if "pose" not in self._required:
            return BODY_18
        formats = {self._sidecar(clip.name, "pose").skeleton() for split in _SPLITS for clip in self._clips[split]}
        if len(formats) > 1:
            raise DataError(
                self.folder,
                f"mixes the skeletons {' and '.join(sorted(skeleton.name for skeleton in formats))}",
                "convert the poses to one",
            )
        return formats.pop()

    # --- which split they belong to

    def _divide(self, found: Sequence[tuple[_Candidate, Clip]], test_fraction: float) -> dict[Split, list[Clip]]:
        splits: dict[Split, list[Clip]] = {split: [] for split in _SPLITS}
        if all(candidate.split is None for candidate, _ in found):
            splits["train"], splits["test"] = self._divide_people([clip for _, clip in found], test_fraction)
        else:
            unused = sum(candidate.split is None for candidate, _ in found)
            if unused:
                self._notes.append(f"{unused} clips are not used: the list gives them no split")
        for candidate, clip in found:
            if candidate.split is not None:
                splits[candidate.split].append(clip)
        stand_ins: tuple[tuple[Split, Split], ...] = (("val", "test"), ("test", "val"))
        for empty, other in stand_ins:
            if not splits[empty] and splits[other]:
                splits[empty] = splits[other]
                self._notes.append(f"no {empty} clips: the {other} clips are used")
        return splits

    def _divide_people(self, clips: Sequence[Clip], test_fraction: float) -> tuple[list[Clip], list[Clip]]:
        people = sorted({clip.identity for clip in clips})
        if len(people) == 1:
            self._notes.append(f"one person only: the last {test_fraction:.0%} of each clip are test frames")
            return self._divide_frames(clips, test_fraction)
        count = min(max(1, round(test_fraction * len(people))), len(people) - 1)
        # By a hash of their names: the same people for every seed, and nearly the same when others come along.
        tested = set(sorted(people, key=lambda name: hashlib.sha256(os.fsencode(name)).digest())[:count])
        self._notes.append(f"split by person at random: {count} of {len(people)} are tested")
        return (
            [clip for clip in clips if clip.identity not in tested],
            [clip for clip in clips if clip.identity in tested],
        )

    def _divide_frames(self, clips: Iterable[Clip], test_fraction: float) -> tuple[list[Clip], list[Clip]]:
        train: list[Clip] = []
        test: list[Clip] = []
        for clip in clips:
            cut = clip.frames - round(test_fraction * clip.frames)
            for part, start, end in ((train, 0, cut), (test, cut, clip.frames)):
                if start < end:
                    name = f"{clip.name}[{start}:{end}]"
                    self._files[name] = self._files[clip.name]
                    part.append(replace(clip, name=name, frames=end - start, start=clip.start + start))
        return train, test


def _identity(place: tuple[str, ...]) -> str:
    """Who a clip shows, by its path below the split's folder."""
    name = place[-1]
    if "#" in name:
        return name.partition("#")[0]
    return place[0] if len(place) > 1 else without_suffix(Path(name)).name
