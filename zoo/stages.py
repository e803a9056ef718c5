"""``zoo fit-stages``: a method that is trained in stages, one config a stage, in order."""

import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from zoo.errors import FileError, ZooError
from zoo.training import latest_checkpoint

_INIT_FROM = "model.init_args.init_from"


@dataclass(frozen=True)
class Stage:
    """One config of a folder of stages, and where its runs go.

    Attributes:
        config: The file.
        method: Class name of the method.
        init_from: What the config names as its start: another stage of the folder, a file, or nothing.
        runs: Folder of its runs.
    """

    config: Path
    method: str
    init_from: str | None
    runs: Path

    @property
    def weights(self) -> Path | None:
        """What a finished run wrote, the newest; None as long as there is none."""
        found = list(self.runs.glob("*/version_*/weights.safetensors"))
        return max(found, key=lambda path: path.stat().st_mtime, default=None)

    @property
    def checkpoint(self) -> Path | None:
        """The newest run's last checkpoint; None as long as there is none."""
        try:
            return latest_checkpoint(self.runs / self.method)
        except FileError:
            return None


def run(arguments: Sequence[str]) -> None:
    """Runs the command line ``FOLDER [options of zoo fit]``.

    The configs of the folder are trained in the order of their names, each in a process of its own. Where one names
    another stage as ``init_from``, that stage's last checkpoint is put in. A stage that is finished is skipped, and one
    that was interrupted goes on from its last checkpoint: repeating the command resumes.

    Args:
        arguments: The folder; everything else is handed to each ``zoo fit``. Runs go below
            ``--trainer.default_root_dir``, by default ``runs/FOLDER``, each stage into a folder of its own.

    Raises:
        ZooError: The folder holds no stages, or a stage failed.
    """
    parser = ArgumentParser(
        prog="zoo fit-stages",
        description="Trains a method in stages: a folder's configs in the order of their names. Finished stages are "
        "skipped, an interrupted one goes on from its last checkpoint. Everything else is handed to each `zoo fit`.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", type=Path, help="folder with one .yaml file a stage")
    parser.add_argument("--trainer.default_root_dir", dest="root", type=Path, help="where runs go; runs/FOLDER")
    options, rest = parser.parse_known_args(arguments)
    stages = read_stages(options.folder, options.root or Path("runs") / options.folder.absolute().name)
    for stage in stages.values():
        train(stage, stages, rest)


def read_stages(folder: Path, root: Path) -> dict[str, Stage]:
    """The stages of a folder by name, in order.

    Raises:
        FileError: There are none, or a file is no config of a method.
    """
    stages = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            content: Any = yaml.safe_load(path.read_text("utf-8"))
            model = content["model"]
            method, start = model["class_path"].rpartition(".")[2], (model.get("init_args") or {}).get("init_from")
        except (TypeError, KeyError, AttributeError, ValueError, yaml.YAMLError) as error:  # a ValueError: no UTF-8
            raise FileError(path, "names no method", "give it `model: class_path:` like the recipes") from error
        stages[path.stem] = Stage(path, method, start, root / path.stem)
    if not stages:
        raise FileError(folder, "holds no configs", "name a folder with one .yaml file a stage")
    return stages


def train(stage: Stage, stages: dict[str, Stage], options: Sequence[str]) -> None:
    """Trains one stage to its end, unless it is finished.

    Raises:
        ZooError: The stage that it starts from wasn't trained, or training failed.
    """
    name = stage.config.stem
    if stage.weights:
        print(f"{name}: finished, {stage.weights}; remove {stage.runs} to train it again", flush=True)
        return
    command = [sys.executable, "-m", "zoo", "fit", "--config", str(stage.config), *options]
    command += ["--trainer.default_root_dir", str(stage.runs)]
    if stage.init_from in stages:
        start = stages[stage.init_from].checkpoint
        if start is None:
            raise ZooError(f"{name} starts from {stage.init_from}, which has no checkpoint yet; order stages by name")
        command += [f"--{_INIT_FROM}", str(start)]
    if stage.checkpoint:
        command += ["--ckpt_path", str(stage.checkpoint)]
    print(f"{name}: {'resumed from ' + str(stage.checkpoint) if stage.checkpoint else 'started'}", flush=True)
    if subprocess.run(command, check=False).returncode:
        raise ZooError(f"{name} failed, see above; the same command goes on from its last checkpoint")
