"""``zoo prepare``: raw videos become a folder of clips, and clips get poses and surface maps beside them."""

import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor
from tqdm import tqdm

from zoo.batch import Condition
from zoo.conditions import (
    Smoothing,
    SurfaceEncoding,
    check_finds,
    clean_track,
    estimate_track,
    iter_surface_pictures,
    load_estimator,
    load_surface_estimator,
    missing_rates,
)
from zoo.data.cache import ByteCache
from zoo.data.cutting import cut_clips
from zoo.data.errors import DataError
from zoo.data.fitting import Policy
from zoo.data.sidecar import SideCar, check_own_sidecars, sidecar_path
from zoo.data.walk import find_clips, is_frame_sequence, without_suffix
from zoo.errors import FileError, OptionError, ZooError
from zoo.files import written_whole
from zoo.pose import SKELETONS, SURFACE_PARTS, Skeleton, draw_figure, draw_surface, to_units
from zoo.video import VideoInfo, VideoWriter, iter_frames, probe

_TOLD_MISSING = 0.01  # joints that are missing in fewer frames are not worth a word
_DRAWN_FRAMES = 16  # drawn at once


def prepare(
    videos: str | list[str],
    output: str | None = None,
    metadata: str | None = None,
    size: int = 256,
    fit: Policy = "crop",
    format: Literal["png", "mp4"] = "png",
    workers: int = 1,
    pose: bool = False,
    estimator: str = "auto",
    skeleton: str = "body_18",
    smoothing: Smoothing = "savitzky_golay",
    longest_gap: int = 5,
    overlay: str | None = "pose_overlays",
    iuv: bool = False,
    surface: str = "skeleton",
    surface_encoding: SurfaceEncoding | Literal["auto"] = "auto",
) -> None:
    """Cuts and resizes raw videos into a folder of clips, estimates poses and surface maps, or part of this.

    What is there already is skipped, so an interrupted run is taken up by the same command.

    `--output` makes clips: a raw video that is missing or damaged costs its own clips only. `--pose` writes
    `NAME_pose.npz` beside each clip (of the output, or else of the videos themselves), tells which joints are missing
    how often, and draws the poses over the videos, to be looked at. Where a frame shows several people,
    rtmlib's largest of the first frame is followed. MediaPipe gives one person a frame: the one that its detector is
    surest of, who may be a smaller one, until that person is lost, then whoever it is surest of next. Look at the
    drawn videos, or crop the others away. Frames without the person who is followed, and joints in gaps longer than
    `--longest_gap`, are missing.

    `--iuv` writes `NAME_iuv.npz`, a map of the body's surface for every frame (as DensePose's: 24 parts, U and V), by
    default drawn around the poses, for which `--pose` is run before or with it. Don't mix maps of different origin:
    their charts differ. Frames without anybody have empty maps.

    Args:
        videos: A folder of videos; for poses and maps alone also videos themselves: `zoo prepare a.mp4 b.mp4 --pose`. A
            folder of nothing but pictures, numbered from 0 or 1 on without a gap, is one video.
        output: Folder for clips; train/ and test/ are made as the list divides them.
        metadata: Csv list of the clips with the columns video_id, start, end, bbox (left-top-right-bottom), and where
            known fps, width, height, partition, person_id. Without one each video becomes a clip, whole, in the
            sub-folder where it lies.
        size: Height and width of the clips, pixels.
        fit: What becomes of a box or frame that is no square: `crop` keeps the largest centred square, `pad` adds
            black, `stretch` changes the aspect.
        format: `png` makes a folder of pictures per clip, without loss; `mp4` (H.264) takes far less room and keeps
            the frame rate.
        workers: Videos that are cut at the same time.
        pose: Whether to estimate poses.
        estimator: `mediapipe` (after `zoo weights install pose`), `rtmlib`, `auto` (rtmlib where it is installed, else
            mediapipe), or your own `package.module:Class`.
        skeleton: Format of the poses; `body_18` suits every method that is driven by bodies. Face and hands need
            rtmlib: `body_25_whole`, for Everybody Dance Now's published recipes `body_23_whole`; the landmarks of a
            face alone are `face_68`.
        smoothing: `savitzky_golay`, `median`, `one_euro` or `none`.
        longest_gap: Frames over which a missing joint is interpolated.
        overlay: Folder for the drawn videos; `null` draws none.
        iuv: Whether to make surface maps.
        surface: Where they come from: `skeleton` draws a body around the poses; else the path of a DensePose model in
            TorchScript, a folder of DensePose pictures (with a sub-folder named like each clip where there are several
            clips), or your own `package.module:Class`.
        surface_encoding: What red, green and blue of these pictures hold; `auto` finds out.

    Raises:
        OptionError: There is nothing to do, or an option is unknown.
        DataError: Not all clips could be made, or a path doesn't exist.
        ZooError: Not all poses or maps could be made.
    """
    if output is None and not pose and not iuv:
        raise OptionError(
            "nothing to do: give --output for a folder of clips, --pose for poses, --iuv for surface maps, or several"
        )
    if skeleton not in SKELETONS:
        raise OptionError(f"there is no skeleton {skeleton!r}; choose {', '.join(SKELETONS)}")
    given = [videos] if isinstance(videos, str) else videos
    if output is not None:
        if len(given) != 1:
            raise OptionError(f"--output takes one folder of videos, not {len(given)} paths")
        cut_clips(given[0], output, metadata, size, fit, format, workers)
    if not pose and not iuv:
        return
    folders = [Path(output)] if output is not None else [Path(path) for path in given]
    drawn = Path(overlay) if overlay is not None else None
    clips = _clips(folders, drawn)
    if pose:
        _estimate_poses(clips, estimator, SKELETONS[skeleton], smoothing, longest_gap, drawn)
    if iuv:
        _make_surfaces(clips, surface, surface_encoding)


