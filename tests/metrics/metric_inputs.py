"""Pictures that the tests of metrics share."""

import torch
from scipy import ndimage
from torch import Tensor


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Uniform in [0, 1)."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def smooth(*shape: int, seed: int = 0) -> Tensor:
    """Blurred noise that spans [0, 1]."""
    blurred = ndimage.gaussian_filter(noise(*shape, seed=seed).numpy(), (*[0] * (len(shape) - 2), 3, 3))
    return torch.from_numpy((blurred - blurred.min()) / (blurred.max() - blurred.min()))
