import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.weights import networks

CLASSES = 400
SHORTEST = 9
"""Frames below which the last pooling has nothing to pool over."""

Size = tuple[int, int, int]


class I3D(nn.Sequential):
    """Inception-v1 inflated to three dimensions (Carreira and Zisserman 2017, RGB): the network that FVD looks through.

    As published in TensorFlow: SAME padding, norms without scale and with ε = 1e-3, logits averaged over time. Its
    layers can be called one after the other by their published names (``Conv3d_1a_7x7`` ... ``Mixed_5c``, ``Logits``).
    ``forward`` takes (N, 3, T, 224, 224), RGB in [-1, 1] with T of at least 9, and returns the logits (N, 400) of the
    classes of Kinetics-400, before softmax.
    """

    def __init__(self) -> None:
        super().__init__(
            OrderedDict[str, nn.Module](
                Conv3d_1a_7x7=_Unit(3, 64, 7, stride=2),
                MaxPool3d_2a_3x3=_MaxPool((1, 3, 3), (1, 2, 2)),
                Conv3d_2b_1x1=_Unit(64, 64, 1),
                Conv3d_2c_3x3=_Unit(64, 192, 3),
                MaxPool3d_3a_3x3=_MaxPool((1, 3, 3), (1, 2, 2)),
                Mixed_3b=_Mixed(192, (64, 96, 128, 16, 32, 32)),
                Mixed_3c=_Mixed(256, (128, 128, 192, 32, 96, 64)),
                MaxPool3d_4a_3x3=_MaxPool((3, 3, 3), (2, 2, 2)),
                Mixed_4b=_Mixed(480, (192, 96, 208, 16, 48, 64)),
                Mixed_4c=_Mixed(512, (160, 112, 224, 24, 64, 64)),
                Mixed_4d=_Mixed(512, (128, 128, 256, 24, 64, 64)),
                Mixed_4e=_Mixed(512, (112, 144, 288, 32, 64, 64)),
                Mixed_4f=_Mixed(528, (256, 160, 320, 32, 128, 128)),
                MaxPool3d_5a_2x2=_MaxPool((2, 2, 2), (2, 2, 2)),
                Mixed_5b=_Mixed(832, (256, 160, 320, 32, 128, 128)),
                Mixed_5c=_Mixed(832, (384, 192, 384, 48, 128, 128)),
                Logits=_Logits(1024, CLASSES),
            )
        )

    @classmethod
    def published(cls) -> "I3D":
        """The network of TF-Hub's ``deepmind/i3d-kinetics-400/1``, in eval mode.

        Raises:
            MissingWeightsError: The weights aren't here; names the command that fetches them.
        """
        tensors = networks.load("i3d")
        with torch.device("meta"):  # no memory for weights that are replaced at once
            network = cls()
        network.load_state_dict(tensors, assign=True)
        return network.requires_grad_(False).eval()


class _Unit(nn.Module):
    """Convolution, norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.kernel: Size = (kernel, kernel, kernel)
        self.stride: Size = (stride, stride, stride)
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.norm = _Norm(outputs)

    def forward(self, features: Tensor) -> Tensor:
        features, padding = _pad_same(features, self.kernel, self.stride)
        features = functional.conv3d(features, self.conv.weight, stride=self.stride, padding=padding)
        return functional.relu_(self.norm(features))


class _Norm(nn.Module):
    """Batch norm by recorded statistics, with an offset but no scale."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, features: Tensor) -> Tensor:
        return functional.batch_norm(features, self.running_mean, self.running_var, None, self.bias, eps=1e-3)


class _MaxPool(nn.Module):
    def __init__(self, kernel: Size, stride: Size) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride

    def forward(self, features: Tensor) -> Tensor:
        # Behind a ReLU it is all the same whether padding is zero or, as a pooling's own, minus infinity.
        features, padding = _pad_same(features, self.kernel, self.stride)
        return functional.max_pool3d(features, self.kernel, self.stride, padding)


class _Mixed(nn.Module):
    """Four branches side by side; ``widths`` in the order of the published table: a · b→c · d→e · f."""

    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        a, b, c, d, e, f = widths
        self.b0 = _Unit(inputs, a, 1)
        self.b1a = _Unit(inputs, b, 1)
        self.b1b = _Unit(b, c, 3)
        self.b2a = _Unit(inputs, d, 1)
        self.b2b = _Unit(d, e, 3)
        self.pool = _MaxPool((3, 3, 3), (1, 1, 1))
        self.b3b = _Unit(inputs, f, 1)

    def forward(self, features: Tensor) -> Tensor:
        branches = (
            self.b0(features),
            self.b1b(self.b1a(features)),
            self.b2b(self.b2a(features)),
            self.b3b(self.pool(features)),
        )
        return torch.cat(branches, dim=1)


class _Logits(nn.Module):
    """Average pooling, classifier, mean over the time that is left."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        pooled = functional.avg_pool3d(features, (2, 7, 7), stride=1)
        return self.conv(pooled).mean((2, 3, 4))


def _pad_same(features: Tensor, kernel: Size, stride: Size) -> tuple[Tensor, Size]:
    """TensorFlow's SAME padding: where it can't be even, the larger part comes last.

    Returns:
        The features, padded with zeros if it is uneven on some axis, and the padding that is left to the layer itself,
        which saves a copy.
    """
    totals = [
        max((math.ceil(size / step) - 1) * step + width - size, 0)
        for size, width, step in zip(features.shape[2:], kernel, stride, strict=True)
    ]
    depth, height, width = (total // 2 for total in totals)
    if not any(total % 2 for total in totals):
        return features, (depth, height, width)
    before_and_after = [part for total in reversed(totals) for part in (total // 2, total - total // 2)]
    return functional.pad(features, before_and_after), (0, 0, 0)
