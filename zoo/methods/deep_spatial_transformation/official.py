"""Official checkpoints (github.com/RenYurui/Global-Flow-Local-Attention, licence CC BY-NC 4.0)."""

import re
from typing import Any, get_args

from torch import Tensor

from zoo.errors import OptionError
from zoo.nn.norm import Norm
from zoo.weights.checkpoint import check_official_options

NETWORKS = {"G": "generator", "D": "discriminator", "D_V": "video_discriminator"}
"""Official name of a network, as in the file ``latest_net_D_V.pth`` -> our attribute."""

_TWICE = re.compile(r"(?:^|\.)(?:outconv|jump\d+)\.conv1\.")
"""Official: the convolution of ``outconv`` and ``jump`` is registered twice, as ``conv1`` and as ``model.2``."""


def rename(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Turns official networks into a state dict of one of the three versions.

    Args:
        checkpoint: Official name of a network -> the content of its file: tensors by name, with or without the prefix
            ``module.`` that training on several GPUs leaves. Or the generator's content alone.

    Returns:
        Our key -> tensor.
    """
    files = checkpoint if checkpoint.keys() <= NETWORKS.keys() else {"G": checkpoint}
    return {
        f"{NETWORKS[network]}.{name.removeprefix('module.')}": tensor
        for network, content in files.items()
        for name, tensor in content.items()
        if isinstance(tensor, Tensor) and not _TWICE.search(name)
    }


def rename_denoiser(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Turns the official motion extraction network (``dance_keypoint``) into a state dict of ``SkeletonDenoiser``."""
    names = {key.removeprefix("module."): tensor for key, tensor in checkpoint.items() if isinstance(tensor, Tensor)}
    return {f"cleaner.network.{name.removeprefix('kp_input.')}": tensor for name, tensor in names.items()}


def to_official(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The inverse of :func:`rename`: our state dict as the official files."""
    files: dict[str, dict[str, Tensor]] = {}
    theirs = {ours: official for official, ours in NETWORKS.items()}
    for key, tensor in state.items():
        network, _, name = key.partition(".")
        if network in theirs:
            official = files.setdefault(theirs[network], {})
            official[name] = tensor
            if found := re.match(r"(.*\b(?:outconv|jump\d+))\.model\.2\.(.*)", name):
                official[f"{found[1]}.conv1.{found[2]}"] = tensor
    return files


def to_official_denoiser(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`rename_denoiser`."""
    return {key.replace("cleaner.network.", "kp_input.", 1): tensor for key, tensor in state.items()}


_ONLY = {"activation": "LeakyReLU", "use_spect": False, "use_coord": False}
"""Official options of generators that have one value here: that of all published ones."""


def constructor_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments that the options of an official generator amount to.

    Args:
        config: ``ngf``, ``img_f``, ``layers``, ``num_blocks``, ``attn_layer``, ``extractor_kz`` and, if it is there,
            ``norm``. The widths of the flow estimators are fixed in the official code and are the defaults here.

    Raises:
        OptionError: Another norm than ``instance`` and ``batch``, or another option that the networks here don't have.
    """
    check_official_options(config, _ONLY)
    norm = config.get("norm", "instance")
    if norm not in get_args(Norm):
        raise OptionError(f"the official norm {norm!r} isn't here; only {' and '.join(get_args(Norm))} are")
    patches = {int(level): size for level, size in config["extractor_kz"].items()}
    levels = sorted(config["attn_layer"])
    return {
        "width": config["ngf"],
        "max_width": config["img_f"],
        "layers": config["layers"],
        "blocks": config["num_blocks"],
        "attention_levels": levels,
        "patch_sizes": [patches[level] for level in levels],
        "norm": norm,
    }
