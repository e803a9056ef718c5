"""Time of DwNet's coarse warp: rows of charts on the device, against a k-d tree per part and against all pairs.

``python -m benchmarks.timings.surface_warp`` finds, for every pixel of a generated person, the pixel of the same part
with the nearest surface point in another frame, in three ways:

- ours: `zoo.warp.surface.nearest_surface`, a whole batch at once, on the device;
- tree: the reference procedure, one `scipy.spatial.cKDTree` per part and pair, on the processor;
- pairs: all pairs of pixels of a part, by PyTorch, one part after another.

Times alternate within one run, on one core. Distances are compared: all three find equally near pixels.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from benchmarks.metadata import RESULTS, machine_name, metadata, spread, use_one_core
from zoo.data.synthetic import SyntheticPeople
from zoo.report import write_json
from zoo.warp.surface import PARTS, nearest_surface

CASES = {"64": (64, 8), "256": (256, 2)}
"""Name -> side of the maps, pairs in a batch."""


def main() -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.timings.surface_warp", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--repetitions", type=int, default=10, help="batches timed in each way")
    parser.add_argument("--output", type=Path, help="the result's path; by default in benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cores = use_one_core()
    results = {case: measure(*CASES[case], options.repetitions) for case in CASES}
    path = options.output or RESULTS / f"surface_warp--{machine_name()}.json"
    write_json(path, {"metadata": metadata("surface_warp", cores, ("numpy", "scipy")), "results": results})
    for case, result in results.items():
        for way in WAYS:
            print(f"{case:>4} {way:<6}{1000 * result[way]['median_s']:9.1f} ms a pair")
        ratios = [f"{result[f'time_ratio_{way}']:.2f} to {way}" for way in ("tree", "pairs")]
        print(f"{case:>4} ratio of ours {', '.join(ratios)}")
    print(path)


def measure(side: int, pairs: int, repetitions: int) -> dict[str, Any]:
    """All ways on the same maps; batches alternate."""
    source, target = maps(side, pairs)
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for repetition in range(repetitions + 1):
        found = {}
        for way in sorted(WAYS, reverse=bool(repetition % 2)):
            start = time.process_time()
            found[way] = WAYS[way](source, target)
            if repetition:  # first allocations are nobody's
                times[way].append((time.process_time() - start) / pairs)
        distances = {way: distance(source, target, match) for way, match in found.items()}
        for way in WAYS:
            torch.testing.assert_close(distances[way], distances["ours"])
    result: dict[str, Any] = {way: spread(times[way]) for way in WAYS}
    result |= {"side": side, "batch": pairs, "person_pixels": float((target[:, 0] > 0).float().sum() / pairs)}
    for way in ("tree", "pairs"):
        result[f"time_ratio_{way}"] = float(np.median(times["ours"]) / np.median(times[way]))
    return result


def maps(side: int, pairs: int) -> tuple[Tensor, Tensor]:
    """Surface maps (pairs, 3, side, side) of generated people, two frames of each clip."""
    people = SyntheticPeople((side, side), 0, 0, pairs, clips_per_identity=1, frames=25)
    frames = [people.condition(clip, "iuv", [0, 24]).float() for clip in people.clips("test")]
    scale = torch.tensor([1.0, 255.0, 255.0]).view(3, 1, 1)
    source, target = torch.stack(frames, 1) / scale
    return source, target


def points(surface: Tensor) -> Tensor:
    """I, U and V (3, H W) of a map in 8-bit steps."""
    return (surface * torch.tensor([1.0, 255.0, 255.0]).view(3, 1, 1)).round().flatten(1)


def distance(source: Tensor, target: Tensor, match: Tensor) -> Tensor:
    """Squared distances of matched surface points, -1 where nothing was matched."""
    distances = []
    for ours, theirs, pixels in zip(source, target, match, strict=True):
        chosen = points(ours)[1:, pixels.flatten().clamp(min=0)]
        squared = (chosen - points(theirs)[1:]).square().sum(0)
        distances.append(torch.where(pixels.flatten() >= 0, squared, -1.0))
    return torch.stack(distances)


def tree(source: Tensor, target: Tensor) -> Tensor:
    """A k-d tree per pair and part."""

    def search(known: Tensor, wanted: Tensor) -> Tensor:
        return torch.from_numpy(cKDTree(known.T.numpy()).query(wanted.T.numpy())[1])

    return _part_by_part(source, target, search)


def all_pairs(source: Tensor, target: Tensor) -> Tensor:
    """All distances of a part's points, a thousand wanted points at a time."""

    def search(known: Tensor, wanted: Tensor) -> Tensor:
        squared = [(part[:, :, None] - known[:, None]).square().sum(0) for part in wanted.split(1000, dim=1)]
        return torch.cat([some.argmin(1) for some in squared])

    return _part_by_part(source, target, search)


def _part_by_part(source: Tensor, target: Tensor, search: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    match = torch.full((len(source), source.shape[-2] * source.shape[-1]), -1)
    for number, pair in enumerate(zip(source, target, strict=True)):
        ours, theirs = map(points, pair)
        for part in range(1, PARTS + 1):
            known, wanted = ((surface[0] == part).nonzero()[:, 0] for surface in (ours, theirs))
            if len(known) and len(wanted):
                match[number, wanted] = known[search(ours[1:, known], theirs[1:, wanted])]
    return match.unflatten(1, source.shape[-2:])


WAYS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ours": nearest_surface, "tree": tree, "pairs": all_pairs}


if __name__ == "__main__":
    main()
