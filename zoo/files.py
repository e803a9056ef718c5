"""Files that appear whole or not at all."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it at the end of the block and removed if the block fails.

    The folder is created where it is missing. The rename is atomic: readers see the old file or the whole new one.

    Raises:
        OSError: The folder can't be created, or the file not be renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the ending: what a kill leaves is never taken for a result.
    temporary = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
