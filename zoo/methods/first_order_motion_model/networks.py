from itertools import pairwise
from typing import NamedTuple

import torch
from einops import rearrange
from kornia.geometry.subpix import spatial_softmax2d
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.nn.blocks import DownBlock, Hourglass, ResBlock, SameBlock, UpBlock
from zoo.nn.patch_discriminator import PatchDiscriminator
from zoo.nn.pyramid import AntiAliasDownsample
from zoo.warp import Keypoints, coordinate_grid, gaussian_maps, in_float32, resize_grid, sparse_motions, warp


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
        matrices = None if self.jacobian is None else self.jacobian(features)
        return read_keypoints(self.kp(features), matrices, self.temperature)


@in_float32
def read_keypoints(scores: Tensor, matrices: Tensor | None, temperature: float) -> Keypoints:
    """Keypoints as expected positions under heat maps, and their local frames as expected matrices (FOMM, section 3.1).

    Args:
        scores: (N, K, h, w); their spatial softmax gives the heat maps.
        matrices: (N, 4 K, h, w) the entries of a matrix at each position, (N, 4, h, w) if all keypoints share one
            map, or None.
        temperature: Of the softmax.

    Returns:
        Values (N, K, 2) and Jacobians (N, K, 2, 2), or None in their place.
    """
    heatmaps = spatial_softmax2d(scores, torch.tensor(temperature, device=scores.device))
    grid = coordinate_grid(heatmaps.shape[2], heatmaps.shape[3], heatmaps)
    value = torch.einsum("nkhw,hwi->nki", heatmaps, grid)
    if matrices is None:
        return Keypoints(value)
    matrices = rearrange(matrices, "n (k ij) h w -> n k ij h w", ij=4)
    matrices = matrices.expand(-1, heatmaps.shape[1], -1, -1, -1)
    jacobian = torch.einsum("nkhw,nkahw->nka", heatmaps, matrices)
    return Keypoints(value, rearrange(jacobian, "n k (i j) -> n k i j", i=2))


@in_float32
def mix_motions(scores: Tensor, motions: Tensor) -> tuple[Tensor, Tensor]:
    """Each position's share of the sparse motions, and the dense motion that results (FOMM, equation 5).

    Args:
        scores: (N, K + 1, h, w).
        motions: (N, K + 1, h, w, 2), see :func:`zoo.warp.sparse_motions`.

    Returns:
        Shares (N, K + 1, h, w) and the backward grid (N, h, w, 2).
    """
    mask = scores.softmax(dim=1)
    return mask, torch.einsum("nkhw,nkhwi->nhwi", mask, motions)


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
        mask, deformation = mix_motions(self.mask(features), motions)
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


class Discriminator(PatchDiscriminator):
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
        super().__init__(3 + num_keypoints, width, max_width, blocks, spectral)
        self.num_keypoints, self.keypoint_variance = num_keypoints, keypoint_variance

    def forward(self, pictures: Tensor, keypoints: Keypoints) -> tuple[list[Tensor], Tensor]:  # type: ignore[override]
        """Every block's output and the map of verdicts (N, 1, h, w) for pictures (N, 3, H, W)."""
        if self.num_keypoints:
            maps = gaussian_maps(keypoints.value, pictures.shape[2], pictures.shape[3], self.keypoint_variance)
            pictures = torch.cat([pictures, maps], dim=1)
        return super().forward(pictures)


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
