"""``zoo prepare``: raw videos become a folder of clips, and clips get their poses beside them."""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from zoo.conditions import Smoothing, clean_track, estimate_track, load_estimator, missing_rates
from zoo.data.errors import DataError
from zoo.data.fitting import Policy
from zoo.data.prepare import prepare as cut_clips
from zoo.data.sidecar import SideCar, sidecar_path
from zoo.data.walk import find_clips
from zoo.errors import FileError, OptionError, ZooError
from zoo.pose import SKELETONS, Skeleton, draw_figure, to_units
from zoo.video import VideoInfo, VideoWriter, iter_frames, probe

_TOLD_MISSING = 0.01  # joints that are missing in fewer frames are not worth a word
_OVERLAY_FRAMES = 16  # drawn at once


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
) -> None:
    """Cuts and resizes raw videos into a folder of clips, estimates poses, or both.

    What is there already is skipped, so an interrupted run is taken up by the same command.

    `--output` makes clips: a raw video that is missing or damaged costs its own clips only. `--pose` writes
    `NAME_pose.npz` beside each clip (of the output, or else of the videos themselves), tells which joints are missing
    how often, and draws the poses over the videos, to be looked at. Where a frame shows several people, the largest
    of the first frame is followed; frames without people, and joints in gaps longer than `--longest_gap`, are missing.

    Args:
        videos: A folder of videos; for poses alone also videos themselves: `zoo prepare a.mp4 b.mp4 --pose`.
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
        skeleton: Format of the poses; `body_18` suits every method. Face and hands need `body_25_whole` and rtmlib.
        smoothing: `savitzky_golay`, `median`, `one_euro` or `none`.
        longest_gap: Frames over which a missing joint is interpolated.
        overlay: Folder for the drawn videos; `null` draws none.

    Raises:
        OptionError: There is nothing to do, or an option is unknown.
        DataError: Not all clips could be made, or a path doesn't exist.
        ZooError: Not all poses could be estimated.
    """
    if output is None and not pose:
        raise OptionError("nothing to do: give --output for a folder of clips, --pose for poses, or both")
    if skeleton not in SKELETONS:
        raise OptionError(f"there is no skeleton {skeleton!r}; choose {', '.join(SKELETONS)}")
    given = [videos] if isinstance(videos, str) else videos
    if output is not None:
        if len(given) != 1:
            raise OptionError(f"--output takes one folder of videos, not {len(given)} paths")
        cut_clips(given[0], output, metadata, size, fit, format, workers)
    if pose:
        folders = [Path(output)] if output is not None else [Path(path) for path in given]
        drawn = Path(overlay) if overlay is not None else None
        _estimate_poses(_clips(folders, drawn), estimator, SKELETONS[skeleton], smoothing, longest_gap, drawn)


def _clips(paths: Sequence[Path], overlays: Path | None) -> dict[str, Path]:
    """Clips by their names below what the user gave: videos, and folders of videos."""
    clips: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise DataError(path, "doesn't exist", "give videos, or a folder of videos")
        inside = find_clips(path) if path.is_dir() else []
        for clip in inside or [path]:
            if overlays is not None and clip.resolve().is_relative_to(overlays.resolve()):
                continue  # drawn by an earlier run
            name = clip.relative_to(path) if inside else Path(clip.name)
            if clips.setdefault(name.as_posix(), clip) != clip:
                raise DataError(clip, f"is called as {clips[name.as_posix()]}", "prepare the two in separate runs")
    return clips


def _estimate_poses(
    clips: dict[str, Path],
    estimator: str,
    skeleton: Skeleton,
    smoothing: Smoothing,
    longest_gap: int,
    overlays: Path | None,
) -> None:
    problems = 0
    for name, clip in clips.items():
        try:
            info, target = probe(clip), sidecar_path(clip, "pose")
            if target.exists():
                SideCar(target, "pose", info.frames, info.height, info.width).check()
                print(f"{name}: has poses already")
                continue
            people = load_estimator(estimator)
            frames = tqdm(iter_frames(info), desc=name, total=info.frames, unit="frame", leave=False)
            raw = estimate_track(frames, people, skeleton)
            if not raw[..., 2].any():
                raise DataError(clip, f"shows nobody in any of {info.frames} frames", "leave it out, or look at it")
            track = clean_track(raw, float(info.fps), smoothing, longest_gap)
            if overlays is not None:
                _draw_overlay((overlays / name).with_suffix(".mp4"), info, track, skeleton)
            _write_sidecar(target, track, skeleton)  # last: its presence says that the clip is done
            print(f"{name}: {_report(raw, skeleton)}")
        except FileError as error:
            problems += 1
            print(f"failed: {error}")
    if problems:
        raise ZooError(f"{problems} of {len(clips)} clips got no poses; see the reasons above, then repeat the command")


def _write_sidecar(path: Path, track: Tensor, skeleton: Skeleton) -> None:
    """The file appears whole or not at all."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.partial.npz")
    try:
        np.savez(temporary, keypoints=track.float().numpy(), skeleton=np.array(skeleton.name))
        temporary.replace(path)
    except OSError as error:
        raise DataError(path, f"can't be written ({error})", "check the folder and the space on the disk") from error
    finally:
        temporary.unlink(missing_ok=True)


def _draw_overlay(path: Path, info: VideoInfo, track: Tensor, skeleton: Skeleton) -> None:
    """The video with its poses drawn over it."""
    poses = to_units(track, (info.height, info.width)).split(_OVERLAY_FRAMES)
    frames = iter_frames(info)
    with VideoWriter(path, info.fps) as writer:
        for pose in poses:
            figures = draw_figure(pose, skeleton, (info.height, info.width))
            for figure in figures:
                frame = next(frames)
                drawn = (figure < 1).any(dim=0)
                writer.write(torch.where(drawn, (figure * 255).to(torch.uint8), frame))


def _report(raw: Tensor, skeleton: Skeleton) -> str:
    """How much was found before gaps were filled."""
    empty = int((~(raw[..., 2] > 0).any(dim=1)).sum())
    rates = {joint: rate for joint, rate in missing_rates(raw, skeleton).items() if rate > _TOLD_MISSING}
    worst = sorted(rates.items(), key=lambda item: -item[1])
    missing = ", ".join(f"{joint} {rate:.0%}" for joint, rate in worst) or "none"
    return f"{len(raw)} frames, {empty} without anybody; missing joints: {missing}"
