"""What is measured of parts of methods, beside the protocols' tables: sweeps, people who turn, faces."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.ablations import faces, sweep, turning
from benchmarks.jobs import method_title
from zoo.methods import discover


def ablations(results: Path) -> list[str]:
    """A section of the leaderboard for each such result.

    Args:
        results: The folder of results.

    Raises:
        FileError: A result isn't as it should be.
    """
    sections = [_sweep(path) for axis in sweep.AXES for path in sorted(results.glob(f"{axis}-*--*.json"))]
    sections += [_turning(path) for path in sorted(results.glob("turning-*--*.json"))]
    return sections + [_faces(path) for path in sorted(results.glob("faces--*.json"))]


def with_ablations(page: str, results: Path) -> str:
    """A page of a method with the tables of now where it has places for them."""
    return faces.with_faces(turning.with_turning(sweep.with_sweeps(page, results), results), results)


def _sweep(path: Path) -> str:
    found = sweep.read_sweep(path)
    return _of_weights(found, sweep.AXES[found["sweep"]].label, sweep.table(found))


def _turning(path: Path) -> str:
    found = turning.read_turning(path)
    return _of_weights(found, "people who turn around, by the side that they show", turning.table(found))


def _of_weights(found: Mapping[str, Any], what: str, table: str) -> str:
    """A section on what was measured of given weights on a protocol's clips."""
    title = method_title(discover()[found["method"]].__name__)
    clips = f"{found['clips']} clips of protocol `{found['protocol']}`, hash `{found['hash']}`"
    return f"## {title}: {what}\n\nWeights `{found['weights']}`, {clips}.\n\n{table}\n"


def _faces(path: Path) -> str:
    found = faces.read_faces(path)
    height, width = found["size"]
    return (
        "## Everybody Dance Now: the face stage\n\n"
        f"Squares around faces of {found['clips']} clips of protocol `{faces.PROTOCOL}` at {height} × {width}.\n\n"
        f"{faces.table(found)}\n"
    )
