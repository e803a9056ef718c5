"""Surface maps in pictures: the encodings that are in use, and back."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from zoo.errors import OptionError
from zoo.pose import SURFACE_PARTS, part_palette
from zoo.video import VideoError, iter_frames, probe

SurfaceEncoding = Literal["vui", "iuv", "vui_spread", "iuv_spread"]
"""Which channels of an RGB picture hold what.

``vui``: as DensePose's own files come out of a reader of RGB, because they were written in the order blue, green, red.
``iuv``: in the order of the array. ``spread``: parts 0..24 are spread over 0..255, so that they can be seen.
"""

_LAST = len(SURFACE_PARTS) - 1


def decode_surface(pictures: Tensor, encoding: SurfaceEncoding) -> Tensor:
    """Surface maps of RGB pictures.

    Args:
        pictures: (..., 3, H, W) uint8.
        encoding: What the channels hold.

    Returns:
        (..., 3, H, W) uint8: I in 0..24, U and V times 255.

    Raises:
        OptionError: The pictures aren't encoded so; says which part it would be.
    """
    maps = pictures.flip(-3) if encoding.startswith("vui") else pictures.clone()
    parts = maps.select(-3, 0)
    if encoding.endswith("spread"):
        found = (parts.float() * _LAST / 255).round().byte()
        if not torch.equal(_spread(found), parts):
            wrong = int(parts[_spread(found) != parts][0])
            raise OptionError(
                f"surface pictures aren't {encoding!r}: {wrong} isn't one of 25 values spread over 0..255"
            )
        parts.copy_(found)
    elif len(parts.flatten()) and (highest := int(parts.max())) > _LAST:
        raise OptionError(f"surface pictures aren't {encoding!r}: they would have part {highest}, {_LAST} is the last")
    return maps


def encode_surface(maps: Tensor, encoding: SurfaceEncoding) -> Tensor:
    """RGB pictures (..., 3, H, W) uint8 of surface maps of the same shape: the inverse of :func:`decode_surface`."""
    maps = maps.clone()
    if encoding.endswith("spread"):
        maps.select(-3, 0).copy_(_spread(maps.select(-3, 0)))
    return maps.flip(-3) if encoding.startswith("vui") else maps


def _spread(parts: Tensor) -> Tensor:
    return (parts.float() * 255 / _LAST).round().byte()


def find_encoding(pictures: Iterable[Tensor]) -> SurfaceEncoding:
    """The encoding that pictures fit: no part beyond the last, and no U and V on the background.

    Args:
        pictures: Each (3, H, W) uint8 RGB, best all of a clip; without anybody in them they fit every encoding.

    Raises:
        OptionError: They fit none.
    """
    fitting: list[SurfaceEncoding] = list(get_args(SurfaceEncoding))
    for picture in pictures:
        fitting = [encoding for encoding in fitting if _fits(picture, encoding)]
        if not fitting:
            known = ", ".join(get_args(SurfaceEncoding))
            raise OptionError(f"surface pictures fit none of the encodings {known}")
    return fitting[0]


def _fits(picture: Tensor, encoding: SurfaceEncoding) -> bool:
    try:
        maps = decode_surface(picture, encoding)
    except OptionError:
        return False
    return not (maps[1:] * (maps[:1] == 0)).any()


def paint_parts(parts: Tensor) -> Tensor:
    """Part labels (..., H, W) in 0..24 as pictures in the palette's colours, (..., 3, H, W) uint8 RGB."""
    return part_palette()[parts.long()].movedim(-1, -3)


def recognise_parts(pictures: Tensor) -> Tensor:
    """The inverse of :func:`paint_parts`: (..., H, W) uint8.

    Raises:
        OptionError: A colour isn't in the palette.
    """
    same = (pictures.movedim(-3, -1)[..., None, :] == part_palette()).all(-1)  # ..., H, W, 25
    if not same.any(-1).all():
        raise OptionError("a picture of parts has a colour that no part has; was it resized, or compressed with loss?")
    return same.byte().argmax(-1).byte()


def iter_surface_pictures(
    folder: Path, frames: int, size: tuple[int, int], encoding: SurfaceEncoding | Literal["auto"] = "auto"
) -> Iterator[Tensor]:
    """The surface maps of a clip from a folder of pictures, such as ``frame7_IUV.png``, ordered by their numbers.

    Args:
        folder: The pictures, one for each frame.
        frames: How many frames the clip has.
        size: Their height and width; maps are never resized.
        encoding: What the channels hold; ``auto`` looks at all pictures first to find out.

    Yields:
        One frame's (3, H, W) uint8: I in 0..24, U and V times 255.

    Raises:
        VideoError: The pictures can't be read, are more or fewer, of another size, or not encoded so.
    """
    info = probe(folder)
    if info.frames != frames:
        raise VideoError(folder, f"has {info.frames} surface maps, but the video has {frames} frames", "add the others")
    if (info.height, info.width) != size:
        problem = f"holds maps of {info.width}x{info.height}, but the video has {size[1]}x{size[0]}"
        raise VideoError(folder, problem, "make the maps from this video, they can't be resized")
    try:
        known = find_encoding(iter_frames(info)) if encoding == "auto" else encoding
        for picture in iter_frames(info):
            yield decode_surface(picture, known)
    except OptionError as error:
        raise VideoError(
            folder, f"can't be read: {error}", "name what the channels hold, or give other maps"
        ) from error
