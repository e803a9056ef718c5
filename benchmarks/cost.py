"""What animation costs: frames per second, seconds before the first frame, and memory."""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device

from benchmarks.schema import Speed
from zoo.base import AnimationModule, MotionOptions, select
from zoo.batch import Batch

REPETITIONS = 5
LONGEST_SECONDS = 20.0
"""Repetition ends after so long, but not before the second one."""


def measure_cost(method: AnimationModule, batch: Batch, device: torch.device) -> Speed:
    """Times the animation of one clip, and reads the highest memory that the process has taken so far.

    Called in a process that has animated and measured nothing before. Of a graphics card memory is what tensors take,
    else the process's resident set, of which some 800 MB are the libraries'.

    Args:
        method: In eval mode, on the device.
        batch: One evaluation clip.
        device: Where to compute.
    """
    batch = move_data_to_device(batch, device)
    source = select(batch, "source")
    with torch.no_grad():
        encode = _seconds(lambda: method.encode(source, MotionOptions()), device)
        whole = _seconds(lambda: method.animate(batch), device)
    frames = batch["driving"].shape[0] * batch["driving"].shape[1]
    return Speed(
        frames_per_second=frames / max(whole - encode, 1e-9),
        encode_seconds=encode,
        peak_memory_megabytes=round(peak_memory(device) / 2**20, 1),
        parameters=method.count_inference_parameters(),
        size=list(batch["driving"].shape[-2:]),
    )


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    """The median time, after one run that is nobody's: it allocates and plans."""
    work()
    times: list[float] = []
    while len(times) < REPETITIONS and (len(times) < 2 or sum(times) < LONGEST_SECONDS):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - started)
    return median(times)


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def peak_memory(device: torch.device) -> int:
    """The most that this process has taken so far, in bytes; of a graphics card what tensors took."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count the process that started this one, too
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 2**10)
