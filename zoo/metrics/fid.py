from torch import Tensor

from zoo.metrics.frechet import frechet_distance
from zoo.metrics.inception import InceptionMetric
from zoo.metrics.resizing import Resizing


class FID(InceptionMetric):
    """Fréchet inception distance (Heusel et al. 2017) between predicted and true frames. Lower is better.

    Values of different resizing conventions can't be compared, nor those of different numbers of frames. State
    ``counts`` beside it; frames of one clip are nearly the same picture, and count less than as many of different
    clips. Below 10 000 frames per set it is a ``diagnostic``.

    torchmetrics' own class isn't used: it resizes in its own way alone (here ``half_pixel_antialias``), and takes
    eigenvalues of Σ_x Σ_y, which lose half of the digits where there are fewer frames than the 2048 dimensions.

    Args:
        convention: How frames are resized to 299 x 299; see ``zoo.metrics.resizing.Resizing``.

    Raises:
        MissingWeightsError: The weights aren't on this machine; names the command that fetches them.
        OptionError: There is no such convention.

    Example:
        >>> import torch
        >>> metric = FID()
        >>> metric.update(torch.zeros(1, 2, 3, 64, 64), torch.ones(1, 2, 3, 64, 64))
        >>> round(metric.compute().item(), 2), metric.counts.prediction, metric.diagnostic
        (375.4, 2, True)
    """

    fewest = 10_000

    def __init__(self, convention: Resizing = "tf1_legacy") -> None:
        super().__init__("fid", convention)

    def compute(self) -> Tensor:
        """The distance, a float64 scalar; NaN where a set has fewer than two frames."""
        return frechet_distance(*self.features()).to(self.device)
