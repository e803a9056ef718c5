from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .av_reader import AvReader
from .info import VideoInfo
from .pictures import FolderReader, StripReader
from .pool import reader_pool
from .probe import probe


def read_frames(clip: VideoInfo | str | Path, indices: Sequence[int]) -> Tensor:
    """The frames asked for, decoding only what they need.

    Safe to call from several threads, and from children that were forked while no thread was reading: no reader is
    shared among them.

    Args:
        clip: What `probe` returned; a path is probed first, which costs far more than reading.
        indices: Frame numbers, from 0, in any order and repeated at will.

    Returns:
        RGB, uint8 (N, 3, H, W), frame ``indices[n]`` at place n.

    Raises:
        IndexError: If a number is negative or beyond the last frame.
        VideoError: If the file cannot be read, is damaged or was changed after it was probed.
    """
    info = clip if isinstance(clip, VideoInfo) else probe(clip)
    places: dict[int, list[int]] = {}
    for place, index in enumerate(indices):
        _check_index(info, index)
        places.setdefault(int(index), []).append(place)
    frames = torch.empty(len(indices), 3, info.height, info.width, dtype=torch.uint8)
    if not places:
        return frames
    wanted = sorted(places)
    with reader_pool().lend(info) as reader:
        decoded = reader.read(wanted)
    for index, frame in zip(wanted, decoded, strict=True):
        for place in places[index]:
            frames[place] = _channels_first(frame)
    return frames


def iter_frames(clip: VideoInfo | str | Path, start: int = 0, stop: int | None = None) -> Iterator[Tensor]:
    """Frames one after the other in constant memory, numbered as in `read_frames`.

    Args:
        clip: What `probe` returned, or a path, which is probed first.
        start: The first frame's number.
        stop: One past the last frame's number; None goes to the end.

    Yields:
        RGB, uint8 (3, H, W).

    Raises:
        IndexError: If the range is not inside the clip.
        VideoError: As `read_frames`.
    """
    info = clip if isinstance(clip, VideoInfo) else probe(clip)
    stop = info.frames if stop is None else stop
    if not 0 <= start <= stop <= info.frames:
        raise IndexError(f"{info.path}: frames {start} to {stop} of a clip of {info.frames}")
    return _stream(info, start, stop)


def _stream(info: VideoInfo, start: int, stop: int) -> Iterator[Tensor]:
    reader: FolderReader | StripReader | AvReader
    if info.kind == "video":
        reader = AvReader(info)  # also for files that decord reads exactly: it holds one frame at a time and no threads
    else:
        reader = FolderReader(info) if info.kind == "frames" else StripReader(info)
    with closing(reader):
        for frame in reader.iterate(start, stop):
            yield _channels_first(frame).contiguous()


def _channels_first(frame: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)


def _check_index(info: VideoInfo, index: int) -> None:
    if not 0 <= index < info.frames:
        raise IndexError(f"{info.path}: there is no frame {index}, the clip has {info.frames}")
