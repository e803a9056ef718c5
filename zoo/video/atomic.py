import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import VideoError


@contextmanager
def naming_output(path: Path, *library_errors: type[Exception]) -> Iterator[None]:
    """Turns errors of the system, and of the library in use, into a `VideoError` that names the output."""
    errors: tuple[type[Exception], ...] = (OSError, *library_errors)
    try:
        yield
    except errors as error:
        raise VideoError(path, f"cannot be written ({error})", "check the folder and the space on the disk") from error


@contextmanager
def replaced_on_success(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it at the end of the block and removed if the block fails.

    The folder is created where it is missing. The rename is atomic: readers see the old file or the whole new one.

    Raises:
        VideoError: If the folder cannot be created or the file cannot be renamed.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}.partial{path.suffix}")
    with naming_output(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        with naming_output(path):
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
