"""First Order Motion Model's official checkpoints (github.com/AliaksandrSiarohin/first-order-model, MIT licence)."""

import re
from typing import Any

from torch import Tensor

from zoo.errors import OptionError

NETWORKS = {"kp_detector": "keypoint_detector", "generator": "generator", "discriminator": "discriminator"}
"""Key of a network in the official file -> our attribute; inside the networks the names are the same."""


def rename(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Turns an official checkpoint into a state dict of ``FirstOrderMotionModel``.

    Args:
        checkpoint: Content of ``*-cpk.pth.tar``: one dictionary of tensors per network, and optimiser states, which
            are dropped; or the same keys joined by dots, as in a safetensors file.

    Returns:
        Our key -> tensor. Released files may lack the discriminator; then so does the result.
    """
    nested = {name: content for name, content in checkpoint.items() if name in NETWORKS}
    joined = {f"{name}.{key}": tensor for name, content in nested.items() for key, tensor in content.items()}
    split = ((key.partition("."), tensor) for key, tensor in (joined or checkpoint).items())
    return {f"{NETWORKS[n]}.{_respelt(rest)}": tensor for (n, _, rest), tensor in split if n in NETWORKS}


def _respelt(key: str) -> str:
    """A discriminator's name is its scale as the configuration spelt it, ``1-0`` for 1.0, which here is ``1``."""
    return re.sub(r"^discs\.(\d+)-0\.", r"discs.\1.", key)


def to_official(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The inverse: our state dict in the official file's layout, for use with the official code."""
    official: dict[str, dict[str, Tensor]] = {name: {} for name in NETWORKS}
    ours = {attribute: name for name, attribute in NETWORKS.items()}
    for key, tensor in state.items():
        network, _, rest = key.partition(".")
        if network in ours:
            official[ours[network]][rest] = tensor
    return official


_TAPS = 5
"""Layers of VGG-19 that the perceptual loss compares."""


def constructor_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments that an official configuration file amounts to.

    Args:
        config: The official YAML's ``model_params`` (with ``common_params``, ``kp_detector_params``,
            ``generator_params`` and ``discriminator_params``) and, if present, ``train_params``.

    Returns:
        Arguments of ``FirstOrderMotionModel``. ``align_corners`` isn't in official files: it follows from the version
        of PyTorch that trained the weights.

    Raises:
        OptionError: The configuration asks for something that isn't here.
    """
    common, detector = config["common_params"], config["kp_detector_params"]
    generator, discriminator = config["generator_params"], config["discriminator_params"]
    motion, train = generator.get("dense_motion_params"), config.get("train_params", {})
    if not motion:
        raise OptionError("without dense_motion_params the official generator is an autoencoder, which isn't here")
    if common.get("num_channels", 3) != 3:
        raise OptionError(f"num_channels is {common['num_channels']}; only RGB is here")
    arguments = {
        "num_keypoints": common["num_kp"],
        "estimate_jacobian": common.get("estimate_jacobian", False),
        "temperature": detector["temperature"],
        "detector_width": detector["block_expansion"],
        "detector_max_width": detector["max_features"],
        "detector_blocks": detector["num_blocks"],
        "detector_scale": detector.get("scale_factor", 1),
        "single_jacobian_map": detector.get("single_jacobian_map", False),
        "pad": detector.get("pad", 0),
        "generator_width": generator["block_expansion"],
        "generator_max_width": generator["max_features"],
        "generator_down_blocks": generator["num_down_blocks"],
        "bottleneck_blocks": generator["num_bottleneck_blocks"],
        "estimate_occlusion": generator.get("estimate_occlusion_map", False),
        "motion_width": motion["block_expansion"],
        "motion_max_width": motion["max_features"],
        "motion_blocks": motion["num_blocks"],
        "motion_scale": motion.get("scale_factor", 1),
        "keypoint_variance": motion.get("kp_variance", 0.01),
        "discriminator_width": discriminator.get("block_expansion", 64),
        "discriminator_max_width": discriminator.get("max_features", 512),
        "discriminator_blocks": discriminator.get("num_blocks", 4),
        "discriminator_scales": tuple(discriminator["scales"]),
        "discriminator_spectral": discriminator.get("sn", False),
        "discriminator_keypoints": discriminator.get("use_kp", False),
        "discriminator_keypoint_variance": discriminator.get("kp_variance", 0.01),
    }
    if not train and not arguments["estimate_jacobian"]:
        arguments["loss_weights"] = {"equivariance_jacobian": 0}
    if train:
        transform, weights = train["transform_params"], dict(train["loss_weights"])
        # Official: taps without a weight don't count, and without points a deformation is affine alone.
        if given := weights.get("perceptual"):
            weights["perceptual"] = [*given] + [0] * (_TAPS - len(given))
        arguments |= {
            "pyramid_scales": tuple(train["scales"]),
            "loss_weights": weights,
            "sigma_affine": transform["sigma_affine"],
            "sigma_tps": transform.get("sigma_tps", 0) if "points_tps" in transform else 0,
            "points_tps": transform.get("points_tps", 5),
            "generator_learning_rate": train["lr_generator"],
            "discriminator_learning_rate": train["lr_discriminator"],
            "detector_learning_rate": train["lr_kp_detector"],
            "milestones": tuple(train.get("epoch_milestones", ())),
        }
    return arguments
