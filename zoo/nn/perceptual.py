from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from zoo.errors import OptionError
from zoo.nn.features import PERCEPTUAL_TAPS, FeatureNetwork, FeatureNetworkName, Frozen, feature_network


class PerceptualLoss:
    """Distance of two pictures in the features of a frozen ImageNet network (Johnson et al. 2016).

    Sum over taps of weight · mean|f(prediction) - f(target)|. The target takes no gradient. Not an ``nn.Module``, so
    the network enters no checkpoint; its weights are looked up when the loss is first computed.

    Args:
        network: A published network by name, or any :class:`FeatureNetwork`.
        weights: One per tap, shallow to deep; zeros at the end spare the layers behind the last other weight.
        normalise: Whether a network that is given by name brings pictures to ImageNet's mean and deviation.

    Raises:
        ValueError: The number of weights isn't that of the taps.
        MissingWeightsError: At the first call: the weights aren't on this machine; names the command.
    """

    def __init__(
        self,
        network: FeatureNetworkName | FeatureNetwork,
        weights: Sequence[float] = (1.0,) * 5,
        normalise: bool = True,
    ) -> None:
        taps = network.taps if isinstance(network, FeatureNetwork) else PERCEPTUAL_TAPS[network]
        if len(weights) != len(taps):
            raise OptionError(f"the perceptual network has {len(taps)} taps, but there are {len(weights)} weights")
        used = max((tap for tap, weight in enumerate(weights, start=1) if weight), default=1)
        self.weights = tuple(weights[:used])
        if isinstance(network, FeatureNetwork):
            self._network = Frozen(partial(_itself, network))
        else:  # built only as deep as the deepest weighted tap
            self._network = Frozen(partial(feature_network, network, taps[:used], normalise))

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Computes the loss at one scale; pyramids are the caller's business.

        Args:
            prediction: (N, 3, H, W), RGB in [0, 1]; any range without ``normalise``.
            target: The same shape; detached here.

        Returns:
            A scalar.
        """
        with torch.no_grad():
            target_features = self._network(target)
        terms = [
            weight * functional.l1_loss(predicted, true)  # in float32 under autocast
            for weight, predicted, true in zip(self.weights, self._network(prediction), target_features, strict=False)
        ]
        return torch.stack(terms).sum()


def _itself(network: FeatureNetwork) -> FeatureNetwork:
    return network
