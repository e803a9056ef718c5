import torch
from torch import Tensor

from zoo.metrics.clip_metric import ClipMetric, Known, portions
from zoo.metrics.flow import Farneback

_ENDS = 2
_MULTIPLE, _LEAST_BORDER = 32, 16


class TOF(ClipMetric):
    """Difference of motion (tOF, Chu et al. 2020, TecoGAN), in pixels. Lower is better.

    The mean length of the difference between the optical flows of the predicted and of the true clip from each frame
    to the next. Farnebäck's flow on grey 8-bit frames, over the whole frame.

    Args:
        as_published: As TecoGAN's script does it: without the first and the last two frames, and on the middle of the
            frames alone, whose sides are the largest multiples of 32 that leave 16 pixels over. Called ``tof_tecogan``.

    Raises:
        MissingPackageError: OpenCV isn't installed; names the command.
    """

    higher_is_better = False
    fewest_frames = 2

    def __init__(self, as_published: bool = False) -> None:
        super().__init__("tof_tecogan" if as_published else "tof")
        self.as_published = as_published
        if as_published:
            self.fewest_frames = 2 + 2 * _ENDS
        self._flow = Farneback()

    def _measure_clip(self, prediction: Tensor, known: Known) -> Tensor:
        target = known["target"]
        if self.as_published:
            prediction, target = published_part(prediction), published_part(target)
        steps = [
            (self._flow(predicted[:-1], predicted[1:]) - self._flow(true[:-1], true[1:])).double().norm(dim=1)
            for predicted, true in zip(portions(prediction, 1), portions(target, 1), strict=True)
        ]
        return torch.cat(steps).mean()


def published_part(clip: Tensor) -> Tensor:
    """What TecoGAN's script looks at of a clip (T, C, H, W): (T - 4, C, h, w) from its middle.

    Raises:
        ValueError: The frames are too small for that.
    """
    height, width = clip.shape[-2:]
    rows, columns = (_MULTIPLE * ((side - _LEAST_BORDER) // _MULTIPLE) for side in (height, width))
    if min(rows, columns) <= 0:
        smallest = _MULTIPLE + _LEAST_BORDER
        raise ValueError(
            f"tof_tecogan needs frames of at least {smallest} x {smallest} pixels, not {tuple(clip.shape)}"
        )
    top, left = (height - rows) // 2, (width - columns) // 2
    return clip[_ENDS:-_ENDS, :, top : top + rows, left : left + columns]
