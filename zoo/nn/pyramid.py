import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AntiAliasDownsample(nn.Module):
    """Gaussian blur, then every n-th pixel from the first on: (N, C, H, W) -> (N, C, H / n, W / n).

    n is 1 / scale, rounded down: a scale between a half and one blurs only.

    Slicing instead of a nearest ``interpolate``: with the latter training diverges (the official code's own finding).
    """

    weight: Tensor

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.stride = int(1 / scale)
        sigma = (1 / scale - 1) / 2
        self.radius = round(4 * sigma)
        offsets = torch.arange(-self.radius, self.radius + 1, dtype=torch.float32)
        kernel = torch.exp(-(offsets**2) / (2 * sigma**2)) if sigma > 0 else torch.ones(1)
        kernel = kernel[:, None] * kernel[None]
        self.register_buffer("weight", (kernel / kernel.sum()).expand(channels, 1, -1, -1).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """Blurs and slices; scale 1 changes nothing."""
        if self.stride == 1 and self.radius == 0:
            return x
        # A strided convolution is blur and slicing in one: the pixels between are never computed.
        return F.conv2d(x, self.weight, padding=self.radius, stride=self.stride, groups=x.shape[1])


class Pyramid(nn.Module):
    """Reduced copies of a picture, scale -> (N, 3, H scale, W scale).

    Args:
        scales: The levels, 1 for the picture itself.
    """

    def __init__(self, scales: tuple[float, ...]) -> None:
        super().__init__()
        self.scales = scales
        self.levels = nn.ModuleList(AntiAliasDownsample(3, scale) for scale in scales)

    def forward(self, pictures: Tensor) -> dict[float, Tensor]:
        """All levels of pictures (N, 3, H, W)."""
        return {scale: level(pictures) for scale, level in zip(self.scales, self.levels, strict=True)}
