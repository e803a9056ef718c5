"""PyAV: the reader that is right on every file, and the only one that streams."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import VideoError
from .info import VideoInfo
from .packets import PacketIndex, index_packets
from .pictures import changed

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# These "formats" are lists of other files or addresses, or draw any text file as a video.
_NOT_VIDEO_FORMATS = {"hls", "dash", "concat", "imf", "tty"}


def open_video(path: Path) -> tuple["InputContainer", "VideoStream"]:
    """Opens a file and chooses its best video stream.

    Decoding uses one thread: parallelism comes from data loader workers, and no thread may be lost in a fork.

    Raises:
        VideoError: If it is no video, or has no video stream.
    """
    import av
    from av.video.stream import VideoStream

    try:
        # With `file` as the only protocol no content of a file makes FFmpeg open a network connection.
        container = av.open(str(path), options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = "is not a video that FFmpeg can read, or was cut short and lost its index"
        raise VideoError(path, reason, "check that it plays; copy, download or encode it again") from error
    stream = container.streams.best("video")
    if container.format.name in _NOT_VIDEO_FORMATS or not isinstance(stream, VideoStream):
        reason = "has sound but no video stream" if container.streams.audio else "holds no video stream"
        container.close()
        raise VideoError(path, reason, "give a file with moving pictures")
    stream.codec_context.thread_count = 1
    return container, stream


def to_rgb(frame: "VideoFrame") -> np.ndarray:
    """RGB uint8 (H, W, 3), turned as the file's rotation tag says; alpha is dropped.

    Converted in this thread: a frame keeps its converter's threads, and a forked child that frees it waits for them.
    """
    return np.rot90(frame.to_ndarray(format="rgb24", threads=1), round(frame.rotation / 90))


def undecodable(path: Path, index: int) -> VideoError:
    """The error for a frame that the file should have but that cannot be decoded."""
    remedy = "copy or download it again, or leave it out"
    return VideoError(
        path, f"frame {index} cannot be decoded: the file is damaged, or neither picture nor video", remedy
    )


def size_changed(path: Path, index: int) -> VideoError:
    """The error for a frame that is not as large as the first."""
    return VideoError(path, f"frame {index} has another size than frame 0", "encode it again with one size")


class AvReader:
    """Frames by seeking to the key frame before them and decoding on; from the start where seeking isn't exact.

    With ``info.seekable`` the frames are numbered by time stamp, otherwise counted from the start of the file.
    """

    def __init__(self, info: VideoInfo) -> None:
        self._info = info
        self._container, self._stream = open_video(info.path)
        self._packets: PacketIndex | None = None
        if info.seekable:
            self._packets = index_packets(self._container, self._stream)
            if len(self._packets.stamps) != info.frames:
                self.close()
                raise changed(info, len(self._packets.stamps))
        self._restart()

    def read(self, indices: Sequence[int]) -> list[np.ndarray]:
        """Frames RGB uint8 (H, W, 3); cheapest in ascending order."""
        return [self._find(index) for index in indices]

    def iterate(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """The same one by one, in constant memory."""
        for index in range(start, stop):
            yield self._find(index)

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def _find(self, index: int) -> np.ndarray:
        key = None if self._packets is None else self._packets.key_frame_before(index)
        decoding_on_is_shortest = self._next <= index and (key is None or key <= self._next)
        if not decoding_on_is_shortest and not (key is not None and self._seek(key)):
            self._restart()
        frame = self._advance(index)
        if frame is None:  # seeking missed it, as happens in transport streams
            self._restart()
            frame = self._advance(index)
        if frame is None or frame.is_corrupt:
            raise undecodable(self._info.path, index)
        picture = to_rgb(frame)
        if picture.shape[:2] != (self._info.height, self._info.width):
            raise size_changed(self._info.path, index)
        return picture

    def _seek(self, key: int) -> bool:
        """Goes to key frame number `key`; False if what is found there doesn't stand on its own."""
        import av
        from av.video.frame import PictureType

        assert self._packets is not None
        try:
            self._container.seek(int(self._packets.stamps[key]), stream=self._stream)
            self._decoded = self._decode()
            for number, frame in self._decoded:
                if number < key:
                    continue
                # Files with periodic intra refresh call frames key frames which are predicted from earlier ones.
                if number > key or frame.pict_type in (PictureType.P, PictureType.B):
                    return False
                self._decoded = chain([(number, frame)], self._decoded)
                self._next = key
                return True
        except av.FFmpegError:
            return False
        return False

    def _advance(self, index: int) -> "VideoFrame | None":
        """Decodes on to frame `index`; None if it doesn't come."""
        import av

        try:
            for number, frame in self._decoded:
                self._next = number + 1
                if number >= index:
                    return frame if number == index else None
        except av.FFmpegError:
            pass
        self._next = self._info.frames  # nothing comes any more
        return None

    def _restart(self) -> None:
        """Opens the file anew: the one way to its first frame that works for every format."""
        self._container.close()
        self._container, self._stream = open_video(self._info.path)
        self._decoded = self._decode()
        self._next = 0

    def _decode(self) -> Iterator[tuple[int, "VideoFrame"]]:
        decoded = self._container.decode(self._stream)
        if self._packets is None:
            yield from enumerate(decoded)
            return
        for frame in decoded:
            number = self._packets.number(frame.pts)
            if number is not None:
                yield number, frame
