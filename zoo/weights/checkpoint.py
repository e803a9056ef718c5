import inspect
import json
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import torch
from lightning.pytorch.utilities import rank_zero_warn
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from zoo.errors import FileError, OptionError
from zoo.files import written_whole


class Publishable(Protocol):
    """What a module needs for its weights to be written and read here; every method of the zoo has it."""

    @property
    def hparams(self) -> Mapping[str, Any]:
        """The constructor arguments."""

    def inference_state(self) -> dict[str, Tensor]:
        """The tensors that animation needs, named as in ``state_dict``."""

    def state_dict(self) -> dict[str, Any]:
        """All tensors."""

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """Takes tensors over."""

    def eval(self) -> Self:
        """Switches to eval mode."""


Module = TypeVar("Module", bound=Publishable)


class WeightsError(FileError):
    """A weights file that can't be used."""


def save_weights(module: Publishable, path: str | Path, half: bool = False, **metadata: str) -> Path:
    """Writes a method's inference networks as safetensors with metadata.

    Args:
        module: The trained method.
        path: Where to; written under another name first, so that an existing file is replaced whole or not at all.
        half: Store floating point values as float16 (for publishing; half the size).
        **metadata: More strings to keep, such as ``data``, ``licence`` or ``steps``.

    Returns:
        The path.
    """
    path = Path(path)
    tensors = {name: _packed(tensor, half) for name, tensor in module.inference_state().items()}
    header = {
        "method": f"{type(module).__module__}.{type(module).__qualname__}",
        "arguments": json.dumps(_constructor_arguments(module.hparams)),
        # Names of data that aren't UTF-8 are escaped.
        **{key: value.encode("utf-8", "backslashreplace").decode() for key, value in metadata.items()},
    }
    with written_whole(path) as temporary:
        temporary.write_bytes(save(tensors, header))  # `save_file` would hide it from other users
    return path


def _constructor_arguments(hparams: Mapping[str, Any]) -> dict[str, Any]:
    """Without ``_class_path`` and ``_instantiator``, which LightningCLI adds."""
    return {name: value for name, value in hparams.items() if not name.startswith("_")}


