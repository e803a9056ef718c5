"""Flow estimators, the local neural texture renderer, and the three generators made of them.

Attribute names inside the networks are those of the official code, so that its weights load by name. Pictures are RGB
in [-1, 1]. *Level* L means a feature map of 1/2^L of the picture's size; flows are in pixels of the map that they act
on.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.nn.norm import Norm, norm_layer
from zoo.warp.local_attention import attend, convolve_neighbourhoods, convolve_patches

HIDDEN = 128
"""Channels between the two layers that predict attention weights."""


class Motion(NamedTuple):
    """What a flow estimator says at one level.

    Attributes:
        flow: (B, 2, h, w): where each target pixel finds its content in the source, (x, y) relative, in pixels.
        mask: (B, 1, h, w) in (0, 1): 1 takes the warped source, 0 what the target branch makes up itself.
    """

    flow: Tensor
    mask: Tensor


Motions = dict[int, Motion]
"""Level -> motion, from coarse to fine."""


class Frame(NamedTuple):
    """A picture (B, 3, H, W) and its structure (B, C, H, W)."""

    picture: Tensor
    structure: Tensor


class Rendered(NamedTuple):
    """A generated frame and how it came about.

    Attributes:
        picture: (B, 3, H, W) in [-1, 1].
        motions: One for each picture that was looked at: previous and reference, or the source alone.
        attention: Level -> for each of them the softmax weights (B, k^2, h, w).
    """

    picture: Tensor
    motions: tuple[Motions, ...]
    attention: dict[int, list[Tensor]]


def activation() -> nn.Module:
    """The activation of all networks."""
    return nn.LeakyReLU(0.1)


def encoder_widths(width: int, max_width: int, layers: int) -> list[int]:
    """Channels after each halving: doubled every time up to ``max_width``."""
    return [width * min(2**i, max_width // width) for i in range(layers)]


class EncoderBlock(nn.Module):
    """Halves the size; (B, in_channels, H, W) -> (B, out_channels, H / 2, W / 2).

    Official: the raw input is normalised per instance and passed through the activation before the first convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: Norm) -> None:
        super().__init__()
        self.model = nn.Sequential(
            norm_layer(norm, in_channels, affine=True),
            activation(),
            nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1),
            norm_layer(norm, out_channels, affine=True),
            activation(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class ResBlock(nn.Module):
    """Pre-activation residual block of constant width."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.model = nn.Sequential(
            norm_layer(norm, channels, affine=True),
            activation(),
            nn.Conv2d(channels, channels, 3, padding=1),
            norm_layer(norm, channels, affine=True),
            activation(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.model(x)


class ResBlocks(nn.Module):
    """``count`` residual blocks in a row."""

    def __init__(self, count: int, channels: int, norm: Norm) -> None:
        super().__init__()
        self.model = nn.Sequential(*[ResBlock(channels, norm) for _ in range(count)])

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class ResBlockDecoder(nn.Module):
    """Residual block that doubles the size; (B, in_channels, H, W) -> (B, out_channels, 2 H, 2 W)."""

    def __init__(self, in_channels: int, out_channels: int, hidden: int, norm: Norm) -> None:
        super().__init__()
        self.model = nn.Sequential(
            norm_layer(norm, in_channels, affine=True),
            activation(),
            nn.Conv2d(in_channels, hidden, 3, padding=1),
            norm_layer(norm, hidden, affine=True),
            activation(),
            nn.ConvTranspose2d(hidden, out_channels, 3, stride=2, padding=1, output_padding=1),
        )
        self.shortcut = nn.Sequential(
            nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) + self.shortcut(x)


class PaddedConvolution(nn.Module):
    """Activation, 3 x 3 convolution of the mirrored border, and, for pictures, tanh."""

    def __init__(self, in_channels: int, out_channels: int, picture: bool = False) -> None:
        super().__init__()
        layers = [activation(), nn.ReflectionPad2d(1), nn.Conv2d(in_channels, out_channels, 3)]
        self.model = nn.Sequential(*layers, *([nn.Tanh()] if picture else []))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Encoder(nn.Module):
    """Halves a picture, structure or both again and again.

    Args:
        in_channels: Of the input.
        widths: Channels after each halving.
        norm: Normalisation.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], norm: Norm) -> None:
        super().__init__()
        self.block0 = EncoderBlock(in_channels, widths[0], norm)
        self._halvings = ["block0"]
        for i in range(len(widths) - 1):
            self.add_module(f"encoder{i}", EncoderBlock(widths[i], widths[i + 1], norm))
            self._halvings.append(f"encoder{i}")

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """(B, in_channels, H, W) -> the maps of levels 1, 2, ..., the last one the smallest."""
        maps = []
        for name in self._halvings:
            x = self.get_submodule(name)(x)
            maps.append(x)
        return maps

    forward = pyramid


