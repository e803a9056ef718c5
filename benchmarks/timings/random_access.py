"""How long a training sample's two frames take: decoding only those, against decoding the whole clip.

``python -m benchmarks.timings.random_access`` writes 256 x 256 H.264 clips and times, in one run and in turn, on one
thread:

- random access: `zoo.video.read_frames` of two frames drawn at random, of files that were probed before;
- whole clip: what First Order Motion's own loader does for every sample of an mp4: all frames to a float32 array
  through imageio, of which two are kept.

Both end with two float32 pictures in [0, 1]. The clips are more than the readers that `zoo.video` keeps open, and no
frame cache is used, so each sample opens its file anew. The files are in the operating system's cache for both.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import imageio.v3 as imageio
import numpy as np
import torch
from torch import Tensor

from benchmarks.metadata import RESULTS, machine_name, metadata, spread, use_one_core
from zoo.report import write_json
from zoo.video import VideoInfo, VideoWriter, probe, read_frames

CLIPS = 8  # more than the readers that are kept open
FRAMES, SIDE, FPS = 370, 256, Fraction(25)
MIB = 2**20

Times = dict[Literal["wall", "cpu"], list[float]]
"""Seconds of each sample: by the clock, and of processor time, which other programs on the machine disturb less."""


def main() -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.timings.random_access", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--video", type=Path, help="measure on copies of this file instead of generated clips")
    parser.add_argument("--repetitions", type=int, default=40, help="samples timed in each way")
    parser.add_argument("--machine", default=machine_name(), help="part of the result's file name")
    parser.add_argument("--output", type=Path, help="the result's path; by default in benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cores = use_one_core()
    with tempfile.TemporaryDirectory() as folder:
        clips = _clips(Path(folder), options.video)
        times = measure(clips, options.repetitions)
        result = {
            "metadata": metadata("random_access", cores, ("av", "decord2", "imageio", "numpy")),
            "clip": _describe(clips[0], options.video),
            "results": {name: {kind: spread(values[kind]) for kind in values} for name, values in times.items()},
            "ratio_of_medians": {
                kind: float(np.median(times["whole_clip"][kind]) / np.median(times["random_access"][kind]))
                for kind in ("wall", "cpu")
            },
        }
    path = options.output or RESULTS / f"random_access--{options.machine}.json"
    write_json(path, result)
    _show(result, path)


def measure(clips: list[VideoInfo], repetitions: int) -> dict[str, Times]:
    """Seconds of each sample in both ways; each sample is taken in both, one after the other, in changing order."""
    ways: dict[str, Callable[[VideoInfo, list[int]], Tensor]] = {"random_access": two_frames, "whole_clip": whole_clip}
    times: dict[str, Times] = {name: {"wall": [], "cpu": []} for name in ways}
    draw = np.random.default_rng(0)
    for way in ways.values():  # imports and first allocations are nobody's
        way(clips[0], [0, 1])
    for repetition in range(repetitions):
        clip = clips[repetition % len(clips)]
        indices = sorted(draw.integers(clip.frames, size=2).tolist())
        samples = []
        for name in sorted(ways, reverse=bool(repetition % 2)):
            wall, cpu = time.perf_counter(), time.process_time()
            samples.append(ways[name](clip, indices))
            times[name]["wall"].append(time.perf_counter() - wall)
            times[name]["cpu"].append(time.process_time() - cpu)
        if (samples[0] - samples[1]).abs().max() > 2 / 255:
            raise AssertionError(f"frames {indices} of {clip.path} differ between the two ways")
    return times


def two_frames(clip: VideoInfo, indices: list[int]) -> Tensor:
    """Two pictures (2, 3, H, W) in [0, 1]: only what they need is decoded."""
    return read_frames(clip, indices).float() / 255


def whole_clip(clip: VideoInfo, indices: list[int]) -> Tensor:
    """The same, as First Order Motion's loader gets them: everything is decoded and converted first."""
    stored = imageio.imread(clip.path, plugin="pyav", thread_count=1)
    frames = np.multiply(stored, 1 / 255, dtype=np.float32)
    return torch.from_numpy(frames[indices]).permute(0, 3, 1, 2)


def _clips(folder: Path, video: Path | None) -> list[VideoInfo]:
    first = folder / "clip-0.mp4"
    if video is None:
        _write_generated(first)
    else:
        shutil.copyfile(video, first)
    copies = [first, *(folder / f"clip-{number}.mp4" for number in range(1, CLIPS))]
    for copy in copies[1:]:
        shutil.copyfile(first, copy)
    return [probe(copy) for copy in copies]


def _write_generated(path: Path) -> None:
    """A clip with texture and motion everywhere; the writer sets a key frame every 25 frames."""
    draw = torch.Generator().manual_seed(0)
    texture = torch.rand(1, 3, 40, 40, generator=draw)
    background = torch.nn.functional.interpolate(texture, (2 * SIDE, 2 * SIDE), mode="bicubic").clamp(0, 1)[0]
    with VideoWriter(path, FPS) as writer:
        for number in range(FRAMES):
            x = round(SIDE / 2 + SIDE / 3 * np.sin(number / 20))
            y = round(SIDE / 2 + SIDE / 3 * np.cos(number / 31))
            grain = torch.randn(3, SIDE, SIDE, generator=draw) * 0.01
            writer.write(((background[:, y : y + SIDE, x : x + SIDE] + grain).clamp(0, 1) * 255).byte())


def _describe(clip: VideoInfo, video: Path | None) -> dict[str, Any]:
    return {
        "name": "generated" if video is None else "/".join(video.parts[-2:]),
        "copies": CLIPS,
        "frames": clip.frames,
        "size": f"{clip.width}x{clip.height}",
        "bytes": clip.file_size,
        "reader": clip.reader,
    }


def _show(result: dict[str, Any], path: Path) -> None:
    clip = result["clip"]
    print(
        f"two frames of a {clip['name']} clip: {clip['frames']} frames, {clip['size']}, {clip['bytes'] / MIB:.1f} MiB"
    )
    for name, kinds in result["results"].items():
        for kind, times in kinds.items():
            median, iqr = 1000 * times["median_s"], 1000 * times["iqr_s"]
            print(f"  {name:<14} {kind:<5} median {median:8.1f} ms, IQR {iqr:.1f} ms, n {times['n']}")
    ratios = result["ratio_of_medians"]
    print(f"  ratio of the medians: {ratios['wall']:.1f} by the clock, {ratios['cpu']:.1f} in CPU time\n{path}")


if __name__ == "__main__":
    main()
