from itertools import pairwise
from typing import NamedTuple

import torch
from einops import rearrange
from kornia.geometry.subpix import spatial_softmax2d
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import spectral_norm

from zoo.warp import Keypoints, coordinate_grid, gaussian_maps, resize_grid, sparse_motions, warp


class SameBlock(nn.Module):
    """Convolution, batch norm, ReLU; (N, in_channels, H, W) -> (N, out_channels, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class DownBlock(SameBlock):
    """The same, then the mean of 2 x 2 pixels: (N, in_channels, H, W) -> (N, out_channels, H / 2, W / 2)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(super().forward(x), 2)


class UpBlock(SameBlock):
    """Nearest enlargement before the convolution: (N, in_channels, H, W) -> (N, out_channels, 2 H, 2 W)."""

    def forward(self, x: Tensor) -> Tensor:
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
        out = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(out)))


class Encoder(nn.Module):
    """The contracting half of the hourglass."""

    def __init__(self, in_channels: int, widths: list[int]) -> None:
        super().__init__()
        inputs = [in_channels, *widths[1:-1]]
        self.down_blocks = nn.ModuleList(DownBlock(i, o) for i, o in zip(inputs, widths[1:], strict=True))

    def forward(self, x: Tensor) -> list[Tensor]:
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
        return self.decoder(self.encoder(x))


