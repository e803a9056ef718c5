"""Which reader returns the frames asked for, found out by comparing.

decord returns wrong frames, without an error, for some transport streams, open groups of pictures, periodic intra
refresh and edit lists; PyAV's seeking is wrong with periodic intra refresh. Decoding in order is always right, and is
the truth here.
"""

from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import numpy as np

from .av_reader import AvReader, open_video, size_changed, to_rgb, undecodable
from .decord_reader import DecordReader
from .errors import VideoError
from .info import VideoInfo
from .packets import PacketIndex

_PIXELS_CHECKED = 2**25  # decoded per file: 512 frames of 256x256
_KEY_FRAMES_COMPARED = 3
_RANDOM_PLACES = 4
_FARTHEST_BEHIND_KEY_FRAME = 8  # keeps the comparison cheap where key frames are rare


@dataclass(frozen=True)
class Beginning:
    """The first frames of a file, decoded in order.

    Attributes:
        stamps: Their presentation stamps, None where the file has none.
        digests: Frame number to digest of the RGB pixels, for a few of them.
        height: Of the first frame, after rotation; 0 where there is none.
        width: The same for the width.
    """

    stamps: list[int | None]
    digests: dict[int, bytes]
    height: int
    width: int


def checked_length(packets: PacketIndex, pixels: int) -> int:
    """How many frames from the start are decoded: all of a short clip, else enough to hold a second key frame.

    Without a second key frame no seeking would be tested; beyond 16 times the usual length it isn't waited for.
    """
    usual = max(_PIXELS_CHECKED // max(pixels, 1), 8)
    second_key = int(packets.key_frames[1]) if len(packets.key_frames) > 1 else 0
    return min(max(usual, min(second_key + 4, 16 * usual)), len(packets.stamps))


def places_to_compare(packets: PacketIndex, stop: int) -> list[int]:
    """Frame numbers below `stop`: both ends, those around some key frames, where readers go wrong, and random ones."""
    inner_keys = packets.key_frames[(packets.key_frames > 0) & (packets.key_frames < stop)]
    around_keys = {key + offset for key in _spread(inner_keys, _KEY_FRAMES_COMPARED) for offset in (-1, 0, 1)}
    anywhere = set(np.random.default_rng(0).integers(0, max(stop, 1), _RANDOM_PLACES).tolist())
    return sorted(place for place in {0, stop - 1} | around_keys | anywhere if 0 <= place < stop)


def decode_beginning(path: Path, stop: int | None, places: Collection[int]) -> Beginning:
    """Decodes in order up to frame `stop` (None: all) and keeps the digests of some frames.

    Raises:
        VideoError: If a frame is damaged or has another size than the first.
    """
    import av

    stamps: list[int | None] = []
    digests: dict[int, bytes] = {}
    height = width = 0
    container, stream = open_video(path)
    with container:
        try:
            for index, frame in enumerate(islice(container.decode(stream), stop)):
                if frame.is_corrupt:
                    raise undecodable(path, index)
                if index == 0:
                    height, width = to_rgb(frame).shape[:2]
                    coded_size = (frame.height, frame.width)
                if (frame.height, frame.width) != coded_size:
                    raise size_changed(path, index)
                stamps.append(frame.pts)
                if index in places:
                    digests[index] = _digest(to_rgb(frame))
        except av.FFmpegError as error:
            raise undecodable(path, len(stamps)) from error
    return Beginning(stamps, digests, height, width)


def choose_reader(info: VideoInfo, packets: PacketIndex, beginning: Beginning, try_decord: bool) -> VideoInfo:
    """The description with `reader` and `seekable` set to what was found exact.

    Args:
        info: What is known so far; `seekable` says that the time stamps number the frames.
        packets: The whole file's packets.
        beginning: The truth.
        try_decord: Whether decord comes into question.
    """
    all_decoded = len(beginning.stamps) == info.frames
    if info.seekable and not _agrees(AvReader, info, beginning.digests):
        info = replace(info, seekable=False)
    # Nothing vouches for PyAV's seeking behind the decoded part unless it was right inside.
    if not try_decord or packets.open_groups or not (all_decoded or info.seekable):
        return info
    truth = beginning.digests
    if not all_decoded:
        truth = truth | _read_digests(AvReader(info), _places_behind(packets, len(beginning.stamps)))
    return replace(info, reader="decord") if _agrees(DecordReader, info, truth) else info


def _places_behind(packets: PacketIndex, start: int) -> set[int]:
    keys = packets.key_frames[packets.key_frames >= start]
    steps = np.random.default_rng(1).integers(0, _FARTHEST_BEHIND_KEY_FRAME, _RANDOM_PLACES)
    places = [key + int(step) for key, step in zip(_spread(keys, _RANDOM_PLACES), steps, strict=False)]
    return {min(place, len(packets.stamps) - 1) for place in places}


def _spread(numbers: np.ndarray, count: int) -> list[int]:
    """At most `count` of the numbers, from the first to the last at even distances."""
    if len(numbers) == 0:
        return []
    return [int(number) for number in np.unique(numbers[np.linspace(0, len(numbers) - 1, count).astype(int)])]


def _agrees(reader_class: type[AvReader] | type[DecordReader], info: VideoInfo, truth: dict[int, bytes]) -> bool:
    try:
        return _read_digests(reader_class(info), truth) == truth
    except VideoError:
        return False


def _read_digests(reader: AvReader | DecordReader, places: Iterable[int]) -> dict[int, bytes]:
    """Reads single frames in shuffled order, so that each needs a seek."""
    with closing(reader):
        order = np.random.default_rng(2).permutation(sorted(places)).tolist()
        return {index: _digest(reader.read([index])[0]) for index in order}


def _digest(frame: np.ndarray) -> bytes:
    return blake2b(frame.tobytes()).digest() + str(frame.shape).encode()
