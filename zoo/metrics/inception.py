"""What FID and KID share: the Inception network of 2015, and the features of two sets of frames."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.inception import (
    BasicConv2d,
    Inception3,
    InceptionA,
    InceptionAux,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)

from zoo.metrics.clip_metric import unit_range
from zoo.metrics.feature_sets import SetMetric, Side, check_sets
from zoo.metrics.precision import full_float32
from zoo.metrics.resizing import Resizing, check_resizing, resize
from zoo.nn.features import Frozen
from zoo.weights import networks

SIZE = 299
DIMENSIONS = 2048

_FRAMES_AT_ONCE = 8


class InceptionMetric(SetMetric):
    """A distance between the frames of predicted and true clips, seen through Inception's pooled features.

    The network runs in float32 whatever the trainer's precision.

    Args:
        measure: What it measures; its name is this and the convention.
        convention: How frames are resized to 299 x 299; see ``zoo.metrics.resizing.Resizing``.

    Raises:
        MissingWeightsError: The weights aren't on this machine; names the command that fetches them.
        OptionError: There is no such convention.
    """

    def __init__(self, measure: str, convention: Resizing) -> None:
        check_resizing(convention)
        super().__init__(f"{measure}_{convention}", f"inception_{convention}", DIMENSIONS)
        self.convention = convention
        networks.path("inception")  # raises now, not after the first epoch
        self._network = Frozen(Inception.published)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Takes frames into the sets.

        Args:
            prediction: (B, T, 3, H, W) or (N, 3, H, W), RGB in [0, 1], or uint8.
            target: True frames, not necessarily of the same scenes or number, but of equal size.

        Raises:
            ValueError: A shape doesn't fit, or values are out of range.
        """
        check_sets(prediction, target, (4, 5), "(B, T, 3, H, W) or (N, 3, H, W)")
        with torch.no_grad():
            self._add("prediction", prediction)
            self._add("target", target)

    def _add(self, side: Side, pictures: Tensor) -> None:
        for frames in pictures.reshape(-1, *pictures.shape[-3:]).split(_FRAMES_AT_ONCE):
            if len(frames):
                resized = resize(unit_range(frames), SIZE, self.convention)
                with full_float32(frames.device):
                    self._store(side, self._network((255 * resized - 128) / 128))


class Inception(Inception3):
    """The Inception of 2015 behind FID (TensorFlow's ``classify_image_graph_def``), without its classifier.

    torchvision's network, except in what the published graph does otherwise: averages in pool branches leave the
    padding out, the last block takes a maximum there, and norms have no scale. ``forward`` takes (N, 3, 299, 299), RGB
    as (x - 128) / 128 of x in 0 ... 255, and returns the pooled features (N, 2048).
    """

    def __init__(self) -> None:
        blocks = [BasicConv2d, _BlockA, InceptionB, _BlockC, InceptionD, _BlockE, InceptionAux]
        super().__init__(aux_logits=False, init_weights=False, inception_blocks=blocks)
        self.Mixed_7c = _LastBlock(2048)
        self.fc = nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_parameter("weight", None)

    @classmethod
    def published(cls) -> "Inception":
        """The network with its published weights, in eval mode.

        Raises:
            MissingWeightsError: The weights aren't here; names the command that fetches them.
        """
        tensors = networks.load("inception")
        with torch.device("meta"):  # no memory for weights that are replaced at once
            network = cls()
        network.load_state_dict(tensors, assign=True)
        return network.requires_grad_(False).eval()


def _average(features: Tensor) -> Tensor:
    return functional.avg_pool2d(features, 3, stride=1, padding=1, count_include_pad=False)


class _BlockA(InceptionA):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(_average(x))]


class _BlockC(InceptionC):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(_average(x))]


class _BlockE(InceptionE):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(_average(x))]


class _LastBlock(InceptionE):
    def _forward(self, x: Tensor) -> list[Tensor]:
        pooled = functional.max_pool2d(x, 3, stride=1, padding=1)  # Official: a maximum, as in no other block
        return [*super()._forward(x)[:-1], self.branch_pool(pooled)]
