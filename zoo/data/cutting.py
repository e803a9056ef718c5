"""The raw videos of a public dataset, cut and resized into a folder of clips."""

import json
import math
import re
import shutil
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from torch import Tensor
from tqdm import tqdm

from zoo.data.errors import DataError
from zoo.data.fitting import Fit, Policy
from zoo.data.lists import read_column, read_number, read_rows
from zoo.data.walk import VIDEO_SUFFIXES, find_clips, without_suffix
from zoo.errors import FileError, OptionError
from zoo.video import VideoInfo, VideoWriter, iter_frames, probe, write_image

_SETTINGS = "prepared.json"  # beside the clips
_PARTITIONS = ("train", "val", "test", "")
_ROUNDED_RATE = Fraction(1, 2000)  # lists write 23.97 for 23.976; 24 is another rate
_MISSING_SECONDS = 1  # copies of one video differ by a few frames at the end


@dataclass(frozen=True)
class Settings:
    """What all clips of a folder have in common.

    Attributes:
        size: Height and width of the frames, pixels.
        fit: What becomes of a box or frame that is no square.
        format: Folders of pictures, or video files.
    """

    size: int
    fit: Policy
    format: Literal["png", "mp4"]


@dataclass(frozen=True)
class Cut:
    """A clip to be cut out of a raw video.

    Attributes:
        video: The raw video, there or not.
        name: The clip's path below the output folder.
        start: First frame, counted at ``fps``.
        end: One past the last frame; None is the video's end.
        fps: The rate that frames are counted at; None is the video's own.
        box: Left, top, right and bottom of what is kept, pixels of a frame of ``frame_size``; None is the whole frame.
        frame_size: Width and height that the box was drawn in, pixels; None is the video's own.
    """

    video: Path
    name: str
    start: int = 0
    end: int | None = None
    fps: Fraction | None = None
    box: tuple[int, int, int, int] | None = None
    frame_size: tuple[int, int] | None = None


def cut_clips(
    videos: str,
    output: str,
    metadata: str | None = None,
    size: int = 256,
    fit: Policy = "crop",
    format: Literal["png", "mp4"] = "png",
    workers: int = 1,
) -> None:
    """Cuts and resizes the raw videos of a public dataset into a folder of clips.

    Clips that are there already are skipped, so an interrupted run is taken up by the same command. A raw video that
    is missing or damaged costs its own clips only; such videos are listed at the end. Resizing is antialiased.

    The options are those of :func:`zoo.preparation.prepare`; `videos` is the folder of the raw videos, which are named
    by their `video_id`.

    Raises:
        OptionError: A number is too small.
        DataError: The list is wrong, the output holds clips of other settings, or not all clips could be made.
    """
    for option, number in (("size", size), ("workers", workers)):
        if number < 1:
            raise OptionError(f"--{option} is {number}; it is 1 or more")
    raw, folder = Path(videos), Path(output)
    place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not place.is_dir():
        raise DataError(place, "is a file", "name a folder for the clips")
    if not raw.is_dir():
        raise DataError(raw, "is not a folder", "give the folder that holds the raw videos")
    if folder.resolve().is_relative_to(raw.resolve()):
        raise DataError(folder, f"lies inside the raw videos of {raw}", "choose another output folder")
    listed = whole_videos(raw) if metadata is None else listed_cuts(Path(metadata), raw)
    cuts = list({cut.name: cut for cut in reversed(listed)}.values())[::-1]
    if len(cuts) < len(listed):
        print(f"{len(listed) - len(cuts)} clips have the name of an earlier one and are left out")
    settings = Settings(size, fit, format)
    _remember(settings, folder)
    todo = [cut for cut in cuts if not (folder / cut.name).exists()]
    missing = [cut for cut in todo if not cut.video.exists()]
    problems = _make([cut for cut in todo if cut.video.exists()], folder, settings, workers)
    _report(len(cuts), missing, problems, raw, folder)


