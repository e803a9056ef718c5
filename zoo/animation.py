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
from zoo.batch import Batch, Condition
from zoo.data.augment import to_floats
from zoo.data.cache import ByteCache
from zoo.data.sidecar import SideCar, sidecar_path
from zoo.errors import FileError, ZooError
from zoo.framing import Box, Framing, to_bytes
from zoo.loading import find_weights, load
from zoo.video import VideoError, VideoInfo, VideoWriter, iter_frames, probe, read_frames, side_by_side
from zoo.weights import trained_size

_PUBLISHED_SIZE = (256, 256)  # of all official weights, whose files don't say it
_PANEL_SIDE = 192  # pixels; smaller pictures are enlarged in panels
_SIDECAR_BYTES = 512 << 20  # unpacked surface maps and masks; poses and uncompressed files need next to nothing

FileName = str | Path


def animate(
    weights: FileName,
    source: list[FileName] | FileName,
    driving: FileName,
    output: FileName = "animation.mp4",
    motion: Literal["relative", "absolute"] | None = None,
    adapt_scale: bool = False,
    best_frame: bool = False,
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
    size and aspect are fitted whole into the frame that the method works in, resized without stretching and with their
    edges repeated where the aspect differs; the result is cut out and resized back. Best results come from a source
    and a driving clip that show the subject alike, as large as in the training data: --crop helps.

    Example: zoo animate --weights runs/weights.safetensors --source me.png --driving dance.mp4 --output me_dancing.mp4

    Args:
        weights: Weights file or checkpoint of a trained method, or METHOD/TAG for weights that come with the zoo.
        source: Who: a picture, or a clip, whose first frame is taken. Methods that look at several pictures of one
            person take a list of pictures and clips; the result then has the size of the first.
        driving: How they move: a video, a gif, or a folder of frames.
        output: Where to; the ending chooses mp4, mov, webm, mkv, avi or gif. An existing file is replaced once the new
            one is complete.
        motion: ``relative`` moves the source as the driving subject moves since its first frame and keeps the source's
            shape; ``absolute`` takes over the driving subject's own position and shape. By default relative, where the
            method knows it.
        adapt_scale: Multiply relative motion by the size of the source's subject over that of the driving one.
        best_frame: Let relative motion start at the driving frame that resembles the source most, not at the first.
        crop: Animate only this box of the source and paste it back: [x, y, width, height] in pixels. Around it the
            source stays as it is.
        size: Height and width of the frame that the method works in, rounded to a size that it takes; by default what
            the weights were trained on.
        visualize: Write a panel of pictures side by side instead: what the method shows of each frame (such as both
            frames with their keypoints, the warped source, occlusion), and at the right the result.
        audio: Whose sound is copied: the driving clip's, the source clip's, or none. Gifs are silent.
        source_frames: How many frames, spread evenly over it, are taken of each source clip by methods that look at
            several pictures.
        device: Where to compute: ``auto`` takes an accelerator where there is one; or ``cpu``, ``cuda:1``, ``mps``.
        method: The method that the weights belong to, where their file doesn't say it: a name, or
            my_package.MyMethod for one that doesn't come with the zoo.

    Returns:
        The path of the output.

    Raises:
        ZooError: A file can't be used, an option doesn't fit the method, or the crop isn't inside the source.
    """
    sources = [source] if isinstance(source, str | Path) else source
    source_clips = [probe(path, kind="image") for path in sources]
    driving_clip = _probe_driving(driving)
    output = _check_output(output, [weights, driving, *sources])
    sound = {"driving": driving_clip, "source": source_clips[0], "none": None}[audio]
    if audio == "source" and not source_clips[0].has_audio:
        raise VideoError(source_clips[0].path, "has no sound", "leave `--audio source` out")
    module = load(weights, method).to(find_device(device))
    options = _motion_options(module, motion, adapt_scale, best_frame)
    trained_on = trained_size(find_weights(weights))
    working = _working_size(module, (size, size) if size is not None else trained_on or _PUBLISHED_SIZE)
    frames = animated_frames(
        module, source_clips, driving_clip, options, working, crop, visualize, source_frames=source_frames
    )
    has_sound = sound is not None and sound.has_audio and output.suffix.lower() != ".gif"
    with VideoWriter(output, driving_clip.fps, sound.path if sound and has_sound else None) as writer:
        for frame in tqdm(frames, total=driving_clip.frames, desc=output.name, unit="frame"):
            writer.write(frame)
    note = "" if trained_on or size else "; the weights don't say what they were trained at, `--size` chooses"
    print(f"{output} ({driving_clip.frames} frames, rendered at {working[1]} x {working[0]}{note})")
    return output


def animated_frames(
    method: AnimationModule,
    sources: Sequence[VideoInfo],
    driving: VideoInfo,
    options: MotionOptions | None = None,
    size: tuple[int, int] = _PUBLISHED_SIZE,
    crop: Box | None = None,
    visualize: bool = False,
    chunk: int = CHUNK,
    source_frames: int = 1,
) -> Iterator[Tensor]:
    """The frames that :func:`animate` writes, one by one, while the driving clip is being read.

    Args:
        method: Loaded weights, on the device that computes.
        sources: What ``probe(path, kind="image")`` says about each source picture or clip.
        driving: What ``probe(path)`` says about the driving clip.
        options: How motion is applied; ``absolute`` by default.
        size: Height and width of the frame that the method works in.
        crop: Which box of the first source is animated; None is all of it.
        visualize: Yield panels.
        chunk: Driving frames rendered at once; the result doesn't depend on it.
        source_frames: How many frames are taken of each source clip; 1 takes the first.

    Returns:
        RGB uint8 (3, H, W) on the CPU, as large as the first source; panels: the method's pictures side by side.

    Raises:
        ZooError: At once: a source or a condition can't be used, there are more sources than the method looks at, or
            the crop isn't inside the source.
        VideoError: While iterating: a driving frame can't be decoded.
    """
    if not sources:
        raise ZooError("there is no source; give at least one picture")
    if len(sources) > 1 and not method.takes_several_sources:
        raise ZooError(f"{type(method).__name__} looks at one source only, not at {len(sources)}; give one")
    if source_frames < 1:
        raise ZooError(f"source_frames is {source_frames}; at least one frame of a source is needed")
    framings = [Framing.plan((clip.height, clip.width), size) for clip in sources]
    framings[0] = Framing.plan(framings[0].stored, size, crop)
    taken = [_evenly(clip.frames, source_frames if method.takes_several_sources else 1) for clip in sources]
    pictures = [read_frames(clip, numbers) for clip, numbers in zip(sources, taken, strict=True)]
    clips = [_FramedClip(method, "source", *pair) for pair in zip(sources, framings, strict=True)]
    batches = [
        clip.batch([clip.enter(picture) for picture in some], numbers)
        for clip, some, numbers in zip(clips, pictures, taken, strict=True)
    ]
    source = cast(Batch, {key: torch.cat([batch[key] for batch in batches], dim=1) for key in batches[0]})
    framed_driving = _FramedClip(method, "driving", driving, Framing.plan((driving.height, driving.width), size))
    if visualize:
        return _panels(method, source, framed_driving, options, chunk)
    return _pasted(method, source, framed_driving, options, chunk, framings[0], pictures[0][0])


class _FramedClip:
    """A clip in the working frame, with the conditions that the method needs."""

    def __init__(self, method: AnimationModule, role: str, info: VideoInfo, framing: Framing) -> None:
        self._role = role
        self._info = info
        self._framing = framing
        self._device = method.device
        self._sidecars = {name: _find_sidecar(method, name, info) for name in method.conditions}
        self._cache = ByteCache(_SIDECAR_BYTES)

    def enter(self, picture: Tensor) -> Tensor:
        """A frame (3, h, w) uint8 as (3, H, W) in [0, 1], on the device."""
        return self._framing.enter(picture.to(self._device))

    def batch(self, frames: list[Tensor], numbers: Sequence[int]) -> dict[str, Any]:
        """Frames that entered the working frame, and their conditions, as a batch of one clip.

        Args:
            frames: T pictures (3, H, W).
            numbers: Their numbers in the clip.
        """
        batch = {self._role: torch.stack(frames)[None]}
        for name, sidecar in self._sidecars.items():
            values = sidecar.read(numbers, self._cache)
            fit = self._framing.fit
            fitted = fit.pose(values) if name == "pose" else fit.labels(values)
            batch[f"{self._role}_{name}"] = fitted[None].to(self._device)
        return to_floats(batch)

    def chunks(self, length: int) -> Iterator[Batch]:
        """The whole clip, ``length`` frames at a time; each frame is fitted as soon as it is decoded."""
        frames = map(self.enter, iter_frames(self._info))
        first = 0
        while chunk := list(islice(frames, length)):
            yield cast(Batch, self.batch(chunk, range(first, first + len(chunk))))
            first += len(chunk)


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


def _find_sidecar(method: AnimationModule, condition: Condition, info: VideoInfo) -> SideCar:
    path = sidecar_path(info.path, condition)
    if not path.is_file():
        name = type(method).__name__
        raise FileError(
            info.path,
            f"{name} needs its {condition}, but there is no {path.name}",
            "see `zoo prepare --help`",
        )
    sidecar = SideCar(path, condition, info.frames, info.height, info.width)
    sidecar.check()
    return sidecar


def find_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is an accelerator where there is one.

    Raises:
        ZooError: It can't be used.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch's own words for unknown, absent and not built in
        raise ZooError(
            f"the device {name!r} can't be used ({str(error).splitlines()[0]}); try `--device cpu`"
        ) from error


def _motion_options(
    method: AnimationModule, motion: Literal["relative", "absolute"] | None, adapt_scale: bool, best_frame: bool
) -> MotionOptions:
    known = method.motion_options
    if motion is None:
        motion = "relative" if "relative" in known else "absolute"
    chosen = {"relative": motion == "relative", "adapt_scale": adapt_scale, "best_frame": best_frame}
    if unknown := sorted({option for option, wanted in chosen.items() if wanted} - known):
        offer = f"it knows {', '.join(sorted(known))}" if known else "it knows absolute motion only"
        raise ZooError(f"{type(method).__name__} doesn't know {', '.join(unknown)}; {offer}")
    if motion == "absolute" and (adapt_scale or best_frame):
        raise ZooError("adapt_scale and best_frame change relative motion only; leave out `--motion absolute`")
    return MotionOptions(motion, adapt_scale, best_frame)


def _working_size(method: AnimationModule, wanted: tuple[int, int]) -> tuple[int, int]:
    if min(wanted) < 1:
        raise ZooError(f"the size {wanted[0]} is too small; give the pixels of a side, such as `--size 256`")
    multiple = method.size_multiple
    height, width = (max(1, round(side / multiple)) * multiple for side in wanted)
    return height, width
