"""Official checkpoints (github.com/ubc-vision/DwNet, licence CC BY-NC 4.0)."""

from typing import Any

from torch import Tensor

_NETWORKS = {
    "model_downsample": "generator.pose_encoder",
    "model_downsample_previous": "generator.frame_encoder",
    "model_downsample_grid_set": "generator.warp_refiner",
    "down_pair": "generator.fusion",
    "model": "generator.decoder",
}
"""Official name of a part of the generator -> ours; the discriminator's tensors have the same names in both."""


def rename(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Turns an official ``latest_net_G.pth`` or ``latest_net_D.pth`` into a state dict of ``DwNet``.

    Args:
        checkpoint: Its content: tensors by name, with or without the prefix ``module.`` that training on several GPUs
            leaves.

    Returns:
        Our key -> tensor.
    """
    names = {key.removeprefix("module."): tensor for key, tensor in checkpoint.items() if isinstance(tensor, Tensor)}
    return {_ours(name): tensor for name, tensor in names.items()}


def _ours(name: str) -> str:
    part, _, layer = name.partition(".")
    return f"{_NETWORKS[part]}.{layer}" if part in _NETWORKS else f"discriminator.{name}"


def to_official(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The inverse of :func:`rename`: our state dict as the official files ``G`` and ``D``."""
    theirs = {ours: official for official, ours in _NETWORKS.items()}
    files: dict[str, dict[str, Tensor]] = {"G": {}, "D": {}}
    for key, tensor in state.items():
        network, part, layer = key.split(".", 2)
        if network == "generator":
            files["G"][f"{theirs[f'generator.{part}']}.{layer}"] = tensor
        else:
            files["D"][f"{part}.{layer}"] = tensor
    return files


def constructor_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments that the official training options amount to.

    Args:
        options: As in the official ``opt.txt``: ``ngf``, ``n_downsample_global``, ``n_blocks_global``, ``ndf``,
            ``n_layers_D``, ``num_D``, and where they differ from the default ``lr``, ``no_refining_warp``,
            ``no_coarse_warp`` and ``prev_frame_num``.
    """
    warping = "coarse" if options.get("no_refining_warp") else "refined"
    return {
        "width": options["ngf"],
        "downsamplings": options["n_downsample_global"],
        "blocks": options["n_blocks_global"],
        "warping": "none" if options.get("no_coarse_warp") else warping,
        "previous_frame": bool(options.get("prev_frame_num", 2)),
        "discriminator_width": options["ndf"],
        "discriminator_layers": options["n_layers_D"],
        "discriminator_scales": options["num_D"],
        "learning_rate": options.get("lr", 2e-4),
    }
