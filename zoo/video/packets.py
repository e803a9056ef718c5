"""Which packets a video file has: the time stamps that number its frames, without decoding a single one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream


@dataclass(frozen=True)
class PacketIndex:
    """The shown frames' time stamps.

    Attributes:
        stamps: int64 (frames,), presentation stamps in stream time base, ascending: frame k has ``stamps[k]``.
        key_frames: int64 (keys,), ascending numbers of the shown frames at which decoding can start.
        stamped: Whether the stamps number the frames: each packet has one and all differ.
        open_groups: Whether frames are shown before the key frame that they follow in the file, so that decoding from
            that key frame cannot give them.
        damaged: Whether the container says that a packet is incomplete.
    """

    stamps: np.ndarray
    key_frames: np.ndarray
    stamped: bool
    open_groups: bool
    damaged: bool

    def key_frame_before(self, index: int) -> int | None:
        """The number of the last key frame that is not after frame `index`; None where an edit list hides it."""
        keys = int(np.searchsorted(self.key_frames, index, side="right"))
        return int(self.key_frames[keys - 1]) if keys else None

    def number(self, stamp: int | None) -> int | None:
        """The number of the frame with this stamp, None where there is none."""
        if stamp is None:
            return None
        index = int(np.searchsorted(self.stamps, stamp))
        return index if index < len(self.stamps) and self.stamps[index] == stamp else None


def index_packets(container: "InputContainer", stream: "VideoStream") -> PacketIndex:
    """Reads the stream's packets from the current place to the end; the caller has to seek afterwards.

    Packets that an edit list hides don't count, nor do those that come before the first key frame in the file or in
    presentation: nothing can decode them.
    """
    shown: list[int] = []
    keys: list[int] = []
    stamped = True
    open_groups = damaged = False
    first_key: int | None = None
    last_key: int | None = None
    for packet in container.demux(stream):
        if packet.size == 0:  # the end
            continue
        damaged = damaged or packet.is_corrupt
        if packet.pts is None:
            stamped = False
            continue
        if packet.is_keyframe:
            last_key = packet.pts
            first_key = packet.pts if first_key is None else first_key
        if first_key is None or last_key is None or packet.pts < first_key:
            continue
        open_groups = open_groups or packet.pts < last_key
        if not packet.is_discard:
            shown.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
    stamps = np.unique(np.array(shown, dtype=np.int64))
    return PacketIndex(
        stamps=stamps,
        key_frames=np.searchsorted(stamps, np.unique(np.array(keys, dtype=np.int64))),
        stamped=stamped and len(stamps) == len(shown) > 0,
        open_groups=open_groups,
        damaged=damaged,
    )
