"""Official checkpoints (github.com/RenYurui/Global-Flow-Local-Attention, licence CC BY-NC 4.0)."""

import re
from typing import Any

from torch import Tensor

_TWICE = re.compile(r"(?:^|\.)(?:outconv|jump\d+)\.conv1\.")
"""Official: the convolution of ``outconv`` and ``jump`` is registered twice, as ``conv1`` and as ``model.2``."""


def rename(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Turns an official ``<iteration>_net_G.pth`` into a state dict of one of the three versions.

    Args:
        checkpoint: Its content: tensors by name, with or without the prefix ``module.`` that training on several GPUs
            leaves.

    Returns:
        Our key -> tensor.
    """
    names = {key.removeprefix("module."): tensor for key, tensor in checkpoint.items() if isinstance(tensor, Tensor)}
    return {f"generator.{name}": tensor for name, tensor in names.items() if not _TWICE.search(name)}


def rename_denoiser(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Turns the official motion extraction network (``dance_keypoint``) into a state dict of ``SkeletonDenoiser``."""
    names = {key.removeprefix("module."): tensor for key, tensor in checkpoint.items() if isinstance(tensor, Tensor)}
    return {f"cleaner.network.{name.removeprefix('kp_input.')}": tensor for name, tensor in names.items()}


def to_official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`rename`: the generator of our state dict in the official file's layout."""
    official = {}
    for key, tensor in state.items():
        network, _, name = key.partition(".")
        if network == "generator":
            official[name] = tensor
            if found := re.match(r"(.*\b(?:outconv|jump\d+))\.model\.2\.(.*)", name):
                official[f"{found[1]}.conv1.{found[2]}"] = tensor
    return official


def to_official_denoiser(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`rename_denoiser`."""
    return {key.replace("cleaner.network.", "kp_input.", 1): tensor for key, tensor in state.items()}


def constructor_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments that the options of an official generator amount to.

    Args:
        config: ``ngf``, ``img_f``, ``layers``, ``num_blocks``, ``attn_layer`` and ``extractor_kz``. The widths of the
            flow estimators are fixed in the official code and are the defaults here.
    """
    patches = {int(level): size for level, size in config["extractor_kz"].items()}
    levels = sorted(config["attn_layer"])
    return {
        "width": config["ngf"],
        "max_width": config["img_f"],
        "layers": config["layers"],
        "blocks": config["num_blocks"],
        "attention_levels": levels,
        "patch_sizes": [patches[level] for level in levels],
    }
