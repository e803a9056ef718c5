"""Convolution blocks of First Order Motion's networks, and the U-Net that is built of them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SameBlock(nn.Module):
    """Convolution, batch norm, ReLU; (N, in_channels, H, W) -> (N, out_channels, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Convolves, normalises, rectifies."""
        return F.relu(self.norm(self.conv(x)))


class DownBlock(SameBlock):
    """The same, then the mean of 2 x 2 pixels: (N, in_channels, H, W) -> (N, out_channels, H / 2, W / 2)."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolves, normalises, rectifies, halves."""
        return F.avg_pool2d(super().forward(x), 2)


class UpBlock(SameBlock):
    """Nearest enlargement before the convolution: (N, in_channels, H, W) -> (N, out_channels, 2 H, 2 W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Doubles, convolves, normalises, rectifies."""
        return super().forward(F.interpolate(x, scale_factor=2))


class ResBlock(nn.Module):
    """Pre-activation residual block of constant width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, channels, H, W) of the same shape."""
        out = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(out)))


class Encoder(nn.Module):
    """The contracting half of the hourglass."""

    def __init__(self, in_channels: int, widths: list[int]) -> None:
        super().__init__()
        inputs = [in_channels, *widths[1:-1]]
        self.down_blocks = nn.ModuleList(DownBlock(i, o) for i, o in zip(inputs, widths[1:], strict=True))

    def forward(self, x: Tensor) -> list[Tensor]:
        """The input and every block's output, large to small."""
        outputs = [x]
        for block in self.down_blocks:
            outputs.append(block(outputs[-1]))
        return outputs


class Decoder(nn.Module):
    """The expanding half: after each block the encoder's output of the same size is appended."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        deepest, *others = [*reversed(widths[1:])]
        inputs = [deepest, *(2 * width for width in others)]
        self.up_blocks = nn.ModuleList(UpBlock(i, o) for i, o in zip(inputs, reversed(widths[:-1]), strict=True))

    def forward(self, skips: list[Tensor]) -> Tensor:
        """Expands the smallest of the encoder's outputs; the last to be appended is the encoder's input."""
        *skips, x = skips
        for block, skip in zip(self.up_blocks, reversed(skips), strict=True):
            x = torch.cat([block(x), skip], dim=1)
        return x


class Hourglass(nn.Module):
    """U-Net without a final convolution: (N, C, H, W) -> (N, width + C, H, W); H and W divisible by 2^blocks."""

    def __init__(self, in_channels: int, width: int, max_width: int, blocks: int) -> None:
        super().__init__()
        widths = [min(max_width, width * 2**i) for i in range(blocks + 1)]
        self.encoder = Encoder(in_channels, widths)
        self.decoder = Decoder(widths)
        self.out_channels = widths[0] + in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Features, and after them the input's channels."""
        return self.decoder(self.encoder(x))
