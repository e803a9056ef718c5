import torch
from torch import Tensor

from zoo.metrics.clip_metric import ClipMetric, Known, portions, unit_range
from zoo.metrics.lpips import LpipsNetwork, Net, total


class TemporalLPIPS(ClipMetric):
    """Difference of perceptual change (tLP100, Chu et al. 2020, TecoGAN). Lower is better.

    100 |LPIPS(g(t-1), g(t)) - LPIPS(o(t-1), o(t))| of predicted frames g and true ones o, mean over t. It is 0 where
    both change by the same amount, whatever they show, so read it beside LPIPS. Called ``tlp100_<net>``.

    Args:
        net: The network of LPIPS: ``alex`` (TecoGAN's) or ``vgg16``.

    Raises:
        MissingWeightsError: The weights aren't on this machine; names the command that fetches them.
    """

    higher_is_better = False
    fewest_frames = 2

    def __init__(self, net: Net = "alex") -> None:
        super().__init__(f"tlp100_{net}")
        self._network = LpipsNetwork(net)

    def _measure_clip(self, prediction: Tensor, known: Known) -> Tensor:
        return 100 * (self._changes(prediction) - self._changes(known["target"])).abs().mean()

    def _changes(self, clip: Tensor) -> Tensor:
        """LPIPS of each frame and the next, (T - 1,) float64."""
        changes = []
        for frames in portions(clip, overlap=1):
            directions = self._network.directions(unit_range(frames))
            before, after = (tuple(layer[part] for layer in directions) for part in (slice(None, -1), slice(1, None)))
            changes.append(total(self._network.distances(before, after)))
        return torch.cat(changes).to(self.device, torch.float64)
