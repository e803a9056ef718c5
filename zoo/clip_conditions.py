"""Where the conditions of a clip that is animated come from: a file, OpenPose's folder, or an estimator."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from zoo.base import AnimationModule
from zoo.batch import Condition
from zoo.conditions import PoseEstimator, check_finds, clean_track, estimate_track, load_estimator
from zoo.data.cache import ByteCache
from zoo.data.sidecar import SideCar, sidecar_path
from zoo.errors import FileError, ZooError
from zoo.pose import BODY_18, MEDIAPIPE_33, Skeleton, convert_pose, draw_surface, follow_person, read_openpose
from zoo.video import VideoInfo, iter_frames, read_frames

_LONGEST_GAP = 5  # frames, as `zoo prepare` interpolates by default


class ClipCondition(Protocol):
    """A condition of every frame of a clip."""

    @property
    def path(self) -> Path:
        """The file that is to blame for it."""
        ...

    def read(self, indices: Sequence[int], cache: ByteCache) -> Tensor:
        """The condition of some frames, (t, ...), in pixels of the clip's pictures."""
        ...


@dataclass(frozen=True)
class Track:
    """Poses in memory: read from OpenPose's files, converted, or estimated.

    Attributes:
        path: Where they came from.
        poses: (T, K, 3) with x, y in pixels and confidence.
    """

    path: Path
    poses: Tensor

    def read(self, indices: Sequence[int], cache: ByteCache) -> Tensor:
        """The poses (t, K, 3) of some frames."""
        return self.poses[list(indices)]


@dataclass(frozen=True)
class DrawnSurface:
    """Surface maps, drawn around poses as they are asked for.

    Attributes:
        poses: Of BODY_18.
        size: Height and width of the clip's pictures.
    """

    poses: ClipCondition
    size: tuple[int, int]

    @property
    def path(self) -> Path:
        """Where the poses came from."""
        return self.poses.path

    def read(self, indices: Sequence[int], cache: ByteCache) -> Tensor:
        """The maps (t, 3, H, W) uint8 of some frames."""
        return draw_surface(self.poses.read(indices, cache), BODY_18, self.size)


def find_condition(
    method: AnimationModule,
    condition: Condition,
    clip: VideoInfo,
    given: Path | None = None,
    wanted: Sequence[int] | None = None,
    draw: bool = False,
) -> ClipCondition:
    """What a method needs beside the frames of a clip.

    A pose is read from where the user says, else from the side-car beside the clip, else estimated, and brought into
    the method's format. A surface map is drawn around a pose that the user gives, else read from its side-car, else
    drawn around the pose that is found as above. A mask is read from its side-car.

    Args:
        method: The method that needs it.
        condition: Which one.
        clip: The clip.
        given: Poses: an npz file as side-cars are, or a folder of OpenPose's JSON files.
        wanted: The frames that will be read; None for all. Only these are estimated, each by itself.
        draw: Whether surface maps are drawn even where there is a side-car, for weights that learnt from drawn ones.

    Raises:
        FileError: There is none and it can't be estimated, or it belongs to another clip.
    """
    who = type(method).__name__
    if condition == "pose":
        return _find_pose(who, method.skeleton, clip, given, wanted)
    path = sidecar_path(clip.path, condition)
    if condition == "iuv" and not _reads_surface(clip, given, draw):
        return DrawnSurface(_find_pose(who, BODY_18, clip, given, wanted), (clip.height, clip.width))
    if not path.is_file():
        problem = f"{who} needs its {condition}, but there is no {path.name}"
        raise FileError(clip.path, problem, "bring it along")
    return _checked(SideCar(path, condition, clip.frames, clip.height, clip.width))


def check_surfaces(clips: Sequence[tuple[VideoInfo, Path | None]], draw: bool, learnt_drawn: bool) -> None:
    """Looks whether the surface maps of an animation match each other and the weights, before anything is estimated.

    Charts of different origin run elsewhere on the body: pixels would come from wrong places without a word.

    Args:
        clips: All sources and the driving clip, each with the poses that the user gives for it.
        draw: As for :func:`find_condition`.
        learnt_drawn: Whether the weights know the charts of drawn maps. Where not, drawn ones are told of.

    Raises:
        FileError: Maps of some clips are read and those of others would be drawn.
    """
    read = [clip.path for clip, given in clips if _reads_surface(clip, given, draw)]
    drawn = [clip.path for clip, given in clips if not _reads_surface(clip, given, draw)]
    if read and drawn:
        found, lacking = sidecar_path(read[0], "iuv"), sidecar_path(drawn[0], "iuv")
        raise FileError(
            drawn[0],
            f"has its surface map drawn around poses, while that of {read[0]} is read from {found}; maps of different "
            "origin don't mix",
            f"make {lacking.name} as that one was made (`zoo prepare {drawn[0]} --iuv`, with its `--surface`) and give "
            f"no poses, or move {found.name} away to have both drawn",
        )
    if drawn and not learnt_drawn:
        print(
            f"warning: surface maps of {', '.join(path.name for path in dict.fromkeys(drawn))} are drawn around poses, "
            "but the weights don't say that they learnt from drawn ones; if they learnt from DensePose's, make such: "
            "`zoo prepare CLIP --iuv --surface ...`"
        )