def whole_videos(videos: Path) -> list[Cut]:
    """Each video below a folder as one clip in the same sub-folder."""
    paths = find_clips(videos)
    if not paths:
        raise DataError(videos, "holds no videos", "give the folder that holds the raw videos")
    return [Cut(path, f"{without_suffix(path.relative_to(videos)).as_posix()}.mp4") for path in paths]


def listed_cuts(metadata: Path, videos: Path) -> list[Cut]:
    """The clips that a csv of the video-preprocessing project names.

    Clips are called ``identity#video#start#end.mp4``, where the identity is ``person_id``; without that column
    ``video#start#end.mp4``. ``person_id`` may also stand in ``video_id``, as ``video#person``.

    Raises:
        DataError: No such file or columns, or a value that is not understood.
    """
    files = {path.stem: path for path in sorted(videos.iterdir()) if path.suffix.lower() in VIDEO_SUFFIXES}
    cuts = [_listed(metadata, line, row, videos, files) for line, row in read_rows(metadata)]
    if not cuts:
        raise DataError(metadata, "lists no clips", "download the list again")
    return cuts


def _listed(metadata: Path, line: int, row: dict[str, str], videos: Path, files: dict[str, Path]) -> Cut:
    start, end = (read_number(metadata, line, row, name) for name in ("start", "end"))
    if start is None or end is None or start >= end:
        raise DataError(metadata, f"line {line} has no range of frames", "give `start` and a greater `end`")
    partition = row.get("partition", "")
    if partition not in _PARTITIONS:
        raise DataError(metadata, f"line {line} has partition {partition!r}", "write train, val or test")
    video, *person = read_column(metadata, row, "video_id").split("#")
    who = [name for name in (row.get("person_id"), *reversed(person), video) if name]
    if not video or any(re.search(r"[/\\\0]", name) for name in who):
        raise DataError(metadata, f"line {line} has {'#'.join(who)!r}, which is no file name", "correct `video_id`")
    name = f"{'#'.join(who)}#{start:06d}#{end:06d}.mp4"
    width, height = (read_number(metadata, line, row, side) for side in ("width", "height"))
    return Cut(
        video=files.get(video, videos / f"{video}.mp4"),
        name=f"{partition}/{name}" if partition else name,
        start=start,
        end=end,
        fps=_rate(metadata, line, row),
        box=_corners(metadata, line, row),
        frame_size=(width, height) if width and height else None,
    )


def _rate(metadata: Path, line: int, row: dict[str, str]) -> Fraction | None:
    text = row.get("fps", "")
    if text and not (re.fullmatch(r"\d+(\.\d+)?", text) and Fraction(text)):
        raise DataError(metadata, f"line {line} has fps {text!r}", "write frames per second, as 29.97")
    return Fraction(text) if text else None


def _corners(metadata: Path, line: int, row: dict[str, str]) -> tuple[int, int, int, int] | None:
    text = row.get("bbox", "")
    if not text:
        return None
    if not re.fullmatch(r"\d+(-\d+){3}", text):
        raise DataError(metadata, f"line {line} has bbox {text!r}", "write left-top-right-bottom in pixels")
    left, top, right, bottom = map(int, text.split("-"))
    return left, top, right, bottom


# --- making clips


def _remember(settings: Settings, folder: Path) -> None:
    """Notes the settings beside the clips, so that clips of other settings are never mixed in."""
    path, text = folder / _SETTINGS, json.dumps(asdict(settings)) + "\n"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    found = path.read_text("utf-8")
    if found != text:
        raise DataError(folder, f"holds clips made with {found.strip()}", "use these settings or another output folder")


