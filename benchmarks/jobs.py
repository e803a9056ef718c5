"""What there is to run: one job per protocol, method and seed, each on its own."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from benchmarks.protocol import Protocol, Suite, digest
from zoo.base import AnimationModule
from zoo.baselines import BASELINES
from zoo.errors import FileError, OptionError, ZooError
from zoo.folders import find_recipe, recipes_folder
from zoo.loading import find_method, list_methods
from zoo.methods import discover

SECTIONS = ("model", "data", "trainer", "checkpoint")
"""What of a recipe training takes; the rest of it is about something else."""

Precision = Literal["32-true", "bf16-mixed"]
"""What a processor and a graphics card can both train in. Measurements are always in single precision."""

DEFAULT_PRECISION: Precision = "32-true"
"""Lightning's, where a recipe names none."""

VALIDATIONS = 8
"""So often a training run validates, and on so many clips: points of the curves, of little cost."""


@dataclass(frozen=True)
class Entry:
    """A method as it enters a table.

    Attributes:
        name: Folder in zoo/methods, baseline, or snake case of a class from outside.
        kind: As results call it.
        method: Dotted path of the class.
        recipe: What it is trained by; None for baselines.
        weights: A weights file, which makes training needless.
    """

    name: str
    kind: Literal["method", "baseline"]
    method: str
    recipe: Path | None = None
    weights: Path | None = None

    @property
    def type(self) -> type[AnimationModule]:
        """The class."""
        return BASELINES[self.name] if self.kind == "baseline" else find_method(self.method)

    @property
    def data_options(self) -> dict[str, Any]:
        """Options of the data module that are the method's own when it is evaluated, too."""
        if self.recipe is None:
            return {}
        options = yaml.safe_load(self.recipe.read_text("utf-8")).get("data") or {}
        return {name: options[name] for name in ("source_frames", "pose_window", "surfaces") if name in options}

    @property
    def title(self) -> str:
        """What tables call it."""
        if self.kind == "baseline":
            return BASELINES[self.name].title
        return method_title(self.method.rpartition(".")[2])


def method_title(class_name: str) -> str:
    """What tables call a method."""
    # between words, but not behind an abbreviation: DwNet is one
    return re.sub(r"(?<=[a-z0-9]{3})(?=[A-Z])", " ", class_name)


@dataclass(frozen=True)
class Settings:
    """Where a run reads and writes, and on what it computes; nothing of it changes a number by intent.

    Attributes:
        output: Folder of results.
        work: Folder of training runs and videos.
        data: The folder in which the folders of real clips lie; None is what ``ZOO_DATA`` names.
        device: ``auto``, ``cpu`` or ``cuda``, of which ``cuda:1`` is the second.
        machine: What file names call the machine; None is its processor or graphics card.
    """

    output: Path
    work: Path
    data: Path | None = None
    device: str = "auto"
    machine: str | None = None


