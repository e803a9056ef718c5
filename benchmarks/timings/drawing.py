"""Time to draw a stick figure, as a share of the time that pix2pixHD's generator takes for its frame.

``python -m benchmarks.timings.drawing``
"""

import argparse
import time
from collections.abc import Callable

import torch

from benchmarks.metadata import RESULTS, machine_name, metadata, spread, use_one_core
from zoo.data.synthetic import SyntheticPeople
from zoo.nn.pix2pixhd import GlobalGenerator, LocalEnhancer
from zoo.pose import BODY_18, PUBLISHED_CANVAS, draw_figure, to_units
from zoo.report import write_json

FRAMES = 4
SIZE = (256, 256)  # of the synthetic people
STAGES = {  # Everybody Dance Now's: the generator and the size that it works at
    "global": (lambda: GlobalGenerator(6, width=64, downsamplings=4), (256, 512)),
    "local": (lambda: LocalEnhancer(6, width=32, downsamplings=4), (512, 1024)),
}


def main() -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.timings.drawing", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(1)
    cores = use_one_core()
    people = SyntheticPeople(SIZE, 0, 0, 1, frames=FRAMES)
    poses = to_units(people.condition(people.clips("test")[0], "pose", range(FRAMES)), SIZE).to(device)
    result: dict[str, object] = {"metadata": metadata("drawing", cores)}
    for stage, (generator, size) in STAGES.items():
        result[stage] = compare(generator().to(device), poses, size, options.repeats)
    path = RESULTS / f"drawing--{machine_name(device)}.json"
    write_json(path, result)
    print(path)


@torch.no_grad()
def compare(
    generator: torch.nn.Module, poses: torch.Tensor, size: tuple[int, int], repeats: int
) -> dict[str, dict[str, float | int]]:
    """Seconds per frame of drawing at the size, of drawing at 1920x1080 and resizing, and of the generator."""
    frame = torch.zeros(1, 6, *size, device=poses.device)
    times = {
        "drawn": spread(seconds(lambda: draw_figure(poses, BODY_18, size), repeats, FRAMES, poses.device)),
        "drawn_as_published": spread(
            seconds(lambda: draw_figure(poses, BODY_18, size, PUBLISHED_CANVAS), repeats, FRAMES, poses.device)
        ),
        "generator": spread(seconds(lambda: generator(frame), repeats, 1, poses.device)),
    }
    for way in ("drawn", "drawn_as_published"):
        share = times[way]["median_s"] / times["generator"]["median_s"]
        print(f"{size[1]}x{size[0]}, {way}: {times[way]['median_s'] * 1000:.1f} ms, {share:.2%} of the generator's")
    return times


def seconds(work: Callable[[], object], repeats: int, frames: int, device: torch.device) -> list[float]:
    """Seconds per frame, after one call that is not counted: of processor time on a CPU, by the clock elsewhere."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    measured = []
    for _ in range(repeats + 1):
        start = clock()
        work()
        if device.type != "cpu":
            torch.accelerator.synchronize()
        measured.append((clock() - start) / frames)
    return measured[1:]


if __name__ == "__main__":
    main()
