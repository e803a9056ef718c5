"""Reading what such a measurement left, checked against its type."""

from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from zoo.errors import FileError

OPEN = ConfigDict(extra="allow", strict=True)
"""Of types that name what tables need; files also say when, with which code and on which machine."""

Found = TypeVar("Found")


def read(path: Path, kind: type[Found], command: str) -> Found:
    """Reads a result and checks it.

    Args:
        path: The file.
        kind: What it should hold, as a TypedDict.
        command: Of ``python -m benchmarks``, by which it was made.

    Raises:
        FileError: It holds something else.
    """
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        remedy = f"make it again with `python -m benchmarks {command}`"
        raise FileError(path, f"is no result of {command} ({_first(error)})", remedy) from error


def _first(error: OSError | ValidationError) -> str:
    if isinstance(error, OSError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
