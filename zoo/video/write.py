"""Writing clips: encoded by FFmpeg through PyAV, sound copied, and never half a file under the final name."""

from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .atomic import naming_output, replaced_on_success
from .audio import AudioCopy
from .errors import VideoError
from .info import absolute

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_GIF_TICKS = 100  # per second: GIF stores delays in centiseconds
_SHORTEST_GIF_DELAY = 2  # browsers show anything shorter at 10 frames per second
_BT601 = 6  # FFmpeg's number of the colour matrix that is used here; untagged HD would be taken for BT.709


@dataclass(frozen=True)
class _Encoding:
    codecs: tuple[str, ...]  # the first that this PyAV was built with is taken
    pixel_format: str
    options: dict[str, str]
    even_size: bool = False


H264 = {"crf": "18", "g": "25", "mbtree": "0"}
"""Options of x264 for every clip written here: constant quality, and a key frame every 25 frames, because clips are
read at random afterwards. Without its macroblock tree, which takes quality from what it thinks is seen only briefly:
a tenth more error at 32 x 32, and choices on small pictures that were seen to differ from one run to the next."""

_ENCODINGS = {
    ".mp4": _Encoding(("libx264",), "yuv420p", H264, even_size=True),
    ".mov": _Encoding(("libx264",), "yuv420p", H264, even_size=True),
    ".mkv": _Encoding(("libx264",), "yuv420p", H264, even_size=True),
    ".avi": _Encoding(("libx264",), "yuv420p", H264 | {"bf": "0"}, even_size=True),  # AVI can't reorder frames
    ".webm": _Encoding(("libvpx-vp9", "libvpx"), "yuv420p", {"crf": "18", "b": "0", "g": "25", "cpu-used": "4"}),
    ".gif": _Encoding(("gif",), "pal8", {}),
}
_CONTAINER_OPTIONS = {".mp4": {"movflags": "+faststart"}, ".mov": {"movflags": "+faststart"}}  # plays while it loads