@dataclass(frozen=True)
class Job:
    """A method with one seed under one protocol."""

    protocol: Protocol
    entry: Entry
    seed: int | None  # None: nothing is trained
    films: bool = False  # whether its first clips are kept as videos
    precision: Precision | None = None  # of training; None is the recipe's

    @property
    def variant(self) -> str:
        """The middle part of the result's name."""
        if self.entry.kind == "baseline":
            return "baseline"
        return self.made_with if self.entry.weights else f"{self.made_with}-seed{self.seed}"

    @property
    def made_with(self) -> str:
        """What results and folders of videos call the recipe, or the weights that were given instead of one."""
        if weights := self.entry.weights:
            with weights.open("rb") as file:  # two runs may well write files of one name
                return f"weights-{weights.stem}-{hashlib.file_digest(file, 'sha256').hexdigest()[:8]}"
        assert self.entry.recipe is not None
        return self.entry.recipe.stem

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.protocol.name}: {self.entry.name} ({self.variant})"

    def result(self, output: Path, machine: str) -> Path:
        """The result's file."""
        return output / self.protocol.name / f"{self.entry.name}--{self.variant}--{machine}.json"

    def training(self) -> dict[str, Any] | None:
        """The configuration of `zoo fit` that the job needs, without folders; None where nothing is trained.

        What only evaluation reads is left out, so that protocols which differ in that alone share one training.
        """
        if self.entry.recipe is None or self.entry.weights:
            return None
        recipe = yaml.safe_load(self.entry.recipe.read_text("utf-8"))
        config = {section: dict(recipe.get(section) or {}) for section in SECTIONS}
        steps = self.protocol.content["training"]["steps"]
        config["data"] |= self.protocol.content["data"] | {"pairs": None, "strict": True}
        if "later_motion" not in config["data"]:  # there the length of an evaluation decides what is tested on
            config["data"] |= {"evaluation_frames": 16, "evaluation_stride": 1}
        config["trainer"] |= {
            "devices": 1,
            "max_steps": steps,
            "max_epochs": -1,
            "check_val_every_n_epoch": None,
            "val_check_interval": max(1, steps // VALIDATIONS),
            "limit_val_batches": VALIDATIONS,
            "enable_progress_bar": False,
        }
        if self.precision and self.precision != config["trainer"].get("precision", DEFAULT_PRECISION):
            config["trainer"]["precision"] = self.precision
        config["checkpoint"] |= {"every_n_train_steps": max(1, min(250, steps // 10))}
        config["evaluator"] = {"metrics": ["l1", "moving_l1", "lpips_alex"]}
        return config | {"seed_everything": self.seed}

    @property
    def training_name(self) -> str | None:
        """The folder of its training: jobs with the same one share it."""
        config = self.training()
        if config is None:
            return None
        return f"{self.entry.name}-{self.variant}-{digest(config | self.protocol.lists())}"


def find_jobs(
    suite: Suite,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    steps: int | None = None,
    weights: Sequence[str] = (),
    precision: Precision | None = None,
) -> tuple[list[Job], list[str]]:
    """Lists the jobs of a suite.

    Args:
        suite: Protocols, and what to run on them unless the other arguments say otherwise.
        methods: Names of methods or baselines, or recipe files (.yaml) of methods from anywhere. By default every
            baseline and every method that has the protocol's recipe.
        seeds: Of training; baselines and given weights run once.
        steps: Of training instead of the protocols'; makes them other protocols, with another hash.
        weights: ``METHOD=FILE``: this method isn't trained, whether its name or a recipe is given.
        precision: Of training instead of the recipes'.

    Returns:
        The jobs in a fixed order, and a line for each method that a protocol can't run.

    Raises:
        ZooError: A method, recipe or file doesn't exist, or two recipes are called alike.
    """
    if steps is not None and steps < 1:
        raise OptionError(f"--steps is {steps}; it is 1 or more")
    given = _weights(weights)
    jobs: list[Job] = []
    left_out: list[str] = []
    for protocol in suite.protocols:
        if steps is not None:
            protocol = protocol.with_steps(steps)
        for entry in _entries(protocol, methods or suite.methods, given):
            if missing := sorted(set(entry.type.conditions) - set(protocol.provides(entry.data_options))):
                left_out.append(f"{protocol.name}: {entry.name} needs {', '.join(missing)}, which its clips don't have")
                continue
            trained = entry.recipe is not None and not entry.weights
            numbers: Sequence[int | None] = (seeds or suite.seeds) if trained else [None]
            jobs += [Job(protocol, entry, seed, seed == numbers[0], precision) for seed in numbers]
    if unused := sorted(given.keys() - {job.entry.name for job in jobs if job.entry.weights}):
        raise OptionError(f"--weights names {', '.join(unused)}, no method that is run; add it to --methods")
    _check_results_differ(jobs)
    return jobs, left_out


def _check_results_differ(jobs: Sequence[Job]) -> None:
    """Complains about two recipes of one method whose files are called alike: their results would be, too."""
    recipes: dict[Path, Path | None] = {}
    for job in jobs:
        recipe = recipes.setdefault(job.result(Path(), ""), job.entry.recipe)
        if recipe != job.entry.recipe:
            raise OptionError(
                f"{recipe} and {job.entry.recipe} have results of one name; rename one, or give each an --output"
            )


def share(jobs: Sequence[Job], part: int, parts: int) -> list[Job]:
    """Part ``part`` (from 1) of ``parts``: each job is in exactly one, those that share a training in the same.

    Raises:
        OptionError: There is no such part.
    """
    if not 1 <= part <= parts:
        raise OptionError(f"--only {part}/{parts}: write a number from 1 to {parts} before the stroke")
    return [job for group in groups(jobs)[part - 1 :: parts] for job in group]


def groups(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that share a training, together; every other job alone."""
    found: dict[str, list[Job]] = {}
    for number, job in enumerate(jobs):
        found.setdefault(job.training_name or f"#{number}", []).append(job)
    return list(found.values())


def _entries(protocol: Protocol, names: Sequence[str] | None, weights: dict[str, Path]) -> list[Entry]:
    recipe = protocol.content["training"]["recipe"]
    if names is None:
        having = [name for name in list_methods() if (recipes_folder() / name / f"{recipe}.yaml").is_file()]
        names = [*BASELINES, *having, *(name for name in weights if name not in having)]
    return [_entry(name, recipe, weights) for name in names]


def _entry(name: str, recipe: str, weights: dict[str, Path]) -> Entry:
    if name in BASELINES:
        return Entry(name, "baseline", f"{BASELINES[name].__module__}.{BASELINES[name].__qualname__}")
    if name.endswith(".yaml"):
        return _from_recipe(Path(name), weights)
    having = [method for method in list_methods() if (recipes_folder() / method).is_dir()]
    if name not in having:  # variants of a method have recipes beside the method's own
        known = ", ".join([*BASELINES, *having])
        raise ZooError(f"there is no method {name!r} with recipes of its own; there are {known}, or name a recipe file")
    method = discover()[name]
    path = find_recipe(name, recipe)  # with given weights too: it says how many source frames the method takes
    return Entry(name, "method", f"{method.__module__}.{method.__qualname__}", path, weights.get(name))


def _from_recipe(path: Path, weights: dict[str, Path]) -> Entry:
    if not path.is_file():
        raise ZooError(f"{path}: no such recipe; name a file with `model` and `data`, as in configs/")
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (ValueError, yaml.YAMLError) as error:  # a ValueError where it isn't UTF-8
        raise FileError(
            path, f"is no YAML ({' '.join(str(error).split())})", "write it as those in configs/"
        ) from error
    try:
        method = find_method(content["model"]["class_path"])
    except (KeyError, TypeError, AttributeError):
        raise ZooError(f"{path}: names no method; write `model: {{class_path: package.ClassName}}`") from None
    own = {found: name for name, found in discover().items()}
    name = own.get(method) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", method.__name__).lower()
    return Entry(name, "method", f"{method.__module__}.{method.__qualname__}", path.resolve(), weights.get(name))


def _weights(given: Sequence[str]) -> dict[str, Path]:
    found = {}
    for text in given:
        name, _, file = text.partition("=")
        if not file or not Path(file).is_file():
            raise OptionError(f"--weights {text}: write METHOD=FILE, with a file that exists")
        found[name] = Path(file).resolve()
    return found
