"""The command line: Lightning's own commands, and a few plain functions shown as commands."""

import difflib
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from io import TextIOWrapper
from itertools import takewhile
from typing import Any, get_args, get_origin

import zoo
from zoo.errors import ZooError, is_out_of_memory

LIGHTNING_COMMANDS = {
    "fit": "train a method: --model NAME chooses it, --config FILE a recipe",
    "validate": "measure a trained method on the validation clips",
    "test": "measure it on the test clips and write test.json",
    "predict": "animate the test pairs and write videos",
}
"""Run by stock LightningCLI."""

STAGES = {"fit-stages": "train a method's stages in order: a folder of recipes; repeat it to resume"}

FUNCTIONS = {
    "demo": ("zoo.demo:demo", "train on synthetic people for a few minutes and show the result"),
    "animate": ("zoo.animation:animate", "a picture and a driving video in, an animated video out"),
    "score": ("zoo.score:score", "measure a folder of videos, made by any program, against the true ones"),
    "prepare": ("zoo.preparation:prepare", "cut raw videos into a folder of clips, estimate poses and surface maps"),
    "weights": (
        "zoo.weights.commands:COMMANDS",
        "list methods' weights; fetch metrics' and losses' networks",
    ),
}
"""Plain functions (or a dictionary of them); their signatures and docstrings become options and help."""

USAGE = """usage: zoo COMMAND ...

{commands}

Every command explains itself: zoo COMMAND --help
First steps: zoo fit --config configs/first_order_motion_model/tiny.yaml
"""

_SMALLER = "smaller pictures need less: --size of animate, in training --data.size, or --data.batch_size"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command; mistakes that the user can mend end it with one line instead of a traceback."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names that aren't UTF-8 are printed as they are
    command, *rest = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    try:
        run(command, rest)
    except ZooError as error:
        sys.exit(f"zoo {command}: {error}")
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        sys.exit(f"zoo {command}: memory ran out ({str(error).partition(chr(10))[0]}); {_SMALLER}")


def run(command: str, arguments: list[str]) -> None:
    """Runs one command.

    Raises:
        ZooError: The user's mistake, in one line.
    """
    if command in LIGHTNING_COMMANDS:
        from zoo import training  # imports torch and Lightning, which `zoo --help` can do without

        training.run([command, *arguments])
    elif command in STAGES:
        from zoo import stages

        stages.run(arguments)
    elif command in FUNCTIONS:
        _run_function(command, arguments)
    elif command == "--version":
        print(f"animation-zoo {zoo.__version__}")
    elif command in ("--help", "-h", "help"):
        print(usage())
    else:
        near = difflib.get_close_matches(command, [*LIGHTNING_COMMANDS, *STAGES, *FUNCTIONS], n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see `zoo --help`"
        raise ZooError(f"there is no such command; {hint}")


def usage() -> str:
    """All commands, a line each."""
    lines = LIGHTNING_COMMANDS | STAGES | {name: line for name, (_, line) in FUNCTIONS.items()}
    return USAGE.format(commands="\n".join(f"  {name:<11}{line}" for name, line in lines.items()))


def _run_function(command: str, arguments: list[str]) -> None:
    from jsonargparse import auto_cli

    module, _, name = FUNCTIONS[command][0].partition(":")
    function_or_group: Any = vars(import_module(module))[name]
    if callable(function_or_group):
        arguments = spell_out(arguments, function_or_group)
    auto_cli(function_or_group, args=arguments, prog=f"zoo {command}", as_positional=command == "weights")


def spell_out(arguments: Sequence[str], function: Callable[..., Any]) -> list[str]:
    """Options as jsonargparse takes them: ``--best-frame`` becomes ``--best_frame=true``, ``--source a b`` a list.

    Where the function's first parameter takes a list, its values may stand anywhere without its name.
    """
    kinds = {name: parameter.annotation for name, parameter in inspect.signature(function).parameters.items()}
    first = next(iter(kinds))
    takes_words = any(get_origin(kind) is list for kind in get_args(kinds[first]))
    spelled, rest = [], list(arguments)
    bare = _words(rest) if takes_words else []  # `zoo prepare a.mp4 b.mp4 --pose`
    del rest[: len(bare)]
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        if option.startswith("--"):
            option = "--" + option[2:].replace("-", "_")
            kind = kinds.get(option[2:])
            words = _words(rest)
            if not equals and kind is bool and not _is_truth_value(words):
                equals, value = "=", "true"
                if takes_words:  # `zoo prepare --pose a.mp4 b.mp4`
                    bare += words
                    del rest[: len(words)]
            elif not equals and (several := _as_list(words, kind)):
                equals, value = "=", several
                del rest[: len(words)]
        spelled.append(option + equals + value)
    return [f"--{first}={bare[0] if len(bare) == 1 else json.dumps(bare)}", *spelled] if bare else spelled


def _words(arguments: Sequence[str]) -> list[str]:
    """What comes before the next option."""
    return list(takewhile(lambda argument: not argument.startswith("--") and argument != "-h", arguments))


def _is_truth_value(words: Sequence[str]) -> bool:
    """Whether a switch's value comes next, as YAML or Python spell it; every other word is another option's."""
    return bool(words) and words[0].lower() in ("true", "false")


def _as_list(words: Sequence[str], annotation: Any) -> str | None:
    """Words as one value where a list of them is taken (a single one only by a tuple), else None."""
    for kind in (annotation, *get_args(annotation)):
        if get_origin(kind) is list and len(words) > 1:
            return json.dumps(words)
        if get_origin(kind) is tuple and words and words[0] != "null" and not words[0].startswith("["):
            return f"[{', '.join(words)}]" if int in get_args(kind) else json.dumps(words)
    return None
