"""What a result file holds, said once as types and checked by them.

A file lies at ``benchmarks/results/<protocol>/<method>--<variant>--<machine>.json``, where the variant is
``<recipe>-seed<seed>``, or ``baseline`` for what isn't trained, or ``weights-<file>`` where weights were given.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic reads typing's own from Python 3.12 on only

from zoo.errors import FileError

VERSION = 1

_STRICT = ConfigDict(extra="forbid", strict=True)
_OPEN = ConfigDict(extra="allow", strict=True)


Interval = Annotated[list[float], Field(min_length=2, max_length=2)]
"""Low and high end."""


def video_folder(method: str, recipe: str | None) -> str:
    """The folder of a method's videos below their protocol's: what several recipes made lies apart."""
    return f"{method}--{recipe}" if recipe else method


class ResultError(FileError):
    """A result file that doesn't hold what it should."""


@with_config(_STRICT)
class ProtocolLabel(TypedDict):
    """Under which protocol the numbers were taken."""

    name: str  # of the file in benchmarks/protocols
    hash: str  # over everything in it that changes a number: rows with another hash belong to another table
    title: str


MethodLabel = TypedDict(  # in this form because a key is called `class`
    "MethodLabel",
    {
        "name": str,  # its folder in zoo/methods, or what an external program is called
        "title": str,
        "kind": Literal["method", "baseline", "external"],
        "recipe": str | None,  # configs/<name>/<recipe>.yaml; None where nothing is trained
        "class": str | None,  # dotted path; None for external programs
    },
)
"""Who made the clips."""
with_config(_STRICT)(MethodLabel)


@with_config(_STRICT)
class Training(TypedDict):
    """How the weights came about."""

    steps: int
    seconds: float  # of the whole fit by the clock, start-up and validation included, interruptions left out
    budget: str  # in words
    curve: dict[str, list[float | None]]  # `step`, and each logged term at these steps; None where it wasn't logged
    config: NotRequired[dict[str, Any]]  # what `zoo fit` was given, without folders; the first results lack it


@with_config(_OPEN)
class ClipRow(TypedDict):
    """One evaluated clip; beside these keys a value per metric (None: no value, as of a clip without motion)."""

    clip: str  # the driving clip
    source: str
    source_frame: int
    frames: int


@with_config(_OPEN)
class SetValue(TypedDict):
    """A metric on all clips together, such as FVD; what else is recorded is its convention."""

    value: float | None
    low: float | None  # of the 95 % bootstrap interval
    high: float | None
    infinity: float | None  # extrapolated to infinitely many clips
    clips: int  # windows, or frames, of the smaller side
    diagnostic: bool  # fewer clips than can be ranked


@with_config(_STRICT)
class Evaluation(TypedDict):
    """What was measured."""

    expected: int  # clips of the protocol
    measured: int  # clips without an error
    errors: dict[str, str]  # clip (or "source -> clip", where they differ) -> what went wrong
    totals: dict[str, float | None]  # mean over clips
    intervals: dict[str, Interval | None]  # 95 %, bootstrap over clips; None below two clips
    per_clip: list[ClipRow]
    sets: dict[str, SetValue]
    skipped: dict[str, str]  # metric -> why it wasn't measured, with the command that mends it


@with_config(_STRICT)
class Speed(TypedDict):
    """What animation costs on this machine."""

    frames_per_second: float
    encode_seconds: float  # once per animation, before the first frame
    peak_memory_megabytes: float
    parameters: int  # of the networks that animation needs
    size: list[int]  # height, width


@with_config(_OPEN)
class Dataset(TypedDict):
    """Which pictures were evaluated."""

    fingerprint: str  # SHA-256 over every evaluated frame


@with_config(_STRICT)
class Result(TypedDict):
    """One run: a method with one set of weights under one protocol on one machine."""

    schema: Literal[1]
    protocol: ProtocolLabel
    method: MethodLabel
    seed: int | None  # of the training
    training: Training | None
    evaluation: Evaluation
    speed: Speed | None
    arguments: dict[str, Any] | None  # of the method's constructor
    data: dict[str, Any] | None  # of the data module
    weights: dict[str, Any] | None
    networks: NotRequired[dict[str, str]]  # feature networks on the machine -> SHA-256 of the published file
    dataset: Dataset
    versions: dict[str, str]
    machine: dict[str, Any]
    commit: str | None
    date: str  # ISO 8601


_RESULT = TypeAdapter(Result)


def validate(result: Any, path: str | Path = "the result") -> None:
    """Checks a result against the types above, and that its parts agree.

    Args:
        result: What a file holds.
        path: The file, for the message.

    Raises:
        ResultError: Names the file, the first wrong field and what was expected.
    """
    remedy = "run it again with `python -m benchmarks run`, or correct the file"
    try:
        _RESULT.validate_python(result)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise ResultError(path, f"{field}: {first['msg']}", remedy) from None
    if problem := _disagreement(result):
        raise ResultError(path, problem, remedy)


def read_result(path: Path) -> Result:
    """Reads a result file and checks it.

    Raises:
        ResultError: It is no JSON, or not as it should be.
    """
    try:
        result = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(path, f"can't be read ({error})", "run it again with `python -m benchmarks run`") from error
    validate(result, path)
    return result


def _disagreement(result: Result) -> str | None:
    evaluation = result["evaluation"]
    rows, failed = evaluation["per_clip"], len(evaluation["errors"])
    if evaluation["measured"] + failed != evaluation["expected"]:
        return f"evaluation.measured: {evaluation['measured']} and {failed} errors don't add up to expected"
    if len(rows) != evaluation["expected"]:
        return f"evaluation.per_clip: {len(rows)} rows, but {evaluation['expected']} clips were expected"
    training = result["training"]
    if training and len({len(values) for values in training["curve"].values()}) > 1:
        return "training.curve: its lists differ in length"
    return None
