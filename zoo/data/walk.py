import os
import re
from pathlib import Path

from zoo.data.errors import DataError
from zoo.video import VideoError, probe

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif", ".mpg", ".mpeg", ".ts", ".m2ts", ".wmv", ".flv", ".ogv")
)
IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"))

_COMPARED = 3
"""So many pictures of a folder tell whether all have one size."""


def find_clips(root: Path) -> list[Path]:
    """The clips below a folder, sorted: video files, frame folders and strips.

    A folder with nothing but pictures in it is one clip, unless they are strips: then each picture is a clip. Several
    of one size that are twice as wide as high are frames, though each could be a strip of two. A folder that is called
    like a video is a clip, too, even if it is empty, which is found out later. Hidden files and those with other
    suffixes are not clips. Links to folders are followed, but never to a folder that was already visited, so
    that loops end.

    Args:
        root: The folder; never a clip itself.
    """
    found: list[Path] = []
    visited: set[Path] = set()

    def visit(folder: Path) -> None:
        visited.add(folder.resolve())
        files, folders = _contents(folder)
        images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
        videos = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
        if folder != root and not videos and not folders and _is_frame_folder(folder, images):
            found.append(folder)
            return
        found.extend(videos + images)
        for inner in folders:
            if inner.resolve() not in visited:
                visit(inner)

    visit(root)
    return sorted(found)


def _contents(folder: Path) -> tuple[list[Path], list[Path]]:
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(
            folder, f"cannot be listed ({os.strerror(error.errno or 0)})", "check its permissions"
        ) from error
    files: list[Path] = []
    folders: list[Path] = []
    for path in entries:
        (folders if path.is_dir() else files).append(path)
    return files, folders


def is_frame_sequence(folder: Path) -> bool:
    """Whether a folder is one clip by itself: nothing but pictures, numbered from 0 or 1 on without a gap."""
    files, folders = _contents(folder)
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if folders or len(images) < 2 or len(images) < len(files) or not _is_frame_folder(folder, images):
        return False
    endings = [re.search(r"\d+$", image.stem) for image in images]
    numbers = sorted(int(ending[0]) for ending in endings if ending)
    return numbers[:1] in ([0], [1]) and numbers == list(range(numbers[0], numbers[0] + len(images)))


def without_suffix(path: Path) -> Path:
    """A clip's name without the ending of a video or picture; other dots, as in the folder ``walk.2``, are its own."""
    return path.with_suffix("") if path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES else path


def _is_frame_folder(folder: Path, images: list[Path]) -> bool:
    if not images:
        return folder.suffix.lower() in VIDEO_SUFFIXES
    return not _is_strip(images[0]) or _are_wide_frames(images[:_COMPARED])


def _are_wide_frames(images: list[Path]) -> bool:
    """Several pictures of one size, twice as wide as high: nobody stores clips of two square frames."""
    try:
        sizes = {(picture.height, picture.width) for picture in (probe(image, kind="image") for image in images)}
    except VideoError:
        return False
    height, width = sizes.pop()
    return len(images) > 1 and not sizes and width == 2 * height


def _is_strip(image: Path) -> bool:
    try:
        return probe(image).kind == "strip"
    except VideoError:
        return False