def _clips(paths: Sequence[Path], overlays: Path | None) -> dict[str, Path]:
    """Clips by their names below what the user gave: videos, folders of frames, and folders of clips."""
    clips: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise DataError(path, "doesn't exist", "give videos, or a folder of videos")
        inside = find_clips(path) if path.is_dir() and not is_frame_sequence(path) else []
        for clip in inside or [path]:
            if overlays is not None and clip.resolve().is_relative_to(overlays.resolve()):
                continue  # drawn by an earlier run
            name = clip.relative_to(path) if inside else Path(clip.name)
            if clips.setdefault(name.as_posix(), clip) != clip:
                raise DataError(clip, f"is called as {clips[name.as_posix()]}", "prepare the two in separate runs")
    check_own_sidecars(clips.values())
    return clips


def _estimate_poses(
    clips: dict[str, Path],
    estimator: str,
    skeleton: Skeleton,
    smoothing: Smoothing,
    longest_gap: int,
    overlays: Path | None,
) -> None:
    def estimate(name: str, info: VideoInfo) -> str:
        people = load_estimator(estimator)
        check_finds(people, skeleton)
        frames = tqdm(iter_frames(info), desc=name, total=info.frames, unit="frame", leave=False)
        raw = estimate_track(frames, people, skeleton)
        if not raw[..., 2].any():
            raise DataError(info.path, f"shows nobody in any of {info.frames} frames", "leave it out, or look at it")
        track = clean_track(raw, float(info.fps), smoothing, longest_gap)
        if overlays is not None:
            _draw_overlay(overlays / f"{without_suffix(Path(name)).as_posix()}.mp4", info, track, skeleton)
        arrays = {"keypoints": track.float().numpy(), "skeleton": np.array(skeleton.name)}
        with _written_whole(sidecar_path(info.path, "pose")) as file:  # last: its presence says that the clip is done
            np.savez(file, **arrays)  # type: ignore[arg-type]
        return _report(raw, skeleton)

    _for_each(clips, "pose", "poses", estimate)


def _make_surfaces(clips: dict[str, Path], surface: str, encoding: SurfaceEncoding | Literal["auto"]) -> None:
    def make(name: str, info: VideoInfo) -> str:
        size = (info.height, info.width)
        if surface == "skeleton":
            maps = _drawn_surfaces(info)
        elif Path(surface).is_dir():
            maps = iter_surface_pictures(_picture_folder(Path(surface), info.path, clips), info.frames, size, encoding)
        else:
            maps = _estimated_surfaces(info, surface)
        shown = tqdm(maps, desc=name, total=info.frames, unit="frame", leave=False)
        empty = _write_surfaces(sidecar_path(info.path, "iuv"), shown, info)
        return f"{info.frames} surface maps, {empty} without anybody"

    _for_each(clips, "iuv", "surface maps", make)


def _drawn_surfaces(info: VideoInfo) -> Iterator[Tensor]:
    path = sidecar_path(info.path, "pose")
    if not path.is_file():
        raise DataError(info.path, f"has no {path.name} to draw a surface around", "add --pose")
    poses = SideCar(path, "pose", info.frames, info.height, info.width)
    poses.check()
    for track in poses.read(range(info.frames), ByteCache(0)).split(_DRAWN_FRAMES):
        yield from draw_surface(track, poses.skeleton(), (info.height, info.width))


def _estimated_surfaces(info: VideoInfo, surface: str) -> Iterator[Tensor]:
    estimate = load_surface_estimator(surface)
    for frame in iter_frames(info):
        maps = estimate(frame)
        _check_surface(maps, (info.height, info.width), surface)
        yield maps


