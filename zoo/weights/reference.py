"""Reference weights: small files of trained methods that come with the zoo, ``zoo/methods/<method>/weights/*``."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from zoo.weights.checkpoint import read_metadata

SUFFIX = ".safetensors"
METHODS = Path(__file__).parents[1] / "methods"


class ReferenceWeights(NamedTuple):
    """One line of ``zoo weights list``.

    Attributes:
        name: METHOD/TAG, as ``zoo animate --weights`` and ``zoo.load`` take it.
        file: Where it lies.
        data: What it was trained on.
        size: Height and width of the training's pictures, as ``64x64``.
        steps: Of the training.
        scores: What the benchmark measured of this training, and under which protocol.
        licence: Of the weights.
        megabytes: Of the file.
        sha256: Of the file.
    """

    name: str
    file: Path
    data: str
    size: str
    steps: str
    scores: str
    licence: str
    megabytes: float
    sha256: str


def find_reference_weights() -> dict[str, Path]:
    """METHOD/TAG -> file, of all weights that come with the zoo."""
    files = sorted(METHODS.glob(f"*/weights/*{SUFFIX}"))
    return {f"{file.parents[1].name}/{file.name.removesuffix(SUFFIX)}": file for file in files}


def reference_weights() -> list[ReferenceWeights]:
    """What each of these files says about itself."""
    return [_describe(name, file) for name, file in find_reference_weights().items()]


def _describe(name: str, file: Path) -> ReferenceWeights:
    known = read_metadata(file)
    said = {key: known.get(key, "") for key in ("data", "size", "steps", "scores", "licence")}
    content = file.read_bytes()
    return ReferenceWeights(
        name, file, **said, megabytes=len(content) / 1e6, sha256=hashlib.sha256(content).hexdigest()
    )
