"""Protocols and suites: what is measured on what, read from a file each, with a hash over all that changes a number."""

import hashlib
import inspect
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NotRequired, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from zoo.batch import Condition
from zoo.data import VideoDataModule
from zoo.data.synthetic import SyntheticOptions
from zoo.errors import FileError, OptionError

PROTOCOLS = Path(__file__).parent / "protocols"
SUITES = Path(__file__).parent / "suites"
DATA_VARIABLE = "ZOO_DATA"
"""Names the folder in which the folders of real clips lie."""

_STRICT = ConfigDict(extra="forbid", strict=True)
_STATED = ("path", "size", "fit", "fps", "split", "pairs", "evaluation_frames", "evaluation_stride")
"""Options of the data module that change what is evaluated: a protocol states them all, no default is hidden."""
_FREE = ("conditions", "seed", "strict", "workers", "cache_megabytes", "batch_size")
"""Options that a protocol can't state: they follow from the run, or don't change a number."""


class ProtocolError(FileError):
    """A protocol or suite that can't be used."""


@with_config(_STRICT)
class TrainingPlan(TypedDict):
    """How methods are trained that come without weights."""

    recipe: str  # configs/<method>/<recipe>.yaml
    steps: int


@with_config(_STRICT)
class Estimators(TypedDict):
    """Networks of others, as dotted paths of classes: see `zoo.metrics.keypoints` and `zoo.metrics.embedding`."""

    keypoints: str | None  # for akd, mkr and jitter
    identity: str | None  # for aed


@with_config(_STRICT)
class Content(TypedDict):
    """A protocol's file."""

    title: str
    data: dict[str, Any]  # options of VideoDataModule; `path` is the name of a folder below ZOO_DATA
    provides: list[Condition]  # which of pose, iuv and mask the data has
    metrics: list[str]
    sets: list[str]
    estimators: NotRequired[Estimators]
    training: TrainingPlan
    seed: int  # of bootstraps, and of methods that draw at random when they animate


@with_config(_STRICT)
class SuiteContent(TypedDict):
    """A suite's file: protocols that are run together."""

    protocols: list[str]
    seeds: list[int]
    methods: NotRequired[list[str]]


@dataclass(frozen=True)
class Protocol:
    """What is measured, on which clips, after which training.

    Attributes:
        name: Of the file, without its ending.
        folder: Where the file lies; lists of clips are named relative to it.
        content: What the file says.
    """

    name: str
    folder: Path
    content: Content

    @property
    def hash(self) -> str:
        """The first 12 digits of SHA-256 over canonical JSON of everything but the title, lists of clips included."""
        hashed: dict[str, Any] = {key: value for key, value in self.content.items() if key != "title"}
        return digest(hashed | self.lists())

    def lists(self) -> dict[str, str]:
        """The texts of the lists of clips that it names beside its file."""
        return {f"{key} list": path.read_text("utf-8") for key in ("split", "pairs") if (path := self._list(key))}

    def provides(self, of_method: Mapping[str, Any]) -> list[Condition]:
        """What its clips have for a method with some options of the data module: drawn surfaces need poses alone."""
        stored = self.content["provides"]
        is_drawn = of_method.get("surfaces") == "skeleton" and "pose" in stored and "iuv" not in stored
        return [*stored, "iuv"] if is_drawn else stored

    def with_steps(self, steps: int) -> "Protocol":
        """The protocol with another budget of training, which is another protocol: its hash differs."""
        training: TrainingPlan = {**self.content["training"], "steps": steps}
        return replace(self, content={**self.content, "training": training})

    def data_options(self, root: Path | None) -> dict[str, Any]:
        """Options of the data module, its folder and lists found.

        Args:
            root: The folder in which the folders of real clips lie; by default what ``ZOO_DATA`` names.

        Raises:
            ProtocolError: The clips aren't there; says how to get them.
        """
        options = dict(self.content["data"])
        for key in ("split", "pairs"):
            if path := self._list(key):
                options[key] = str(path)
        if options["path"] is not None:
            options["path"] = str(self._clips(options["path"], root))
        return options

    def _clips(self, name: str, root: Path | None) -> Path:
        root = root or Path(os.environ.get(DATA_VARIABLE, ""))
        folder = root / name
        if root == Path() or not folder.is_dir():
            where = f"{DATA_VARIABLE} is not set" if root == Path() else f"{root} has no folder {name}"
            raise ProtocolError(
                f"protocol {self.name}",
                f"needs the clips {name!r}, but {where}",
                f"get them as benchmarks/README.md says under 'Data', and set {DATA_VARIABLE} (or --data) to the "
                f"folder that holds {name}/",
            )
        return folder.resolve()

    def _list(self, key: str) -> Path | None:
        name = self.content["data"][key]
        path = self.folder / name if isinstance(name, str) else None
        return path.resolve() if path is not None and path.is_file() else None


