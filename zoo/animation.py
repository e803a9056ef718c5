"""``zoo animate``: files in, an animated file out, in memory that doesn't grow with the clip."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor
from tqdm import tqdm

from zoo.base import CHUNK, AnimationModule, MotionOptions
from zoo.batch import Batch
from zoo.clip_conditions import check_surfaces, find_condition
from zoo.data.augment import to_floats
from zoo.data.cache import ByteCache
from zoo.errors import FileError, PoseError, ZooError
from zoo.framing import Box, Framing, to_bytes
from zoo.loading import find_weights, load
from zoo.pose import PUBLISHED_CANVAS
from zoo.video import VideoError, VideoInfo, VideoWriter, iter_frames, probe, read_frames, side_by_side, unevenness
from zoo.weights import TrainedOn, trained_on

_PUBLISHED_SIZE = (256, 256)  # of all official weights, whose files don't say it
_UNKNOWN = TrainedOn(None, is_stretched=False, has_drawn_surfaces=False)
_PANEL_SIDE = 192  # pixels; smaller pictures are enlarged in panels
_NOTICEABLE = 0.1  # seconds between picture and sound
_SIDECAR_BYTES = 512 << 20  # unpacked surface maps and masks; poses and uncompressed files need next to nothing

FileName = str | Path


def animate(
    weights: FileName,
    source: list[FileName] | FileName | None = None,
    *,
    driving: FileName,
    output: FileName = "animation.mp4",
    motion: Literal["relative", "absolute"] | None = None,
    adapt_scale: bool = False,
    best_frame: bool = False,
    retarget: bool = False,
    denoise: bool = False,
    denoiser: FileName | None = None,
    driving_pose: FileName | None = None,
    source_pose: FileName | None = None,
    crop: Box | None = None,
    size: int | None = None,
    visualize: bool = False,
    audio: Literal["driving", "source", "none"] = "driving",
    source_frames: int = 4,
    device: str = "auto",
    method: str | None = None,
) -> Path:
    """Animates the person in a picture with the motion of a video.

    The result has the source's width and height, and the driving clip's frame rate, length and sound. Pictures of any
    size and aspect are fitted whole into the frame that the method works in, resized without stretching (unless the
    weights were trained on stretched pictures: then as those were) and with their edges repeated where the aspect
    differs; the result is cut out and resized back. Best results come from a source and a driving clip that show the
    subject alike, as large as in the training data: --crop helps.

    Methods that are driven by poses read them from NAME_pose.npz beside the clip. Where there is none they are
    estimated, as by `zoo prepare --pose`, which keeps them.

    Example: zoo animate --weights runs/weights.safetensors --source me.png --driving dance.mp4 --output me_dancing.mp4

    Args:
        weights: Weights file or checkpoint of a trained method, or METHOD/TAG for weights that come with the zoo.
        source: Who: a picture, or a clip, whose first frame is taken. Methods that look at several pictures of one
            person take a list of pictures and clips; the result then has the size of the first. Methods that learnt
            one person need none; without one the result is as large as the frame that the method works in.
        driving: How they move: a video, a gif, or a folder of frames.
        output: Where to; the ending chooses mp4, mov, webm, mkv, avi or gif. An existing file is replaced once the new
            one is complete.
        motion: ``relative`` moves the source as the driving subject moves since its first frame and keeps the source's
            shape; ``absolute`` takes over the driving subject's own position and shape. By default relative, where the
            method knows it.
        adapt_scale: Multiply relative motion by the size of the source's subject over that of the driving one.
        best_frame: Let relative motion start at the driving frame that resembles the source most, not at the first.
        retarget: Fit the driving poses to the body that is shown before they are drawn: to the source's limbs, or to
            place, size and range of the person that the weights know. Driven by itself, a body doesn't change, but for
            the smoothing that Everybody Dance Now's `median_window` does besides.
        denoise: Clean the driving poses, the whole clip at once, with the skeleton denoiser in the weights.
        denoiser: Weights of a skeleton denoiser to clean with, where the method's own don't hold one; implies
            `--denoise`.
        driving_pose: Poses of the driving clip from elsewhere than beside it: an npz file of the same layout, or a
            folder of OpenPose's JSON files, one a frame. Of several people the largest of the first frame is followed;
            a frame without that person has an empty pose.
        source_pose: The same for the source, if it is a single one.
        crop: Animate only this box of the source and paste it back: [x, y, width, height] in pixels. Around it the
            source stays as it is.
        size: Height and width of the frame that the method works in, rounded to a size that it takes; by default what
            the weights were trained on.
        visualize: Write a panel of pictures side by side instead: what the method shows of each frame (such as both
            frames with their keypoints, the warped source, occlusion), and at the right the result.
        audio: Whose sound is copied: the driving clip's, the source clip's, or none. Gifs are silent.
        source_frames: How many frames, spread evenly over it, are taken of each source clip by methods that look at
            several pictures.
        device: Where to compute: ``auto`` takes a graphics card where there is one; or ``cpu``, ``cuda:1``.
        method: The method that the weights belong to, where their file doesn't say it: a name, or
            my_package.MyMethod for one that doesn't come with the zoo.

    Returns:
        The path of the output.

    Raises:
        ZooError: A file can't be used, an option doesn't fit the method, or the crop isn't inside the source.
    """
    sources = [] if source is None else [source] if isinstance(source, str | Path) else source
    if audio == "source" and not sources:
        raise ZooError("there is no source whose sound could be copied; leave `--audio source` out")
    source_clips = [probe(path, kind="image") for path in sources]
    driving_clip = _probe_driving(driving)
    output = _check_output(output, [weights, driving, *sources])
    sound = {"driving": driving_clip, "source": source_clips[0] if source_clips else None, "none": None}[audio]
    if audio == "source" and not source_clips[0].has_audio:
        raise VideoError(source_clips[0].path, "has no sound", "leave `--audio source` out")
    module = load(weights, method).to(find_device(device))
    if denoiser is not None:
        module.attach_denoiser(denoiser)
    switches = {"adapt_scale": adapt_scale, "best_frame": best_frame, "retarget": retarget}
    options = _motion_options(module, motion, switches | {"denoise": denoise or denoiser is not None})
    training = trained_on(find_weights(weights))
    working = _working_size(module, (size, size) if size is not None else training.size or _PUBLISHED_SIZE)
    frames = animated_frames(
        module,
        source_clips,
        driving_clip,
        options,
        working,
        crop,
        visualize,
        training=training,
        source_frames=source_frames,
        driving_pose=None if driving_pose is None else Path(driving_pose),
        source_pose=None if source_pose is None else Path(source_pose),
    )
    has_sound = sound is not None and sound.has_audio and output.suffix.lower() != ".gif"
    with VideoWriter(output, driving_clip.fps, sound.path if sound and has_sound else None) as writer:
        for frame in tqdm(frames, total=driving_clip.frames, desc=output.name, unit="frame"):
            writer.write(frame)
    note = "" if training.size or size else "; the weights don't say what they were trained at, `--size` chooses"
    print(f"{output} ({driving_clip.frames} frames, rendered at {working[1]} x {working[0]}{note})")
    _tell_of_lag(driving_clip)
    return output


def _tell_of_lag(clip: VideoInfo) -> None:
    """Says so where frames that come at a changing rate are shown far from their time."""
    lag = unevenness(clip)
    if lag > _NOTICEABLE:
        rate = f"{float(clip.fps):.3g}"
        print(
            f"{clip.path}: frames come at a changing rate, and are shown at an even {rate} a second: up to "
            f"{lag:.1f} s from their time; `ffmpeg -i {clip.path.name} -r {rate} steady.mp4` makes a steady clip"
        )


def animated_frames(
    method: AnimationModule,
    sources: Sequence[VideoInfo],
    driving: VideoInfo,
    options: MotionOptions | None = None,
    size: tuple[int, int] = _PUBLISHED_SIZE,
    crop: Box | None = None,
    visualize: bool = False,
    training: TrainedOn = _UNKNOWN,
    chunk: int = CHUNK,
    source_frames: int = 1,
    driving_pose: Path | None = None,
    source_pose: Path | None = None,
) -> Iterator[Tensor]:
    """The frames that :func:`animate` writes, one by one, while the driving clip is being read.

    Args:
        method: Loaded weights, on the device that computes.
        sources: What ``probe(path, kind="image")`` says about each source picture or clip; none for methods that look
            at none.
        driving: What ``probe(path)`` says about the driving clip.
        options: How motion is applied; ``absolute`` by default.
        size: Height and width of the frame that the method works in.
        crop: Which box of the first source is animated; None is all of it.
        visualize: Yield panels.
        training: What the weights were trained on: pictures are fitted, and surface maps drawn, as there. Its size
            isn't looked at.
        chunk: Driving frames rendered at once; the result doesn't depend on it.
        source_frames: How many frames are taken of each source clip; 1 takes the first.
        driving_pose: Poses of the driving clip that don't lie beside it: an npz file or a folder of OpenPose's.
        source_pose: The same for the source.

    Returns:
        RGB uint8 (3, H, W) on the CPU, as large as the first source, or without one as the working frame; panels: the
        method's pictures side by side.

    Raises:
        ZooError: At once: a source or a condition can't be used, there are more sources than the method looks at, or
            the crop isn't inside the source.
        FileError: While iterating: a driving frame can't be decoded, or the driving poses don't show what an option
            goes by.
    """
    if "iuv" in method.conditions:
        given = [*((clip, source_pose) for clip in sources), (driving, driving_pose)]
        check_surfaces(given, training.has_drawn_surfaces, training.knows_drawn_surfaces)
    source, framing, picture, clips = _framed_sources(method, sources, size, crop, training, source_frames, source_pose)
    stage = Framing.plan((driving.height, driving.width), size, None, *_stretching(method, training))
    framed_driving = _FramedClip(method, "driving", driving, stage, training, driving_pose)
    if visualize:
        frames = _panels(method, source, framed_driving, options, chunk)
    else:
        frames = _pasted(method, source, framed_driving, options, chunk, framing, picture)
    return _naming_files(frames, [*clips, framed_driving])


def _framed_sources(
    method: AnimationModule,
    sources: Sequence[VideoInfo],
    size: tuple[int, int],
    crop: Box | None,
    training: TrainedOn,
    source_frames: int,
    pose: Path | None,
) -> tuple[Batch, Framing, Tensor, list["_FramedClip"]]:
    """The sources as a batch, where the result goes (into which place of which picture (3, h, w)), and the clips."""
    if pose is not None and len(sources) != 1:
        raise ZooError(f"source_pose belongs to one source, and there are {len(sources)}; leave it out")
    if not sources:
        if method.needs_source:
            raise ZooError(f"there is no source; {type(method).__name__} needs a picture, such as `--source me.png`")
        if crop is not None:
            raise ZooError("crop is a box of the source, and there is none; leave it out")
        batch = Batch(source=torch.zeros(1, 1, 3, *size, device=method.device))
        return batch, Framing.plan(size, size), torch.zeros(3, *size, dtype=torch.uint8), []
    if len(sources) > 1 and not method.takes_several_sources:
        raise ZooError(f"{type(method).__name__} looks at one source only, not at {len(sources)}; give one")
    if source_frames < 1:
        raise ZooError(f"source_frames is {source_frames}; at least one frame of a source is needed")
    framings = [
        Framing.plan((clip.height, clip.width), size, None if number else crop, *_stretching(method, training))
        for number, clip in enumerate(sources)
    ]
    taken = [_evenly(clip.frames, source_frames if method.takes_several_sources else 1) for clip in sources]
    pictures = [read_frames(clip, numbers) for clip, numbers in zip(sources, taken, strict=True)]
    clips = [
        _FramedClip(method, "source", clip, framing, training, pose, numbers)
        for clip, framing, numbers in zip(sources, framings, taken, strict=True)
    ]
    batches = [
        clip.batch([clip.enter(picture) for picture in some], numbers)
        for clip, some, numbers in zip(clips, pictures, taken, strict=True)
    ]
    source = cast(Batch, {key: torch.cat([batch[key] for batch in batches], dim=1) for key in batches[0]})
    return source, framings[0], pictures[0][0], clips


def _stretching(method: AnimationModule, training: TrainedOn) -> tuple[bool, tuple[int, int] | None]:
    """Whether pictures are stretched, and what size the clips had that were so in training."""
    if method.needs_source or training.clips is not None:
        return training.is_stretched, training.clips
    return training.is_stretched, PUBLISHED_CANVAS  # who learns one person from one clip: the official code's is 16:9


class _FramedClip:
    """A clip in the working frame, with the conditions that the method needs."""

    def __init__(
        self,
        method: AnimationModule,
        role: str,
        info: VideoInfo,
        framing: Framing,
        training: TrainedOn,
        given_pose: Path | None = None,
        numbers: Sequence[int] | None = None,
    ) -> None:
        self.role = role
        self._info = info
        self._framing = framing
        self._device = method.device
        names = method.conditions if role == "driving" or method.needs_source else ()
        draw = training.has_drawn_surfaces
        self._conditions = {name: find_condition(method, name, info, given_pose, numbers, draw) for name in names}
        self._cache = ByteCache(_SIDECAR_BYTES)

    @property
    def pose_path(self) -> Path:
        """The file that is to blame for the poses."""
        return self._conditions["pose"].path

    def enter(self, picture: Tensor) -> Tensor:
        """A frame (3, h, w) uint8 as (3, H, W) in [0, 1], on the device."""
        return self._framing.enter(picture.to(self._device))

    def batch(self, frames: list[Tensor], numbers: Sequence[int]) -> dict[str, Any]:
        """Frames that entered the working frame, and their conditions, as a batch of one clip.

        Args:
            frames: T pictures (3, H, W).
            numbers: Their numbers in the clip.
        """
        batch = {self.role: torch.stack(frames)[None]}
        for name, condition in self._conditions.items():
            values = condition.read(numbers, self._cache)
            fit = self._framing.fit
            fitted = fit.pose(values) if name == "pose" else fit.labels(values)
            batch[f"{self.role}_{name}"] = fitted[None].to(self._device)
        return to_floats(batch)

    def chunks(self, length: int) -> Iterator[Batch]:
        """The whole clip, ``length`` frames at a time; each frame is fitted as soon as it is decoded."""
        frames = map(self.enter, iter_frames(self._info))
        first = 0
        while chunk := list(islice(frames, length)):
            yield cast(Batch, self.batch(chunk, range(first, first + len(chunk))))
            first += len(chunk)


def _naming_files(frames: Iterator[Tensor], clips: Sequence[_FramedClip]) -> Iterator[Tensor]:
    """The frames; what is wrong with the poses of a clip is told of their file."""
    try:
        yield from frames
    except PoseError as error:
        blamed = next(clip for clip in clips if clip.role == error.role)
        raise FileError(blamed.pose_path, error.problem, error.remedy) from error


def _pasted(
    method: AnimationModule,
    source: Batch,
    driving: _FramedClip,
    options: MotionOptions | None,
    chunk: int,
    framing: Framing,
    picture: Tensor,
) -> Iterator[Tensor]:
    for frames in method.stream(source, lambda: driving.chunks(chunk), options):
        for frame in frames[0]:
            yield framing.paste(picture, frame)


def _panels(
    method: AnimationModule, source: Batch, driving: _FramedClip, options: MotionOptions | None, chunk: int
) -> Iterator[Tensor]:
    for frames, views in method.stream_explained(source, lambda: driving.chunks(chunk), options):
        columns = {name: _enlarged(view[0]) for name, view in (views | {"result": frames}).items()}
        titles = [name.replace("_", " ") for name in columns]
        for moment in range(frames.shape[1]):
            yield side_by_side([to_bytes(column[moment]) for column in columns.values()], titles)


def _evenly(frames: int, most: int) -> list[int]:
    """Up to ``most`` different frame numbers from the first to the last, evenly spaced."""
    count = min(frames, most)
    return [round(place * (frames - 1) / max(1, count - 1)) for place in range(count)]


def _enlarged(pictures: Tensor) -> Tensor:
    """Pictures (t, 3, H, W), at a whole multiple of their size where they are too small to be looked at."""
    factor = math.ceil(_PANEL_SIDE / max(pictures.shape[-2:]))
    return pictures.repeat_interleave(factor, -1).repeat_interleave(factor, -2) if factor > 1 else pictures


def _probe_driving(path: FileName) -> VideoInfo:
    info = probe(path, reader="pyav")  # which streams; decord is for random access
    if info.kind == "image":
        raise VideoError(path, "is a single picture", "give a video, a gif or a folder of frames as driving")
    return info


def _check_output(output: FileName, inputs: Sequence[FileName]) -> Path:
    output = Path(output)
    for path in map(Path, inputs):
        if output.exists() and path.exists() and output.samefile(path):
            raise VideoError(output, "is read and can't be written as well", "choose another --output")
    return output


def find_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is an accelerator where there is one that knows double precision.

    Apple's (``mps``) doesn't, in which poses are drawn, surface maps warped and metrics summed.

    Raises:
        ZooError: It can't be used.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator if accelerator and accelerator.type != "mps" else torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch's own words for unknown, absent and not built in
        raise ZooError(
            f"the device {name!r} can't be used ({str(error).splitlines()[0]}); try `--device cpu`"
        ) from error


def _motion_options(
    method: AnimationModule, motion: Literal["relative", "absolute"] | None, switches: dict[str, bool]
) -> MotionOptions:
    if motion is None:
        motion = "relative" if "relative" in method.motion_options else "absolute"
    options = MotionOptions(motion, **switches)
    method.check_options(options)
    return options


def _working_size(method: AnimationModule, wanted: tuple[int, int]) -> tuple[int, int]:
    if min(wanted) < 1:
        raise ZooError(f"the size {wanted[0]} is too small; give the pixels of a side, such as `--size 256`")
    multiple = method.size_multiple
    height, width = (max(1, round(side / multiple)) * multiple for side in wanted)
    return height, width