def _picture_folder(folder: Path, clip: Path, clips: dict[str, Path]) -> Path:
    short = without_suffix(clip).name
    named = [folder / name for name in (clip.name, short) if (folder / name).is_dir()]
    if not named and len(clips) > 1:
        raise DataError(folder, f"has no sub-folder {short}", "name one like each clip, or prepare a single clip")
    return named[0] if named else folder


def _check_surface(maps: Tensor, size: tuple[int, int], surface: str) -> None:
    if maps.shape != (3, *size) or maps.dtype != torch.uint8:
        raise OptionError(f"{surface} gives {tuple(maps.shape)} {maps.dtype}, expected {(3, *size)} torch.uint8")
    if (highest := int(maps[0].max())) >= len(SURFACE_PARTS):
        raise OptionError(f"{surface} gives part {highest}, but {len(SURFACE_PARTS) - 1} is the last")


def _for_each(clips: dict[str, Path], condition: Condition, called: str, make: Callable[[str, VideoInfo], str]) -> None:
    """Makes a condition of each clip that lacks it; a clip that can't be used costs itself only."""
    problems = 0
    for name, clip in clips.items():
        try:
            info, target = probe(clip), sidecar_path(clip, condition)
            if target.exists():
                stored = SideCar(target, condition, info.frames, info.height, info.width)
                stored.check()
                form = f" ({stored.skeleton().name})" if condition == "pose" else ""
                print(f"{name}: has {called} already{form}; to make them anew, delete {target}")
                continue
            print(f"{name}: {make(name, info)}")
        except FileError as error:
            problems += 1
            print(f"failed: {error}")
    if problems:
        raise ZooError(
            f"{problems} of {len(clips)} clips got no {called}; see the reasons above, then repeat the command"
        )


def _write_surfaces(path: Path, maps: Iterable[Tensor], info: VideoInfo) -> int:
    """Writes a clip's maps (3, H, W) as they come, whatever its length; returns how many show nobody.

    Raises:
        DataError: None of them shows anybody, or the file can't be written.
    """
    empty = 0
    header = {"descr": "|u1", "fortran_order": False, "shape": (info.frames, 3, info.height, info.width)}
    # Not packed, so that any frame is at hand.
    with _written_whole(path) as file, zipfile.ZipFile(file, "w") as archive:
        with archive.open("iuv.npy", "w", force_zip64=True) as member:
            npy.write_array_header_1_0(member, header)
            for surface in maps:
                empty += not surface[0].any()
                member.write(surface.contiguous().numpy().tobytes())
        if empty == info.frames:
            raise DataError(info.path, f"shows nobody in any of {info.frames} maps", "leave it out, or look at it")
    return empty


@contextmanager
def _written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file of arrays that appears whole or not at all."""
    try:
        with written_whole(path) as temporary, temporary.open("wb") as file:
            yield file
    except OSError as error:
        raise DataError(path, f"can't be written ({error})", "check the folder and the space on the disk") from error


def _draw_overlay(path: Path, info: VideoInfo, track: Tensor, skeleton: Skeleton) -> None:
    """The video with its poses drawn over it."""
    poses = to_units(track, (info.height, info.width)).split(_DRAWN_FRAMES)
    frames = iter_frames(info)
    with VideoWriter(path, info.fps) as writer:
        for pose in poses:
            figures = draw_figure(pose, skeleton, (info.height, info.width))
            for figure in figures:
                frame = next(frames)
                drawn = (figure < 1).any(dim=0)
                writer.write(torch.where(drawn, (figure * 255).to(torch.uint8), frame))


def _report(raw: Tensor, skeleton: Skeleton) -> str:
    """How much was found before gaps were filled; a face and hands that are missing throughout are named as such."""
    empty = int((~(raw[..., 2] > 0).any(dim=1)).sum())
    rates = missing_rates(raw, skeleton)
    absent = {}
    for part in ("face", "left_hand", "right_hand"):
        joints = skeleton.joints[skeleton.part(part)]
        if joints and all(rates[joint] == 1 for joint in joints):
            absent[part] = joints
    single = rates.keys() - {joint for joints in absent.values() for joint in joints}
    told = sorted((joint for joint in single if rates[joint] > _TOLD_MISSING), key=lambda joint: (-rates[joint], joint))
    missing = ", ".join([*absent, *(f"{joint} {rates[joint]:.0%}" for joint in told)]) or "none"
    remedy = "; only rtmlib (`--estimator rtmlib`) finds faces and hands" if absent else ""
    return f"{len(raw)} frames, {empty} without anybody; missing joints: {missing}{remedy}"