@dataclass(frozen=True)
class Suite:
    """Protocols to run, with which seeds and methods; no methods are all that the protocols can run."""

    protocols: tuple[Protocol, ...]
    seeds: tuple[int, ...] = (0,)
    methods: tuple[str, ...] | None = None


def find_suite(name: str) -> Suite:
    """The protocol or suite of that name, or of that file, which ends in .yaml.

    Raises:
        ProtocolError: There is none, or its file isn't as it should be; names the field.
    """
    if name.endswith(".yaml"):
        path = Path(name)
        if not path.is_file():
            raise ProtocolError(path, "no such file", "name a protocol, a suite, or a file of one")
    else:
        found = [folder / f"{name}.yaml" for folder in (PROTOCOLS, SUITES) if (folder / f"{name}.yaml").is_file()]
        if not found:
            known = ", ".join(names(PROTOCOLS) + names(SUITES))
            raise OptionError(f"there is no protocol or suite {name!r}; there are {known}, or name a .yaml file")
        path = found[0]
    content = _read(path)
    if isinstance(content, dict) and "protocols" in content:
        suite = _checked(path, content, SuiteContent)
        methods = tuple(suite["methods"]) if "methods" in suite else None
        return Suite(tuple(_member(path, member) for member in suite["protocols"]), tuple(suite["seeds"]), methods)
    return Suite((read_protocol(path),))


def read_protocol(path: Path) -> Protocol:
    """Reads and checks a protocol.

    Raises:
        ProtocolError: A field is missing, unknown or of the wrong kind.
    """
    content = _checked(path, _read(path), Content)
    known = inspect.signature(VideoDataModule).parameters
    _check_keys(path, "data", content["data"], _STATED, [name for name in known if name not in _FREE])
    if content["data"]["path"] is None:
        synthetic = content["data"].get("synthetic") or {}
        options = [name for name in SyntheticOptions.__annotations__ if name != "size"]
        _check_keys(path, "data.synthetic", synthetic, options, options)
    return Protocol(path.stem, path.parent, content)


def hashes() -> dict[str, str]:
    """Name -> hash of every protocol that comes with the benchmark."""
    return {name: read_protocol(PROTOCOLS / f"{name}.yaml").hash for name in names(PROTOCOLS)}


def generated() -> set[str]:
    """Names of the benchmark's own protocols whose clips are generated, so that anybody may have them."""
    protocols = [read_protocol(PROTOCOLS / f"{name}.yaml") for name in names(PROTOCOLS)]
    return {protocol.name for protocol in protocols if protocol.content["data"]["path"] is None}


def names(folder: Path) -> list[str]:
    """What a folder of protocols or suites holds."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def digest(content: Any) -> str:
    """12 hexadecimal digits that change with the content, but not with the order of keys."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _member(suite: Path, name: str) -> Protocol:
    beside = suite.parent / name
    path = beside if name.endswith(".yaml") else PROTOCOLS / f"{name}.yaml"
    if not path.is_file():
        raise ProtocolError(suite, f"names the protocol {name!r}, which doesn't exist", f"see {PROTOCOLS.name}/")
    return read_protocol(path)


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ProtocolError(path, f"can't be read ({str(error).splitlines()[0]})", "correct the file") from error


_Checked = TypeVar("_Checked")


def _checked(path: Path, content: Any, kind: type[_Checked]) -> _Checked:
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise ProtocolError(path, f"{field}: {first['msg']}", "correct the file") from None


def _check_keys(path: Path, field: str, given: Iterable[str], needed: Iterable[str], known: Iterable[str]) -> None:
    given = set(given)
    if missing := sorted(set(needed) - given):
        raise ProtocolError(path, f"{field} leaves out {', '.join(missing)}", "state what changes a number")
    if unknown := sorted(given - set(known)):
        raise ProtocolError(path, f"{field} can't state {', '.join(unknown)}", f"it may state {', '.join(known)}")