def _make(cuts: Sequence[Cut], folder: Path, settings: Settings, workers: int) -> dict[str, str]:
    """Makes clips, several raw videos at a time, and returns name and reason of those that failed."""
    by_video: dict[Path, list[Cut]] = {}
    for cut in cuts:
        by_video.setdefault(cut.video, []).append(cut)
    problems: dict[str, str] = {}
    interrupted = threading.Event()
    with tqdm(total=len(cuts), desc=f"preparing {folder.name}", unit="clip") as bar:

        def cut_up(video: Path) -> None:
            for cut, problem in _cut_up(video, by_video[video], folder, settings):
                if problem is not None:
                    problems[cut.name] = problem
                bar.update()
                if interrupted.is_set():
                    return

        with ThreadPoolExecutor(workers) as pool:
            try:
                list(pool.map(cut_up, by_video))
            except BaseException:
                interrupted.set()
                raise
    return problems


def _cut_up(video: Path, cuts: Sequence[Cut], folder: Path, settings: Settings) -> Iterable[tuple[Cut, str | None]]:
    """Makes the clips of one raw video; with each comes why it failed, if it did."""
    try:
        info = probe(video)
    except FileError as error:
        yield from ((cut, str(error)) for cut in cuts)
        return
    for cut in cuts:
        try:
            _write_clip(folder / cut.name, info, cut, settings)
        except FileError as error:
            yield cut, str(error)
        else:
            yield cut, None


def _write_clip(path: Path, info: VideoInfo, cut: Cut, settings: Settings) -> None:
    start, end = _frames(cut, info)
    left, top, right, bottom = _box(cut, info)
    fit = Fit.plan((bottom - top, right - left), (settings.size, settings.size), settings.fit)
    pictures = (fit.pictures(frame[None, :, top:bottom, left:right])[0] for frame in iter_frames(info, start, end))
    if settings.format == "png":
        _write_folder(path, pictures)
    else:
        with VideoWriter(path, info.fps) as writer:
            for picture in pictures:
                writer.write(picture)


def _write_folder(path: Path, pictures: Iterable[Tensor]) -> None:
    """A folder of numbered pictures, which gets its name when it is complete."""
    temporary = path.with_name(f".{path.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)  # a run that was killed left it
    try:
        for number, picture in enumerate(pictures):
            write_image(temporary / f"{number:07d}.png", picture)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _frames(cut: Cut, info: VideoInfo) -> tuple[int, int]:
    """First frame and one past the last in the video itself, which may have another rate than its listing."""
    rate = info.fps / (cut.fps or info.fps)
    if abs(rate - 1) < _ROUNDED_RATE:
        rate = Fraction(1)
    start = math.ceil(cut.start * rate)
    end = info.frames if cut.end is None else math.ceil(cut.end * rate)
    if start >= info.frames or end > info.frames + _MISSING_SECONDS * info.fps:
        raise DataError(
            cut.video, f"has {info.frames} frames, the clip is {start} to {end}", "get the whole video, then run again"
        )
    return start, min(end, info.frames)


def _box(cut: Cut, info: VideoInfo) -> tuple[int, int, int, int]:
    """Left, top, right and bottom in the video itself, which may have another resolution than its listing."""
    if cut.box is None:
        return 0, 0, info.width, info.height
    width, height = cut.frame_size or (info.width, info.height)
    left, right = (min(x * info.width // width, info.width) for x in cut.box[::2])
    top, bottom = (min(y * info.height // height, info.height) for y in cut.box[1::2])
    if left >= right or top >= bottom:
        raise DataError(
            cut.video, f"is {info.width}x{info.height}, outside the box {cut.box}", "check the box and the video"
        )
    return left, top, right, bottom


def _report(clips: int, missing: Sequence[Cut], problems: dict[str, str], videos: Path, folder: Path) -> None:
    failed = len(missing) + len(problems)
    print(f"{clips - failed} of {clips} clips are in {folder}")
    if not failed:
        return
    absent = sorted({cut.video.name for cut in missing})
    for name in absent:
        print(f"missing: {videos / name}")
    for name, problem in sorted(problems.items()):
        print(f"failed: {name}: {problem}")
    raise DataError(
        folder,
        f"{failed} clips could not be made: {len(missing)} because {len(absent)} raw videos are missing, "
        f"{len(problems)} for the reasons above",
        "add the videos and run the same command again, or go on without",
    )
