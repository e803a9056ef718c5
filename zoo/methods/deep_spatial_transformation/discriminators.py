"""Judges of single frames, of frame differences, and of short runs of frames."""

import torch
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from zoo.methods.deep_spatial_transformation.networks import activation, initialise

RUN = 6
"""Frames that the temporal discriminator looks at."""


class ResBlockEncoder(nn.Module):
    """Residual block that halves the size, with spectral normalisation; (B, C_in, H, W) -> (B, C_out, H / 2, W / 2)."""

    def __init__(self, in_channels: int, out_channels: int, hidden: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            activation(),
            spectral_norm(nn.Conv2d(in_channels, hidden, 3, padding=1)),
            activation(),
            spectral_norm(nn.Conv2d(hidden, out_channels, 4, stride=2, padding=1)),
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), spectral_norm(nn.Conv2d(in_channels, out_channels, 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Adds up both ways."""
        return self.model(x) + self.shortcut(x)


class ResBlock3DEncoder(nn.Module):
    """The same for runs of frames; (B, C_in, T, H, W) -> (B, C_out, T - 2, H / 2, W / 2)."""

    def __init__(self, in_channels: int, out_channels: int, hidden: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            activation(),
            spectral_norm(nn.Conv3d(in_channels, hidden, 3, padding=1)),
            activation(),
            spectral_norm(nn.Conv3d(hidden, out_channels, (3, 4, 4), stride=(1, 2, 2), padding=(0, 1, 1))),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool3d((3, 2, 2), stride=(1, 2, 2)), spectral_norm(nn.Conv3d(in_channels, out_channels, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Adds up both ways."""
        return self.model(x) + self.shortcut(x)


class Discriminator(nn.Module):
    """Judges patches of a picture, or of stacked frame differences; not conditioned on structure.

    Args:
        in_channels: 3 for a picture.
        width: Channels after the first halving.
        max_width: Of the widest map.
        layers: Halvings.
    """

    def __init__(self, in_channels: int, width: int, max_width: int, layers: int) -> None:
        super().__init__()
        widths = [width * min(2**i, max_width // width) for i in range(layers)]
        self.block0 = ResBlockEncoder(in_channels, width, hidden=width)
        blocks = [ResBlockEncoder(widths[i], widths[i + 1], hidden=widths[i]) for i in range(layers - 1)]
        for i, block in enumerate(blocks):
            self.add_module(f"encoder{i}", block)
        self.activation = activation()
        self.conv = spectral_norm(nn.Conv2d(widths[-1], 1, 1))
        self._blocks = ["block0", *(f"encoder{i}" for i in range(layers - 1))]
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, 1, H / 2^layers, W / 2^layers); 1 means real."""
        for name in self._blocks:
            x = self.get_submodule(name)(x)
        return self.conv(self.activation(x))


class TemporalDiscriminator(nn.Module):
    """Judges runs of six frames.

    Args:
        width: Channels after the first halving.
        max_width: Of the widest map after the first two halvings.
        layers: Halvings, two of which also shorten the run, from 6 to 4 to 2.
    """

    def __init__(self, width: int, max_width: int, layers: int) -> None:
        super().__init__()
        widest = max_width // width
        channels = 2 * width  # Official: whatever the widest map is to have
        self.block0 = ResBlock3DEncoder(3, width, hidden=width)
        self.block1 = ResBlock3DEncoder(width, channels, hidden=width)
        channels *= RUN - 4
        self._blocks = []
        for i in range(layers - 2):
            wider = width * min(2 ** (i + 2), widest)
            self.add_module(f"encoder{i}", ResBlockEncoder(channels, wider, hidden=channels))
            self._blocks.append(f"encoder{i}")
            channels = wider
        self.activation = activation()
        self.conv = spectral_norm(nn.Conv2d(channels, 1, 1))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 6, H, W) -> (B, 1, H / 2^layers, W / 2^layers); 1 means real."""
        x = self.block1(self.block0(x)).flatten(1, 2)  # B, C x 2, h, w, channel-major
        for name in self._blocks:
            x = self.get_submodule(name)(x)
        return self.conv(self.activation(x))


def frame_differences(frames: Tensor) -> Tensor:
    """Frames (B, T, 3, H, W) -> each minus the next, stacked: (B, 3 (T - 1), H, W)."""
    return torch.cat((frames[:, :-1] - frames[:, 1:]).unbind(1), dim=1)
