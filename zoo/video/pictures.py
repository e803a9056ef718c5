"""Pictures through Pillow: whole ones, folders of frames, and strips of frames side by side."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from .atomic import naming_output, replaced_on_success
from .errors import VideoError
from .info import VideoInfo, absolute, file_status

_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")  # of PNG, of JPEG
_NAME_ENDINGS = {".png", ".jpg", ".jpeg"}
_FILE_ENDINGS = (b"IEND\xaeB`\x82", b"\xff\xd9")  # last bytes of a complete PNG, of a complete JPEG
_ORIENTATION = 0x0112  # EXIF tag; values from 5 on swap height and width


def is_picture(path: Path) -> bool:
    """Whether the content, not the name, is a PNG or a JPEG."""
    with path.open("rb") as file:
        return file.read(8).startswith(_SIGNATURES)


def read_image(path: str | Path) -> Tensor:
    """One whole PNG or JPEG, also where the picture could be taken for a strip of frames.

    Alpha is dropped, grey becomes RGB, and the orientation that cameras note in the file is applied.

    Returns:
        RGB, uint8 (3, H, W).

    Raises:
        VideoError: If it is no complete picture.
    """
    path = absolute(path)
    file_status(path)
    if path.is_dir() or not is_picture(path):
        raise VideoError(path, "is not a PNG or JPEG picture", "give a picture, or read a video with `read_frames`")
    return torch.from_numpy(decode_picture(path)).permute(2, 0, 1).contiguous()


def write_image(path: str | Path, picture: Tensor) -> None:
    """Writes a picture under a temporary name and renames it, so that no half-written file is ever seen.

    Args:
        path: Where to; the ending (.png, .jpg) chooses the format. Missing folders are created.
        picture: RGB, uint8 (3, H, W).

    Raises:
        ValueError: If the picture is not uint8 (3, H, W).
        VideoError: If the ending names no picture format or the place cannot be written to.
    """
    if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[0] != 3:
        raise ValueError(f"a picture should be uint8 (3, H, W), not {picture.dtype} {tuple(picture.shape)}")
    path = absolute(path)
    if path.suffix.lower() not in _NAME_ENDINGS:
        raise VideoError(path, f"{path.suffix or 'no ending'} is not a known picture format", "use .png or .jpg")
    with replaced_on_success(path) as temporary, naming_output(path):
        Image.fromarray(picture.permute(1, 2, 0).contiguous().cpu().numpy()).save(temporary, quality=95)


def decode_picture(path: Path) -> np.ndarray:
    """RGB uint8 (H, W, 3).

    Raises:
        VideoError: If the picture is damaged.
    """
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I"):  # 16-bit grey, which `convert` would clip instead of scaling
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            return np.array(upright.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _damaged(path, error) from error


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width after the camera's orientation was applied, from the header.

    Raises:
        VideoError: If it is no picture or its end is missing.
    """
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(_ORIENTATION, 1) >= 5
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _damaged(path, error) from error
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 64, 0))
        complete = file.read().rstrip(b"\0").endswith(_FILE_ENDINGS)
    if not complete:
        decode_picture(path)  # cut short, or something was appended behind a whole picture: this tells which
    return (width, height) if turned else (height, width)


def list_frames(folder: Path) -> list[Path]:
    """The numbered pictures of a folder in the order of the last number in their names.

    Hidden files and files of other kinds are ignored, and so are pictures without a number.

    Raises:
        VideoError: If there is no numbered picture, or two have the same number.
    """
    numbered: dict[int, Path] = {}
    for path in folder.iterdir():
        digits = re.findall(r"\d+", path.stem)
        if path.name.startswith(".") or path.suffix.lower() not in _NAME_ENDINGS or not digits:
            continue
        number = int(digits[-1])
        if number in numbered:
            names = " and ".join(sorted((numbered[number].name, path.name)))
            raise VideoError(folder, f"{names} have the same number", "keep one picture per frame")
        numbered[number] = path
    if not numbered:
        raise VideoError(
            folder, "is a folder without numbered .png or .jpg pictures", "give a video or a folder of frames"
        )
    return [numbered[number] for number in sorted(numbered)]


class FolderReader:
    """Frames from a folder of pictures; only the pictures asked for are opened."""

    def __init__(self, info: VideoInfo) -> None:
        self._info = info
        self._paths = list_frames(info.path)
        if len(self._paths) != info.frames:
            raise changed(info, len(self._paths))

    def read(self, indices: Sequence[int]) -> list[np.ndarray]:
        """Frames RGB uint8 (H, W, 3)."""
        return list(map(self._decode, indices))

    def iterate(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """The same one by one."""
        yield from map(self._decode, range(start, stop))

    def close(self) -> None:
        """Nothing stays open."""

    def _decode(self, index: int) -> np.ndarray:
        path = self._paths[index]
        frame = decode_picture(path)
        if frame.shape[:2] != (self._info.height, self._info.width):
            expected = f"{self._info.width}x{self._info.height}"
            raise VideoError(
                path, f"is {frame.shape[1]}x{frame.shape[0]}, the other frames {expected}", "make all frames one size"
            )
        return frame


class StripReader:
    """Frames from one picture that holds them side by side, or is the only one.

    A picture can only be decoded as a whole, so every `read` decodes the strip once.
    """

    def __init__(self, info: VideoInfo) -> None:
        self._info = info

    def read(self, indices: Sequence[int]) -> list[np.ndarray]:
        """Frames RGB uint8 (H, W, 3)."""
        frames = self._split()
        return [frames[:, index] for index in indices]

    def iterate(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """The same one by one."""
        frames = self._split()
        for index in range(start, stop):
            yield frames[:, index]

    def close(self) -> None:
        """Nothing stays open."""

    def _split(self) -> np.ndarray:
        picture = decode_picture(self._info.path)
        height, width = picture.shape[:2]
        if (height, width) != (self._info.height, self._info.width * self._info.frames):
            raise changed(self._info, width // self._info.width)
        return picture.reshape(height, self._info.frames, self._info.width, 3)


def changed(info: VideoInfo, frames: int) -> VideoError:
    """The error for a clip that isn't any more what its description says."""
    return VideoError(
        info.path,
        f"now has {frames} frames instead of {info.frames}",
        "it was changed after it was probed: probe again",
    )


def _damaged(path: Path, error: Exception) -> VideoError:
    return VideoError(path, f"is not a complete picture ({error})", "replace or remove it")
