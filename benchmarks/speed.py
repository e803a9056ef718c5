"""Seconds per training step of a recipe, and frames per second of the synthetic people, on one core.

``python -m benchmarks.speed --recipe first_order_motion_model/actions-64 --steps 20``
"""

import argparse
import time

import torch
import yaml
from lightning import Callback, LightningModule, Trainer, seed_everything

from benchmarks.metadata import RESULTS, machine_name, metadata, spread, use_one_core
from zoo.data import VideoDataModule
from zoo.data.synthetic import SyntheticPeople
from zoo.folders import find_recipe
from zoo.methods import discover
from zoo.report import write_json

WARM_UP = 3
SIDES = (64, 256)
FRAMES = 24  # of each clip
CLIPS = 6


def main() -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="first_order_motion_model/synthetic-64", help="METHOD/NAME in configs")
    parser.add_argument("--steps", type=int, default=20, help="training steps timed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cores = use_one_core()
    method, _, recipe = options.recipe.partition("/")
    result = {
        "metadata": metadata("speed", cores, ("numpy",)),
        "training_step": {"recipe": options.recipe, **training_step(method, recipe, options.steps)},
        "synthetic_people": {f"{side}x{side}": rendering(side) for side in SIDES},
    }
    path = RESULTS / f"speed-{method}-{recipe}--{machine_name()}.json"
    write_json(path, result)
    step = result["training_step"]
    seconds = {kind: step[kind]["median_s"] for kind in ("cpu", "wall")}
    print(f"{options.recipe}: a step takes {seconds['cpu']:.2f} s of CPU, {seconds['wall']:.2f} s by the clock")
    for size, speed in result["synthetic_people"].items():
        print(f"synthetic people at {size}: {speed['frames_per_cpu_second']:.0f} frames per second of CPU")
    print(path)


def training_step(method: str, recipe: str, steps: int) -> dict[str, object]:
    """Times training steps of a recipe on synthetic people, data loading left out."""
    content = yaml.safe_load(find_recipe(method, recipe).read_text())
    seed_everything(0)
    module: LightningModule = discover()[method](**content["model"]["init_args"])
    data = VideoDataModule(**content["data"] | {"workers": 0})
    watch = _StepWatch()
    trainer = Trainer(
        max_steps=WARM_UP + steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[watch],
    )
    trainer.fit(module, data)
    return {"wall": spread(watch.wall[WARM_UP:]), "cpu": spread(watch.cpu[WARM_UP:]), "batch_size": data.batch_size}


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


class _StepWatch(Callback):
    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self._started = (0.0, 0.0)

    def on_train_batch_start(self, *_: object) -> None:
        self._started = time.perf_counter(), time.process_time()

    def on_train_batch_end(self, *_: object) -> None:
        wall, cpu = self._started
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)


if __name__ == "__main__":
    main()
