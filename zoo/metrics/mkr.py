from torch import Tensor

from zoo.metrics.clip_metric import Known
from zoo.metrics.keypoints import KeypointEstimator, KeypointMetric, TrueKeypoints


class MKR(KeypointMetric):
    """Missing keypoint rate (Siarohin et al. 2019): which share of the true keypoints isn't found in the prediction.

    Per frame; frames without any true keypoint are left out (``skipped``). The result is called ``mkr_<estimator>``.
    Lower is better, 0 to 1.

    Args:
        estimator: Finds the keypoints.
        truth: ``pose``: true keypoints are given with the clip; ``target``: they are found in the true frames too;
            ``driving``: they are found in the driving frames, where nobody knows the true ones.
    """

    higher_is_better = False

    def __init__(self, estimator: KeypointEstimator, truth: TrueKeypoints = "pose") -> None:
        super().__init__("mkr", estimator, truth)

    def _measure_clip(self, prediction: Tensor, known: Known) -> Tensor:
        return self._mean(missing_rate(*self._keypoints(prediction, known)))


def missing_rate(prediction: Tensor, truth: Tensor) -> Tensor:
    """The share of true keypoints that are missing in the prediction, per frame.

    Args:
        prediction: (N, K, 3): x, y and a confidence, 0 for a missing keypoint.
        truth: The same.

    Returns:
        (N,), NaN for a frame without true keypoints.
    """
    true = truth[..., 2] > 0
    missing = true & (prediction[..., 2] <= 0)
    return missing.sum(-1).double() / true.sum(-1)