class FlowEstimator(Encoder):
    """The global flow field estimator (section 3.1): where does each target pixel find its content, and does it?

    Args:
        in_channels: Channels of pictures and structures together.
        width: Channels after the first halving.
        max_width: Of the widest map.
        layers: Halvings.
        levels: At which levels flows and masks are estimated.
        norm: Normalisation.
        branches: Pictures that content is looked for in.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        max_width: int,
        layers: int,
        levels: Sequence[int],
        norm: Norm,
        branches: int = 1,
    ) -> None:
        widths = encoder_widths(width, max_width, layers)
        super().__init__(in_channels, widths, norm)
        self.branches = branches
        self.levels = tuple(levels)
        self.layers = layers
        for step, level in enumerate(range(layers - 1, min(levels) - 1, -1)):
            channels = widths[level - 1]
            self.add_module(f"decoder{step}", ResBlockDecoder(widths[level], channels, channels, norm))
            self.add_module(f"jump{step}", PaddedConvolution(channels, channels))
            if level in levels:
                self.add_module(f"output{step}", nn.Conv2d(channels, 2 * branches, 3, padding=1))
                mask = nn.Sequential(nn.Conv2d(channels, branches, 3, padding=1), nn.Sigmoid())
                self.add_module(f"mask{step}", mask)

    def forward(self, *inputs: Tensor) -> tuple[Motions, ...]:  # type: ignore[override]
        """Pictures and structures, (B, C_i, H, W) each -> motions per branch."""
        maps = self.pyramid(torch.cat(inputs, 1))
        out = maps[-1]
        motions: tuple[Motions, ...] = tuple({} for _ in range(self.branches))
        for step, level in enumerate(range(self.layers - 1, min(self.levels) - 1, -1)):
            skipped = self.get_submodule(f"jump{step}")(maps[level - 1])
            out = self.get_submodule(f"decoder{step}")(out) + skipped
            if level in self.levels:
                flows = self.get_submodule(f"output{step}")(out).split(2, dim=1)
                masks = self.get_submodule(f"mask{step}")(out).split(1, dim=1)
                for branch, flow, mask in zip(motions, flows, masks, strict=True):
                    branch[level] = Motion(flow, mask)
        return motions


class LocalAttention(nn.Module):
    """Content-aware sampling of the patch around where the flow points (section 3.2).

    Args:
        channels: Of source and target features.
        patch_size: k.
        summed: Whether the weighted patch is summed instead of averaged.
    """

    def __init__(self, channels: int, patch_size: int, summed: bool = False) -> None:
        super().__init__()
        k = patch_size
        self.channels = channels
        # Official: the weighted patch is averaged, although the weights add up to 1.
        self.divisor = 1 if summed else k * k
        self.fully_connect_layer = nn.Sequential(
            nn.Conv2d(2 * channels, HIDDEN, k, stride=k), activation(), nn.Conv2d(HIDDEN, k * k, 1)
        )

    def forward(self, source: Tensor, target: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Attends to the source.

        Args:
            source: (B, C, H, W).
            target: (B, C, h, w), what is known of the target so far.
            flow: (B, 2, h, w), in pixels of the source.

        Returns:
            (B, C, h, w), and the weights (B, k^2, h, w), which add up to 1.
        """
        first, act, second = self.fully_connect_layer
        assert isinstance(first, nn.Conv2d) and first.bias is not None
        # The first layer reads the patches of target and source, stacked; both halves are computed without patches.
        kernel_target, kernel_source = first.weight.split(self.channels, dim=1)
        of_source = convolve_patches(source, flow, kernel_source)
        hidden = of_source + convolve_neighbourhoods(target, kernel_target) + first.bias[:, None, None]
        weights = torch.softmax(second(act(hidden)), dim=1)
        return attend(source, flow, weights) / self.divisor, weights


