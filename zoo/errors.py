from pathlib import Path
from typing import Literal


class ZooError(Exception):
    """A mistake that the user can mend; the command line shows it as one line, without a traceback."""


def is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether memory ran out, of Python, of torch on the CPU (a RuntimeError like any other) or of a graphics card."""
    return isinstance(error, MemoryError) or any(
        text in str(error) for text in ("can't allocate memory", "out of memory")
    )


class OptionError(ZooError, ValueError):
    """An option, or a picture size, that a method can't take."""


class PoseError(OptionError):
    """Poses of a clip that don't show what an option goes by; who knows the file names it, as a :class:`FileError`.

    Args:
        problem: What is wrong with the poses, and in which frame.
        remedy: What to do about it.
        role: Which clip's poses they are.
    """

    def __init__(self, problem: str, remedy: str, role: Literal["source", "driving"] = "driving") -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy
        self.role = role


class FileError(ZooError):
    """A file or folder that can't be used, as one line: ``PATH: problem; remedy``.

    Args:
        path: The file or folder at fault.
        problem: What is wrong with it.
        remedy: What to do about it.
    """

    def __init__(self, path: str | Path, problem: str, remedy: str) -> None:
        super().__init__(path, problem, remedy)  # all three, so that the error survives the way out of a worker process
        self.path = Path(path)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.remedy}"
