from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.nn.init import init_normal
from zoo.nn.norm import Norm
from zoo.nn.patchgan import MultiScalePatchGAN
from zoo.nn.pix2pixhd import ResnetBlock, contraction, expansion, head
from zoo.warp import coordinate_grid, resize_grid, warp

Warping = Literal["refined", "coarse", "none"]
"""How features are warped: by the refined grid (DwNet), by the coarse one, or not at all (the paper's ablations)."""

GridPadding = Literal["reflection", "border", "zeros"]
"""What a warp finds outside of a picture: the picture mirrored (DwNet), its border, or nothing."""


class Frame(NamedTuple):
    """A picture that content is taken from.

    Attributes:
        picture: (B, 3, H, W) in [-1, 1].
        features: (B, C, h, w) from :meth:`WarpGenerator.encode`.
    """

    picture: Tensor
    features: Tensor


class Warped(NamedTuple):
    """What was taken from a frame.

    Attributes:
        picture: (B, 3, H, W): the frame, warped by the coarse grid.
        grid: (B, h, w, 2): the refined grid.
        residual: (B, h, w, 2): what the refiner added to the coarse grid, in grid units.
        features: (B, C, h, w): the frame's features, warped by the refined grid.
    """

    picture: Tensor
    grid: Tensor
    residual: Tensor
    features: Tensor


class Rendered(NamedTuple):
    """A generated frame.

    Attributes:
        picture: (B, 3, H, W) in [-1, 1].
        source: What was taken from the source; None where features aren't warped.
        previous: What was taken from the frame before.
    """

    picture: Tensor
    source: Warped | None
    previous: Warped | None


class WarpGenerator(nn.Module):
    """DwNet's generator: encoders, warp refinement, feature warp, decoder (figure 2 of arXiv 1910.09139).

    H and W must be multiples of ``2 ** downsamplings``; features are smaller by that factor.

    Args:
        width: Channels of encoders and decoder at full resolution; doubled by every halving.
        downsamplings: Halvings of the encoders.
        blocks: Residual blocks of the decoder.
        warping: How features are warped.
        grid_padding: What warps find outside of a picture.
        norm: Normalisation.
    """

    def __init__(
        self,
        width: int = 64,
        downsamplings: int = 2,
        blocks: int = 9,
        warping: Warping = "refined",
        grid_padding: GridPadding = "reflection",
        norm: Norm = "instance",
    ) -> None:
        super().__init__()
        self.warping = warping
        self.grid_padding = grid_padding
        channels = width * 2**downsamplings
        self.pose_encoder = nn.Sequential(*contraction(3, width, downsamplings, norm))
        self.frame_encoder = nn.Sequential(*contraction(3, width, downsamplings, norm))
        self.warp_refiner: nn.Sequential | None = None
        if warping == "refined":
            refining = [ResnetBlock(channels, norm, "reflect") for _ in range(2)]
            self.warp_refiner = nn.Sequential(
                *contraction(8, width, downsamplings, norm), *refining, nn.Conv2d(channels, 2, 1)
            )
        self.fusion = nn.Conv2d(3 * channels, channels, 1)
        self.decoder = nn.Sequential(*expansion(width, downsamplings, blocks, norm, "reflect"), *head(width, 3))
        self.apply(init_normal)
        if self.warp_refiner is not None:  # training starts from the coarse warp as it is
            for parameter in self.warp_refiner[-1].parameters():
                nn.init.zeros_(parameter)

    def encode(self, picture: Tensor) -> Frame:
        """Prepares a picture (B, 3, H, W) in [-1, 1] for being warped."""
        return Frame(picture, self.frame_encoder(picture))

    def forward(
        self, surface: Tensor, source: Frame, source_grid: Tensor, previous: Frame | None, previous_grid: Tensor
    ) -> Rendered:
        """Renders one frame.

        Args:
            surface: (B, 3, H, W) in [-1, 1]: the frame's surface map as a picture, see :func:`network_surface`.
            source: Who.
            source_grid: (B, H, W, 2): coarse warp from the source.
            previous: The frame before; None takes the source, as for the first frame of a clip.
            previous_grid: (B, H, W, 2): coarse warp from the frame before; not looked at without one.
        """
        pose_features = self.pose_encoder(surface)  # B, C, h, w
        if self.warping == "none":
            before = source if previous is None else previous
            return Rendered(self._decode(pose_features, source.features, before.features), None, None)
        from_source = self.take(source, source_grid, surface)
        from_previous = from_source if previous is None else self.take(previous, previous_grid, surface)
        picture = self._decode(pose_features, from_source.features, from_previous.features)
        return Rendered(picture, from_source, from_previous)

    def take(self, frame: Frame, grid: Tensor, surface: Tensor) -> Warped:
        """Warps a frame's features by its coarse grid (B, H, W, 2), refined where the generator does so."""
        height, width = frame.picture.shape[-2:]
        # Official: this mixes positions with the marker of unknown ones, (-1, -1), at the borders of parts.
        coarse = resize_grid(grid, *frame.features.shape[-2:])  # B, h, w, 2
        picture = sample(frame.picture, grid, self.grid_padding)
        residual = torch.zeros_like(coarse)
        if self.warp_refiner is not None:
            relative = (grid - coordinate_grid(height, width, grid)).permute(0, 3, 1, 2)
            residual = self.warp_refiner(torch.cat([surface, picture, relative], 1)).permute(0, 2, 3, 1)
        refined = residual.float() + coarse
        return Warped(picture, refined, residual, sample(frame.features, refined, self.grid_padding))

    def _decode(self, pose: Tensor, source: Tensor, previous: Tensor) -> Tensor:
        return self.decoder(self.fusion(torch.cat([pose, source, previous], 1)))


def discriminator(width: int, layers: int, scales: int, norm: Norm) -> MultiScalePatchGAN:
    """Judges a surface map and a frame, stacked (B, 6, H, W) in [-1, 1]; freshly initialised."""
    return MultiScalePatchGAN(6, width, layers, scales, norm).apply(init_normal)


def network_surface(iuv: Tensor) -> Tensor:
    """Surface maps as the networks see them: the 8-bit picture that DensePose writes.

    Official: a file that holds I, U, V as blue, green, red, read as RGB; parts 0 to 24 of 255 are nearly one intensity.

    Args:
        iuv: (..., 3, H, W): I in {0..24}, U and V in [0, 1].

    Returns:
        The same shape: V, U, I in [-1, 1].
    """
    part, u, v = iuv.unbind(-3)
    return 2 * torch.stack([v, u, part / 255], -3) - 1


def sample(pictures: Tensor, grid: Tensor, padding: GridPadding) -> Tensor:
    """Pictures (B, C, H, W) at the positions of a grid (B, h, w, 2): (B, C, h, w)."""
    # Official: written for a PyTorch whose grid_sample knew nothing else than corner-aligned grids.
    return warp(pictures, grid, align_corners=True, padding=padding)


def shrink(pictures: Tensor, like: Tensor) -> Tensor:
    """Pictures (B, C, H, W) at the size of a grid (B, h, w, 2), bilinearly, without antialiasing."""
    return F.interpolate(pictures, like.shape[1:3], mode="bilinear")
