"""The precision in which published networks are run."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Convolutions in true float32: neither autocast nor TF32, either of which moves what is measured."""
    cudnn = torch.backends.cudnn
    with torch.autocast(device.type, enabled=False):
        if not hasattr(cudnn, "conv"):  # torch before 2.9
            with cudnn.flags(cudnn.enabled, cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False):
                yield
            return
        before = cudnn.conv.fp32_precision
        cudnn.conv.fp32_precision = "ieee"
        try:
            yield
        finally:
            cudnn.conv.fp32_precision = before
