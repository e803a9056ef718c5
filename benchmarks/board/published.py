"""What publications report about the zoo's methods, with where it stands and what differs from our measurements."""

from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from zoo.errors import FileError

PUBLISHED = Path(__file__).parent / "published.yaml"


@dataclass(frozen=True, config={"extra": "forbid"})
class Published:
    """One entry of ``published.yaml``.

    Attributes:
        method: A folder of zoo/methods.
        source: The publication.
        table: Where in it the figures stand.
        data: What was measured.
        resolution: Of the frames.
        figures: By the publication's own names.
        differs: Why they can't be compared with ours.
    """

    method: str
    source: str
    table: str
    data: str
    resolution: str
    figures: dict[str, float]
    differs: str

    @property
    def figures_in_words(self) -> str:
        """The figures in one line."""
        return ", ".join(f"{name} {value:g}" for name, value in self.figures.items())


def read_published(path: Path = PUBLISHED) -> list[Published]:
    """The entries of a file.

    Raises:
        FileError: An entry lacks a key, has an unknown one, or holds another type.
    """
    remedy = "every entry needs method, source, table, data, resolution, figures, differs"
    try:
        return TypeAdapter(list[Published]).validate_python(yaml.safe_load(path.read_text("utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        raise FileError(path, f"entry {'.'.join(map(str, first['loc']))}: {first['msg']}", remedy) from error
    except yaml.YAMLError as error:
        raise FileError(path, " ".join(str(error).split()), remedy) from error
