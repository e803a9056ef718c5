"""Looks at a clip once: what it is, whether it is whole, and which reader is exact."""

from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from .av_reader import open_video
from .errors import VideoError
from .exactness import checked_length, choose_reader, decode_beginning, places_to_compare
from .info import VideoInfo, absolute, file_status, fingerprint
from .packets import PacketIndex, index_packets
from .pictures import is_picture, list_frames, picture_size

_FPS_OF_PICTURES = Fraction(25)
_WIDEST_PICTURE = 4  # wider than this in relation to its height, a picture can only be meant as a strip


def probe(
    path: str | Path, reader: Literal["pyav"] | None = None, kind: Literal["strip", "image"] | None = None
) -> VideoInfo:
    """What a clip is and which reader returns exactly its frames; done once per file, and worth remembering.

    The content decides, not the name. A PNG or JPEG whose width is a multiple (2 or more) of its height is a strip of
    square frames, otherwise a clip of one frame. Videos are decoded in order from the start, short ones wholly, which
    finds damage and gives the truth that PyAV's seeking and decord have to reproduce in random order at about fifteen
    places, most of them around key frames. Behind that first part of a long file the two are compared with each other.

    Args:
        path: A video, GIF, picture or folder of numbered pictures.
        reader: ``"pyav"`` leaves decord out.
        kind: Overrules what is guessed for one picture.

    Raises:
        VideoError: If it is no such thing, is damaged or cut short, or holds no frame.
    """
    path = absolute(path)
    file_status(path)
    try:
        if path.is_dir():
            return _probe_folder(path)
        if is_picture(path):
            return _probe_picture(path, kind)
        return _probe_video(path, try_decord=reader is None)
    except OSError as error:
        raise VideoError(path, f"cannot be opened ({error.strerror or error})", "check its permissions") from error


def _probe_folder(folder: Path) -> VideoInfo:
    paths = list_frames(folder)
    height, width = picture_size(paths[0])
    for path in paths[1:]:
        size = picture_size(path)
        if size != (height, width):
            problem = f"is {size[1]}x{size[0]}, the first frame is {width}x{height}"
            raise VideoError(path, problem, "make all frames of the folder one size")
    file_size, modified_ns = fingerprint(folder)
    return VideoInfo(
        path=folder,
        kind="frames",
        frames=len(paths),
        height=height,
        width=width,
        fps=_FPS_OF_PICTURES,
        has_audio=False,
        reader="pillow",
        seekable=True,
        file_size=file_size,
        modified_ns=modified_ns,
    )


def _probe_picture(path: Path, kind: Literal["strip", "image"] | None) -> VideoInfo:
    height, width = picture_size(path)
    if kind is None:
        kind = "strip" if width > height and width % height == 0 else "image"
        if kind == "image" and width > _WIDEST_PICTURE * height:
            problem = f"is {width}x{height}: too wide for a picture, and no strip of square frames either"
            raise VideoError(path, problem, "make the strip of square frames, or cut the picture")
    elif kind == "strip" and width % height:
        problem = f"is {width}x{height}, no strip of square frames: {width} is no multiple of {height}"
        raise VideoError(path, problem, "make the strip of square frames")
    file_size, modified_ns = fingerprint(path)
    return VideoInfo(
        path=path,
        kind=kind,
        frames=width // height if kind == "strip" else 1,
        height=height,
        width=height if kind == "strip" else width,
        fps=_FPS_OF_PICTURES,
        has_audio=False,
        reader="pillow",
        seekable=True,
        file_size=file_size,
        modified_ns=modified_ns,
    )


def _probe_video(path: Path, try_decord: bool) -> VideoInfo:
    file_size, modified_ns = fingerprint(path)
    container, stream = open_video(path)
    with container:
        packets = index_packets(container, stream)
        fps = stream.average_rate if container.format.name != "gif" else None  # of a GIF FFmpeg reports the fastest
        fps = fps or _mean_rate(packets, stream.time_base) or _FPS_OF_PICTURES
        has_audio = bool(container.streams.audio)
        pixels = stream.codec_context.width * stream.codec_context.height
    if packets.damaged:
        remedy = "copy or download it again, or encode what is left of it anew"
        raise VideoError(path, "is cut short or damaged: the container marks a frame as incomplete", remedy)
    checked = checked_length(packets, pixels)
    places = places_to_compare(packets, checked)
    beginning = decode_beginning(path, checked, places)
    stamps_number_frames = packets.stamped and beginning.stamps == packets.stamps[:checked].tolist()
    if not stamps_number_frames:  # then only decoding tells how many frames there are
        beginning = decode_beginning(path, None, places)
    if not beginning.stamps:
        raise VideoError(path, "holds no frames", "record or download it again")
    info = VideoInfo(
        path=path,
        kind="video",
        frames=len(packets.stamps) if stamps_number_frames else len(beginning.stamps),
        height=beginning.height,
        width=beginning.width,
        fps=Fraction(fps),
        has_audio=has_audio,
        reader="pyav",
        seekable=stamps_number_frames,
        file_size=file_size,
        modified_ns=modified_ns,
    )
    return choose_reader(info, packets, beginning, try_decord)


def unevenness(clip: VideoInfo) -> float:
    """How far, in seconds, a clip's frames lie at most from where its mean rate would show them; 0 where none says.

    Screen recorders and phones store a frame whenever they have one.
    """
    if clip.kind != "video" or not clip.seekable:
        return 0.0
    container, stream = open_video(clip.path)
    with container:
        stamps = index_packets(container, stream).stamps
        if stream.time_base is None:
            return 0.0
        shown = (stamps - stamps[0]) * float(stream.time_base)
    return float(abs(shown - np.arange(len(shown)) / float(clip.fps)).max())


def _mean_rate(packets: PacketIndex, time_base: Fraction | None) -> Fraction | None:
    if time_base is None or len(packets.stamps) < 2:
        return None
    return (len(packets.stamps) - 1) / (int(packets.stamps[-1] - packets.stamps[0]) * time_base)
