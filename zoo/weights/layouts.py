"""Tensors of published feature networks, brought from the layout of their files to that of torch."""

import re
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from zoo.weights.unpickle import Tree

_ALEXNET_CONVOLUTIONS = (0, 3, 6, 8, 10)
_VGG16_CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def alexnet_with_heads(tree: Tree) -> dict[str, Tensor]:
    """LPIPS on AlexNet: ``features.{0,3,6,8,10}.{weight,bias}`` as in torchvision and ``heads.{0..4}`` (1, C, 1, 1)."""
    return _backbone_with_heads(tree, "AlexNet_0", _ALEXNET_CONVOLUTIONS)


def vgg16_with_heads(tree: Tree) -> dict[str, Tensor]:
    """LPIPS on VGG-16: ``features.{0,2,...,28}.{weight,bias}`` as in torchvision and ``heads.{0..4}`` (1, C, 1, 1)."""
    return _backbone_with_heads(tree, "VGG16_0", _VGG16_CONVOLUTIONS)


def _backbone_with_heads(tree: Tree, backbone: str, positions: tuple[int, ...]) -> dict[str, Tensor]:
    arrays = dict(_flatten(tree))
    tensors = {}
    for number, position in enumerate(positions):
        tensors[f"features.{position}.weight"] = _convolution(arrays[f"{backbone}/Conv_{number}/kernel"])
        tensors[f"features.{position}.bias"] = torch.from_numpy(arrays[f"{backbone}/Conv_{number}/bias"])
    for number in range(5):
        tensors[f"heads.{number}"] = _convolution(arrays[f"NetLinLayer_{number}/Conv_0/kernel"])
    return tensors


_I3D_BRANCHES = {
    "Branch_0/Conv3d_0a_1x1": "b0",
    "Branch_1/Conv3d_0a_1x1": "b1a",
    "Branch_1/Conv3d_0b_3x3": "b1b",
    "Branch_2/Conv3d_0a_1x1": "b2a",
    "Branch_2/Conv3d_0b_3x3": "b2b",
    "Branch_3/Conv3d_0b_1x1": "b3b",
}
_I3D_FIELDS = {
    "Conv_0/kernel": "conv.weight",
    "Conv_0/bias": "conv.bias",
    "BatchNorm_0/bias": "norm.bias",
    "BatchNorm_0/mean": "norm.running_mean",
    "BatchNorm_0/var": "norm.running_var",
}


def i3d(tree: Tree) -> dict[str, Tensor]:
    """Inflated Inception: ``<unit>.conv.weight`` and ``<unit>.norm.{bias,running_mean,running_var}``.

    Units are called ``Conv3d_1a_7x7``, ``Conv3d_2b_1x1``, ``Conv3d_2c_3x3`` and ``Mixed_3b.b0`` ... ``Mixed_5c.b3b``
    (branches ``b0, b1a, b1b, b2a, b2b, b3b``); the classifier is ``Logits.conv.{weight,bias}``. Kernels are
    (O, I, T, H, W). The norm has no scale.
    """
    tensors = {}
    for path, array in _flatten(tree):
        _, unit, field = re.fullmatch(r"(params|batch_stats)/(.+)/(\w+_0/\w+)", path).groups()  # type: ignore[union-attr]
        for branch, short in _I3D_BRANCHES.items():
            unit = unit.replace(f"/{branch}", f".{short}")
        unit = unit.replace("Logits/Conv3d_0c_1x1", "Logits")
        tensor = _convolution(array) if field.endswith("kernel") else torch.from_numpy(array.reshape(-1))
        tensors[f"{unit}.{_I3D_FIELDS[field]}"] = tensor
    return tensors


_INCEPTION_STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
_INCEPTION_BLOCKS = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
_INCEPTION_BRANCHES = {  # by the kind of block; a trailing underscore takes the convolution's number, from 1
    "5": {"": "branch1x1", "tower": "branch5x5_", "tower_1": "branch3x3dbl_", "tower_2": "branch_pool"},
    "6a": {"": "branch3x3", "tower": "branch3x3dbl_"},
    "6": {"": "branch1x1", "tower": "branch7x7_", "tower_1": "branch7x7dbl_", "tower_2": "branch_pool"},
    "7a": {"tower": "branch3x3_", "tower_1": "branch7x7x3_"},
    "7": {
        "": "branch1x1",
        "tower": "branch3x3_",
        "tower_mixed": "branch3x3_2",
        "tower_1": "branch3x3dbl_",
        "tower_1_mixed": "branch3x3dbl_3",
        "tower_2": "branch_pool",
    },
}
_INCEPTION_FIELDS = {"weight": "conv.weight", "beta": "bn.bias", "mean": "bn.running_mean", "var": "bn.running_var"}


def inception(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inception of 2015: the names of torchvision's ``Inception3``, ``<unit>.conv.weight`` and ``<unit>.bn.*``.

    The norm has ``bias``, ``running_mean`` and ``running_var`` but no scale. The classifier isn't part of the file.
    """
    return {_inception_name(name): tensor for name, tensor in state.items()}


def _inception_name(name: str) -> str:
    *units, field = name.removeprefix("net.layers.").split(".")
    convolution, number = _numbered(units[-1], "conv")
    if len(units) == 1:
        return f"{_INCEPTION_STEM[number]}.{_INCEPTION_FIELDS[field]}"
    block = _INCEPTION_BLOCKS[_numbered(units[0], "mixed")[1]]
    branches = _INCEPTION_BRANCHES[block if block in _INCEPTION_BRANCHES else block[0]]
    tower = (units[1] if len(units) == 3 else convolution.removesuffix("conv")).rstrip("_")
    branch = branches[tower]
    if tower.endswith("mixed"):
        branch += "ab"[number]  # the last two convolutions of 7b and 7c stand side by side
    elif branch.endswith("_"):
        branch += str(number + 1)
    return f"Mixed_{block}.{branch}.{_INCEPTION_FIELDS[field]}"


def _numbered(name: str, stem: str) -> tuple[str, int]:
    """Splits ``conv`` into (``conv``, 0) and ``tower_conv_2`` into (``tower_conv``, 2)."""
    match = re.fullmatch(rf"(.*{stem})(?:_(\d+))?", name)
    if match is None:
        raise ValueError(f"unexpected layer name {name!r}")
    return match[1], int(match[2] or 0)


def _flatten(tree: Tree, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for key, node in tree.items():
        if isinstance(node, dict):
            yield from _flatten(node, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", node


def _convolution(kernel: np.ndarray) -> Tensor:
    """A kernel (..., I, O), channels last, as torch's (O, I, ...)."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(kernel, (-1, -2), (0, 1))))