class Renderer(Encoder):
    """The local neural texture renderer: structure in, picture out, with content from the source's feature maps.

    Args:
        structure_channels: Of the target's structure.
        width: Channels after the first halving.
        max_width: Of the widest map.
        layers: Halvings.
        blocks: Residual blocks per doubling, the doubling one included.
        patch_sizes: Level -> k of its attention.
        norm: Normalisation.
        attentions: Names of the attention modules of each picture that is looked at.
        summed: Whether attention sums the weighted patch instead of averaging it.
    """

    def __init__(
        self,
        structure_channels: int,
        width: int,
        max_width: int,
        layers: int,
        blocks: int,
        patch_sizes: dict[int, int],
        norm: Norm,
        attentions: Sequence[str] = ("attn",),
        summed: bool = False,
    ) -> None:
        widths = encoder_widths(width, max_width, layers)
        super().__init__(structure_channels, widths, norm)
        self.attentions = tuple(attentions)
        self.layers = layers
        self.levels = tuple(patch_sizes)
        for step, level in enumerate(range(layers, 0, -1)):
            channels = widths[level - 1]
            narrower = widths[max(level - 2, 0)]
            doubling = ResBlockDecoder(channels, narrower, channels, norm)
            residual = [ResBlocks(blocks - 1, channels, norm)] if blocks > 1 else []
            self.add_module(f"decoder{step}", nn.Sequential(*residual, doubling))
            if level in patch_sizes:
                for name in attentions:
                    self.add_module(f"{name}{step}", LocalAttention(channels, patch_sizes[level], summed))
        self.outconv = PaddedConvolution(width, 3, picture=True)

    def forward(  # type: ignore[override]
        self, structure: Tensor, sources: Sequence[list[Tensor]], motions: tuple[Motions, ...]
    ) -> Rendered:
        """Renders a frame.

        Args:
            structure: (B, C, H, W) of the target.
            sources: For each picture looked at, its maps of levels 1, 2, ...
            motions: For each of them.
        """
        out = self.pyramid(structure)[-1]
        attention: dict[int, list[Tensor]] = {}
        for step, level in enumerate(range(self.layers, 0, -1)):
            if level in self.levels:
                taken = []
                attention[level] = []
                for name, maps, motion in zip(self.attentions, sources, motions, strict=True):
                    flow, mask = motion[level]
                    attended, weights = self.get_submodule(f"{name}{step}")(maps[level - 1], out, flow)
                    taken.append(out * (1 - mask) + attended * mask)
                    attention[level].append(weights)
                out = torch.stack(taken).sum(0)  # Official: two branches are summed, not averaged
            out = self.get_submodule(f"decoder{step}")(out)
        return Rendered(self.outconv(out), motions, attention)


