"""The pictures of a method's page: what it sees and does, and the clip on which it is worst."""

from pathlib import Path

import torch
from torch import Tensor

from benchmarks.board.tables import ORDER_BY
from benchmarks.replay import Replay, replay
from benchmarks.schema import Result
from zoo.batch import truth
from zoo.errors import OptionError
from zoo.framing import to_bytes
from zoo.video import grid, magnify, side_by_side, write_image
from zoo.weights.reference import METHODS

MAGNIFICATION = 2
MOMENTS = 4
"""Frames of the worst clip that are shown, at even distances."""


def illustrate(result: Result, methods: Path = METHODS) -> list[Path]:
    """Writes ``idea.png`` and ``worst.png`` to ``<method>/pictures`` in the folder of methods.

    ``idea.png`` shows the last frame of a clip of middling difficulty: what the method explains of it, the result and
    the truth. ``worst.png`` shows frames of the clip with the highest LPIPS (without it: L1), truth above result.

    Args:
        result: Of a method under a protocol of synthetic people, whose weights come with the zoo.
        methods: Where to: the folder of the methods' folders.

    Returns:
        The two files.

    Raises:
        OptionError: No clip was measured; or see :func:`benchmarks.replay.replay`.
    """
    metric = next((name for name in ORDER_BY if name in result["evaluation"]["totals"]), ORDER_BY[0])
    measured = [row for row in result["evaluation"]["per_clip"] if row.get(metric) is not None]
    if not measured:
        raise OptionError(f"no clip of this result has a value of {metric}; run its protocol again")
    rows = sorted(measured, key=lambda row: row[metric])  # type: ignore[literal-required]
    middle, worst = rows[len(rows) // 2], rows[-1]
    shown = {id(replayed.row): replayed for replayed in replay(result, [middle, worst])}
    folder = methods / result["method"]["name"] / "pictures"
    pictures = {"idea.png": _idea(shown[id(middle)]), "worst.png": _frames(shown[id(worst)])}
    for name, picture in pictures.items():
        write_image(folder / name, picture)
    return [folder / name for name in pictures]


def _idea(replayed: Replay) -> Tensor:
    batch = replayed.batch
    views = {"source": batch["source"][0, 0]} if replayed.method.needs_source else {}
    views |= replayed.method.pictures(batch)
    views |= {"result": replayed.prediction[0, -1], "truth": truth(batch)[0, -1]}
    titles = [name.replace("_", " ") for name in views]
    return side_by_side(_large(torch.stack(list(views.values()))), titles)


def _frames(replayed: Replay) -> Tensor:
    true, result = truth(replayed.batch)[0], replayed.prediction[0]
    numbers = [round(place * (len(true) - 1) / (MOMENTS - 1)) for place in range(MOMENTS)]
    return grid([_large(frames[numbers]) for frames in (true, result)], [f"frame {number}" for number in numbers])


def _large(pictures: Tensor) -> list[Tensor]:
    return list(magnify(to_bytes(pictures), MAGNIFICATION))
