import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from kornia.geometry.subpix import spatial_expectation2d, spatial_softmax2d
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import OptionError
from zoo.methods.pose_attentive_reassembling.retrieval import Attention, Memory, children
from zoo.nn.blocks import DownBlock, Hourglass, ResBlock, SameBlock, UpBlock
from zoo.warp import coordinate_grid, gaussian_maps, in_float32

Background = Literal["mean", "seen", "first", "none"]
"""What the background is made of: all source frames, completed and averaged; what each of them shows of it, completed
where none does; the first, completed; or there is no background."""

Similarity = Literal["dot", "distance"]
"""Of a query q and a key k: <q, k>, or <q, k> - |k|^2 / 2, which ranks keys by their distance from the query."""

MAX_PIXELS = 2**16
"""How many pixels of source frames are encoded at once, outside training: one picture of 256 x 256, 16 of 64 x 64.

One source frame of each clip at a time is the least.
"""


class Encoder(nn.Module):
    """ENC: features of a picture at several strides, shared between source and driving frames.

    Args:
        width: Channels at full resolution; doubled by each halving.
        max_width: Widest level.
        down_blocks: Halvings before the residual blocks, whose output is what keypoints are found in.
        res_blocks: Residual blocks.
        coarser_blocks: Further halvings after them, for attention at coarser levels.
    """

    def __init__(self, width: int, max_width: int, down_blocks: int, res_blocks: int, coarser_blocks: int) -> None:
        super().__init__()
        widths = [min(max_width, width * 2**i) for i in range(down_blocks + coarser_blocks + 1)]
        self.first = SameBlock(3, width, 7)
        self.down_blocks = nn.ModuleList(DownBlock(i, o) for i, o in pairwise(widths[: down_blocks + 1]))
        self.res_blocks = nn.Sequential(*(ResBlock(widths[down_blocks]) for _ in range(res_blocks)))
        self.coarser_blocks = nn.ModuleList(DownBlock(i, o) for i, o in pairwise(widths[down_blocks:]))
        self.stride = 2**down_blocks
        self.widths = {2**i: channels for i, channels in enumerate(widths)}

    def forward(self, pictures: Tensor) -> dict[int, Tensor]:
        """Stride -> features (N, C, H / stride, W / stride) of pictures (N, 3, H, W) in [0, 1]."""
        features = {1: self.first(pictures)}
        stride = 1
        for block in self.down_blocks:
            features[2 * stride] = block(features[stride])
            stride *= 2
        features[stride] = self.res_blocks(features[stride])
        for block in self.coarser_blocks:
            features[2 * stride] = block(features[stride])
            stride *= 2
        return features


class KeypointHead(nn.Module):
    """Finds keypoints in the encoder's features, without labels.

    Args:
        in_channels: Of the features.
        num_keypoints: K.
        width: Channels of the hourglass at the features' resolution.
        max_width: Its widest level.
        blocks: Its levels.
        temperature: Of the spatial softmax.
    """

    def __init__(
        self, in_channels: int, num_keypoints: int, width: int, max_width: int, blocks: int, temperature: float
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.hourglass = Hourglass(in_channels, width, max_width, blocks)
        self.logits = nn.Conv2d(self.hourglass.out_channels, num_keypoints, 7, padding=3)

    def forward(self, features: Tensor) -> Tensor:
        """Keypoints (N, K, 2) in features (N, C, h, w)."""
        return expected_positions(self.logits(self.hourglass(features)), self.temperature)


@in_float32
def expected_positions(logits: Tensor, temperature: float) -> Tensor:
    """Keypoints as expected positions under the softmax of their maps.

    Convention: (x, y) in [-1, 1] on :func:`zoo.warp.coordinate_grid`.

    Args:
        logits: (N, K, h, w).
        temperature: They are divided by it.

    Returns:
        (N, K, 2).
    """
    return spatial_expectation2d(spatial_softmax2d(logits, torch.tensor(temperature)))


class PoseEmbedding(nn.Module):
    """Keypoints, re-rendered as round blobs, as a vector per position: nothing of the appearance passes through.

    Args:
        num_keypoints: K.
        channels: Of the vectors; their dot products are the similarities, so they have no activation.
        variance: Of the blobs, in squared grid units.
        coordinates: Show each position's own (x, y) beside the blobs. Not part of the published method; queries then
            tend to match their own position, and the network copies.
    """

    def __init__(self, num_keypoints: int, channels: int, variance: float, coordinates: bool) -> None:
        super().__init__()
        self.variance, self.coordinates = variance, coordinates
        self.first = SameBlock(num_keypoints + (2 if coordinates else 0), channels)
        self.last = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, keypoints: Tensor, height: int, width: int) -> Tensor:
        """Embedding (N, C, height, width) of keypoints (N, K, 2)."""
        maps = gaussian_maps(keypoints, height, width, self.variance)
        if self.coordinates:
            grid = coordinate_grid(height, width, maps).permute(2, 0, 1)
            maps = torch.cat([maps, grid.expand(len(maps), -1, -1, -1)], dim=1)
        return self.last(self.first(maps))


