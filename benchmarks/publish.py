"""Reference weights of a method: what a benchmark run trained, as a small file that comes with the zoo."""

from pathlib import Path
from typing import get_args

from benchmarks.jobs import DEFAULT_PRECISION, Precision
from benchmarks.schema import Result, read_result
from zoo.base import AnimationModule
from zoo.errors import FileError
from zoo.loading import find_method
from zoo.report import sha256_of
from zoo.weights import WeightsError, load_weights, save_weights
from zoo.weights.checkpoint import read_metadata
from zoo.weights.reference import METHODS, SUFFIX

MEGABYTES = 4
"""A file that comes with the zoo is not larger."""

LICENCE = "Apache-2.0"
"""Of weights that were trained on synthetic people alone; nothing else is published."""

SCORES = ("moving_l1", "lpips_alex", "ssim")


def publish(path: Path, work: Path) -> Path:
    """Writes a result's weights in half precision, with what is known of them, to ``zoo/methods/<method>/weights``.

    Args:
        path: The result of a method that was trained on synthetic people.
        work: The folder in which ``run`` left the training.

    Returns:
        The file, called after the recipe. It names the result, which holds the losses and every clip's scores.

    Raises:
        FileError: The result is of no such method, or the half-precision file is too large.
        WeightsError: The training isn't there any more, or its weights are others.
    """
    result = read_result(path)
    method, training, data = result["method"], result["training"], result["data"]
    if method["kind"] != "method" or training is None or data is None or data["path"] != "synthetic":
        remedy = "give a result of a method that was trained under a synthetic protocol"
        raise FileError(path, "is not of a training on synthetic people", remedy)
    weights, trained = _training(path, result, work)
    size = 2 * sum(tensor.numel() for tensor in trained.inference_state().values()) / 1e6
    if size > MEGABYTES:
        raise FileError(
            weights, f"is {size:.1f} MB in half precision, more than {MEGABYTES}", "publish a smaller recipe's"
        )
    target = METHODS / method["name"] / "weights" / f"{method['recipe']}{SUFFIX}"
    save_weights(
        trained,
        target,
        half=True,
        **{key: value for key, value in read_metadata(weights).items() if key not in ("method", "arguments")},
        licence=LICENCE,
        scores=scores(result),
        result=f"{path.parent.name}/{path.name}",
        command=command(result),
    )
    return target


def _training(path: Path, result: Result, work: Path) -> tuple[Path, AnimationModule]:
    """The weights' file and the method with the hash that the result gives."""
    expected = (result["weights"] or {}).get("sha256")
    method = find_method(str(result["method"]["class"]))
    pattern = f"{result['method']['name']}-{result['method']['recipe']}-seed{result['seed']}-*/*/*/weights.safetensors"
    files = sorted((work / "trainings").glob(pattern))
    for file in files:
        trained = load_weights(file, method)
        if sha256_of(trained.inference_state()) == expected:
            return file, trained
    problem = f"none of the {len(files)} trainings in {work} left the weights of this result (SHA-256 {expected})"
    raise WeightsError(path, problem, "name the folder that `run` worked in by `--work`")


def command(result: Result) -> str:
    """What makes a result again; it names the recipe's file, as variants of a method have no recipes by their name."""
    method = result["method"]
    folder = str(method["class"]).removeprefix("zoo.methods.").partition(".")[0]
    recipe = f"configs/{folder}/{method['recipe']}.yaml"
    words = f"python -m benchmarks run {result['protocol']['name']} --methods {recipe} --seeds {result['seed']}"
    training = result["training"]
    trainer = training["config"]["trainer"] if training and "config" in training else {}
    precision = trainer.get("precision", DEFAULT_PRECISION)
    return f"{words} --precision {precision}" if precision in get_args(Precision) else words


def scores(result: Result) -> str:
    """A result's leading metrics in words, with the number of clips and the protocol."""
    evaluation, protocol = result["evaluation"], result["protocol"]
    totals = {name: evaluation["totals"].get(name) for name in SCORES}
    values = ", ".join(f"{name} {value:.4f}" for name, value in totals.items() if value is not None)
    return f"{values} (n = {evaluation['measured']}, {protocol['name']} {protocol['hash']})"
