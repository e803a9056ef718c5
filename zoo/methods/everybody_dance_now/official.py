"""Everybody Dance Now's official checkpoints (github.com/carolineec/EverybodyDanceNow); its authors published none."""

from typing import Any

from torch import Tensor

from zoo.errors import OptionError
from zoo.methods.everybody_dance_now.losses import published_weights
from zoo.methods.everybody_dance_now.networks import FACE_LAYERS, Body
from zoo.nn.patchgan import name_with_features
from zoo.weights.checkpoint import check_official_options

NETWORKS = {"G": "generator", "D": "discriminator", "Gface": "face_generator", "Dface": "face_discriminator"}
"""Official name of a network, as in the file ``latest_net_Gface.pth`` -> our attribute."""

_ONLY = {"no_lsgan": False, "norm": "instance", "n_local_enhancers": 1, "beta1": 0.5, "niter_fix_global": 0}
"""Official options that have one value here."""

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def rename(checkpoint: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """Turns official networks into a state dict of ``EverybodyDanceNow``.

    Args:
        checkpoint: Official name of a network -> its tensors, as in their files.

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
    if name == "D":
        return name_with_features(key)
    return key.removeprefix("face") if name == "Dface" else key


def constructor_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments that the official training options amount to.

    Args:
        options: As in the official ``opt.txt``: ``netG``, ``ngf``, ``ndf``, ``num_D``, ``n_downsample_global``,
            ``n_blocks_global``, ``n_blocks_local``, ``n_layers_D``, ``face_generator`` and, where they are there,
            ``faceGtype``, ``lambda_feat``, ``no_ganFeat_loss``, ``no_vgg_loss``, ``use_l1`` and ``lambda_A``. The
            widths of the face networks aren't options there. In the face stage ``niter_fix_main`` must not be 0.

    Raises:
        OptionError: An option asks for something that isn't here.
    """
    check_official_options(options, _ONLY)
    if options.get("face_generator"):
        if options["n_layers_D"] != FACE_LAYERS:
            raise OptionError(f"n_layers_D is {options['n_layers_D']}; the face discriminator here has {FACE_LAYERS}")
        if not options.get("niter_fix_main", 10):
            raise OptionError("niter_fix_main is 0 in these options; here the face stage never trains the body")
    body: Body = options["netG"]
    weights, share = published_weights(body, temporal_smoothing=True), options.get("lambda_feat", 10) / 10
    weights["feature_matching"] *= 0 if options.get("no_ganFeat_loss") else share
    weights["reconstruction"] = options.get("lambda_A", 10) if options.get("use_l1") else 0
    weights["perceptual"] *= 0 if options.get("no_vgg_loss") else share
    weights["face_perceptual"] *= 0 if options.get("no_vgg_loss") else share
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
        "face_network": options.get("faceGtype", "unet"),
        "loss_weights": weights,
        "learning_rate": options["lr"],
        "constant_epochs": options.get("niter", 100),
        "decay_epochs": options["niter_decay"],
    }