def _reads_surface(clip: VideoInfo, given: Path | None, draw: bool) -> bool:
    """Whether a clip's surface maps are read from beside it instead of drawn around its poses."""
    return not draw and given is None and sidecar_path(clip.path, "iuv").is_file()


def _find_pose(
    who: str, skeleton: Skeleton | None, clip: VideoInfo, given: Path | None, wanted: Sequence[int] | None
) -> ClipCondition:
    if given is not None and given.is_dir():
        return _read_openpose(who, given, clip, skeleton)
    path = sidecar_path(clip.path, "pose") if given is None else given
    if given is None and not path.is_file():
        return _estimate(who, skeleton or BODY_18, clip, wanted)
    if not path.is_file():
        raise FileError(clip.path, f"{who} needs its pose, but there is no {path.name}", "see `zoo prepare --help`")
    sidecar = _checked(SideCar(path, "pose", clip.frames, clip.height, clip.width))
    if skeleton in (None, stored := sidecar.skeleton()):
        return sidecar
    poses = sidecar.read(range(clip.frames), ByteCache(0))
    return _converted(who, Track(path, poses), stored, skeleton)


def _converted(who: str, track: Track, stored: Skeleton, wanted: Skeleton) -> Track:
    """The poses in the wanted format.

    Raises:
        FileError: They show nothing of it, such as a body where landmarks of a face are wanted.
    """
    if not stored.shares_joints(wanted):
        problem = f"holds poses of skeleton {stored.name}, but {who} needs {wanted.name}, which has other joints"
        raise FileError(track.path, problem, f"bring poses of {wanted.name} along")
    return Track(track.path, convert_pose(track.poses, stored, wanted))


def _checked(sidecar: SideCar) -> SideCar:
    sidecar.check()
    return sidecar


def _read_openpose(who: str, folder: Path, clip: VideoInfo, skeleton: Skeleton | None) -> Track:
    """The pose of each file; of several people one is followed, and frames without that one have an empty pose."""
    found = read_openpose(folder)
    if (count := len(found.files)) != clip.frames:
        more = f"{found.files[clip.frames].name} and what follows has" if count > clip.frames else "the rest has"
        which = "frame" if count > clip.frames else "pose"
        raise FileError(
            folder,
            f"has poses of {count} frames, but {clip.path.name} has {clip.frames}: {more} no {which}",
            "write it anew from this video with OpenPose's --write_json, which makes one file a frame",
        )
    track = Track(folder, follow_person(found.people, found.skeleton).float())
    return track if skeleton is None else _converted(who, track, found.skeleton, skeleton)


def _estimator(who: str, skeleton: Skeleton, clip: VideoInfo) -> PoseEstimator:
    """The back end that is there, if it finds what is wanted.

    Raises:
        FileError: There is none, or it finds other joints.
    """
    try:
        estimator = load_estimator("auto")
        check_finds(estimator, skeleton)
    except ZooError as error:
        missing = sidecar_path(clip.path, "pose").name
        elsewhere = f"bring poses along: `zoo prepare --pose --skeleton {skeleton.name}` on a machine that has"
        raise FileError(
            clip.path,
            f"{who} needs its pose; there is no {missing}, and it can't be estimated ({error})",
            f"run `zoo weights install pose`, or {elsewhere} it"
            if MEDIAPIPE_33.shares_joints(skeleton)
            else f"{elsewhere} rtmlib",
        ) from error
    return estimator


def _estimate(who: str, skeleton: Skeleton, clip: VideoInfo, wanted: Sequence[int] | None) -> Track:
    """Poses by the same back end, and for whole clips the same cleaning, as ``zoo prepare --pose``."""
    estimator = _estimator(who, skeleton, clip)
    print(f"{clip.path.name}: estimating poses; `zoo prepare {clip.path} --pose --skeleton {skeleton.name}` keeps them")
    numbers = range(clip.frames) if wanted is None else wanted
    frames: Iterator[Tensor] = iter(read_frames(clip, wanted)) if wanted is not None else iter_frames(clip)
    shown = tqdm(frames, desc=f"poses of {clip.path.name}", total=len(numbers), unit="frame", leave=False)
    found = estimate_track(shown, estimator, skeleton, numbers).float()
    if not found[..., 2].any():
        raise FileError(
            clip.path,
            f"shows nobody in any of the {len(numbers)} frames that were looked at, so that there is no pose",
            "take a picture or clip that shows the person, or bring its poses along (`NAME_pose.npz`)",
        )
    if wanted is None:
        found = clean_track(found, float(clip.fps), "savitzky_golay", _LONGEST_GAP)
    poses = torch.zeros(clip.frames, *found.shape[1:])
    poses[list(numbers)] = found
    return Track(clip.path, poses)
