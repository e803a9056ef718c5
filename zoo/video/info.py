"""What is known about a clip once it was looked at, and the checks on its path."""

import os
import stat
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self

from .errors import VideoError

Kind = Literal["video", "frames", "strip", "image"]
Reader = Literal["decord", "pyav", "pillow"]


@dataclass(frozen=True)
class VideoInfo:
    """What `probe` found out about one clip; small, hashable and storable as JSON.

    Attributes:
        path: Absolute path of the file, or of the folder of frames.
        kind: A video file (GIF included), a folder of numbered pictures, one picture that holds square frames side by
            side, or one picture.
        frames: Number of frames, numbered from 0 in the order of presentation.
        height: Of one frame in pixels, after the rotation tag was applied.
        width: The same for the width.
        fps: Frames per second; the mean for variable frame rates, 25 for pictures, which don't know.
        has_audio: Whether there is at least one audio stream.
        reader: Which library returns exactly the frames asked for.
        seekable: Whether PyAV finds frames by seeking; otherwise it decodes the file from its start.
        file_size: Bytes of the file, or of all pictures of a folder together.
        modified_ns: Time of the last change in ns; of a folder the latest of the folder and its pictures.
    """

    path: Path
    kind: Kind
    frames: int
    height: int
    width: int
    fps: Fraction
    has_audio: bool
    reader: Reader
    seekable: bool
    file_size: int
    modified_ns: int

    def to_json(self) -> dict[str, Any]:
        """Only strings, numbers and booleans; `from_json` is the way back."""
        return asdict(self) | {"path": str(self.path), "fps": str(self.fps)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """The description that `to_json` stored.

        Raises:
            TypeError: If a field is missing or unknown, for example because another version stored it.
        """
        return cls(**{**stored, "path": absolute(stored["path"]), "fps": Fraction(stored["fps"])})

    def is_stale(self) -> bool:
        """Whether the file was changed, replaced or removed since it was probed."""
        try:
            return fingerprint(self.path) != (self.file_size, self.modified_ns)
        except VideoError:
            return True


def absolute(path: str | Path) -> Path:
    """The path without a relative start: FFmpeg takes a relative ``a:b.mp4`` for a protocol and ``-`` for a pipe."""
    return Path(os.path.abspath(path))


def file_status(path: Path) -> os.stat_result:
    """Status of a regular file or a folder.

    Raises:
        VideoError: If there is nothing, a broken or circular link, or a pipe or device, whose opening may block for
            ever.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise VideoError(path, "is a link to a file that does not exist", "repair or remove the link") from error
        raise VideoError(path, "does not exist", "check the spelling") from error
    except (OSError, ValueError) as error:  # link loops, names that are too long, NUL in the name, no permission
        raise VideoError(path, f"cannot be opened ({error})", "check the path and its permissions") from error
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise VideoError(path, "is a pipe or a device, not a file", "give a video file or a folder of frames")
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise VideoError(path, "is empty (0 bytes)", "copy or download it again")
    return status


def fingerprint(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in ns; a folder counts with the files directly inside it."""
    status = file_status(path)
    if not stat.S_ISDIR(status.st_mode):
        return status.st_size, status.st_mtime_ns
    size, modified = 0, status.st_mtime_ns
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_file():
                inside = entry.stat()
                size += inside.st_size
                modified = max(modified, inside.st_mtime_ns)
    return size, modified
