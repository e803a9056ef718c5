"""Training a job's method by `zoo fit` in a process of its own, continued where it was interrupted."""

import csv
import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
import yaml

from benchmarks.jobs import DEFAULT_PRECISION, Job, Settings
from benchmarks.schema import Training
from zoo.errors import ZooError
from zoo.report import write_json

POINTS = 100
"""Of a curve in a result; a longer one is thinned out."""


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        weights: What `zoo fit` wrote for animation.
        training: What results say about it.
    """

    weights: Path
    training: Training


def train(job: Job, settings: Settings, device: torch.device) -> Trained:
    """Trains, or takes up what an earlier run of the same training left: finished, or a checkpoint.

    Raises:
        ZooError: `zoo fit` failed; shows the end of its output.
    """
    config = job.training()
    assert config is not None  # only such jobs are trained
    folder = settings.work / "trainings" / str(job.training_name)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / "lock") as lock:
        finished = folder / "finished.json"
        if not finished.is_file():
            data = {key: job.protocol.data_options(settings.data)[key] for key in ("path", "split")}
            cards = {} if device.index is None else {"devices": [device.index]}
            trainer = {"default_root_dir": str(folder), "accelerator": device.type} | cards
            here = {"data": config["data"] | data, "trainer": config["trainer"] | trainer}
            seconds = _fit(folder, config | here, lock)
            precision = config["trainer"].get("precision", DEFAULT_PRECISION)
            done = {"seconds": seconds, "steps": config["trainer"]["max_steps"], "precision": precision}
            write_json(finished, done | {"device": device.type})
        done = {"device": device.type} | json.loads(finished.read_text("utf-8"))  # the first ones don't say it
    return Trained(_newest(folder, "weights.safetensors"), _describe(folder, done, config))


@contextmanager
def _alone(path: Path) -> Iterator[IO[str]]:
    """Waits until no other process trains in this folder.

    The lock is handed on to `zoo fit`, so that one which outlives a killed benchmark keeps it: whoever comes next waits
    for it instead of writing to the same files.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _fit(folder: Path, config: dict[str, Any], lock: IO[str]) -> float:
    """Runs `zoo fit` and returns the seconds that it took, those before an interruption included."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    command = [sys.executable, "-m", "zoo", "fit", "--config", str(path)]
    checkpoints = sorted(folder.glob("*/*/checkpoints/last*.ckpt"), key=lambda file: file.stat().st_mtime)
    if checkpoints:
        command += ["--ckpt_path", "last"]
    clock = folder / "clock.json"
    spent = _spent(clock, checkpoints)
    started = time.time()
    write_json(clock, {"spent": spent, "started": started})
    log = folder / "fit.log"
    with log.open("a") as output:
        code = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, pass_fds=[lock.fileno()]
        ).returncode
    if code:
        last = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()][-1:]
        raise ZooError(f"`zoo fit` failed ({' '.join(last)}); its output is in {log}")
    return spent + time.time() - started


def _spent(clock: Path, checkpoints: list[Path]) -> float:
    """Seconds of earlier attempts whose work is kept: until the checkpoint that training goes on from."""
    if not clock.is_file() or not checkpoints:
        return 0.0
    before = json.loads(clock.read_text("utf-8"))
    return before["spent"] + max(0.0, checkpoints[-1].stat().st_mtime - before["started"])


def _describe(folder: Path, done: dict[str, Any], config: dict[str, Any]) -> Training:
    steps, seconds, precision, device = (done[name] for name in ("steps", "seconds", "precision", "device"))
    return {
        "steps": steps,
        "seconds": round(seconds, 1),
        "budget": f"{steps} steps in {precision}, {seconds / 60:.1f} minutes on one {device} device, from scratch",
        "curve": read_curve(folder),
        "config": config,
    }


def read_curve(folder: Path) -> dict[str, list[float | None]]:
    """What a training logged, of all its attempts: a later one counts where two logged the same step."""
    logged: dict[int, dict[str, float]] = {}
    for path in sorted(folder.glob("*/*/metrics.csv"), key=lambda path: int(path.parent.name.rpartition("_")[2])):
        # A kill may have cut the last line off.
        lines = [line for line in path.read_text("utf-8").splitlines(keepends=True) if line.endswith("\n")]
        for row in csv.DictReader(lines):
            values = {name: float(value) for name, value in row.items() if value and "/" in name}
            logged.setdefault(int(row["step"]), {}).update(values)
    terms = sorted({name for values in logged.values() for name in values})
    measured = {step for step, values in logged.items() if any(name.startswith("val/") for name in values)}
    others = sorted(logged.keys() - measured)
    kept = {others[place] for place in np.linspace(0, len(others) - 1, min(POINTS, len(others))).round().astype(int)}
    steps = sorted(measured | kept)
    curve: dict[str, list[float | None]] = {"step": list(steps)}
    return curve | {term: [_rounded(logged[step].get(term)) for step in steps] for term in terms}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _newest(folder: Path, name: str) -> Path:
    return max(folder.glob(f"*/*/{name}"), key=lambda path: path.stat().st_mtime)
