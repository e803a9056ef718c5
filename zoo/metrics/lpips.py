from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.metrics.clip_metric import FrameMetric, unit_range
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

    def __init__(self, net: Net = "alex") -> None:
        super().__init__()
        self.net = net
        networks.path(f"lpips_{net}")  # raises now, not after the first epoch
        self._network = Frozen(partial(_LpipsNetwork.published, net))

    def measure(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Measures frames (N, 3, H, W); returns (N,).

        Raises:
            ValueError: The frames are too small for the network.
        """
        smallest = _SMALLEST[self.net]
        if min(prediction.shape[-2:]) < smallest:
            raise ValueError(
                f"lpips_{self.net} needs frames of at least {smallest} x {smallest} pixels, not "
                f"{tuple(prediction.shape)}"
            )
        network = cast(_LpipsNetwork, self._network.on(prediction.device))
        return network(unit_range(prediction), unit_range(target)).sum(0)


class _LpipsNetwork(nn.Module):
    """Backbone and heads; returns the distance per layer."""

    def __init__(self, backbone: FeatureNetwork, heads: list[Tensor]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ParameterList(heads)

    @classmethod
    def published(cls, net: Net) -> "_LpipsNetwork":
        tensors = networks.load(f"lpips_{net}")
        with torch.device("meta"):
            backbone = FeatureNetwork(_LAYERS[net](), _TAPS[net])
        return cls(backbone.load_features(tensors), [tensors[f"heads.{number}"] for number in range(5)])

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Compares pictures (N, 3, H, W) in [0, 1]; returns (5, N), the distance at each layer."""
        with torch.autocast(prediction.device.type, enabled=False):
            features = self.backbone(torch.cat([prediction, target]))
            return torch.stack([_distance(*pair) for pair in zip(features, self.heads, strict=True)])


def _distance(features: Tensor, head: Tensor) -> Tensor:
    """Features (2N, C, h, w) of predictions and targets, head (1, C, 1, 1); returns (N,)."""
    directions = features / (features.norm(dim=1, keepdim=True) + 1e-10)
    prediction, target = directions.chunk(2)
    return functional.conv2d((prediction - target).square(), head).mean((1, 2, 3))
