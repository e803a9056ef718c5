"""What the metrics on keypoints share: who finds them, and in which units they are compared."""

from typing import Literal, Protocol

import torch
from torch import Tensor

from zoo.metrics.clip_metric import Known
from zoo.metrics.detection import DetectionMetric

TrueKeypoints = Literal["pose", "target", "driving"]


class KeypointEstimator(Protocol):
    """Finds keypoints in frames: a pose or landmark network, wrapped in a few lines."""

    @property
    def name(self) -> str:
        """How results call it; numbers of two estimators aren't comparable."""

    def __call__(self, frames: Tensor) -> Tensor:
        """Finds keypoints.

        Args:
            frames: (N, 3, H, W), RGB in [0, 1], on any device.

        Returns:
            (N, K, 3): x, y in [-1, 1] with pixel centres as in ``align_corners=False``
            (``x = (2 * px + 1) / W - 1``), and a confidence, 0 for a keypoint that it doesn't find.
        """


class KeypointMetric(DetectionMetric):
    """Compares the keypoints of predicted frames, which an estimator finds, with those of the true frames.

    Args:
        measure: What it measures; its name is this and the estimator's.
        estimator: Finds the keypoints.
        truth: Where the true ones come from: ``pose``, given with the clip (exact for synthetic people; those of the
            driving clip where nobody knows the true frames); ``target``, found by the same estimator in the true
            frames as published figures do, which makes the name end in ``_on_both``; or ``driving``, found by it in the
            driving frames, where nobody knows either: the name ends in ``_on_driving``.
    """

    def __init__(self, measure: str, estimator: KeypointEstimator, truth: TrueKeypoints) -> None:
        suffix = {"pose": "", "target": "_on_both", "driving": "_on_driving"}[truth]
        super().__init__(f"{measure}_{estimator.name}{suffix}", estimator)
        self.truth = truth
        self.needs = (truth,)

    def _keypoints(self, prediction: Tensor, known: Known) -> tuple[Tensor, Tensor]:
        """Predicted and true keypoints, float64 (T, K, 3): x, y in pixels and the confidence."""
        predicted = self._find(prediction, "(N, K, 3)")
        if self.truth == "pose":
            true = known["pose"].to(self.device, torch.float64)
            true = true if true.ndim == 3 else true[None]
        else:
            true = self._find(known[self.truth], "(N, K, 3)")
        if predicted.shape != true.shape:
            raise ValueError(
                f"{self.name} compares {tuple(predicted.shape[1:])} keypoints with {tuple(true.shape[1:])}: "
                "the estimator should find the joints of the pose's skeleton, in their order"
            )
        height, width = prediction.shape[-2:]
        return in_pixels(predicted, height, width), in_pixels(true, height, width)


def in_pixels(keypoints: Tensor, height: int, width: int) -> Tensor:
    """Keypoints (..., 3) with x, y in [-1, 1] (``x = (2 * px + 1) / W - 1``) as pixels; the confidence stays."""
    position = ((keypoints[..., :2] + 1) * keypoints.new_tensor([width, height]) - 1) / 2
    return torch.cat([position, keypoints[..., 2:]], dim=-1)