class Sizes(NamedTuple):
    """Widths and depths that the generators share; the defaults are the published ones.

    Attributes:
        structure_channels: Of a structure.
        width: Channels of source encoder and renderer after the first halving.
        max_width: Of their widest map.
        layers: Their halvings.
        blocks: Residual blocks per doubling.
        patch_sizes: Level -> patch size k of the attention there.
        flow_width: Channels of a flow estimator after the first halving.
        flow_max_width: Of its widest map.
        flow_layers: Its halvings.
        norm: Normalisation of all.
        attention_sum: Whether attention sums the weighted patch instead of averaging it.
    """

    structure_channels: int = 18
    width: int = 64
    max_width: int = 512
    layers: int = 3
    blocks: int = 2
    patch_sizes: dict[int, int] = {2: 5, 3: 3}
    flow_width: int = 32
    flow_max_width: int = 256
    flow_layers: int = 5
    norm: Norm = "instance"
    attention_sum: bool = False

    def source_encoder(self) -> Encoder:
        """Of pictures."""
        return Encoder(3, encoder_widths(self.width, self.max_width, self.layers), self.norm)

    def flow_estimator(self, in_channels: int, branches: int = 1) -> FlowEstimator:
        """Of pictures and structures that have ``in_channels`` together."""
        levels = tuple(self.patch_sizes)
        widths = self.flow_width, self.flow_max_width
        return FlowEstimator(in_channels, *widths, self.flow_layers, levels, self.norm, branches)

    def renderer(self, attentions: Sequence[str]) -> Renderer:
        """Of a picture from a structure."""
        return Renderer(
            self.structure_channels,
            self.width,
            self.max_width,
            self.layers,
            self.blocks,
            self.patch_sizes,
            self.norm,
            attentions,
            self.attention_sum,
        )


class PoseGenerator(nn.Module):
    """Image version: a person in one picture, in another pose."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.source = sizes.source_encoder()
        self.target = sizes.renderer(("attn",))
        self.flow_net = sizes.flow_estimator(3 + 2 * sizes.structure_channels)

    def forward(self, source: Frame, features: list[Tensor], structure: Tensor) -> Rendered:
        """Renders the source in another pose.

        Args:
            source: The person.
            features: ``self.source(source.picture)``.
            structure: (B, C, H, W) of the target.
        """
        return self.target(structure, [features], self.flow_net(*source, structure))


class RecurrentGenerator(nn.Module, ABC):
    """Animation: looks at a reference and at the frame generated before.

    A sub-class has ``flow_net*`` and says in :meth:`motions` how they are used.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.source_previous = sizes.source_encoder()
        self.source_reference = sizes.source_encoder()
        self.target = sizes.renderer(("attn_p", "attn_r"))

    @abstractmethod
    def motions(self, reference: Frame, previous: Frame, structure: Tensor) -> tuple[Motions, ...]:
        """Where the target finds its content in the previous frame, and in the reference."""

    def forward(self, reference: Frame, features: list[Tensor], previous: Frame, structures: Tensor) -> list[Rendered]:
        """Renders consecutive frames, each from the one before; gradients flow through the recurrence.

        Args:
            reference: The person.
            features: ``self.source_reference(reference.picture)``.
            previous: The last frame before these; for the first of a clip the reference.
            structures: (B, T, C, H, W) of the T targets.
        """
        frames = []
        for structure in structures.unbind(1):
            motions = self.motions(reference, previous, structure)
            sources = [self.source_previous(previous.picture), features]
            frames.append(self.target(structure, sources, motions))
            previous = Frame(frames[-1].picture, structure)
        return frames


class DanceGenerator(RecurrentGenerator):
    """Animation of people: a flow estimator for either picture."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.flow_net_previous = sizes.flow_estimator(3 + 2 * sizes.structure_channels)
        self.flow_net_reference = sizes.flow_estimator(3 + 2 * sizes.structure_channels)

    def motions(self, reference: Frame, previous: Frame, structure: Tensor) -> tuple[Motions, ...]:
        return *self.flow_net_previous(*previous, structure), *self.flow_net_reference(*reference, structure)


class FaceGenerator(RecurrentGenerator):
    """Animation of faces: one flow estimator for both pictures."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.flow_net = sizes.flow_estimator(2 * 3 + 3 * sizes.structure_channels, branches=2)

    def motions(self, reference: Frame, previous: Frame, structure: Tensor) -> tuple[Motions, ...]:
        return self.flow_net(structure, *previous, *reference)


def initialise(network: nn.Module, gain: float = 0.02) -> None:
    """Orthogonal weights and biases of zero; the default gain is the published one."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d):
            # The weight is the parameter that is no bias: spectral normalisation calls it `weight_orig`.
            for name, parameter in module.named_parameters(recurse=False):
                if name == "bias":
                    nn.init.zeros_(parameter)
                else:
                    nn.init.orthogonal_(parameter, gain)
