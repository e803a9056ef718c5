"""decord: the quick reader, for the files on which `probe` found it exact."""

from collections.abc import Sequence
from functools import cache
from types import ModuleType

import numpy as np

from .errors import VideoError
from .info import VideoInfo
from .pictures import changed


@cache
def _decord() -> ModuleType:
    # decord loads its FFmpeg into the global symbol table; had it come first, PyAV would run on that one.
    import av  # noqa: F401
    import decord

    decord.logging.set_level(decord.logging.QUIET)  # FFmpeg's remarks on stderr would tear progress bars
    return decord


class DecordReader:
    """Frames through decord, which decodes only from the key frame before the frame asked for."""

    def __init__(self, info: VideoInfo) -> None:
        decord = _decord()
        self._info = info
        try:
            self._reader = decord.VideoReader(str(info.path), ctx=decord.cpu(0), num_threads=1)
        except (decord.DECORDError, RuntimeError, UnicodeEncodeError) as error:  # a name that isn't UTF-8
            raise _failed(info, error) from error
        if len(self._reader) != info.frames:
            raise changed(info, len(self._reader))

    def read(self, indices: Sequence[int]) -> list[np.ndarray]:
        """Frames RGB uint8 (H, W, 3); cheapest in ascending order."""
        decord = _decord()
        try:
            # One by one, as `probe` compared them. `asnumpy` copies and depends on no global bridge setting.
            return [self._reader[index].asnumpy() for index in indices]
        except (decord.DECORDError, RuntimeError, StopIteration) as error:
            raise _failed(self._info, error) from error

    def close(self) -> None:
        """Frees the decoder and its threads."""
        self._reader = None

    def abandon(self) -> None:
        """Forgets the decoder: a forked child doesn't have its threads, and freeing it would wait for them."""
        if self._reader is not None:
            self._reader._handle = None
            self._reader = None


def _failed(info: VideoInfo, error: BaseException) -> VideoError:
    return VideoError(info.path, f"decord cannot read it ({str(error).splitlines()[0]})", "probe it again")
