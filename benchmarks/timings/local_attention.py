"""Time and peak memory of local attention: without laying out patches, against the form that lays them out.

``python -m benchmarks.timings.local_attention`` runs one attention block of the published DeepFashion configuration
(both levels at 256 x 256), forward and backward, in two ways that give the same numbers:

- ours: `zoo.warp.local_attention`, where neither pass stores a patch;
- unfold: patches of source and target laid out by grid_sample and unfold, k^2 times the feature maps, then convolved
  with stride k, weighted and averaged, as the official code does around its CUDA kernels.

Times alternate within one run, on one core. Memory is the peak of what a fresh process holds resident during one
forward and backward pass, less what it held before (Linux only).
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.metadata import RESULTS, machine_name, metadata, spread, use_one_core
from zoo.methods.deep_spatial_transformation.networks import LocalAttention
from zoo.report import write_json
from zoo.warp import coordinate_grid

LEVELS = {"level_2": (128, 64, 5), "level_3": (256, 32, 3)}
"""Level -> channels, side of the map, side of the patch, in the published configuration at 256 x 256."""

Way = Callable[[LocalAttention, Tensor, Tensor, Tensor], Tensor]
KIB = 2**10


def main() -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.timings.local_attention", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--repetitions", type=int, default=10, help="passes timed in each way")
    parser.add_argument("--output", type=Path, help="the result's path; by default in benchmarks/results")
    parser.add_argument("--peak", nargs=2, metavar=("LEVEL", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(json.dumps(peak_bytes(*options.peak)))
        return
    cores = use_one_core()
    results = {level: measure(level, options.repetitions) for level in LEVELS}
    path = options.output or RESULTS / f"local_attention--{machine_name()}.json"
    write_json(path, {"metadata": metadata("local_attention", cores, ("numpy",)), "results": results})
    for level, result in results.items():
        for way in WAYS:
            seconds, peak = result[way]["seconds"]["median_s"], result[way]["peak_bytes"] / KIB**2
            print(f"{level} {way:<7} {1000 * seconds:8.1f} ms, {peak:7.1f} MiB")
        print(f"{level} ratio   {result['time_ratio']:.2f} in time, {result['memory_ratio']:.2f} in memory")
    print(path)


def measure(level: str, repetitions: int) -> dict[str, Any]:
    """Both ways at one level; passes alternate, and their results are compared."""
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    block, inputs = build(level)
    for repetition in range(repetitions + 1):
        outputs = {}
        for way in sorted(WAYS, reverse=bool(repetition % 2)):
            start = time.process_time()
            outputs[way] = run(way, block, inputs)
            if repetition:  # first allocations are nobody's
                times[way].append(time.process_time() - start)
        for ours, unfolded in zip(outputs["ours"], outputs["unfold"], strict=True):
            torch.testing.assert_close(ours, unfolded, rtol=1e-3, atol=1e-3 * unfolded.abs().max().item())
    result: dict[str, Any] = {
        way: {"seconds": spread(times[way]), "peak_bytes": _in_a_process(level, way)} for way in WAYS
    }
    channels, side, patch = LEVELS[level]
    result |= {"channels": channels, "side": side, "patch": patch}
    result["time_ratio"] = float(np.median(times["unfold"]) / np.median(times["ours"]))
    result["memory_ratio"] = result["unfold"]["peak_bytes"] / result["ours"]["peak_bytes"]
    return result


def build(level: str) -> tuple[LocalAttention, tuple[Tensor, Tensor, Tensor]]:
    """An attention block, and source features, target features and flow for it."""
    channels, side, patch = LEVELS[level]
    draw = torch.Generator().manual_seed(0)
    source, target = (torch.randn(1, channels, side, side, generator=draw) for _ in range(2))
    flow = 5 * torch.randn(1, 2, side, side, generator=draw)
    return LocalAttention(channels, patch), (source, target, flow)


def run(way: str, block: LocalAttention, inputs: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
    """Output, and gradients of source, target and flow."""
    leaves = [tensor.requires_grad_() for tensor in inputs]
    block.zero_grad()
    output = WAYS[way](block, *leaves)
    (output**2).sum().backward()
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    for leaf in leaves:
        leaf.grad = None
    return [output.detach(), *gradients]


def ours(block: LocalAttention, source: Tensor, target: Tensor, flow: Tensor) -> Tensor:
    """The block as it is."""
    return block(source, target, flow)[0]


def unfold(block: LocalAttention, source: Tensor, target: Tensor, flow: Tensor) -> Tensor:
    """The same with patches laid out."""
    patch = block.get_parameter("fully_connect_layer.0.weight").shape[-1]
    height, width = flow.shape[-2:]
    reach = patch // 2
    neighbours = F.unfold(F.pad(target, [reach] * 4, mode="replicate"), patch)
    of_target = F.pixel_shuffle(neighbours.unflatten(2, (height, width)), patch)
    base = coordinate_grid(height, width, flow)
    step = 2 / (flow.new_tensor([width, height]) - 1)
    sampled = []
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            offset = flow.new_tensor([column, row]) * step
            grid = base + flow.permute(0, 2, 3, 1) * step + offset
            sampled.append(F.grid_sample(source, grid, padding_mode="border", align_corners=True))
    of_source = F.pixel_shuffle(torch.stack(sampled, 2).flatten(1, 2), patch)
    weights = torch.softmax(block.fully_connect_layer(torch.cat([of_target, of_source], 1)), 1)
    return F.avg_pool2d(F.pixel_shuffle(weights, patch) * of_source, patch)


WAYS: dict[str, Way] = {"ours": ours, "unfold": unfold}


def peak_bytes(level: str, way: str) -> int:
    """How much more this process held at its peak during one pass than before it."""
    block, inputs = build(level)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of what came before
    before = _resident("VmRSS")
    run(way, block, inputs)
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    """Bytes that the process holds now (``VmRSS``) or held at most (``VmHWM``)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * KIB  # type: ignore[index]


def _in_a_process(level: str, way: str) -> int:
    command = [sys.executable, "-m", "benchmarks.timings.local_attention", "--peak", level, way]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