class Decoder(nn.Module):
    """DEC: retrieved appearance in, the object and its mask out.

    Args:
        channels: Of the retrieved appearance at each level.
        widths: Stride -> channels of the decoder at that stride.
        strides: Of the attention levels, coarse to fine. Residual blocks work at the coarsest; the others are added on
            the way up, through 1 x 1 convolutions that start at zero: the network starts equal to the one that attends
            at the coarsest level alone.
        res_blocks: Residual blocks.
    """

    def __init__(self, channels: int, widths: dict[int, int], strides: tuple[int, ...], res_blocks: int) -> None:
        super().__init__()
        coarsest, *finer = strides
        self.strides = strides
        self.res_blocks = nn.Sequential(*(ResBlock(channels) for _ in range(res_blocks)))
        outputs = [widths[coarsest // 2**i] for i in range(1, int(math.log2(coarsest)) + 1)]
        self.up_blocks = nn.ModuleList(UpBlock(i, o) for i, o in pairwise([channels, *outputs]))
        self.injections = nn.ModuleDict({str(stride): nn.Conv2d(channels, widths[stride], 1) for stride in finer})
        for injection in self.injections.values():
            nn.init.zeros_(injection.weight)  # type: ignore[arg-type]
            nn.init.zeros_(injection.bias)  # type: ignore[arg-type]
        self.object = nn.Conv2d(outputs[-1], 3, 7, padding=3)
        self.mask = nn.Conv2d(outputs[-1], 1, 7, padding=3)

    def forward(self, retrieved: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Object (N, 3, H, W) and mask (N, 1, H, W), in [0, 1], of (N, Ca, H / stride, W / stride) for each level."""
        appearance = dict(zip(self.strides, retrieved, strict=True))
        stride = self.strides[0]
        x = self.res_blocks(appearance[stride])
        for block in self.up_blocks:
            x = block(x)
            stride //= 2
            if str(stride) in self.injections:
                x = x + self.injections[str(stride)](appearance[stride])
        return self.object(x).sigmoid(), self.mask(x).sigmoid()


class BackgroundNetwork(nn.Module):
    """Completes what is behind the subject: an hourglass without the skip at full resolution.

    Args:
        width: Channels at full resolution.
        max_width: Widest level.
        blocks: Levels.
        visibility: Tell where a picture shows the background, and take it from there as it is. Not part of the
            published method.
    """

    UNSEEN = 0.01
    """What a picture still counts where it shows nothing of the background, beside 1 where it does."""

    def __init__(self, width: int, max_width: int, blocks: int, visibility: bool = False) -> None:
        super().__init__()
        self.width = width
        self.first = SameBlock(3, width, 7)
        self.hourglass = Hourglass(width, width, max_width, blocks)
        self.last = nn.Conv2d(width, 3, 7, padding=3)
        self.visibility = nn.Conv2d(self.hourglass.out_channels, 1, 7, padding=3) if visibility else None
        if self.visibility is not None:
            nn.init.constant_(self.visibility.bias, 2.0)  # type: ignore[arg-type]  # most of a picture is background

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Backgrounds (N, 3, H, W) in [0, 1] of pictures (N, 3, H, W), and what each counts there, (N, 1, H, W)."""
        features = self.hourglass(self.first(pictures))
        # After the hourglass's own channels come those of its input, through which the subject would pass unchanged.
        completed = self.last(features[:, : self.width]).sigmoid()
        if self.visibility is None:
            return completed, torch.ones_like(completed[:, :1])
        seen = self.visibility(features).sigmoid()
        return compose(seen, pictures, completed), seen + self.UNSEEN


def compose(mask: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """G = m * o + (1 - m) * B."""
    return mask * foreground + (1 - mask) * background


class Pose(NamedTuple):
    """Pose of T frames of each of B clips.

    Attributes:
        keypoints: (B, T, K, 2), (x, y) in [-1, 1].
        queries: (B, T, C, h, w) for each attention level, coarse to fine.
    """

    keypoints: Tensor
    queries: tuple[Tensor, ...]


class Sources(NamedTuple):
    """Everything that B results are reassembled from.

    Attributes:
        keypoints: (B, N, K, 2).
        memory: The N source frames of each.
        background: (B, 3, H, W), or None.
    """

    keypoints: Tensor
    memory: Memory
    background: Tensor | None


class Reassembled(NamedTuple):
    """T results of each of B clips.

    Attributes:
        prediction: (B, T, 3, H, W) in [0, 1].
        object: (B, T, 3, H, W) in [0, 1]: the subject.
        mask: (B, T, 1, H, W) in [0, 1]: 1 shows the subject, 0 the background.
        colours: (B, T, 3, h, w) in [0, 1]: of the source frames, as the finest attention level finds them; None where
            they aren't looked up.
    """

    prediction: Tensor
    object: Tensor
    mask: Tensor
    colours: Tensor | None = None

    @classmethod
    def joined(cls, parts: Sequence["Reassembled"]) -> "Reassembled":
        """Results that follow each other in time."""
        predictions, objects, masks, colours = zip(*parts, strict=True)
        return cls(
            torch.cat(predictions, dim=1),
            torch.cat(objects, dim=1),
            torch.cat(masks, dim=1),
            None if colours[0] is None else torch.cat(colours, dim=1),
        )


class Reassembler(nn.Module):
    """Makes the pose of driving frames out of the appearance of any number of source frames; nothing is warped.

    Args:
        encoder: ENC.
        keypoint_head: Of the pose branch.
        attention: How appearance is looked up.
        similarity: Of queries and keys.
        strides: At which strides it is looked up, coarse to fine, each half of the one before.
        pose_channels: C of the queries and keys.
        appearance_channels: Ca of the values, and of the decoder's residual blocks.
        keypoint_variance: Of the blobs that keypoints are rendered as.
        pose_coordinates: See :class:`PoseEmbedding`.
        decoder_blocks: Residual blocks of the decoder.
        background_network: Or None, for results that are all object.
        background: Which source frames it completes.
        attention_parents: Finer levels look only at the children of so many positions, those that a query weights most
            one level coarser; None lets them look everywhere.
        generated_frames: How many of the results before are looked into as well, beside the source frames.
        colours: Look the source frames' own colours up as well, for a loss term.
    """

    def __init__(
        self,
        encoder: Encoder,
        keypoint_head: KeypointHead,
        attention: Attention,
        similarity: Similarity,
        strides: tuple[int, ...],
        pose_channels: int,
        appearance_channels: int,
        keypoint_variance: float,
        pose_coordinates: bool,
        decoder_blocks: int,
        background_network: BackgroundNetwork | None,
        background: Background,
        attention_parents: int | None,
        generated_frames: int,
        colours: bool,
    ) -> None:
        super().__init__()
        self.encoder, self.keypoint_head, self.background_network = encoder, keypoint_head, background_network
        self.attention, self.strides, self.background = attention, strides, background
        self.attention_parents, self.generated_frames = attention_parents, generated_frames
        self.similarity, self.colours = similarity, colours
        num_keypoints = keypoint_head.logits.out_channels
        self.pose_embeddings = nn.ModuleList(
            PoseEmbedding(num_keypoints, pose_channels, keypoint_variance, pose_coordinates) for _ in strides
        )
        self.appearance_embeddings = nn.ModuleList(
            nn.Conv2d(encoder.widths[stride], appearance_channels, 3, padding=1) for stride in strides
        )
        self.decoder = Decoder(appearance_channels, encoder.widths, strides, decoder_blocks)
        # Starts low: what was invented a moment ago should not drown what is known.
        self.generated_bias = nn.Parameter(torch.tensor(-2.0)) if generated_frames else None

    def detect(self, frames: Tensor) -> Tensor:
        """Keypoints (B, T, K, 2) of frames (B, T, 3, H, W)."""
        features = self.encoder(frames.flatten(0, 1))[self.encoder.stride]
        return self.keypoint_head(features).unflatten(0, frames.shape[:2])

    def pose(self, frames: Tensor) -> Pose:
        """Pose of frames (B, T, 3, H, W): all that is used of driving frames."""
        keypoints, embeddings = self._pose(self.encoder(frames.flatten(0, 1)), frames)
        if self.similarity == "distance":
            embeddings = tuple(F.pad(e, (0, 0, 0, 0, 0, 1), value=1.0) for e in embeddings)
        return Pose(keypoints, embeddings)

    def remember(self, frames: Tensor) -> tuple[Tensor, Memory]:
        """Keypoints (B, N, K, 2) of frames (B, N, 3, H, W), and the frames as something to look into."""
        parts = [self._remember(some) for some in frames.split(self._at_once(frames), dim=1)]
        keypoints, (first, *others) = zip(*parts, strict=True)
        return torch.cat(keypoints, dim=1), first.followed_by(*others)

    def _remember(self, frames: Tensor) -> tuple[Tensor, Memory]:
        """As :meth:`remember`, all frames at once."""
        features = self.encoder(frames.flatten(0, 1))
        keypoints, keys = self._pose(features, frames)
        if self.similarity == "distance":  # <(q, 1), (k, -|k|^2 / 2)>: dot products, as attention computes them
            keys = tuple(torch.cat([k, -k.square().sum(dim=2, keepdim=True) / 2], dim=2) for k in keys)
        values = [embed(features[s]) for embed, s in zip(self.appearance_embeddings, self.strides, strict=True)]
        if self.colours:
            values = [
                torch.cat([value, F.avg_pool2d(frames.flatten(0, 1), stride)], dim=1)
                for value, stride in zip(values, self.strides, strict=True)
            ]
        return keypoints, Memory(keys, tuple(value.unflatten(0, frames.shape[:2]) for value in values))

    def encode_sources(self, frames: Tensor, valid: Tensor | None = None) -> Sources:
        """Computes all that depends on the source frames alone.

        Args:
            frames: (B, N, 3, H, W).
            valid: (B, N) bool: which of them count, where clips have different numbers; None for all.

        Raises:
            ValueError: A clip has no source frame.
        """
        if frames.shape[1] == 0 or (valid is not None and not valid.any(dim=1).all()):
            raise ValueError("a clip has no source frame; give at least one")
        keypoints, memory = self.remember(frames)
        if valid is not None:
            memory = memory.hidden_unless(valid)
        return Sources(keypoints, memory, self._complete_background(frames, valid))

    def reassemble(
        self, sources: Sources, pose: Pose, generated: Memory | None = None, looks_back: bool = True
    ) -> tuple[Reassembled, Memory | None]:
        """Renders T frames of each of B clips.

        Args:
            sources: Of the B clips.
            pose: Of the driving frames.
            generated: The last results before these, as this function returned them; None at the start of a clip.
            looks_back: Whether results are looked into, where the method does that.

        Returns:
            The frames, and the last of them as something to look into for the next; None where results aren't looked
            into.
        """
        if self.generated_bias is None or not looks_back:
            return self._render(sources.memory, sources.background, pose), None
        frames = []
        for moment in range(pose.keypoints.shape[1]):
            memory = sources.memory
            if generated is not None:
                memory = memory.followed_by(generated.biased(self.generated_bias))
            now = Pose(pose.keypoints[:, [moment]], tuple(q[:, [moment]] for q in pose.queries))
            frames.append(self._render(memory, sources.background, now))
            with torch.no_grad():
                _, seen = self.remember(frames[-1].prediction)
            generated = seen if generated is None else generated.followed_by(seen).last(self.generated_frames)
        return Reassembled.joined(frames), generated

    def looked_at(self, memory: Memory, pose: Pose, points: Tensor, level: int = 0) -> Tensor:
        """Where queries look.

        Args:
            memory: Frames that are looked into.
            pose: Of T driving frames of each clip.
            points: (B, T, Q, 2) places in the driving frames, (x, y) in [-1, 1]; the nearest positions ask.
            level: Attention level, coarse to fine.

        Returns:
            (B, T, Q, N, h, w), at least 0, with sum 1 for each query.
        """
        queries = pose.queries[level]  # B, T, C, h, w
        last = points.new_tensor([queries.shape[-1] - 1, queries.shape[-2] - 1])
        nearest = ((points + 1) / 2 * last).round().clamp(min=torch.zeros_like(last), max=last).long()
        column, row = nearest.unbind(-1)
        clip, frame = (torch.arange(length, device=points.device) for length in queries.shape[:2])
        chosen = queries[clip[:, None, None], frame[:, None], :, row, column]  # B, T, Q, C
        maps = self.attention.weights(chosen.flatten(1, 2), memory.keys[level], memory.bias)
        return maps.unflatten(1, chosen.shape[1:3])

    def _pose(self, features: dict[int, Tensor], frames: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Keypoints and pose embeddings of frames (B, T, 3, H, W) from their features, each (B x T, ...)."""
        keypoints = self.keypoint_head(features[self.encoder.stride])
        embeddings = tuple(
            embed(keypoints, *features[stride].shape[-2:]).unflatten(0, frames.shape[:2])
            for embed, stride in zip(self.pose_embeddings, self.strides, strict=True)
        )
        return keypoints.unflatten(0, frames.shape[:2]), embeddings

    def _complete_background(self, frames: Tensor, valid: Tensor | None) -> Tensor | None:
        if self.background_network is None:
            return None
        if valid is None:
            valid = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
        if self.background == "first":
            clips = torch.arange(len(frames), device=frames.device)
            return self.background_network(frames[clips, valid.int().argmax(dim=1)])[0]
        total, counted = torch.zeros_like(frames[:, 0]), torch.zeros_like(frames[:, 0, :1])
        length = self._at_once(frames)
        for some, counts in zip(frames.split(length, dim=1), valid.split(length, dim=1), strict=True):
            completed, weight = (x.unflatten(0, some.shape[:2]) for x in self.background_network(some.flatten(0, 1)))
            weight = weight * counts[:, :, None, None, None]
            total, counted = total + (weight * completed).sum(dim=1), counted + weight.sum(dim=1)
        return total / counted

    def _at_once(self, frames: Tensor) -> int:
        """How many of N frames (B, N, 3, H, W) of each clip are encoded at once: memory shouldn't follow N.

        All of them in training, where batch norm looks at all.
        """
        clips, number, _, height, width = frames.shape
        return number if self.training else max(1, MAX_PIXELS // (clips * height * width))

    def _render(self, memory: Memory, background: Tensor | None, pose: Pose) -> Reassembled:
        """T frames that don't depend on each other."""
        retrieved: list[Tensor] = []
        parents: Tensor | None = None  # B, T, h, w, M: what the level above looked at most
        for queries, keys, values in zip(pose.queries, memory.keys, memory.values, strict=True):
            candidates = None
            if parents is not None:
                height, width = keys.shape[-2] // 2, keys.shape[-1] // 2
                candidates = children(parents, height, width)
            retrieved.append(self.attention.retrieve(queries, keys, values, memory.bias, candidates).flatten(0, 1))
            if self.attention_parents is not None and len(retrieved) < len(self.strides):
                parents = self.attention.strongest(queries, keys, memory.bias, candidates, self.attention_parents)
        clips = pose.keypoints.shape[:2]
        colours = None
        if self.colours:
            colours = retrieved[-1][:, -3:].unflatten(0, clips)
            retrieved = [found[:, :-3] for found in retrieved]
        foreground, mask = (x.unflatten(0, clips) for x in self.decoder(retrieved))
        prediction = foreground if background is None else compose(mask, foreground, background[:, None])
        return Reassembled(prediction, foreground, mask, colours)


def check_strides(strides: tuple[int, ...]) -> None:
    """Complains about attention levels that don't halve from one to the next."""
    halved = all(fine * 2 == coarse for coarse, fine in pairwise(strides))
    if not strides or strides[-1] < 2 or strides[0] & (strides[0] - 1) or not halved:
        raise OptionError(
            f"attention_strides should be powers of two from 2 on, each half of the one before, such as [8, 4]; "
            f"not {list(strides)}"
        )
