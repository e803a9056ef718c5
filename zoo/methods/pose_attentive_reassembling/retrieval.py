"""Pose-attentive retrieval: every position of the result looks appearance up anywhere in any number of frames."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

AttentionScale = float | Literal["rsqrt"]
"""Factor of the similarities: a number, or one over the square root of the keys' channels."""

MAX_WEIGHTS = 2**25
"""How many attention weights are held at once, 128 MB in float32; softmax and mask may hold as many again each.

The bound is independent of frames, sources and clips: more of them are attended to in more and shorter chunks of
queries. One query at a time is the least, so beyond 2^25 source positions (8192 frames at 64 x 64) it grows.
"""


@dataclass(frozen=True)
class Memory:
    """Frames that can be looked into; one entry per attention level, coarse to fine.

    Attributes:
        keys: (B, N, C, h, w) each: pose embeddings.
        values: (B, N, Ca, h, w) each: appearance embeddings.
        bias: (B, N) added to the logits of all positions of a frame, -inf hides it; None adds nothing.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    bias: Tensor | None = None

    def hidden_unless(self, valid: Tensor) -> "Memory":
        """The same frames, of which only those that are ``valid`` (B, N) are looked into."""
        bias = torch.zeros(valid.shape, dtype=self.keys[0].dtype, device=valid.device)
        return Memory(self.keys, self.values, bias.masked_fill(~valid, -math.inf))

    def biased(self, bias: Tensor) -> "Memory":
        """The same frames with a scalar bias each."""
        return Memory(self.keys, self.values, bias.expand(self.keys[0].shape[:2]))

    def followed_by(self, *others: "Memory") -> "Memory":
        """These frames and after them those of ``others``, (B, N + M + ...)."""
        memories = (self, *others)
        keys = tuple(torch.cat(level, dim=1) for level in zip(*(m.keys for m in memories), strict=True))
        values = tuple(torch.cat(level, dim=1) for level in zip(*(m.values for m in memories), strict=True))
        if all(m.bias is None for m in memories):
            return Memory(keys, values)
        biases = [m.keys[0].new_zeros(m.keys[0].shape[:2]) if m.bias is None else m.bias for m in memories]
        return Memory(keys, values, torch.cat(biases, dim=1))

    def last(self, count: int) -> "Memory":
        """The last ``count`` frames, or all where there are fewer."""
        bias = None if self.bias is None else self.bias[:, -count:]
        return Memory(tuple(k[:, -count:] for k in self.keys), tuple(v[:, -count:] for v in self.values), bias)


@dataclass(frozen=True)
class Attention:
    """One softmax over all positions of all source frames together, so that the frames compete.

    w_ij = softmax_j(s <q_i, k_j>), result_i = sum_j w_ij v_j. Positions are flattened row by row, frames outermost.

    Attributes:
        scale: The factor s.
        top_k: Only the k largest logits of a query take part, among equal ones any; None lets all. Not part of the
            published method.
        max_weights: See :data:`MAX_WEIGHTS`; the result doesn't depend on it.
    """

    scale: AttentionScale = "rsqrt"
    top_k: int | None = None
    max_weights: int = MAX_WEIGHTS

    def retrieve(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        bias: Tensor | None = None,
        candidates: Tensor | None = None,
    ) -> Tensor:
        """Looks appearance up.

        Args:
            queries: (B, T, C, Hd, Wd) pose embeddings of driving frames.
            keys: (B, N, C, Hs, Ws) pose embeddings of source frames.
            values: (B, N, Ca, Hs, Ws) their appearance embeddings.
            bias: (B, N) added to the logits of each frame, or None.
            candidates: (B, T, Hd, Wd, M): for each query the only source positions that take part; None lets all.

        Returns:
            (B, T, Ca, Hd, Wd).
        """
        flat_keys, flat_values = _flat(keys), _flat(values)
        held = flat_keys.shape[1]
        if candidates is not None:
            held = candidates.shape[-1] * (flat_keys.shape[2] + flat_values.shape[2])  # each query's own, gathered
        return self._in_chunks(
            self._attend, held, queries, candidates, flat_keys, flat_values, _per_position(bias, keys)
        )

    def weights(self, queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> Tensor:
        """The attention itself; all of it, so for a few queries only.

        Args:
            queries: (B, Q, C).
            keys: (B, N, C, Hs, Ws).
            bias: (B, N), or None.

        Returns:
            (B, Q, N, Hs, Ws), at least 0, with sum 1 for each query.
        """
        weights = self._logits(queries, None, _flat(keys), _per_position(bias, keys)).softmax(-1)
        return weights.unflatten(2, (keys.shape[1], *keys.shape[-2:]))

    @torch.no_grad()
    def strongest(
        self, queries: Tensor, keys: Tensor, bias: Tensor | None, candidates: Tensor | None, count: int
    ) -> Tensor:
        """The source positions that each query weights most, as :meth:`retrieve` takes candidates.

        Args:
            queries: (B, T, C, Hd, Wd).
            keys: (B, N, C, Hs, Ws).
            bias: (B, N), or None.
            candidates: (B, T, Hd, Wd, L), or None.
            count: M of them; all where there are fewer.

        Returns:
            (B, T, Hd, Wd, M) positions in N x Hs x Ws.
        """
        flat_keys, flat_bias = _flat(keys), _per_position(bias, keys)
        choice = flat_keys.shape[1] if candidates is None else candidates.shape[-1]
        held = choice if candidates is None else choice * flat_keys.shape[2]

        def find(queries: Tensor, candidates: Tensor | None, keys: Tensor, bias: Tensor | None) -> Tensor:
            found = self._logits(queries, candidates, keys, bias).topk(min(count, choice)).indices
            return found if candidates is None else candidates.gather(2, found)

        return self._in_chunks(find, held, queries, candidates, flat_keys, flat_bias).movedim(2, -1)

    def _in_chunks(
        self,
        function: Callable[..., Tensor],
        held: int,
        queries: Tensor,
        candidates: Tensor | None,
        *whole: Tensor | None,
    ) -> Tensor:
        """Calls a function on a few queries at a time; ``held`` numbers per query decide how many.

        With gradients, several chunks are computed again on the way back instead of being kept, so that the bound holds
        in training too.

        Args:
            function: Takes Q queries (B, Q, C), their candidates (B, Q, M) or None, and ``whole``; returns (B, Q, D).
            held: Numbers that it holds at once for each query of each clip.
            queries: (B, T, C, Hd, Wd).
            candidates: (B, T, Hd, Wd, M), or None.
            *whole: What all chunks need.

        Returns:
            (B, T, D, Hd, Wd).
        """
        frames, height, width = queries.shape[1], *queries.shape[-2:]
        length = max(1, self.max_weights // (held * len(queries)))
        some = _flat(queries).split(length, dim=1)
        among = [None] * len(some) if candidates is None else candidates.flatten(1, 3).split(length, dim=1)
        if len(some) > 1 and torch.is_grad_enabled():
            function = partial(checkpoint, function, use_reentrant=False, preserve_rng_state=False)  # nothing is drawn
        found = torch.cat([function(*part, *whole) for part in zip(some, among, strict=True)], dim=1)
        return rearrange(found, "b (t h w) d -> b t d h w", t=frames, h=height, w=width)

    def _attend(
        self, queries: Tensor, candidates: Tensor | None, keys: Tensor, values: Tensor, bias: Tensor | None
    ) -> Tensor:
        """What queries (B, Q, C) retrieve from values (B, L, Ca), as (B, Q, Ca)."""
        if candidates is None and self.top_k is None:
            mask = None if bias is None else bias[:, None, None].to(queries.dtype).expand(-1, 1, queries.shape[1], -1)
            channels = max(keys.shape[-1], values.shape[-1])
            # Fused kernels expect the dimension of heads, and as many channels everywhere.
            query, key, value = (F.pad(x, (0, channels - x.shape[-1]))[:, None] for x in (queries, keys, values))
            found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=self._factor(keys))
            return found[:, 0, :, : values.shape[-1]]
        weights = self._logits(queries, candidates, keys, bias).softmax(-1).to(values.dtype)
        if candidates is None:
            return weights @ values
        return torch.einsum("bqm,bqmc->bqc", weights, _numbered(values, candidates))

    def _logits(self, queries: Tensor, candidates: Tensor | None, keys: Tensor, bias: Tensor | None) -> Tensor:
        """Similarities (B, Q, L) of queries (B, Q, C) and keys (B, L, C), or (B, Q, M) of them and their candidates."""
        queries = self._factor(keys) * queries
        if candidates is None:
            logits = queries @ keys.mT
            bias = None if bias is None else bias[:, None]
        else:
            logits = torch.einsum("bqc,bqmc->bqm", queries, _numbered(keys, candidates))
            bias = None if bias is None else _numbered(bias, candidates)
        return keep_largest(logits if bias is None else logits + bias, self.top_k)

    def _factor(self, keys: Tensor) -> float:
        return 1 / math.sqrt(keys.shape[-1]) if self.scale == "rsqrt" else float(self.scale)


def keep_largest(logits: Tensor, count: int | None) -> Tensor:
    """Logits (..., L) of which all but the ``count`` largest are -inf; None keeps all."""
    if count is None or count >= logits.shape[-1]:
        return logits
    largest = logits.topk(count, dim=-1)
    return torch.full_like(logits, -math.inf).scatter(-1, largest.indices, largest.values)


def children(positions: Tensor, height: int, width: int) -> Tensor:
    """Positions at twice the resolution: for each query's children the four children of each of its positions.

    Args:
        positions: (B, T, Hd, Wd, M) in N x height x width.
        height: Rows of the source maps that ``positions`` counts in.
        width: Their columns.

    Returns:
        (B, T, 2 Hd, 2 Wd, 4 M) in N x (2 height) x (2 width).
    """
    frame, inside = positions // (height * width), positions % (height * width)
    row, column = inside // width, inside % width
    down, right = (torch.tensor(steps, device=positions.device) for steps in ((0, 0, 1, 1), (0, 1, 0, 1)))
    rows, columns = 2 * row[..., None] + down, 2 * column[..., None] + right
    found = ((frame[..., None] * 2 * height + rows) * 2 * width + columns).flatten(-2)  # B, T, Hd, Wd, 4 M
    return found.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def _flat(maps: Tensor) -> Tensor:
    """Maps (B, N, C, h, w) as a list of positions, (B, N x h x w, C)."""
    return rearrange(maps, "b n c h w -> b (n h w) c")


def _per_position(bias: Tensor | None, keys: Tensor) -> Tensor | None:
    """A bias per frame (B, N), or None, as one per position (B, N x h x w) of the keys (B, N, C, h, w)."""
    return None if bias is None else bias.repeat_interleave(keys.shape[-2] * keys.shape[-1], dim=1)


def _numbered(tensor: Tensor, numbers: Tensor) -> Tensor:
    """The entries (B, Q, M, ...) of a tensor (B, L, ...) that are numbered by (B, Q, M)."""
    return tensor[torch.arange(len(tensor), device=tensor.device)[:, None, None], numbers]
