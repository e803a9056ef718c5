"""The leaderboard as a run of Weights & Biases: the same tables, and the same videos side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wandb

from benchmarks.board import Board
from benchmarks.page import find_films

PROJECT = "animation-zoo"


def log(boards: Sequence[Board], videos: Path | None = None, project: str = PROJECT) -> None:
    """Logs tables, and videos if there are any, to a new run; offline where ``WANDB_MODE=offline`` says so.

    Args:
        boards: One per protocol.
        videos: A folder with ``<protocol>/<method>/<clip>.mp4``.
        project: Of the run.
    """
    films = find_films(boards, videos) if videos else {}
    with wandb.init(project=project, job_type="leaderboard") as run:
        for board in boards:
            run.log({f"{board.name}/table": figures(board)})
            for film in films.get(board.name, []):
                takes = [wandb.Video(str(take.path), caption=take.title) for take in film.takes]
                run.log({f"{board.name}/{film.title}": takes})


def figures(board: Board) -> wandb.Table:
    """The table as numbers: a row per method, two columns more for each figure that has an interval."""
    columns: list[str | int] = ["method", "kind", "made by", "measured", "expected", "hash"]
    keys = [column.key for column in board.columns]
    with_interval = {key for key in keys if any(entry.cells[key].low is not None for entry in board.entries)}
    for key in keys:
        columns += [key, f"{key} low", f"{key} high"] if key in with_interval else [key]
    table = wandb.Table(columns=columns)
    for entry in board.entries:
        row: list[Any] = [entry.title, entry.kind, entry.made_by, entry.measured, entry.expected, board.hash]
        for key in keys:
            cell = entry.cells[key]
            row += [cell.value, cell.low, cell.high] if key in with_interval else [cell.value]
        table.add_data(*row)
    return table
