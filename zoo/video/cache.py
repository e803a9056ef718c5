import os
import threading
from collections import OrderedDict

from torch import Tensor

from .info import VideoInfo


class FrameCache:
    """Decoded frames, as many of the most recently used as fit into a number of bytes.

    Threads may share one. Processes don't: a worker that gets one by fork or pickle starts with an empty cache of the
    same size, so `max_bytes` is a bound per process.

    Args:
        max_bytes: Bound on the stored pixels; 0 stores nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes should be 0 or more, not {max_bytes}")
        self.max_bytes = max_bytes
        self._empty()

    def get(self, info: VideoInfo, index: int) -> Tensor | None:
        """Frame `index` of this state of the file, uint8 (3, H, W); None if it isn't here. Don't write into it."""
        self._check_process()
        with self._lock:
            frame = self._frames.get((info, index))
            if frame is not None:
                self._frames.move_to_end((info, index))
            return frame

    def put(self, info: VideoInfo, index: int, frame: Tensor) -> None:
        """Stores a copy of the frame and drops the least recently used ones that no longer fit."""
        if frame.nbytes > self.max_bytes:
            return
        self._check_process()
        own = frame.clone()  # a view would keep the whole batch that it was read with alive
        with self._lock:
            replaced = self._frames.pop((info, index), None)
            self._bytes += own.nbytes - (0 if replaced is None else replaced.nbytes)
            self._frames[(info, index)] = own
            while self._bytes > self.max_bytes:
                self._bytes -= self._frames.popitem(last=False)[1].nbytes

    @property
    def nbytes(self) -> int:
        """Bytes of the stored frames."""
        self._check_process()
        return self._bytes

    def __len__(self) -> int:
        self._check_process()
        return len(self._frames)

    def __getstate__(self) -> dict[str, int]:
        return {"max_bytes": self.max_bytes}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(state["max_bytes"])  # type: ignore[misc]

    def _empty(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._frames: OrderedDict[tuple[VideoInfo, int], Tensor] = OrderedDict()
        self._bytes = 0

    def _check_process(self) -> None:
        if self._process != os.getpid():  # forked, perhaps while another thread held the lock
            self._empty()
