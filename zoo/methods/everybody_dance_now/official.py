"""Everybody Dance Now's official checkpoints (github.com/carolineec/EverybodyDanceNow); its authors published none."""

from pathlib import Path
from typing import Any

from torch import Tensor

from zoo.weights import WeightsError
from zoo.weights.checkpoint import read_foreign

NETWORKS = {"G": "generator", "D": "discriminator", "Gface": "face_generator", "Dface": "face_discriminator"}
"""Official name of a network, as in the file ``latest_net_Gface.pth`` -> our attribute."""

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def read(path: str | Path) -> dict[str, dict[str, Tensor]]:
    """Reads the files that the official code wrote at one moment.

    Args:
        path: The generator's, such as ``latest_net_G.pth`` or ``20_net_G.pth``. The other networks' files are looked
            for beside it; they may be missing.

    Returns:
        Official name of the network -> its tensors.

    Raises:
        WeightsError: The name is another, or a file can't be read.
    """
    path = Path(path)
    moment, found, network = path.stem.rpartition("_net_")
    if not found or network != "G":
        raise WeightsError(path, "isn't called EPOCH_net_G", "name the generator's file, such as latest_net_G.pth")
    files = {name: path.with_stem(f"{moment}_net_{name}") for name in NETWORKS}
    return {name: read_foreign(file) for name, file in files.items() if name == "G" or file.is_file()}


def rename(checkpoint: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """Turns official networks into a state dict of ``EverybodyDanceNow``.

    Args:
        checkpoint: Official name of a network -> its tensors, as :func:`read` returns them.

    Returns:
        Our key -> tensor. Statistics that PyTorch before 0.4 kept for instance norms are dropped.
    """
    renamed = {}
    for name, tensors in checkpoint.items():
        for key, tensor in tensors.items():
            layer, _, kind = key.rpartition(".")
            if kind in _STATISTICS and f"{layer}.weight" not in tensors:
                continue  # an instance norm's; a batch norm has a weight as well
            renamed[f"{NETWORKS[name]}.{_ours(name, key)}"] = tensor
    return renamed


def to_official(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The inverse: our state dict as official networks; what the official code doesn't know is left out."""
    official: dict[str, dict[str, Tensor]] = {}
    names = {attribute: name for name, attribute in NETWORKS.items()}
    for key, tensor in state.items():
        attribute, _, rest = key.partition(".")
        if attribute in names:
            name = names[attribute]
            official.setdefault(name, {})[f"face{rest}" if name == "Dface" else rest] = tensor
    return official


def _ours(name: str, key: str) -> str:
    return key.removeprefix("face") if name == "Dface" else key


def constructor_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments that the official training options amount to.

    Args:
        options: As in the official ``opt.txt``: ``netG``, ``ngf``, ``ndf``, ``num_D``, ``n_downsample_global``,
            ``n_blocks_global``, ``n_blocks_local``, ``n_layers_D`` and ``face_generator``. The widths of the face
            networks aren't options there.
    """
    body = options["netG"]
    return {
        "stage": "face" if options.get("face_generator") else body,
        "body": body,
        "generator_width": options["ngf"] * (2 if body == "local" else 1),
        "generator_downsamplings": options["n_downsample_global"],
        "generator_blocks": options["n_blocks_global"],
        "enhancer_blocks": options["n_blocks_local"],
        "discriminator_width": options["ndf"],
        "discriminator_layers": options["n_layers_D"],
        "discriminator_scales": options["num_D"],
        "face_network": options.get("faceGtype", "global"),
        "learning_rate": options["lr"],
        "constant_epochs": options.get("niter", 100),
        "decay_epochs": options["niter_decay"],
    }