def _packed(tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if half and tensor.is_floating_point() else tensor


def load_weights(path: str | Path, method: type[Module]) -> Module:
    """Builds a method from a weights file and loads it.

    Args:
        path: A safetensors file of :func:`save_weights`, or a Lightning checkpoint of the same method.
        method: The class that the file belongs to.

    Returns:
        The method in eval mode, on the CPU, float32.

    Raises:
        WeightsError: The file is missing, damaged, of another method, or its tensors don't fit.
    """
    arguments, tensors = _read_arguments_and_tensors(Path(path))
    try:
        inspect.signature(method).bind(**arguments)
    except TypeError as error:
        problem = f"holds arguments of another method than {method.__name__} ({error})"
        raise WeightsError(path, problem, "name the method that it belongs to") from error
    module = method(**arguments)
    with naming_file(path):
        load_state(module, tensors)
    return module.eval()


def load_state(module: Publishable, tensors: dict[str, Tensor]) -> None:
    """Loads tensors named as in the module's ``state_dict``; only the inference networks must be complete.

    Raises:
        ValueError: A tensor is missing, unknown or of another shape; says which.
    """
    name = type(module).__name__
    tensors = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
    own = module.state_dict()
    if lacking := module.inference_state().keys() - tensors.keys():
        raise ValueError(f"lacks {len(lacking)} tensors of {name}, among them {min(lacking)!r}")
    if unknown := tensors.keys() - own.keys():
        raise ValueError(f"holds {len(unknown)} tensors that {name} doesn't have here, among them {min(unknown)!r}")
    for key, tensor in tensors.items():
        if tensor.shape != own[key].shape:
            raise ValueError(f"{key!r} is {tuple(tensor.shape)}, but {name} has {tuple(own[key].shape)} here")
    module.load_state_dict(tensors, strict=False)


def without_unfitting(module: Publishable, tensors: dict[str, Tensor], networks: tuple[str, ...]) -> dict[str, Tensor]:
    """Tensors as :func:`load_state` takes them, less those that networks of training alone can't take.

    Official files may hold a discriminator of another make, which nobody animates with; it then keeps its own start.

    Args:
        module: Where they are to go.
        tensors: Named as in its ``state_dict``.
        networks: Attributes whose tensors may be left out. A network is left out as a whole, with a warning.
    """
    own = module.state_dict()
    for network in networks:
        given = {key: tensor for key, tensor in tensors.items() if key.startswith(f"{network}.")}
        wanted = {key for key in own if key.startswith(f"{network}.") and not key.endswith(".num_batches_tracked")}
        wrong = [key for key, tensor in given.items() if key not in own or own[key].shape != tensor.shape]
        if given and (wrong := [*wrong, *(wanted - given.keys())]):
            rank_zero_warn(
                f"the file's {network} isn't of the make that {type(module).__name__} has here (see {min(wrong)!r}); "
                "it is left out, which only further training would notice"
            )
            tensors = {key: tensor for key, tensor in tensors.items() if key not in given}
    return tensors


@contextmanager
def naming_file(path: str | Path) -> Iterator[None]:
    """Turns complaints of :func:`load_state` into a :class:`WeightsError` that names the file."""
    try:
        yield
    except ValueError as error:
        remedy = "build the method with the constructor arguments that the weights were trained with"
        raise WeightsError(path, str(error), remedy) from error


def method_of(path: str | Path) -> str:
    """The dotted class path that a weights file names; nothing is imported."""
    path = Path(path)
    if _is_safetensors(path):
        return read_metadata(path).get("method", "")
    return str(_read_pickle(path).get("hyper_parameters", {}).get("_class_path", ""))


class TrainedOn(NamedTuple):
    """The data of a training, as far as what animation has to do alike.

    Attributes:
        size: Height and width of the pictures; None where the file doesn't say it.
        is_stretched: Whether their aspect was changed (``data.fit: stretch``).
        has_drawn_surfaces: Whether surface maps were drawn around poses (``data.surfaces: skeleton``).
        clips: Height and width of the clips before that; None where they differ in aspect or the file doesn't say it.
        is_synthetic: Whether people were generated.
    """

    size: tuple[int, int] | None
    is_stretched: bool
    has_drawn_surfaces: bool
    clips: tuple[int, int] | None = None
    is_synthetic: bool = False

    @property
    def knows_drawn_surfaces(self) -> bool:
        """Whether surface maps had the charts of drawn bodies, which are the synthetic people's."""
        return self.has_drawn_surfaces or self.is_synthetic


def trained_on(path: str | Path) -> TrainedOn:
    """What weights were trained on, by what their file says: metadata, or a checkpoint's options of the data."""
    path = Path(path)
    if _is_safetensors(path):
        said: Mapping[str, Any] = read_metadata(path)
        size, clips = _read_size(said.get("size", "")), _read_size(said.get("clips", ""))
        is_synthetic = said.get("data") == "synthetic"
    else:
        checkpoint = _read_pickle(path)
        said = checkpoint.get("datamodule_hyper_parameters", {})
        side = said.get("size")
        size = (side, side) if isinstance(side, int) else side and (side[0], side[1])
        clips = checkpoint.get("VideoDataModule", {}).get("clips")
        is_synthetic = said.get("path", "") is None
    is_stretched, has_drawn = said.get("fit") == "stretch", said.get("surfaces") == "skeleton"
    return TrainedOn(size, is_stretched, has_drawn, clips, is_synthetic)


def _read_size(text: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def check_official_options(options: Mapping[str, Any], only: Mapping[str, Any]) -> None:
    """Checks official options of which one value is here.

    Args:
        options: As they are given; those that aren't named have that value.
        only: Name -> the value.

    Raises:
        OptionError: One has another value.
    """
    for name, value in only.items():
        if options.get(name, value) != value:
            raise OptionError(f"{name} is {options[name]!r} in these options; only {value!r} is here")


def read_foreign(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint that other code wrote, without running any code in it.

    Args:
        path: A safetensors file, or a torch file of tensors in plain containers.

    Returns:
        The dictionary inside, tensors on the CPU.

    Raises:
        WeightsError: The file is missing, damaged, or would need unpickling of arbitrary objects.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(path, "no such file", "check the name")
    return _load_tensors(path) if _is_safetensors(path) else _read_pickle(path)


def _load_tensors(path: Path) -> dict[str, Any]:
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise WeightsError(path, f"is damaged ({error})", "fetch or export it again") from error


def _is_safetensors(path: Path) -> bool:
    if not path.is_file():
        raise WeightsError(path, "no such file", "check the name")
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{"


def read_networks(path: str | Path, networks: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Reads the files that one moment of an official training left, one for each network.

    Args:
        path: The generator's, such as ``latest_net_G.pth`` or ``20_net_G.pth``. Those of the other networks are looked
            for beside it; they may be missing.
        networks: Their names in the files' names.

    Returns:
        Name of the network -> its tensors, on the CPU.

    Raises:
        WeightsError: The file is another network's, or one can't be read; see :func:`read_foreign`.
    """
    path = Path(path)
    moment, found, network = path.stem.rpartition("_net_")
    if not found:  # somebody renamed it
        return {"G": read_foreign(path)}
    if network != "G":
        raise WeightsError(path, f"is of the network {network}", f"name the generator's file, {moment}_net_G.pth")
    files = {name: path.with_stem(f"{moment}_net_{name}") for name in networks}
    return {name: read_foreign(file) for name, file in files.items() if name == "G" or file.is_file()}


def read_metadata(path: Path) -> dict[str, str]:
    """What :func:`save_weights` wrote beside the tensors of a safetensors file.

    Raises:
        WeightsError: The file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise WeightsError(path, f"is damaged ({error})", "fetch or export it again") from error


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            path,
            "holds more than tensors in plain containers, so that reading it could run foreign code",
            "convert it to safetensors in the environment that wrote it",
        ) from error
    except (OSError, MemoryError):  # of the machine, not of the file
        raise
    except Exception as error:  # whatever torch's reader trips over in a file that is none, such as a page of HTML
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WeightsError(path, f"is no checkpoint ({reason})", "fetch it again") from error
    if not isinstance(content, dict):
        raise WeightsError(path, f"holds a {type(content).__name__}, not a dictionary", "fetch it again")
    return content


def _read_arguments_and_tensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if _is_safetensors(path):
        metadata = read_metadata(path)
        if "arguments" not in metadata:
            raise WeightsError(path, "names no method and no arguments", "import official files with from_official")
        return json.loads(metadata["arguments"]), _load_tensors(path)
    checkpoint = _read_pickle(path)
    if "hyper_parameters" not in checkpoint:
        raise WeightsError(path, "is no checkpoint of the zoo", "import official files with from_official")
    return _constructor_arguments(checkpoint["hyper_parameters"]), checkpoint["state_dict"]


def stored_tensors(path: str | Path) -> frozenset[str]:
    """The names of the tensors in a weights file or checkpoint of the zoo: what :func:`load_weights` didn't make up.

    Raises:
        WeightsError: The file can't be used.
    """
    return frozenset(_read_arguments_and_tensors(Path(path))[1])


def initialise_from(module: Publishable, path: str | Path) -> None:
    """Loads every tensor of a weights file or checkpoint that has its place in the module.

    Networks that only train, such as a discriminator of another kind than before, keep their own start where theirs
    don't fit.

    Raises:
        WeightsError: A tensor of the inference networks is missing, or has another shape.
    """
    _, tensors = _read_arguments_and_tensors(Path(path))
    own, needed = module.state_dict(), module.inference_state()
    tensors = {n: t for n, t in tensors.items() if n in needed or (n in own and own[n].shape == t.shape)}
    with naming_file(path):
        load_state(module, tensors)
