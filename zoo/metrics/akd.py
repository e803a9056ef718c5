from torch import Tensor

from zoo.metrics.clip_metric import Known
from zoo.metrics.keypoints import KeypointEstimator, KeypointMetric, TrueKeypoints


class AKD(KeypointMetric):
    """Average keypoint distance in pixels (Siarohin et al. 2019, as their ``pose-evaluation`` computes it).

    Per frame the mean absolute difference over *coordinates* (not the Euclidean distance) of the keypoints found in
    both the predicted and the true frame; frames without any are left out (``skipped``). It grows with the frames'
    size and depends on the estimator, whose name is part of the result's: ``akd_<estimator>``. Lower is better.

    Args:
        estimator: Finds the keypoints.
        truth: ``pose``: true keypoints are given with the clip; ``target``: they are found in the true frames too;
            ``driving``: they are found in the driving frames, where nobody knows the true ones.

    Example:
        >>> import torch
        >>> class Brightest:
        ...     name = "brightest"
        ...
        ...     def __call__(self, frames):
        ...         width, place = frames.shape[-1], frames.sum(1).flatten(1).argmax(1)
        ...         pixels = torch.stack([place % width, place // width, torch.ones_like(place)], dim=1)[:, None]
        ...         return torch.cat([(2 * pixels[..., :2] + 1) / width - 1, pixels[..., 2:]], dim=2)
        >>> metric = AKD(Brightest(), truth="target")
        >>> prediction, target = torch.zeros(2, 1, 1, 3, 16, 16)
        >>> prediction[..., 5, 4], target[..., 5, 8] = 1, 1
        >>> metric.update(prediction, target)
        >>> round(metric.compute().item(), 6)  # 4 pixels in x, 0 in y
        2.0
    """

    higher_is_better = False

    def __init__(self, estimator: KeypointEstimator, truth: TrueKeypoints = "pose") -> None:
        super().__init__("akd", estimator, truth)

    def _measure_clip(self, prediction: Tensor, known: Known) -> Tensor:
        return self._mean(keypoint_distance(*self._keypoints(prediction, known)))


def keypoint_distance(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute coordinate difference per frame.

    Args:
        prediction: (N, K, 3): x, y in pixels and a confidence, 0 for a missing keypoint.
        truth: The same.

    Returns:
        (N,), NaN for a frame in which the two have no keypoint in common.
    """
    both = (prediction[..., 2] > 0) & (truth[..., 2] > 0)
    difference = (prediction - truth)[..., :2].abs().mean(-1).where(both, 0)
    return difference.sum(-1) / both.sum(-1)
