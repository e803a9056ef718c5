import hashlib
import json
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from zoo.files import written_whole
from zoo.folders import cache_folder
from zoo.video import VideoError, VideoInfo, probe

NAME = ".zoo-index.json"
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_READERS = {package: version(package) for package in ("decord2", "av", "pillow")}


class VideoIndex:
    """What is known about the files of a data folder, so that each is opened and checked only once.

    The answers are written to ``.zoo-index.json`` in the folder, or, where that can't be written, to ``ZOO_CACHE``
    (else ``~/.cache/animation-zoo``). A file that changed (size or time), or other versions of the decoders, are
    checked anew.

    Args:
        folder: The data folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Path(os.path.abspath(folder))
        self._entries: dict[str, dict[str, Any]] = {}
        for path in self._places():
            if self._read(path):
                break

    def look_up(self, files: Sequence[Path], threads: int) -> dict[Path, VideoInfo | VideoError]:
        """What each file holds, or why it cannot be read.

        Args:
            files: Clips inside the folder.
            threads: How many files are checked at the same time.
        """
        unknown = [file for file in files if self._recall(file) is None]
        if unknown:
            try:
                with ThreadPoolExecutor(threads) as pool:
                    checks = pool.map(self._check, unknown)
                    for _ in tqdm(checks, total=len(unknown), desc=f"checking {self._folder.name}", unit="file"):
                        pass
            finally:
                self._write()  # what was checked before an interruption is not lost
        return {file: known for file in files if (known := self._recall(file)) is not None}

    def _check(self, file: Path) -> None:
        stamp = _stamp(file)
        try:
            entry: dict[str, Any] = {"info": probe(file).to_json()}
        except VideoError as error:
            entry = {"problem": error.problem, "remedy": error.remedy}
        self._entries[self._key(file)] = {"stamp": stamp, **entry}

    def _recall(self, file: Path) -> VideoInfo | VideoError | None:
        entry = self._entries.get(self._key(file))
        try:
            if entry is None or entry["stamp"] != _stamp(file):
                return None
            if "problem" in entry:
                return VideoError(file, entry["problem"], entry["remedy"])
            return VideoInfo.from_json({**entry["info"], "path": file})
        except (TypeError, ValueError, KeyError):  # another version of the zoo, or somebody, wrote it
            return None

    def _key(self, file: Path) -> str:
        return file.absolute().relative_to(self._folder).as_posix()

    def _places(self) -> tuple[Path, Path]:
        name = hashlib.sha256(os.fsencode(self._folder)).hexdigest()[:16]
        return self._folder / NAME, cache_folder() / "index" / f"{name}.json"

    def _read(self, path: Path) -> bool:
        try:
            stored = json.loads(path.read_text("utf-8"))
            if stored["readers"] != _READERS:
                return False
            self._entries = dict(stored["files"])
        except (OSError, ValueError, KeyError, TypeError):  # absent or damaged: everything is checked anew
            return False
        return True

    def _write(self) -> None:
        text = json.dumps({"readers": _READERS, "files": self._entries}, indent=1, sort_keys=True)
        for path in self._places():
            if path.parent == self._folder and not self._folder.stat().st_mode & _WRITABLE:
                continue  # root may write there, but should not
            try:
                with written_whole(path) as temporary:
                    temporary.write_text(text, "utf-8")
            except OSError:  # a read-only folder: the next place
                continue
            return


def _stamp(file: Path) -> list[int]:
    """Size and time of last change; of a folder of frames, those of the folder."""
    try:
        status = file.stat()
    except OSError:  # a broken link: `probe` says so
        return [0, 0]
    return [status.st_size, status.st_mtime_ns]
