from torch import Tensor

from zoo.metrics.clip_metric import Known
from zoo.metrics.keypoints import KeypointEstimator, KeypointMetric, TrueKeypoints


class Jitter(KeypointMetric):
    """How much more the predicted keypoints tremble than the true ones, in pixels per squared frame.

    The mean length of the acceleration |p(t+1) - 2 p(t) + p(t-1)|, predicted minus true, over the keypoints that are
    found in three consecutive frames of both; other instants are left out (``skipped`` counts keypoints). Lower is
    better; below 0 the prediction moves more smoothly than the truth. The result is called ``jitter_<estimator>``.

    Args:
        estimator: Finds the keypoints.
        truth: ``pose``: true keypoints are given with the clip, whose estimate lacks the estimator's own trembling;
            ``target``: they are found in the true frames too; ``driving``: in the driving frames.
    """

    higher_is_better = False
    fewest_frames = 3

    def __init__(self, estimator: KeypointEstimator, truth: TrueKeypoints = "pose") -> None:
        super().__init__("jitter", estimator, truth)

    def _measure_clip(self, prediction: Tensor, known: Known) -> Tensor:
        predicted, true = self._keypoints(prediction, known)
        return self._mean(acceleration(predicted) - acceleration(true))


def acceleration(keypoints: Tensor) -> Tensor:
    """Lengths of the second differences of a clip's keypoints.

    Args:
        keypoints: (T, K, 3): x, y and a confidence, 0 for a missing keypoint.

    Returns:
        (T - 2, K), in the units of x and y per squared frame; NaN where one of the three is missing.
    """
    before, now, after = keypoints[:-2], keypoints[1:-1], keypoints[2:]
    found = (before[..., 2] > 0) & (now[..., 2] > 0) & (after[..., 2] > 0)
    return (after - 2 * now + before)[..., :2].norm(dim=-1).where(found, float("nan"))