class VideoWriter:
    """A clip being written; use it as a context manager.

    The file appears under its name at the end of the ``with`` block, whole, or not at all. The ending chooses the
    format: .mp4, .mov, .mkv and .avi hold H.264 (yuv420p, CRF 18), .webm VP9, .gif 256 colours per frame. H.264 in
    yuv420p needs even sides: the last row or column of odd pictures is written twice. GIF delays are hundredths of a
    second and at least two: frames are shown at the nearest such times, so that the mean rate is kept up to 50 frames
    per second.

    Sound is copied without being encoded again, as far as the clip lasts. Where the format cannot hold it, a warning
    says so and the clip is silent.

    Args:
        path: Where to. Missing folders are created, an existing file is replaced at the end.
        fps: Frames per second, kept exactly (WebM: to the millisecond of each frame).
        audio_from: A video or sound file. If it has no sound, or is a folder of frames, the clip is silent.

    Raises:
        VideoError: If the ending is unknown or the encoder is missing; on leaving the block, if no frame was written or
            the place cannot be written to.
    """

    def __init__(self, path: str | Path, fps: Fraction, audio_from: str | Path | None = None) -> None:
        import av

        self._path = absolute(path)
        self._fps = Fraction(fps).limit_denominator(1_000_000)
        if self._fps <= 0:
            raise ValueError(f"fps should be positive, not {fps}")
        self._format = self._path.suffix.lower()
        if self._format not in _ENCODINGS:
            raise VideoError(self._path, f"{self._format or 'no ending'} is unknown", f"use {', '.join(_ENCODINGS)}")
        self._encoding = _ENCODINGS[self._format]
        available = [codec for codec in self._encoding.codecs if codec in av.codecs_available]
        if not available:
            raise VideoError(self._path, f"this PyAV lacks {self._encoding.codecs[0]}", "install av with pip")
        self._codec = available[0]
        self._audio_from = None if audio_from is None else absolute(audio_from)
        self._audio: AudioCopy | None = None
        self._frames = 0
        self._size: tuple[int, int] | None = None
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        import av

        with ExitStack() as cleanup:
            temporary = cleanup.enter_context(replaced_on_success(self._path))
            with naming_output(self._path, av.FFmpegError):
                options = _CONTAINER_OPTIONS.get(self._format, {})
                self._container = cleanup.enter_context(av.open(str(temporary), "w", options=options))
            self._stream = self._add_stream()
            if self._audio_from is not None and not self._audio_from.is_dir():
                self._audio = AudioCopy(self._audio_from, self._container, self._path)
                cleanup.enter_context(closing(self._audio))
            cleanup.push(self._finish)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._cleanup.__exit__(kind, error, trace)

    def write(self, frames: Tensor) -> None:
        """Appends one frame or several of the same size.

        Args:
            frames: RGB, uint8 (3, H, W) or (N, 3, H, W), on any device.

        Raises:
            ValueError: If the frames are of another type or shape, or of another size than those before.
            VideoError: If FFmpeg fails, for example because the disk is full.
        """
        import av

        if frames.dtype != torch.uint8 or frames.ndim not in (3, 4) or frames.shape[-3] != 3:
            found = f"{frames.dtype} {tuple(frames.shape)}"
            raise ValueError(f"frames should be uint8 (3, H, W) or (N, 3, H, W), not {found}")
        height, width = frames.shape[-2:]
        if self._size is None:
            self._size = (height, width)
            self._stream.height, self._stream.width = self._encoded_size(height, width)
        if self._size != (height, width):
            raise ValueError(f"frames should be {self._size} (height, width) as the first, not {(height, width)}")
        for picture in frames.reshape(-1, 3, height, width).permute(0, 2, 3, 1).cpu().numpy():
            with naming_output(self._path, av.FFmpegError):
                self._encode(picture)

    def _add_stream(self) -> "VideoStream":
        from av.video.stream import VideoStream

        stream = self._container.add_stream(self._codec, rate=self._fps, options=self._encoding.options)
        assert isinstance(stream, VideoStream)
        stream.pix_fmt = self._encoding.pixel_format
        if self._format == ".gif":
            stream.codec_context.time_base = Fraction(1, _GIF_TICKS)
        else:
            stream.codec_context.time_base = 1 / self._fps
            stream.codec_context.colorspace = _BT601
        return stream

    def _encoded_size(self, height: int, width: int) -> tuple[int, int]:
        return (height + height % 2, width + width % 2) if self._encoding.even_size else (height, width)

    def _encode(self, picture: np.ndarray) -> None:
        if self._format == ".gif":
            frame = _quantise(picture)
            frame.pts = round(self._frames * max(_GIF_TICKS / self._fps, Fraction(_SHORTEST_GIF_DELAY)))
        else:
            frame = _convert(picture, self._stream.height, self._stream.width, self._encoding.pixel_format)
            frame.pts = self._frames
        frame.time_base = self._stream.codec_context.time_base
        self._container.mux(self._stream.encode(frame))
        self._frames += 1
        self._copy_audio(begin_before=self._frames / self._fps, end_by=self._frames / self._fps)

    def _copy_audio(self, begin_before: Fraction, end_by: Fraction) -> None:
        if self._audio is not None:
            for packet in self._audio.packets_until(begin_before, end_by):
                self._container.mux(packet)

    def _finish(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import av

        if error is not None:
            return
        if self._frames == 0:
            raise VideoError(self._path, "no frame was written", "give at least one")
        with naming_output(self._path, av.FFmpegError):
            self._container.mux(self._stream.encode(None))
            duration = self._frames / self._fps
            self._copy_audio(begin_before=duration, end_by=duration + 1 / self._fps)
            self._container.close()


def _convert(picture: np.ndarray, height: int, width: int, pixel_format: str) -> "VideoFrame":
    from av.video.frame import VideoFrame

    missing = ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0))
    padded = np.pad(picture, missing, mode="edge")
    return VideoFrame.from_ndarray(padded, format="rgb24").reformat(format=pixel_format, threads=1)


def _quantise(picture: np.ndarray) -> "VideoFrame":
    """With a palette of its own for each frame: no need to know later ones, and colours stay true.

    Without dithering: its noise differs from frame to frame, and made files a third larger.
    """
    from av.video.frame import VideoFrame

    true_colour = Image.fromarray(np.ascontiguousarray(picture))
    chosen = true_colour.quantize(256, method=Image.Quantize.FASTOCTREE)  # median cut is slower and loses rare colours
    indexed = true_colour.quantize(palette=chosen, dither=Image.Dither.NONE)
    colours = np.array(indexed.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    palette = np.full((256, 4), 255, dtype=np.uint8)  # alpha, red, green, blue
    palette[: len(colours), 1:] = colours
    # PyAV takes a pair for this format, which its type hints don't know.
    return VideoFrame.from_ndarray((np.array(indexed), palette), format="pal8")  # type: ignore[arg-type]
