import torch
from torch import Tensor

from zoo.metrics.clip_metric import ClipMetric, Known, portions
from zoo.metrics.flow import Farneback


class TOF(ClipMetric):
    """Difference of motion (tOF, Chu et al. 2020, TecoGAN), in pixels. Lower is better.

    The mean length of the difference between the optical flows of the predicted and of the true clip from each frame
    to the next. Farnebäck's flow on grey 8-bit frames, over the whole frame (TecoGAN's script also drops two frames at
    each end and crops to multiples of 32).

    Raises:
        MissingPackageError: OpenCV isn't installed; names the command.
    """

    higher_is_better = False
    fewest_frames = 2

    def __init__(self) -> None:
        super().__init__("tof")
        self._flow = Farneback()

    def _measure_clip(self, prediction: Tensor, known: Known) -> Tensor:
        steps = [
            (self._flow(predicted[:-1], predicted[1:]) - self._flow(true[:-1], true[1:])).double().norm(dim=1)
            for predicted, true in zip(portions(prediction, 1), portions(known["target"], 1), strict=True)
        ]
        return torch.cat(steps).mean()
