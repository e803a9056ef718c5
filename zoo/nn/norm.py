from typing import Literal

from torch import Tensor, nn

Norm = Literal["instance", "batch"]


def norm_layer(kind: Norm, channels: int, affine: bool = False) -> nn.Module:
    """A normalisation layer.

    Args:
        kind: ``instance`` has no running statistics, so it does the same in training and evaluation; ``batch`` is the
            usual affine batch norm.
        channels: Of the features (N, channels, H, W).
        affine: Whether instance norm has parameters; pix2pixHD's hasn't.
    """
    return InstanceNorm(channels, affine=affine) if kind == "instance" else nn.BatchNorm2d(channels)


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm whose gradient is right in every memory layout.

    PyTorch (2.14, CPU) returns a wrong one for a batch of one where the gradient of the output has channels last.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, C, H, W) with mean 0 and variance 1 per sample and channel."""
        normalised = super().forward(x)
        if len(x) == 1 and normalised.requires_grad:
            normalised.register_hook(Tensor.contiguous)
        return normalised
