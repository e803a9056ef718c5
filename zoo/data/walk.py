import os
from pathlib import Path

from zoo.data.errors import DataError
from zoo.video import VideoError, probe

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif", ".mpg", ".mpeg", ".ts", ".m2ts", ".wmv", ".flv", ".ogv")
)
IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"))


def find_clips(root: Path) -> list[Path]:
    """The clips below a folder, sorted: video files, frame folders and strips.

    A folder with nothing but pictures in it is one clip, unless they are strips: then each picture is a clip. So is a
    folder that is called like a video, even if it is empty, which is found out later. Hidden files and those with
    other suffixes are not clips. Links to folders are followed, but never to a folder that was already visited, so
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


def _is_frame_folder(folder: Path, images: list[Path]) -> bool:
    return not _is_strip(images[0]) if images else folder.suffix.lower() in VIDEO_SUFFIXES


def _is_strip(image: Path) -> bool:
    try:
        return probe(image).kind == "strip"
    except VideoError:
        return False
