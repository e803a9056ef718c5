from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import cast

import torch
import yaml

from zoo import training
from zoo.base import AnimationModule
from zoo.batch import Batch, truth
from zoo.data import VideoDataModule
from zoo.errors import FileError, OptionError
from zoo.folders import find_recipe
from zoo.framing import to_bytes
from zoo.methods import discover
from zoo.video import VideoWriter, grid, magnify
from zoo.weights import load_weights
from zoo.weights.checkpoint import read_metadata

METHOD = "first_order_motion_model"
TITLES = ("source", "driving", "result", "truth")
MAGNIFICATION = 3
"""How much larger than the network's pictures the demo shows them."""


def demo(output: str = "demo", steps: int = 1000, clips: int = 4) -> Path:
    """Trains First Order Motion on synthetic people, measures it, and shows people in pictures move.

    Nothing is downloaded: the people are generated. It takes 5 to 35 minutes on two cores. A training that was
    interrupted, or that is to have more steps, goes on from its last checkpoint.

    Args:
        output: Folder for the run, its results and `animation.mp4`.
        steps: Training steps. After the recipe's 1000 people move where the driver moves; arms and legs lag behind.
        clips: Pairs in the video, one below the other: a person that training never saw, moved by another person's
            motion that training never saw either, beside the true frames.

    Returns:
        The video, which shows source, driving, result and truth side by side.

    Raises:
        OptionError: A number is too small.
    """
    for option, number in (("steps", steps), ("clips", clips)):
        if number < 1:
            raise OptionError(f"--{option} is {number}; it is 1 or more")
    recipe = find_recipe(METHOD, "synthetic-64")
    common = ["--config", str(recipe), "--trainer.default_root_dir", output]
    length = ["--trainer.max_steps", str(steps), "--trainer.val_check_interval", str(steps)]
    runs = Path(output) / discover()[METHOD].__name__
    done = _steps_done(runs)
    if done == steps:
        print(f"trained before: {training.latest_checkpoint(runs).parents[1]}")
    else:
        onwards = ["--ckpt_path", str(training.latest_checkpoint(runs))] if done is not None and done < steps else []
        training.run(["fit", *common, *length, "--trainer.precision", training.fastest_precision(), *onwards])
    tasks = {"People as their own drivers": [], "People moved by others": ["--data.pairs", "cross_identity"]}
    for title, task in tasks.items():
        print(f"\n{title}, none of whom was trained on:")
        training.run(["test", *common, "--ckpt_path", "last", "--trainer.precision", "32-true", *task])

    run = training.latest_checkpoint(runs).parents[1]
    method = load_weights(run / "weights.safetensors", discover()[METHOD])
    options = yaml.safe_load(recipe.read_text())["data"]
    options |= {"pairs": "cross_identity", "evaluation_stride": 1, "workers": 0}
    data = VideoDataModule(conditions=method.conditions, **options)
    video = write_panels(method, data, Path(output) / "animation.mp4", clips)
    print(f"source, driving, result and truth side by side: {video}")
    weights = run / "weights.safetensors"
    print(f"a picture of yours: zoo animate --weights {weights} --source me.png --driving dance.mp4 --output me.mp4")
    return video


def _steps_done(runs: Path) -> int | None:
    """Steps after which the newest run with a checkpoint ended, 0 if it was interrupted; None where there is none."""
    try:
        weights = training.latest_checkpoint(runs).parents[1] / "weights.safetensors"
    except FileError:  # no run yet
        return None
    return int(read_metadata(weights)["steps"]) if weights.exists() else 0


def write_panels(method: AnimationModule, data: VideoDataModule, path: Path, clips: int) -> Path:
    """Animates the first test pairs and writes them one below the other.

    Args:
        method: In eval mode.
        data: Gives the test pairs.
        path: Of the video.
        clips: How many pairs.
    """
    batches = [cast(Batch, data.on_after_batch_transfer(batch, 0)) for batch in islice(data.test_dataloader(), clips)]
    rows = [_row(batch, method.animate(batch)) for batch in batches]
    with VideoWriter(path, Fraction(batches[0]["fps"][0]).limit_denominator(1001)) as writer:
        for moment in range(min(row.shape[1] for row in rows)):
            writer.write(grid([list(row[:, moment]) for row in rows], TITLES))
    return path


def _row(batch: Batch, result: torch.Tensor) -> torch.Tensor:
    """Source, driving, result and truth of a batch's first clip, magnified: uint8 (4, T, 3, H, W)."""
    driving = batch["driving"][0]
    source = batch["source"][0, :1].expand_as(driving)
    columns = torch.stack([source, driving, result[0], truth(batch)[0]])
    return magnify(to_bytes(columns.flatten(0, 1)), MAGNIFICATION).unflatten(0, columns.shape[:2])
