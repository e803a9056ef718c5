from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.metrics.clip_metric import unit_range
from zoo.metrics.frame_metric import FrameMetric
from zoo.metrics.precision import full_float32
from zoo.metrics.region import Region, average
from zoo.nn.features import FeatureNetwork, Frozen, alexnet_layers, vgg16_layers
from zoo.weights import networks

Net = Literal["alex", "vgg16"]

_LAYERS = {"alex": alexnet_layers, "vgg16": vgg16_layers}
_TAPS = {"alex": (1, 4, 7, 9, 11), "vgg16": (3, 8, 15, 22, 29)}  # VGG: the last ReLU of each stage
_SMALLEST = {"alex": 31, "vgg16": 16}


class LPIPS(FrameMetric):
    """Learned perceptual distance (Zhang et al. 2018), version 0.1 with its linear heads. Lower is better.

    Report it as ``lpips_alex`` or ``lpips_vgg16``: their values aren't comparable. Computed in float32 whatever the
    trainer's precision, at the frames' own size.

    Args:
        net: ``alex`` (usual for evaluation, fast) or ``vgg16`` (about twenty times slower).
        region: Where: the whole ``frame``, its ``moving`` part or the ``subject``; see ``FrameMetric``. Over a region
            it is the mean of the distance per pixel: each layer's map, resized bilinearly to the frame
            (``spatial=True`` of the official package). Over the whole frame it is the official number, which averages
            each layer's map at its own size and differs from the mean of the resized maps in the fifth digit.

    Raises:
        MissingWeightsError: The weights aren't on this machine; names the command that fetches them.

    Example:
        >>> import torch
        >>> metric = LPIPS()
        >>> metric.update(torch.zeros(1, 1, 3, 64, 64), torch.ones(1, 1, 3, 64, 64))
        >>> f"{metric.compute():.5f}"
        '0.81395'
    """

    higher_is_better = False

    def __init__(self, net: Net = "alex", region: Region = "frame") -> None:
        super().__init__(f"lpips_{net}", region)
        self._network = LpipsNetwork(net)

    def measure(self, prediction: Tensor, target: Tensor, region: Tensor | None) -> tuple[Tensor, Tensor]:
        """Measures frames (N, 3, H, W); returns values and weights (N,).

        Raises:
            ValueError: The frames are too small for the network.
        """
        directions = self._network.directions(torch.cat([unit_range(prediction), unit_range(target)]))
        maps = self._network.distances(*zip(*(layer.chunk(2) for layer in directions), strict=True))
        if region is None:
            values = total(maps)
            return values, torch.ones_like(values)
        resized = [functional.interpolate(layer, size=prediction.shape[-2:], mode="bilinear") for layer in maps]
        return average(torch.stack(resized).sum(0), region)


def total(maps: list[Tensor]) -> Tensor:
    """The distance (N,) of pictures from its maps (N, 1, h, w) at each layer."""
    return torch.stack([layer.mean((1, 2, 3)) for layer in maps]).sum(0)


class LpipsNetwork:
    """The network behind LPIPS, with its published weights: what it sees in pictures, and how far that is apart.

    No module, so that whoever holds it has neither parameters nor state from it.

    Args:
        net: ``alex`` or ``vgg16``.

    Raises:
        MissingWeightsError: The weights aren't on this machine; names the command that fetches them.
    """

    def __init__(self, net: Net) -> None:
        self.net = net
        networks.path(f"lpips_{net}")  # raises now, not after the first epoch
        self._frozen = Frozen(partial(_BackboneAndHeads.published, net))

    def directions(self, pictures: Tensor) -> list[Tensor]:
        """Features of unit length: pictures (N, 3, H, W) in [0, 1] to (N, C, h, w) at each of five layers.

        Raises:
            ValueError: The pictures are too small for the network.
        """
        smallest = _SMALLEST[self.net]
        if min(pictures.shape[-2:]) < smallest:
            raise ValueError(
                f"lpips_{self.net} needs frames of at least {smallest} x {smallest} pixels, not {tuple(pictures.shape)}"
            )
        network = cast(_BackboneAndHeads, self._frozen.on(pictures.device))
        with full_float32(pictures.device):
            return [layer / (layer.norm(dim=1, keepdim=True) + 1e-10) for layer in network.backbone(pictures.float())]

    def distances(self, first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> list[Tensor]:
        """Compares the directions of two batches of N pictures; returns a map (N, 1, h, w) for each layer."""
        network = cast(_BackboneAndHeads, self._frozen.on(first[0].device))
        with full_float32(first[0].device):
            return [
                functional.conv2d((one - other).square(), head)
                for one, other, head in zip(first, second, network.heads, strict=True)
            ]


class _BackboneAndHeads(nn.Module):
    """The layers that give the features, and the weight (1, C, 1, 1) of each channel at each tap."""

    def __init__(self, backbone: FeatureNetwork, heads: list[Tensor]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ParameterList(heads)

    @classmethod
    def published(cls, net: Net) -> "_BackboneAndHeads":
        tensors = networks.load(f"lpips_{net}")
        with torch.device("meta"):
            backbone = FeatureNetwork(_LAYERS[net](), _TAPS[net])
        return cls(backbone.load_features(tensors), [tensors[f"heads.{number}"] for number in range(5)])
