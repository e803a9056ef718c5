"""Seconds per training step of the short recipes on all cores, in single precision and bfloat16, and their memory.

``python -m benchmarks.timings.training_speed --steps 20``
"""

import argparse
import statistics
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch
import yaml
from lightning import Callback, LightningModule, Trainer, seed_everything

from benchmarks.cost import peak_memory
from benchmarks.jobs import Precision
from benchmarks.metadata import RESULTS, machine_name, metadata, spread
from zoo.data import VideoDataModule
from zoo.folders import find_recipe
from zoo.loading import find_method
from zoo.report import write_json

RECIPES = (
    "first_order_motion_model/synthetic-64",
    "everybody_dance_now/synthetic-64",
    "dwnet/synthetic-64",
    "deep_spatial_transformation/synthetic-64",
    "deep_spatial_transformation/synthetic-64-animation",
    "pose_attentive_reassembling/synthetic-64-no-cross",
)
PRECISIONS: tuple[Precision, ...] = ("32-true", "bf16-mixed")
WARM_UP = 3
ROUNDS = 2
"""Both precisions take turns, so that what else the machine does meets both."""


def main() -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.timings.training_speed", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--steps", type=int, default=10, help=f"steps timed in each of {ROUNDS} rounds")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
    speeds = {}
    # Each recipe in a process of its own, whose memory is the recipe's.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as fresh:
        for recipe in RECIPES:
            speeds[recipe] = fresh.submit(measure, recipe, options.steps).result()
            minutes = {name: 1000 * speeds[recipe][name]["median_s"] / 60 for name in PRECISIONS}
            words = " or ".join(f"{m:.1f} minutes ({name})" for name, m in minutes.items())
            print(f"{recipe}: 1000 steps in {words}, {speeds[recipe]['peak_memory_megabytes']:.0f} MB")
    path = RESULTS / f"training_speed--{machine_name()}.json"
    write_json(path, {"metadata": metadata("training_speed", torch.get_num_threads()), "training_step": speeds})
    print(path)


def measure(recipe: str, steps: int) -> dict[str, Any]:
    """Times training steps of a recipe on synthetic people, data loading left out.

    Args:
        recipe: METHOD/NAME.
        steps: How many, in each of the rounds.

    Returns:
        Precision -> number, median and quartiles of a step's seconds by the clock; ``ratio`` of the medians;
        ``peak_memory_megabytes``, the most that the process held resident, libraries included, in whichever precision.
    """
    method, _, name = recipe.partition("/")
    content = yaml.safe_load(find_recipe(method, name).read_text("utf-8"))
    seconds: dict[Precision, list[float]] = {precision: [] for precision in PRECISIONS}
    for turn in range(ROUNDS):
        for precision in PRECISIONS[:: (-1) ** turn]:
            seconds[precision] += training_steps(content, precision, steps)
    single, half = (statistics.median(seconds[precision]) for precision in PRECISIONS)
    times: dict[str, Any] = {precision: spread(each) for precision, each in seconds.items()}
    peak = round(peak_memory(torch.device("cpu")) / 2**20, 1)
    return {**times, "ratio": single / half, "peak_memory_megabytes": peak}


def training_steps(content: dict[str, Any], precision: Precision, steps: int) -> list[float]:
    """Seconds of each of the first ``steps`` steps after a warm-up."""
    seed_everything(0, verbose=False)
    module: LightningModule = find_method(content["model"]["class_path"])(**content["model"]["init_args"])
    data = VideoDataModule(**content["data"] | {"workers": 0, "conditions": module.training_conditions})
    watch = _Watch()
    trainer = Trainer(
        max_steps=WARM_UP + steps,
        accelerator="cpu",
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[watch],
    )
    trainer.fit(module, data)
    return watch.seconds[WARM_UP:]


class _Watch(Callback):
    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started = 0.0

    def on_train_batch_start(self, *_: object) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(self, *_: object) -> None:
        self.seconds.append(time.perf_counter() - self._started)


if __name__ == "__main__":
    main()
