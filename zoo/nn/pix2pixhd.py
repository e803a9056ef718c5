"""The generators of pix2pixHD (Wang et al., CVPR 2018, arXiv 1711.11585), with the official names of their tensors."""

from collections.abc import Iterator
from typing import Literal

from torch import Tensor, nn

from zoo.nn.norm import Norm, norm_layer

Padding = Literal["reflect", "replicate", "zero"]


class ResnetBlock(nn.Module):
    """x + conv(relu(conv(x))), both convolutions normalised; nothing follows the sum.

    Args:
        channels: Of input and output (N, channels, H, W).
        norm: Normalisation.
        padding: What surrounds the picture.
    """

    def __init__(self, channels: int, norm: Norm, padding: Padding) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            *_padded_conv(channels, padding),
            norm_layer(norm, channels),
            nn.ReLU(inplace=True),
            *_padded_conv(channels, padding),
            norm_layer(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, channels, H, W) of the same shape."""
        return x + self.conv_block(x)


def _padded_conv(channels: int, padding: Padding) -> Iterator[nn.Module]:
    if padding == "reflect":
        yield nn.ReflectionPad2d(1)
    elif padding == "replicate":
        yield nn.ReplicationPad2d(1)
    yield nn.Conv2d(channels, channels, 3, padding=1 if padding == "zero" else 0)


def _stem(in_channels: int, channels: int, norm: Norm) -> list[nn.Module]:
    """(N, in_channels, H, W) -> (N, channels, H, W)."""
    conv = nn.Conv2d(in_channels, channels, 7)
    return [nn.ReflectionPad2d(3), conv, norm_layer(norm, channels), nn.ReLU(inplace=True)]


def _down(channels: int, norm: Norm) -> list[nn.Module]:
    """(N, channels, H, W) -> (N, 2 channels, H / 2, W / 2)."""
    conv = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
    return [conv, norm_layer(norm, 2 * channels), nn.ReLU(inplace=True)]


def _up(channels: int, norm: Norm) -> list[nn.Module]:
    """(N, 2 channels, H, W) -> (N, channels, 2 H, 2 W)."""
    conv = nn.ConvTranspose2d(2 * channels, channels, 3, stride=2, padding=1, output_padding=1)
    return [conv, norm_layer(norm, channels), nn.ReLU(inplace=True)]


def head(channels: int, out_channels: int) -> list[nn.Module]:
    """(N, channels, H, W) -> (N, out_channels, H, W) in (-1, 1)."""
    return [nn.ReflectionPad2d(3), nn.Conv2d(channels, out_channels, 7), nn.Tanh()]


def contraction(in_channels: int, width: int, downsamplings: int, norm: Norm) -> list[nn.Module]:
    """Stem and halvings: (N, in_channels, H, W) -> (N, 2^downsamplings width, H / 2^downsamplings, ...)."""
    layers = _stem(in_channels, width, norm)
    for level in range(downsamplings):
        layers += _down(width * 2**level, norm)
    return layers


def expansion(width: int, downsamplings: int, blocks: int, norm: Norm, padding: Padding) -> list[nn.Module]:
    """Residual blocks, then doublings: (N, 2^downsamplings width, h, w) -> (N, width, 2^downsamplings h, ...)."""
    layers: list[nn.Module] = [ResnetBlock(width * 2**downsamplings, norm, padding) for _ in range(blocks)]
    for level in reversed(range(downsamplings)):
        layers += _up(width * 2**level, norm)
    return layers


def _global_branch(
    in_channels: int, width: int, downsamplings: int, blocks: int, norm: Norm, padding: Padding
) -> list[nn.Module]:
    """The global generator without its head: (N, in_channels, H, W) -> (N, width, H, W)."""
    return [
        *contraction(in_channels, width, downsamplings, norm),
        *expansion(width, downsamplings, blocks, norm, padding),
    ]


class GlobalGenerator(nn.Module):
    """pix2pixHD's coarse generator: contract, residual blocks, expand.

    Args:
        in_channels: Of the conditioning picture.
        out_channels: Of the result.
        width: Channels at full resolution; doubled by every halving.
        downsamplings: Halvings before the residual blocks. H and W must be multiples of 2 to their number, and the
            smallest picture at least 2 x 2.
        blocks: Residual blocks.
        norm: Normalisation.
        padding: What surrounds the picture in the residual blocks; stem and head always reflect.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 3,
        width: int = 64,
        downsamplings: int = 3,
        blocks: int = 9,
        norm: Norm = "instance",
        padding: Padding = "reflect",
    ) -> None:
        super().__init__()
        self.model = nn.Sequential(
            *_global_branch(in_channels, width, downsamplings, blocks, norm, padding), *head(width, out_channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, H, W) in (-1, 1)."""
        return self.model(x)


class LocalEnhancer(nn.Module):
    """pix2pixHD's coarse-to-fine generator: a global branch without its head, and enhancers around it.

    Each enhancer works at twice the resolution of what it encloses and adds the features from there to its own.

    Args:
        in_channels: Of the conditioning picture.
        out_channels: Of the result.
        width: Channels at full resolution; the global branch has ``width * 2 ** enhancers`` at its own.
        downsamplings: Halvings inside the global branch. H and W must be multiples of 2 to the power of
            ``downsamplings + enhancers``.
        blocks: Residual blocks of the global branch.
        enhancers: Number of enhancers.
        enhancer_blocks: Residual blocks of each.
        norm: Normalisation.
        padding: What surrounds the picture in the enhancers' residual blocks; the global branch always reflects.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 3,
        width: int = 32,
        downsamplings: int = 3,
        blocks: int = 9,
        enhancers: int = 1,
        enhancer_blocks: int = 3,
        norm: Norm = "instance",
        padding: Padding = "reflect",
    ) -> None:
        super().__init__()
        self.enhancers = enhancers
        global_width = width * 2**enhancers
        self.model = nn.Sequential(*_global_branch(in_channels, global_width, downsamplings, blocks, norm, "reflect"))
        for number in range(1, enhancers + 1):
            channels = width * 2 ** (enhancers - number)
            contract = _stem(in_channels, channels, norm) + _down(channels, norm)
            expand = [ResnetBlock(2 * channels, norm, padding) for _ in range(enhancer_blocks)] + _up(channels, norm)
            if number == enhancers:
                expand += head(channels, out_channels)
            self.add_module(f"model{number}_1", nn.Sequential(*contract))
            self.add_module(f"model{number}_2", nn.Sequential(*expand))
        self.halve = HalvingPool()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, H, W) in (-1, 1)."""
        pyramid = [x]  # large to small
        for _ in range(self.enhancers):
            pyramid.append(self.halve(pyramid[-1]))
        features = self.model(pyramid.pop())
        for number, level in enumerate(reversed(pyramid), start=1):
            own = self.get_submodule(f"model{number}_1")(level)
            features = self.get_submodule(f"model{number}_2")(own + features)
        return features


class HalvingPool(nn.AvgPool2d):
    """pix2pixHD's picture pyramid: the mean of 3 x 3 pixels at every second one; outside pixels don't count.

    (N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2)).
    """

    def __init__(self) -> None:
        super().__init__(3, stride=2, padding=1, count_include_pad=False)
