"""Official checkpoints (github.com/ubc-vision/DwNet, licence CC BY-NC 4.0)."""

from typing import Any, get_args

from torch import Tensor

from zoo.errors import OptionError
from zoo.nn.norm import Norm
from zoo.nn.patchgan import name_with_features
from zoo.weights.checkpoint import check_official_options

NETWORKS = ("G", "D")
"""Official networks, as in the names of their files."""

_PARTS = {
    "model_downsample": "generator.pose_encoder",
    "model_downsample_previous": "generator.frame_encoder",
    "model_downsample_grid_set": "generator.warp_refiner",
    "down_pair": "generator.fusion",
    "model": "generator.decoder",
}
"""Official name of a part of the generator -> ours; the discriminator's tensors have the same names in both."""


def rename(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Turns official networks into a state dict of ``DwNet``.

    Args:
        checkpoint: The contents of ``latest_net_G.pth`` and, if it is there, ``latest_net_D.pth`` by the networks'
            names: tensors by name, with or without the prefix ``module.`` that training on several GPUs leaves. Or all
            of these tensors in one dictionary.

    Returns:
        Our key -> tensor.
    """
    if checkpoint.keys() <= set(NETWORKS):
        checkpoint = {name: tensor for content in checkpoint.values() for name, tensor in content.items()}
    names = {key.removeprefix("module."): tensor for key, tensor in checkpoint.items() if isinstance(tensor, Tensor)}
    return {_ours(name): tensor for name, tensor in names.items()}


def _ours(name: str) -> str:
    part, _, layer = name.partition(".")
    return f"{_PARTS[part]}.{layer}" if part in _PARTS else f"discriminator.{name_with_features(name)}"


def to_official(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The inverse of :func:`rename`: our state dict as the official files ``G`` and ``D``."""
    theirs = {ours: official for official, ours in _PARTS.items()}
    files: dict[str, dict[str, Tensor]] = {"G": {}, "D": {}}
    for key, tensor in state.items():
        network, part, layer = key.split(".", 2)
        if network == "generator":
            files["G"][f"{theirs[f'generator.{part}']}.{layer}"] = tensor
        else:
            files["D"][f"{part}.{layer}"] = tensor
    return files


_OPTIONS: dict[str, Any] = {
    "ngf": 64, "n_downsample_global": 2, "n_blocks_global": 9, "norm": "instance", "grid_padding": "reflection",
    "no_coarse_warp": False, "no_refining_warp": False, "prev_frame_num": 2, "ndf": 64, "n_layers_D": 3, "num_D": 2,
    "lr": 2e-4, "lambda_feat": 10.0, "no_ganFeat_loss": False, "no_vgg_loss": False, "no_warp_loss": False,
}  # fmt: skip
"""The official options that matter here, and their defaults."""

_ONLY = {"no_lsgan": False, "beta1": 0.5, "pool_size": 0}
"""Official options that have one value here."""


def constructor_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments that official options amount to.

    Args:
        options: As in the official ``opt.txt``; those that aren't named have the official default, and those that
            change neither networks nor losses are ignored.

    Raises:
        OptionError: Another norm than ``instance`` and ``batch``, another GAN than the least squares' one, another
            ``beta1``, or a pool of images for the discriminator.
    """
    check_official_options(options, _ONLY)
    options = _OPTIONS | options
    if options["norm"] not in get_args(Norm):
        problem = f"DwNet normalises by instance, as published, or by batch, and never by {options['norm']}"
        raise OptionError(f"{problem}; take over weights that were trained with one of these")
    warping = "coarse" if options["no_refining_warp"] else "refined"
    if options["no_coarse_warp"]:
        warping = "none"
    distance = options["lambda_feat"]  # Official: the perceptual distance has the weight of feature matching
    return {
        "width": options["ngf"],
        "downsamplings": options["n_downsample_global"],
        "blocks": options["n_blocks_global"],
        "warping": warping,
        "grid_padding": options["grid_padding"],
        "norm": options["norm"],
        "previous_frame": bool(options["prev_frame_num"]),
        "discriminator_width": options["ndf"],
        "discriminator_layers": options["n_layers_D"],
        "discriminator_scales": options["num_D"],
        "loss_weights": {
            "gan": 1.0,
            "feature_matching": 0.0 if options["no_ganFeat_loss"] else distance,
            "perceptual": 0.0 if options["no_vgg_loss"] else distance,
            "warp": 0.0 if options["no_warp_loss"] or warping != "refined" else 1.0,
        },
        "learning_rate": options["lr"],
    }
