from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.weights import networks

FeatureNetworkName = Literal["alexnet", "vgg16", "vgg19"]

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class FeatureNetwork(nn.Module):
    """A stack of convolutions, ReLUs and poolings that returns what comes out of some of its layers.

    Layers are numbered as in torchvision, so that its weights load as they are (``features.N.weight``). Layers behind
    the last tap are dropped. Frozen: no parameter takes a gradient, and there is nothing that training mode changes.

    Args:
        layers: The stack, as torchvision's ``features``.
        taps: Numbers of the layers whose outputs are returned, increasing.
        normalise: Bring pictures to ImageNet's mean and deviation first; without, the layers get them as they are.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layers: nn.Sequential, taps: Sequence[int], normalise: bool = True) -> None:
        super().__init__()
        self.features = layers[: taps[-1] + 1]
        self.taps = tuple(taps)
        mean, std = (_IMAGENET_MEAN, _IMAGENET_STD) if normalise else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("mean", torch.tensor(mean, device="cpu").view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, device="cpu").view(3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Computes the taps' features.

        Args:
            pictures: (N, 3, H, W), RGB in [0, 1]; normalised here with ImageNet's mean and deviation, unless the
                network was built without.

        Returns:
            One (N, C, h, w) per tap.
        """
        features = (pictures.to(self.mean.dtype) - self.mean) / self.std
        outputs = []
        for number, layer in enumerate(self.features):
            features = layer(features)
            if number in self.taps:
                outputs.append(features)
        return outputs

    def load_features(self, tensors: dict[str, Tensor]) -> FeatureNetwork:
        """Loads ``features.N.*`` of a file in torchvision's layout; other tensors, and deeper layers, are ignored."""
        wanted = self.state_dict().keys()
        tensors = {name: tensor for name, tensor in tensors.items() if name in wanted}
        self.load_state_dict(tensors, assign=True)  # also fills a network that was built without memory
        return self.requires_grad_(False)


def alexnet_layers(widths: Sequence[int] = (64, 192, 384, 256, 256)) -> nn.Sequential:
    """AlexNet's convolutions as in torchvision; ``widths`` are their output channels."""
    first, second, third, fourth, fifth = widths
    return nn.Sequential(
        nn.Conv2d(3, first, 11, stride=4, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(first, second, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(second, third, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(third, fourth, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(fourth, fifth, 3, padding=1),
        nn.ReLU(inplace=True),
    )


def vgg16_layers(widths: Sequence[int] = (64, 128, 256, 512, 512)) -> nn.Sequential:
    """VGG-16's convolutions as in torchvision; ``widths`` are the channels of its five stages."""
    return _vgg_layers((2, 2, 3, 3, 3), widths)


def vgg19_layers(widths: Sequence[int] = (64, 128, 256, 512, 512)) -> nn.Sequential:
    """VGG-19's convolutions as in torchvision; ``widths`` are the channels of its five stages."""
    return _vgg_layers((2, 2, 4, 4, 4), widths)


def _vgg_layers(depths: Sequence[int], widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for depth, width in zip(depths, widths, strict=True):
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


PERCEPTUAL_TAPS: dict[FeatureNetworkName, tuple[int, ...]] = {
    "alexnet": (1, 4, 7, 9, 11),  # its five ReLUs
    "vgg16": (1, 6, 11, 18, 25),  # relu1_1, relu2_1, relu3_1, relu4_1, relu5_1
    "vgg19": (1, 6, 11, 20, 29),  # the same
}
_LAYERS: dict[FeatureNetworkName, Callable[[], nn.Sequential]] = {
    "alexnet": alexnet_layers,
    "vgg16": vgg16_layers,
    "vgg19": vgg19_layers,
}
_LPIPS_FILES = {"alexnet": "lpips_alex", "vgg16": "lpips_vgg16"}


def feature_network(
    name: FeatureNetworkName, taps: Sequence[int] | None = None, normalise: bool = True
) -> FeatureNetwork:
    """A feature network with torchvision's ImageNet weights.

    Args:
        name: ``alexnet`` and ``vgg16`` take their weights from the files of LPIPS, which hold torchvision's, or from
            torchvision's own; ``vgg19`` through timm, or from torchvision's own.
        taps: Layers whose outputs are returned; by default those of the perceptual loss (``PERCEPTUAL_TAPS``).
        normalise: As for :class:`FeatureNetwork`.

    Raises:
        MissingWeightsError: The weights aren't here; names the command that fetches them.
    """
    with torch.device("meta"):  # neither memory nor random numbers for weights that are replaced at once
        network = FeatureNetwork(_LAYERS[name](), taps or PERCEPTUAL_TAPS[name], normalise)
    return network.load_features(_imagenet_weights(name))


def _imagenet_weights(name: FeatureNetworkName) -> dict[str, Tensor]:
    if name not in _LPIPS_FILES:
        return networks.load(name)
    try:
        return networks.load(_LPIPS_FILES[name])
    except networks.MissingWeightsError as missing:
        try:
            return networks.load(name)
        except networks.MissingWeightsError:
            raise missing from None


class Frozen:
    """A frozen network that its owner uses but doesn't own: no parameter, no state, no checkpoint entry.

    As no ``nn.Module`` it stays outside the module tree of whoever holds it. The network is built when it is first
    called, and follows the device of what it is given. A copy or a pickle carries only how to build it.

    Args:
        build: Returns the network; picklable, such as ``functools.partial(feature_network, "alexnet")``.
    """

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        self._build = build
        self._network: nn.Module | None = None
        self._device: torch.device | None = None

    def __call__(self, pictures: Tensor) -> Any:
        """Calls the network on the device of ``pictures``; gradients reach ``pictures`` where they are asked for."""
        return self.on(pictures.device)(pictures)

    def on(self, device: torch.device) -> nn.Module:
        """The network on that device, in eval mode, built if need be."""
        if self._network is None or self._device != device:
            # Weights made in inference mode could never be used for a gradient, and a network that draws random
            # numbers when it is built would make a resumed run differ from an uninterrupted one.
            with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=[]):
                network = self._build() if self._network is None else self._network
                self._network = network.requires_grad_(False).eval().to(device)
            self._device = device
        return self._network

    def __getstate__(self) -> dict[str, Any]:
        return {"_build": self._build, "_network": None, "_device": None}
