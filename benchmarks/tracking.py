"""The leaderboard as a run of Weights & Biases: the same tables, and the same videos side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import wandb

from benchmarks.board.page import Film
from benchmarks.board.tables import Board

PROJECT = "animation-zoo"

_PARTS = ("low", "high", "spread")  # of a figure, beside its value


def log(boards: Sequence[Board], films: Mapping[str, list[Film]] | None = None, project: str = PROJECT) -> None:
    """Logs tables, and videos if there are any, to a new run; offline where ``WANDB_MODE=offline`` says so.

    Args:
        boards: One per protocol.
        films: Protocol -> its clips.
        project: Of the run.
    """
    with wandb.init(project=project, job_type="leaderboard") as run:
        for board in boards:
            run.log({f"{board.name}/table": figures(board)})
            for film in (films or {}).get(board.name, []):
                takes = [wandb.Video(str(take.path), caption=take.title) for take in film.takes]
                run.log({f"{board.name}/{film.title}": takes})


def figures(board: Board) -> wandb.Table:
    """The table as numbers: a row per method, more columns for figures that have an interval or several seeds."""
    columns: list[str | int] = ["method", "kind", "made by", "measured", "expected", "hash"]
    keys = [column.key for column in board.columns]
    parts = {key: [part for part in _PARTS if _has(board, key, part)] for key in keys}
    for key in keys:
        columns += [key, *(f"{key} {part}" for part in parts[key])]
    table = wandb.Table(columns=columns)
    for entry in board.entries:
        row: list[Any] = [entry.name, entry.kind, entry.made_by, entry.measured, entry.expected, board.hash]
        for key in keys:
            cell = entry.cells[key]
            row += [cell.value, *(getattr(cell, part) for part in parts[key])]
        table.add_data(*row)
    return table


def _has(board: Board, key: str, part: str) -> bool:
    return any(getattr(entry.cells[key], part) is not None for entry in board.entries)
