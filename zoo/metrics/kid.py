import torch
from torch import Tensor

from zoo.metrics.inception import InceptionMetric
from zoo.metrics.resizing import Resizing

_ROWS_AT_ONCE = 1024


class KID(InceptionMetric):
    """Kernel inception distance (Bińkowski et al. 2018) between predicted and true frames. Lower is better.

    The squared maximum mean discrepancy under the kernel (xᵀy / 2048 + 1)³, estimated without bias, so that it doesn't
    fall with the number of frames as FID does; it may be negative. Taken over all pairs at once: the usual mean over
    random subsets estimates this number, but depends on the draws and on the order of the frames.

    torchmetrics' own class isn't used: its estimator holds for sets of equal size only.

    Args:
        convention: How frames are resized to 299 x 299; see ``zoo.metrics.resizing.Resizing``.

    Raises:
        MissingWeightsError: The weights aren't on this machine; names the command that fetches them.
        OptionError: There is no such convention.

    Example:
        >>> import torch
        >>> metric = KID()
        >>> metric.update(torch.zeros(1, 2, 3, 64, 64), torch.ones(1, 2, 3, 64, 64))
        >>> round(metric.compute().item(), 3)
        0.672
    """

    fewest = 1000  # the size of the subsets that are usually drawn

    def __init__(self, convention: Resizing = "tf1_legacy") -> None:
        super().__init__("kid", convention)

    def compute(self) -> Tensor:
        """The distance, a float64 scalar; NaN where a set has fewer than two frames."""
        return kernel_distance(*self.features()).to(self.device)


def kernel_distance(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased squared maximum mean discrepancy of features (N, D) and (M, D); Gretton et al. 2012, eq. 3.

    Returns:
        A float64 scalar on the CPU; NaN where a set has fewer than two features.
    """
    if min(len(x), len(y)) < 2:
        return torch.tensor(torch.nan, dtype=torch.float64)
    x, y = x.detach().cpu().double(), y.detach().cpu().double()
    within = [
        (_kernel_sum(z, z) - _kernel(z.square().sum(1), z.shape[1]).sum()) / len(z) / (len(z) - 1) for z in (x, y)
    ]
    return within[0] + within[1] - 2 * _kernel_sum(x, y) / len(x) / len(y)


def _kernel_sum(x: Tensor, y: Tensor) -> Tensor:
    """Sum of the kernel over all pairs, some rows at a time."""
    return torch.stack([_kernel(rows @ y.T, x.shape[1]).sum() for rows in x.split(_ROWS_AT_ONCE)]).sum()


def _kernel(products: Tensor, dimensions: int) -> Tensor:
    return (products / dimensions + 1) ** 3
