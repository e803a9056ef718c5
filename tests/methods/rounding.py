"""How far rounding alone carries a result, for comparisons with what another processor recorded.

A gradient jumps where a ReLU's input, a distance or a sampling position crosses a kink, and recurrence behind instance
norms amplifies. There the last bit decides, and processors round differently. A recording is therefore compared within
its stated tolerance plus the spread of our own result over inputs that differ in the last bit: where a computation is
well conditioned the spread is nothing.
"""

from collections.abc import Callable

import torch
from torch import Tensor

_LAST_BIT = 1e-7
"""Of pictures in [-1, 1]: about the distance of neighbouring float32 numbers."""

_DRAWS = 6


def jittered(tensor: Tensor, seed: int | None) -> Tensor:
    """The tensor with noise in its last bit; itself where no seed is given."""
    if seed is None:
        return tensor
    return tensor + _LAST_BIT * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed))


def with_spread(compute: Callable[[int | None], dict[str, Tensor]]) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Results by name, and twice the largest change of each over inputs that are jittered with several seeds."""
    results = compute(None)
    neighbours = [compute(seed) for seed in range(_DRAWS)]
    spread = {
        name: 2 * max(float((other[name] - result).abs().max()) for other in neighbours)
        for name, result in results.items()
    }
    return results, spread
