from typing import Literal

import torch
from torch import Tensor, nn

from zoo.nn.init import init_normal
from zoo.nn.patchgan import MultiScalePatchGAN, PatchGAN
from zoo.nn.pix2pixhd import GlobalGenerator, LocalEnhancer

Body = Literal["global", "local"]
FaceNetwork = Literal["global", "unet"]


def body_generator(
    kind: Body, in_channels: int, width: int, downsamplings: int, blocks: int, enhancer_blocks: int
) -> GlobalGenerator | LocalEnhancer:
    """The network that paints whole frames, freshly initialised.

    Args:
        kind: ``global`` is the coarse generator; ``local`` encloses one of the same widths in an enhancer that works at
            twice the resolution.
        in_channels: Of the stick figure and the previous output.
        width: Channels of the coarse generator at its full resolution.
        downsamplings: Halvings inside the coarse generator.
        blocks: Its residual blocks.
        enhancer_blocks: Residual blocks of the enhancer.
    """
    if kind == "global":
        return GlobalGenerator(in_channels, 3, width, downsamplings, blocks).apply(init_normal)
    enhancer = LocalEnhancer(in_channels, 3, width // 2, downsamplings, blocks, 1, enhancer_blocks)
    return enhancer.apply(init_normal)


def face_generator(kind: FaceNetwork, width: int, downsamplings: int, blocks: int) -> nn.Module:
    """The network that predicts what is to be added to a face, freshly initialised.

    It maps the drawn face and the generated face, (N, 6, h, w), to a residual (N, 3, h, w) in (-1, 1).

    Args:
        kind: ``global`` is pix2pixHD's coarse generator, as published; ``unet`` the official code's other choice, which
            has its own depth.
        width: Channels at full resolution.
        downsamplings: Halvings of the coarse generator.
        blocks: Its residual blocks.
    """
    if kind == "global":
        return GlobalGenerator(6, 3, width, downsamplings, blocks).apply(init_normal)
    return UNet(6, 3, width).apply(init_normal)


UNET_MULTIPLE = 2**5


class UNet(nn.Module):
    """pix2pix's U-Net with batch norm: each of five levels halves the picture and passes its input to the other side.

    Official: "three downsamplings" were asked for, but five is the least that the code builds.

    Args:
        in_channels: Of the input (N, in_channels, H, W); H and W must be multiples of ``UNET_MULTIPLE``.
        out_channels: Of the output (N, out_channels, H, W) in (-1, 1).
        width: Channels after the first halving, doubled by each of the next three.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int = 64) -> None:
        super().__init__()
        block = UNetLevel(8 * width, 8 * width, None)
        for factor in (4, 2, 1):
            block = UNetLevel(factor * width, 2 * factor * width, block)
        self.model = UNetEnds(in_channels, out_channels, width, block)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class UNetLevel(nn.Module):
    """One level around all deeper ones: (N, outer, H, W) -> (N, 2 outer, H, W).

    Args:
        outer: Channels of the input.
        inner: Channels after halving.
        deeper: What happens at half the size; None at the bottom.
    """

    def __init__(self, outer: int, inner: int, deeper: "UNetLevel | None") -> None:
        super().__init__()
        # Official: in place, so that what is passed on to the other side is rectified too.
        down: list[nn.Module] = [nn.LeakyReLU(0.2, inplace=True), _halving(outer, inner)]
        if deeper is not None:
            down += [nn.BatchNorm2d(inner), deeper]
        up = _doubling(2 * inner if deeper is not None else inner, outer, bias=False)
        self.model = nn.Sequential(*down, nn.ReLU(inplace=True), up, nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.model(x)], dim=1)


class UNetEnds(nn.Module):
    """The outermost level: pictures (N, in_channels, H, W) to pictures (N, out_channels, H, W) in (-1, 1)."""

    def __init__(self, in_channels: int, out_channels: int, width: int, deeper: UNetLevel) -> None:
        super().__init__()
        up = _doubling(2 * width, out_channels, bias=True)
        self.model = nn.Sequential(_halving(in_channels, width), deeper, nn.ReLU(inplace=True), up, nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def _halving(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)


def _doubling(in_channels: int, out_channels: int, bias: bool) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=bias)


def body_discriminator(in_channels: int, width: int, layers: int, scales: int) -> MultiScalePatchGAN:
    """Judges stick figures and frames, stacked (N, in_channels, H, W); freshly initialised."""
    return MultiScalePatchGAN(in_channels, width, layers, scales).apply(init_normal)


FACE_LAYERS = 3
"""Of the face discriminator, as published."""


def face_discriminator(width: int) -> PatchGAN:
    """Judges a drawn face and a face, (N, 6, h, w), one moment at a time; freshly initialised."""
    return PatchGAN(6, width, layers=FACE_LAYERS, norm="batch").apply(init_normal)