class AntiAliasDownsample(nn.Module):
    """Gaussian blur, then every (1 / scale)-th pixel from the first on: (N, C, H, W) -> (N, C, H scale, W scale).

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
        if self.stride == 1:
            return x
        # A strided convolution is blur and slicing in one: the pixels between are never computed.
        return F.conv2d(x, self.weight, padding=self.radius, stride=self.stride, groups=x.shape[1])


class KeypointDetector(nn.Module):
    """Finds K keypoints and their local affine frames in one picture (FOMM, section 3.1).

    Args:
        num_keypoints: K.
        width: Channels of the hourglass at full resolution.
        max_width: Widest level of the hourglass.
        blocks: Levels of the hourglass.
        temperature: Of the spatial softmax.
        scale: Pictures are reduced by this before the hourglass.
        estimate_jacobian: Whether local frames are estimated (first order) or not (zero order).
        single_jacobian_map: One map of matrices for all keypoints instead of one each.
        pad: Padding of the two 7 x 7 heads.
    """

    def __init__(
        self,
        num_keypoints: int,
        width: int,
        max_width: int,
        blocks: int,
        temperature: float,
        scale: float,
        estimate_jacobian: bool,
        single_jacobian_map: bool,
        pad: int,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.down = AntiAliasDownsample(3, scale) if scale != 1 else nn.Identity()
        self.predictor = Hourglass(3, width, max_width, blocks)
        channels = self.predictor.out_channels
        # Official: published models use pad 0. The heat map then covers the central part of the picture only, but its
        # grid still spans [-1, 1], so that coordinates come out expanded by about 63/57.
        self.kp = nn.Conv2d(channels, num_keypoints, 7, padding=pad)
        self.jacobian: nn.Conv2d | None = None
        if estimate_jacobian:
            maps = 1 if single_jacobian_map else num_keypoints
            self.jacobian = nn.Conv2d(channels, 4 * maps, 7, padding=pad)
            nn.init.zeros_(self.jacobian.weight)
            with torch.no_grad():
                self.jacobian.bias.copy_(torch.tensor([1.0, 0, 0, 1] * maps))  # type: ignore[union-attr]

    def forward(self, pictures: Tensor) -> Keypoints:
        """Detects.

        Args:
            pictures: (N, 3, H, W) in [0, 1].

        Returns:
            Values (N, K, 2) and Jacobians (N, K, 2, 2).
        """
        features = self.predictor(self.down(pictures))  # N, width + 3, h, w
        heatmaps = spatial_softmax2d(self.kp(features), torch.tensor(self.temperature, device=features.device))
        grid = coordinate_grid(heatmaps.shape[2], heatmaps.shape[3], heatmaps)
        value = torch.einsum("nkhw,hwi->nki", heatmaps, grid)
        if self.jacobian is None:
            return Keypoints(value)
        matrices = rearrange(self.jacobian(features), "n (k ij) h w -> n k ij h w", ij=4)
        matrices = matrices.expand(-1, heatmaps.shape[1], -1, -1, -1)
        jacobian = torch.einsum("nkhw,nkahw->nka", heatmaps, matrices)
        return Keypoints(value, rearrange(jacobian, "n k (i j) -> n k i j", i=2))


class Motion(NamedTuple):
    """What the dense-motion network predicts for N pairs of frames.

    Attributes:
        deformation: (N, h, w, 2) backward grid, driving -> source.
        mask: (N, K + 1, h, w) share of each keypoint's motion, background first; sums to 1.
        occlusion: (N, 1, h, w) in [0, 1]; 1 keeps the warped source, 0 asks for inpainting. Or None.
        deformed: (N, K + 1, 3, h, w) the source warped by each sparse motion.
    """

    deformation: Tensor
    mask: Tensor
    occlusion: Tensor | None
    deformed: Tensor


class DenseMotion(nn.Module):
    """Combines the keypoints' local motions into a dense flow and an occlusion map (FOMM, section 3.2).

    Args:
        num_keypoints: K.
        width: Channels of the hourglass at its full resolution.
        max_width: Widest level of the hourglass.
        blocks: Levels of the hourglass.
        scale: Sources are reduced by this first; the flow has this resolution.
        keypoint_variance: Variance of the Gaussians that show the hourglass where the keypoints are.
        estimate_occlusion: Whether an occlusion map is predicted.
        align_corners: See :func:`zoo.warp.warp`.
    """

    def __init__(
        self,
        num_keypoints: int,
        width: int,
        max_width: int,
        blocks: int,
        scale: float,
        keypoint_variance: float,
        estimate_occlusion: bool,
        align_corners: bool,
    ) -> None:
        super().__init__()
        self.keypoint_variance, self.align_corners = keypoint_variance, align_corners
        self.down = AntiAliasDownsample(3, scale) if scale != 1 else nn.Identity()
        self.hourglass = Hourglass(4 * (num_keypoints + 1), width, max_width, blocks)
        self.mask = nn.Conv2d(self.hourglass.out_channels, num_keypoints + 1, 7, padding=3)
        self.occlusion = nn.Conv2d(self.hourglass.out_channels, 1, 7, padding=3) if estimate_occlusion else None

    def forward(self, small_source: Tensor, driving: Keypoints, source: Keypoints) -> Motion:
        """Predicts the motion of N pairs.

        Args:
            small_source: (N, 3, h, w): the source after ``down``.
            driving: Keypoints of the N driving frames.
            source: Keypoints of the N sources.
        """
        height, width = small_source.shape[-2:]
        motions = sparse_motions(driving, source, height, width)  # N, K + 1, h, w, 2
        deformed = warp(small_source, motions, self.align_corners)  # N, K + 1, 3, h, w
        heatmaps = self.keypoint_heatmaps(driving, source, height, width)
        # Interleaved: heat map and picture of the background, then of keypoint 1, and so on.
        features = self.hourglass(torch.cat([heatmaps, deformed], dim=2).flatten(1, 2))
        mask = self.mask(features).softmax(dim=1)
        deformation = torch.einsum("nkhw,nkhwi->nhwi", mask, motions)
        occlusion = None if self.occlusion is None else self.occlusion(features).sigmoid()
        return Motion(deformation, mask, occlusion, deformed)

    def keypoint_heatmaps(self, driving: Keypoints, source: Keypoints, height: int, width: int) -> Tensor:
        """Gaussians of the driving minus those of the source keypoints, (N, K + 1, 1, h, w); background 0."""
        difference = gaussian_maps(driving.value, height, width, self.keypoint_variance) - gaussian_maps(
            source.value, height, width, self.keypoint_variance
        )
        return F.pad(difference, (0, 0, 0, 0, 1, 0))[:, :, None]


class Generator(nn.Module):
    """Warps the source's features by the dense motion and inpaints what was hidden (FOMM, figure 2).

    Args:
        dense_motion: The network that predicts the motion.
        width: Channels at full resolution.
        max_width: Widest level.
        down_blocks: Halvings before the warp.
        bottleneck_blocks: Residual blocks after it.
    """

    def __init__(
        self, dense_motion: DenseMotion, width: int, max_width: int, down_blocks: int, bottleneck_blocks: int
    ) -> None:
        super().__init__()
        widths = [min(max_width, width * 2**i) for i in range(down_blocks + 1)]
        self.dense_motion_network = dense_motion
        self.first = SameBlock(3, width, 7)
        self.down_blocks = nn.ModuleList(DownBlock(i, o) for i, o in pairwise(widths))
        self.bottleneck = nn.Sequential()
        for i in range(bottleneck_blocks):
            self.bottleneck.add_module(f"r{i}", ResBlock(widths[-1]))
        self.up_blocks = nn.ModuleList(UpBlock(i, o) for i, o in pairwise(reversed(widths)))
        self.final = nn.Conv2d(width, 3, 7, padding=3)

    def encode(self, source: Tensor) -> Tensor:
        """Features of sources (N, 3, H, W), at 2^-down_blocks of their size."""
        features = self.first(source)
        for block in self.down_blocks:
            features = block(features)
        return features

    def decode(self, features: Tensor, motion: Motion) -> Tensor:
        """Frames (N, 3, H, W) in [0, 1] from source features (N, C, h, w) and N motions."""
        height, width = features.shape[-2:]
        grid = resize_grid(motion.deformation, height, width)
        warped = warp(features, grid, self.dense_motion_network.align_corners)
        if motion.occlusion is not None:
            occlusion = motion.occlusion
            if occlusion.shape[-2:] != warped.shape[-2:]:
                occlusion = F.interpolate(occlusion, size=(height, width), mode="bilinear")
            warped = warped * occlusion
        warped = self.bottleneck(warped)
        for block in self.up_blocks:
            warped = block(warped)
        return self.final(warped).sigmoid()

    def deform(self, source: Tensor, motion: Motion) -> Tensor:
        """The source pictures (N, 3, H, W) themselves, warped; nothing is inpainted. For viewing only."""
        grid = resize_grid(motion.deformation, source.shape[2], source.shape[3])
        return warp(source, grid, self.dense_motion_network.align_corners)


class DiscriminatorBlock(nn.Module):
    """4 x 4 convolution without padding, instance norm, leaky ReLU, 2 x 2 mean."""

    def __init__(self, in_channels: int, out_channels: int, norm: bool, pool: bool, spectral: bool) -> None:
        super().__init__()
        self.conv = _conv(in_channels, out_channels, 4, spectral)
        self.norm = nn.InstanceNorm2d(out_channels, affine=True) if norm else nn.Identity()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.norm(self.conv(x)), 0.2)
        return F.avg_pool2d(x, 2) if self.pool else x


def _conv(in_channels: int, out_channels: int, kernel_size: int, spectral: bool) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size)
    # Official: the hook-based form; the parametrisation would start from other vectors and rename the weights.
    return spectral_norm(conv) if spectral else conv


class Discriminator(nn.Module):
    """Judges patches of one picture, given the driving keypoints or not.

    Args:
        width: Channels before the first block.
        max_width: Widest block.
        blocks: Number of blocks.
        spectral: Spectral normalisation of every convolution.
        num_keypoints: Keypoints drawn as extra input channels; 0 for none.
        keypoint_variance: Of those drawings.
    """

    def __init__(
        self, width: int, max_width: int, blocks: int, spectral: bool, num_keypoints: int, keypoint_variance: float
    ) -> None:
        super().__init__()
        self.num_keypoints, self.keypoint_variance = num_keypoints, keypoint_variance
        widths = [3 + num_keypoints, *(min(max_width, width * 2 ** (i + 1)) for i in range(blocks))]
        self.down_blocks = nn.ModuleList(
            DiscriminatorBlock(widths[i], widths[i + 1], norm=i > 0, pool=i < blocks - 1, spectral=spectral)
            for i in range(blocks)
        )
        self.conv = _conv(widths[-1], 1, 1, spectral)

    def forward(self, pictures: Tensor, keypoints: Keypoints) -> tuple[list[Tensor], Tensor]:
        """Every block's output and the map of verdicts (N, 1, h, w) for pictures (N, 3, H, W)."""
        x = pictures
        if self.num_keypoints:
            maps = gaussian_maps(keypoints.value, x.shape[2], x.shape[3], self.keypoint_variance)
            x = torch.cat([pictures, maps], dim=1)
        features = []
        for block in self.down_blocks:
            x = block(x)
            features.append(x)
        return features, self.conv(x)


class MultiScaleDiscriminator(nn.Module):
    """One discriminator per level of the picture pyramid.

    Args:
        scales: The levels, as they appear in the official configuration (1, not 1.0: names derive from the spelling).
        discriminators: One for each.
    """

    def __init__(self, scales: tuple[float, ...], discriminators: list[Discriminator]) -> None:
        super().__init__()
        self.scales = scales
        names = [f"{scale:g}".replace(".", "-") for scale in scales]
        self.discs = nn.ModuleDict(dict(zip(names, discriminators, strict=True)))

    def forward(self, pyramid: dict[float, Tensor], keypoints: Keypoints) -> list[tuple[list[Tensor], Tensor]]:
        """Features and verdicts of each scale for a pyramid scale -> (N, 3, H scale, W scale)."""
        return [
            discriminator(pyramid[scale], keypoints)
            for scale, discriminator in zip(self.scales, self.discs.values(), strict=True)
        ]


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
        return {scale: level(pictures) for scale, level in zip(self.scales, self.levels, strict=True)}
