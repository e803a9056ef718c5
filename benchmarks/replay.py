"""Clips of a synthetic result, animated once more with the weights that come with the zoo."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import zoo
from benchmarks.evaluation import batches
from benchmarks.metadata import RESULTS
from benchmarks.schema import ClipRow, Result, read_result
from zoo.base import AnimationModule
from zoo.batch import Batch
from zoo.data import VideoDataModule
from zoo.errors import OptionError
from zoo.measurement import describe
from zoo.weights.checkpoint import read_metadata
from zoo.weights.reference import find_reference_weights

_KEY = ("clip", "source", "source_frame")
"""What tells a result's rows apart."""


@dataclass(frozen=True)
class Replay:
    """A clip and what the method makes of it.

    Attributes:
        row: What was measured on it.
        method: In eval mode.
        batch: The clip alone (B = 1).
        prediction: (1, T, 3, H, W) in [0, 1].
    """

    row: ClipRow
    method: AnimationModule
    batch: Batch
    prediction: Tensor


def replay(result: Result, rows: Sequence[ClipRow]) -> Iterator[Replay]:
    """Animates clips of a result again.

    Args:
        result: Of a method under a protocol of synthetic people.
        rows: Which of its clips, as in ``result["evaluation"]["per_clip"]``.

    Yields:
        One for each row, in the protocol's order.

    Raises:
        OptionError: No weights of its training come with the zoo, or its clips aren't generated.
    """
    name = f"{result['method']['name']}/{result['method']['recipe']}"
    data = result["data"]
    if data is None or data["path"] != "synthetic":
        raise OptionError(f"clips of {result['protocol']['name']} aren't generated, so they can't be shown from here")
    files = find_reference_weights()
    if name not in files:
        raise OptionError(f"no weights {name} come with the zoo; `python -m benchmarks publish` makes them")
    made = read_metadata(files[name]).get("result", "")
    if not (RESULTS / made).is_file():
        raise OptionError(f"the weights {name} that come with the zoo don't say which result is theirs")
    if read_result(RESULTS / made)["weights"] != result["weights"]:
        raise OptionError(f"the weights {name} that come with the zoo are of another training; show {made}")
    method = zoo.load(name)
    wanted = {tuple(row[key] for key in _KEY): row for row in rows}  # type: ignore[literal-required]
    options = data | {
        "path": None,
        "conditions": tuple(dict.fromkeys([*data["conditions"], *method.conditions])),
        "workers": 0,
    }
    for batch in batches(VideoDataModule(**options)):
        described = describe(batch, 0)
        if row := wanted.pop(tuple(described[key] for key in _KEY), None):
            with torch.inference_mode():
                yield Replay(row, method, batch, method.test_step(batch, 0))
        if not wanted:
            return
