"""What every measurement says about itself, and how repeated times are summed up."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.report import machine, versions

RESULTS = Path(__file__).parent / "results"


def spread(seconds: list[float]) -> dict[str, float | int]:
    """Number, median and quartiles of repeated times."""
    low, median, high = np.percentile(seconds, [25, 50, 75]).tolist()
    return {"n": len(seconds), "median_s": median, "quartile_1_s": low, "quartile_3_s": high, "iqr_s": high - low}


def metadata(benchmark: str, cores: int, packages: tuple[str, ...] = ()) -> dict[str, Any]:
    """When, with which code and versions, and on what a benchmark ran.

    Args:
        benchmark: Its name.
        cores: Processor cores that it used.
        packages: Packages whose versions matter besides the zoo's own.
    """
    return {
        "benchmark": benchmark,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": versions() | {name: version(name) for name in packages},
        "machine": machine(torch.device("cpu")) | {"processor": processor(), "cores_used": cores},
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def use_one_core() -> int:
    """Where the system can, binds the process to one core, so that no library uses more than one thread's worth."""
    if not hasattr(os, "sched_setaffinity"):
        return os.cpu_count() or 1
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return 1


def commit() -> str | None:
    """The code's commit, `-dirty` behind it where files differ; None outside a clone."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or no clone
        return None


def processor() -> str:
    """What the processor calls itself."""
    names = re.findall(r"model name\s*:\s*(.+)", _read(Path("/proc/cpuinfo")))
    return names[0] if names else platform.processor()


def _read(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def machine_name(device: torch.device | None = None) -> str:
    """The machine as it appears in the names of results: its graphics card where that computes, else its processor."""
    words = f"{processor() or 'cpu'} {os.cpu_count()} cores"
    if device is not None and device.type != "cpu":
        words = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{words} {device.type}"
    return "-".join(re.findall(r"[a-z0-9]+", words.lower()))
