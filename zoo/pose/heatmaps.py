import torch
from torch import Tensor


def gaussian_heatmaps(
    points: Tensor, present: Tensor, height: int, width: int, sigma: float = 6.0, truncate: bool = False
) -> Tensor:
    """One map per joint: a Gaussian of peak 1 around it, nothing where it is missing; drawn on the points' device.

    exp(-((row - y)^2 + (column - x)^2) / (2 sigma^2)), as in Deformable GAN, PATN and Global-Flow-Local-Attention.

    Args:
        points: (..., K, 2): x, y in pixels, a pixel's centre is a whole number. Points outside are drawn as far as
            their Gaussians reach into the picture.
        present: (..., K) bool.
        height: Of the maps.
        width: Of the maps.
        sigma: In pixels, whatever the size of the maps.
        truncate: Cut positions down to whole pixels, towards zero, as these codes do.

    Returns:
        (..., K, height, width) in [0, 1].
    """
    if truncate:
        points = points.trunc()
    x, y = points[..., 0, None], points[..., 1, None]
    # exp(a + b) = exp(a) exp(b): a row and a column instead of height * width exponentials.
    columns = torch.exp(-((torch.arange(width, device=points.device) - x) ** 2) / (2 * sigma**2))
    rows = torch.exp(-((torch.arange(height, device=points.device) - y) ** 2) / (2 * sigma**2))
    return (rows * present[..., None])[..., :, None] * columns[..., None, :]
