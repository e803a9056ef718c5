from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import spectral_norm

from zoo.nn.norm import InstanceNorm


class DiscriminatorBlock(nn.Module):
    """4 x 4 convolution without padding, instance norm, leaky ReLU, 2 x 2 mean."""

    def __init__(self, in_channels: int, out_channels: int, norm: bool, pool: bool, spectral: bool) -> None:
        super().__init__()
        self.conv = _conv(in_channels, out_channels, 4, spectral)
        self.norm = InstanceNorm(out_channels, affine=True) if norm else nn.Identity()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, out_channels, (H - 3) / 2, (W - 3) / 2), or twice that without the mean."""
        x = F.leaky_relu(self.norm(self.conv(x)), 0.2)
        return F.avg_pool2d(x, 2) if self.pool else x


def _conv(in_channels: int, out_channels: int, kernel_size: int, spectral: bool) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size)
    # Official: the hook-based form; the parametrisation would start from other vectors and rename the weights.
    return spectral_norm(conv) if spectral else conv


class PatchDiscriminator(nn.Module):
    """Judges patches of one picture: First Order Motion's discriminator.

    Args:
        in_channels: Of the pictures.
        width: Channels before the first block.
        max_width: Widest block.
        blocks: Number of blocks.
        spectral: Spectral normalisation of every convolution.
    """

    def __init__(self, in_channels: int, width: int, max_width: int, blocks: int, spectral: bool) -> None:
        super().__init__()
        widths = [in_channels, *(min(max_width, width * 2 ** (i + 1)) for i in range(blocks))]
        self.down_blocks = nn.ModuleList(
            DiscriminatorBlock(widths[i], widths[i + 1], norm=i > 0, pool=i < blocks - 1, spectral=spectral)
            for i in range(blocks)
        )
        self.conv = _conv(widths[-1], 1, 1, spectral)

    def forward(self, pictures: Tensor) -> tuple[list[Tensor], Tensor]:
        """Every block's output and the map of verdicts (N, 1, h, w) for pictures (N, in_channels, H, W)."""
        x = pictures
        features = []
        for block in self.down_blocks:
            x = block(x)
            features.append(x)
        return features, self.conv(x)
