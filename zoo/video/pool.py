"""Open readers, kept between calls because opening costs about as much as reading."""

import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from .av_reader import AvReader
from .decord_reader import DecordReader
from .info import VideoInfo
from .pictures import FolderReader, StripReader

_MOST_IDLE_READERS = 4  # a decord reader holds about 14 MB and a thread


class FrameReader(Protocol):
    """Random access to one clip, by one thread at a time."""

    def read(self, indices: Sequence[int]) -> list[np.ndarray]:
        """Frames RGB uint8 (H, W, 3) for ascending frame numbers."""

    def close(self) -> None:
        """Frees what the reader holds."""


def open_reader(info: VideoInfo) -> FrameReader:
    """The reader that `probe` chose for this clip."""
    if info.kind == "frames":
        return FolderReader(info)
    if info.kind in ("strip", "image"):
        return StripReader(info)
    if info.reader == "decord":
        reader = DecordReader(info)
        _decord_readers.add(reader)
        return reader
    return AvReader(info)


class ReaderPool:
    """Lends each reader to one thread at a time and keeps the last few idle ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[tuple[VideoInfo, FrameReader]] = []  # the most recently used last

    @contextmanager
    def lend(self, info: VideoInfo) -> Iterator[FrameReader]:
        """A reader that nobody else has; after an error it is not used again."""
        reader = self._take(info) or open_reader(info)
        try:
            yield reader
        except BaseException:
            reader.close()
            raise
        self._give_back(info, reader)

    def _take(self, info: VideoInfo) -> FrameReader | None:
        with self._lock:
            for place in reversed(range(len(self._idle))):
                if self._idle[place][0] == info:
                    return self._idle.pop(place)[1]
        return None

    def _give_back(self, info: VideoInfo, reader: FrameReader) -> None:
        with self._lock:
            self._idle.append((info, reader))
            surplus = self._idle[:-_MOST_IDLE_READERS]
            self._idle = self._idle[-_MOST_IDLE_READERS:]
        for _, oldest in surplus:
            oldest.close()

    def close_idle(self) -> None:
        """Closes the readers that nobody has at the moment."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, reader in idle:
            reader.close()


_decord_readers: weakref.WeakSet[DecordReader] = weakref.WeakSet()
_pool = ReaderPool()


def reader_pool() -> ReaderPool:
    """This process's pool."""
    return _pool


def _begin_anew_in_forked_child() -> None:
    """A child shares no reader with its parent: decord hangs there, and the two would share one place in the file."""
    global _pool
    for reader in _decord_readers:
        reader.abandon()
    _pool = ReaderPool()


def _close_idle_readers_before_fork() -> None:
    """A decord reader's thread may be decoding ahead; whatever lock it held at the fork, a child would wait for."""
    _pool.close_idle()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(before=_close_idle_readers_before_fork, after_in_child=_begin_anew_in_forked_child)
