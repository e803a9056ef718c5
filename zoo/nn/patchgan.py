"""The discriminators of pix2pixHD (arXiv 1711.11585), with the official names of their tensors."""

import re

from torch import Tensor, nn

from zoo.nn.norm import Norm, norm_layer
from zoo.nn.pix2pixhd import HalvingPool

Judged = list[list[Tensor]]
"""A multi-scale discriminator's answer, fine to coarse: for each scale the features of its blocks, then the logits.

Without intermediate features each scale has the logits alone.
"""

_MAX_WIDTH = 512


def patch_blocks(in_channels: int, width: int, layers: int, norm: Norm) -> list[nn.Sequential]:
    """The blocks of a PatchGAN, ``layers + 2`` of them.

    All convolutions are 4 x 4 with padding 2: n pixels become n // 2 + 1 after a stride of 2, n + 1 after one of 1.

    Args:
        in_channels: Of the pictures that are judged.
        width: Channels of the first block; doubled by each of the next ``layers``, up to 512.
        layers: How often the picture is halved; with 3 each logit sees 70 x 70 pixels.
        norm: Normalisation of all blocks but the first and the last.
    """
    blocks = [nn.Sequential(_conv(in_channels, width, stride=2), nn.LeakyReLU(0.2, inplace=True))]
    for number in range(1, layers + 1):
        channels = min(2 * width, _MAX_WIDTH)
        conv = _conv(width, channels, stride=2 if number < layers else 1)
        blocks.append(nn.Sequential(conv, norm_layer(norm, channels), nn.LeakyReLU(0.2, inplace=True)))
        width = channels
    return [*blocks, nn.Sequential(_conv(width, 1, stride=1))]


def _conv(in_channels: int, out_channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 4, stride=stride, padding=2)


class PatchGAN(nn.Module):
    """pix2pixHD's discriminator at one scale, without intermediate features; see :func:`patch_blocks`."""

    def __init__(self, in_channels: int, width: int = 64, layers: int = 3, norm: Norm = "batch") -> None:
        super().__init__()
        self.model = _flat(patch_blocks(in_channels, width, layers, norm))

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits (N, 1, h, w) of pictures (N, in_channels, H, W)."""
        return self.model(pictures)


class MultiScalePatchGAN(nn.Module):
    """Copies of one PatchGAN that look at a picture pyramid.

    Args:
        in_channels: Of the pictures that are judged.
        width: Channels of the first block, see :func:`patch_blocks`.
        layers: How often each copy halves its picture.
        scales: Number of copies; each looks at half the resolution of the one before.
        norm: Normalisation.
        features: Return the output of every block, which feature matching compares, and not the logits alone.
    """

    def __init__(
        self,
        in_channels: int,
        width: int = 64,
        layers: int = 3,
        scales: int = 3,
        norm: Norm = "instance",
        features: bool = True,
    ) -> None:
        super().__init__()
        self.scales = scales
        self.features = features
        self.layers = layers
        for scale in range(scales):
            blocks = patch_blocks(in_channels, width, layers, norm)
            if features:
                for number, block in enumerate(blocks):
                    self.add_module(f"scale{scale}_layer{number}", block)
            else:
                self.add_module(f"layer{scale}", _flat(blocks))
        self.halve = HalvingPool()

    def forward(self, pictures: Tensor) -> Judged:
        """Judges pictures (N, in_channels, H, W)."""
        judged = []
        for scale in reversed(range(self.scales)):  # Official: the copy with the highest number sees the finest picture
            judged.append(self._judge(scale, pictures))
            pictures = self.halve(pictures)
        return judged

    def _judge(self, scale: int, pictures: Tensor) -> list[Tensor]:
        if not self.features:
            return [self.get_submodule(f"layer{scale}")(pictures)]
        outputs = [pictures]
        for number in range(self.layers + 2):
            outputs.append(self.get_submodule(f"scale{scale}_layer{number}")(outputs[-1]))
        return outputs[1:]


def name_with_features(name: str) -> str:
    """A tensor's name in a multi-scale discriminator without intermediate features as in one with them.

    Official codes build the former where no features are compared: ``layer1.2.weight`` is ``scale1_layer1.0.weight``.
    """
    found = re.fullmatch(r"layer(\d+)\.(\d+)\.(.+)", name)
    if found is None:
        return name
    scale, layer, kind = found[1], int(found[2]), found[3]
    block, place = (0, layer) if layer < 2 else divmod(layer + 1, 3)  # the first block has two layers, others three
    return f"scale{scale}_layer{block}.{place}.{kind}"


def _flat(blocks: list[nn.Sequential]) -> nn.Sequential:
    return nn.Sequential(*(layer for block in blocks for layer in block))
