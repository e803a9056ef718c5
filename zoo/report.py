"""What a measurement leaves behind: totals, a file that can be checked later, and a table."""

import hashlib
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
import torchmetrics
from rich.console import Console
from rich.table import Table
from torch import Tensor

import zoo
from zoo.files import written_whole

Row = dict[str, Any]
"""One clip: ``clip``, ``source``, ``source_frame``, ``frames``, and a value per metric."""


def totals(rows: list[Row], names: Iterable[str]) -> dict[str, float]:
    """Means over clips; a clip without a value (NaN) is left out, and a metric without any value is NaN."""
    summary = {}
    for name in names:
        values = [row[name] for row in rows if name in row and not math.isnan(row[name])]
        summary[name] = math.fsum(values) / len(values) if values else math.nan
    return summary


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a result under another name first, so that an earlier one is replaced whole; NaN becomes null."""
    text = json.dumps(without_nan(content), indent=1, ensure_ascii=False) + "\n"
    with written_whole(path) as temporary:
        # Names of files that aren't UTF-8 are escaped as JSON does it.
        temporary.write_text(text, "utf-8", "backslashreplace")


def without_nan(content: Any) -> Any:
    """The content with None for NaN and infinity, which JSON doesn't know."""
    if isinstance(content, Mapping):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def versions() -> dict[str, str]:
    """What computed the numbers."""
    return {
        "zoo": zoo.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "torchmetrics": torchmetrics.__version__,
    }


def machine(device: torch.device) -> dict[str, Any]:
    """Where the numbers were computed."""
    return {
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def sha256_of(state: Mapping[str, Tensor]) -> str:
    """A fingerprint of weights: over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def print_comparison(
    method: str,
    summary: Mapping[str, float],
    higher_is_better: Mapping[str, bool],
    clips: int,
    skipped: Mapping[str, str],
) -> None:
    """Shows a method beside the baseline that copies the source.

    Args:
        method: What to call it.
        summary: ``l1``, ``copy_source/l1``, ... -> mean over clips.
        higher_is_better: Per metric.
        clips: How many were measured.
        skipped: Metrics that were not measured -> why.
    """
    table = Table("metric", method, "copy source", "better", title=f"{clips} clips")
    for column in table.columns[1:3]:
        column.justify = "right"
    for name, higher in higher_is_better.items():
        ours, baseline = summary[name], summary[f"copy_source/{name}"]
        winner = "equal" if ours == baseline else method if (ours > baseline) == higher else "copy source"
        if math.isnan(ours) or math.isnan(baseline):
            winner = "–"
        table.add_row(f"{name} {'↑' if higher else '↓'}", f"{ours:.4f}", f"{baseline:.4f}", winner)
    console = Console()
    console.print(table)
    for name, reason in skipped.items():
        console.print(f"{name} was skipped: {reason}")
