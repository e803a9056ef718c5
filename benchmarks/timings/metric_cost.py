"""Seconds and peak memory of LPIPS (alex) and FVD, beside reference implementations, in one run.

``python -m benchmarks.timings.metric_cost`` measures random clips of 16 frames at 64 x 64 against others, with the same
weights in all implementations, clip by clip in turn:

- LPIPS: the ``lpips`` package of its authors;
- FVD: the torch port of I3D in ``cd-fvd`` (VideoGPT's and TATS' too), with its own resizing and distance. It is
  measured where `pip install --no-deps cd-fvd==0.1.1` was run. Its norms have another constant than the original's, so
  its values differ by about 0.2 %.

Memory is the highest resident set of a process that measures four clips and nothing else.
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from benchmarks.cost import peak_memory
from benchmarks.metadata import RESULTS, machine_name, metadata, spread
from zoo.metrics import LPIPS
from zoo.metrics.fvd import FVD
from zoo.report import write_json
from zoo.weights import networks

FRAMES, SIDE = 16, 64
CLIPS_FOR_MEMORY = 4
CPU = torch.device("cpu")


class Implementation(Protocol):
    """What every implementation can do; the zoo's metrics can anyway."""

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Measures clips (B, T, 3, H, W) in [0, 1]."""

    def compute(self) -> Tensor:
        """The value over all clips."""


class ReferenceLPIPS:
    """The authors' package, with its own heads; its backbone takes torchvision's weights from the zoo's files."""

    def __init__(self) -> None:
        import lpips  # type: ignore[import-untyped]

        self._network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
        tensors = networks.load("lpips_alex")
        names = self._network.net.state_dict()
        self._network.net.load_state_dict({name: tensors[f"features.{name.partition('.')[2]}"] for name in names})
        self._values: list[Tensor] = []

    @torch.no_grad()
    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Measures clips, each in one batch of its frames."""
        for clips in zip(prediction, target, strict=True):
            self._values.append(self._network(*clips, normalize=True).mean())

    def compute(self) -> Tensor:
        """The mean over clips."""
        return torch.stack(self._values).mean()


class ReferenceFVD:
    """I3D as cd-fvd has it, with the published weights."""

    def __init__(self) -> None:
        from cdfvd.third_party.i3d import pytorch_i3d, utils  # type: ignore  # optional, and untyped

        self._preprocess, self._distance = utils.preprocess_i3d, utils.frechet_distance
        self._network = pytorch_i3d.InceptionI3d(400, in_channels=3).eval()
        weights = self._network.state_dict()  # of which the norms' scales stay at 1
        for name, tensor in networks.load("i3d").items():
            weights[name.replace("Logits", "logits").replace(".conv.", ".conv3d.").replace(".norm.", ".bn.")] = tensor
        self._network.load_state_dict(weights)
        self._features: tuple[list[Tensor], list[Tensor]] = ([], [])

    @torch.no_grad()
    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Measures clips of the network's length, one at a time."""
        for kept, clips in zip(self._features, (prediction, target), strict=True):
            for clip in clips.split(1):
                pictures = (255 * clip).permute(0, 1, 3, 4, 2).numpy()
                kept.append(self._network(self._preprocess(pictures)))

    def compute(self) -> Tensor:
        """The distance between both sets."""
        return self._distance(*(torch.cat(kept).double() for kept in self._features))


IMPLEMENTATIONS: dict[str, dict[str, Callable[[], Implementation]]] = {
    "lpips_alex": {"zoo": LPIPS, "lpips": ReferenceLPIPS},
    "fvd": {"zoo": FVD, "cd-fvd": ReferenceFVD},
}
_MODULES = {"lpips": "lpips", "cd-fvd": "cdfvd"}


def main() -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.timings.metric_cost", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--clips", type=int, default=64, help="clips in each set")
    parser.add_argument("--threads", type=int, default=1, help="threads of computation")
    parser.add_argument("--machine", default=machine_name(), help="part of the result's file name")
    parser.add_argument("--output", type=Path, help="the result's path; by default in benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    packages = tuple(name for name in _MODULES if find_spec(_MODULES[name]))
    result: dict[str, Any] = {
        "metadata": metadata("metric_cost", options.threads, packages),
        "clips": {"number": options.clips, "frames": FRAMES, "size": [SIDE, SIDE]},
        "missing": sorted(_MODULES.keys() - set(packages)),
        "results": {},
    }
    for metric, implementations in IMPLEMENTATIONS.items():
        names = [name for name in implementations if name == "zoo" or name in packages]
        rows = measure(metric, names, options.clips)
        for name in names:
            rows[name]["peak_memory_mib"] = peak_memory_alone(metric, name, options.threads)
            print(
                f"{metric} by {name}: {rows[name]['wall_s']:.1f} s by the clock, {rows[name]['cpu_s']:.1f} s of CPU, "
                f"{rows[name]['peak_memory_mib']:.0f} MiB, value {rows[name]['value']:.4f}"
            )
        result["results"][metric] = rows
    path = options.output or RESULTS / f"metric_cost--{options.machine}.json"
    write_json(path, result)
    print(path)


def random_clips(number: int, seed: int) -> Tensor:
    """Smooth random clips (number, FRAMES, 3, SIDE, SIDE) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(number, 3, 4, 8, 8, generator=generator)
    clips = torch.nn.functional.interpolate(coarse, (FRAMES, SIDE, SIDE), mode="trilinear")
    return clips.transpose(1, 2).contiguous()


def measure(metric: str, names: list[str], clips: int) -> dict[str, dict[str, Any]]:
    """Times the implementations of a metric in turn, clip by clip; a first clip is nobody's."""
    predictions, targets = random_clips(clips + 1, seed=0), random_clips(clips + 1, seed=1)
    running = {name: IMPLEMENTATIONS[metric][name]() for name in names}
    warm_up = {name: IMPLEMENTATIONS[metric][name]() for name in names}
    wall: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    values: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter(), time.process_time()
        found = work()
        wall[name].append(time.perf_counter() - started[0])
        cpu[name].append(time.process_time() - started[1])
        return found

    for number in range(clips):
        pair = predictions[number : number + 1], targets[number : number + 1]
        for name in names if number % 2 else reversed(names):
            if number == 0:
                warm_up[name].update(predictions[-1:], targets[-1:])
            timed(name, lambda pair=pair, name=name: running[name].update(*pair))  # type: ignore[misc]
    for name in names:
        values[name] = timed(name, running[name].compute).item()
    return {
        name: {
            "value": values[name],
            "wall_s": sum(wall[name]),
            "cpu_s": sum(cpu[name]),
            "per_clip": {"wall": spread(wall[name][:-1]), "cpu": spread(cpu[name][:-1])},
        }
        for name in names
    }


def peak_memory_alone(metric: str, name: str, threads: int) -> float:
    """Mebibytes that a process takes at most to measure a few clips; the libraries' are among them."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        return processes.submit(_measure_alone, metric, name, threads).result()


def _measure_alone(metric: str, name: str, threads: int) -> float:
    torch.set_num_threads(threads)
    implementation = IMPLEMENTATIONS[metric][name]()
    implementation.update(random_clips(CLIPS_FOR_MEMORY, seed=0), random_clips(CLIPS_FOR_MEMORY, seed=1))
    return peak_memory(CPU) / 2**20


if __name__ == "__main__":
    main()
