"""Frames of synthetic people per second, on one core.

``python -m benchmarks.timings.generation_speed``
"""

import time

import torch

from benchmarks.metadata import RESULTS, machine_name, metadata, use_one_core
from zoo.data.synthetic import SyntheticPeople
from zoo.report import write_json

SIDES = (64, 256)
FRAMES = 24  # of each clip
CLIPS = 6


def main() -> None:
    """Measures, prints and writes the result."""
    torch.set_num_threads(1)
    cores = use_one_core()
    speeds = {f"{side}x{side}": rendering(side) for side in SIDES}
    path = RESULTS / f"generation_speed--{machine_name()}.json"
    write_json(path, {"metadata": metadata("generation_speed", cores, ("numpy",)), "synthetic_people": speeds})
    for size, speed in speeds.items():
        print(f"synthetic people at {size}: {speed['frames_per_cpu_second']:.0f} frames per second of CPU")
    print(path)


def rendering(side: int) -> dict[str, float | int]:
    """Times frames of synthetic people; each clip's first frame, which prepares body and scene, is counted too."""
    people = SyntheticPeople(size=(side, side))
    clips = people.clips("test")[:CLIPS]
    people.frames(clips[0], [0])  # imports and first allocations are nobody's
    wall, cpu = time.perf_counter(), time.process_time()
    for clip in clips[1:]:
        people.frames(clip, range(FRAMES))
    frames = (len(clips) - 1) * FRAMES
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"n": frames, "frames_per_cpu_second": frames / cpu, "frames_per_second": frames / wall}


if __name__ == "__main__":
    main()
