"""RTMPose through rtmlib: everybody in a frame, with feet, face and hands."""

import torch
from torch import Tensor

from zoo.errors import OptionError
from zoo.pose import BODY_18, WHOLE_25, Skeleton, convert_pose

_SURE = 0.3  # below, rtmlib's own drawings leave a joint away
_OPENPOSE_134 = Skeleton(
    name="openpose_134",
    joints=(
        *BODY_18.joints,
        *("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel"),
        *WHOLE_25.joints[WHOLE_25.part("face")][:68],  # without the pupils
        *WHOLE_25.joints[WHOLE_25.part("left_hand")],
        *WHOLE_25.joints[WHOLE_25.part("right_hand")],
    ),
    limbs=BODY_18.limbs,
)


class RtmlibWholeBody:
    """Everybody in a frame, as OpenPose's whole body. rtmlib fetches its models at the first use.

    Raises:
        OptionError: rtmlib isn't installed, or its models can't be had.
    """

    skeleton = WHOLE_25

    def __init__(self) -> None:
        try:
            from rtmlib import Wholebody
        except ImportError as error:
            raise OptionError(
                f"rtmlib can't be used ({error}); run `pip install rtmlib onnxruntime`, or choose --estimator mediapipe"
            ) from error
        try:
            self._model = Wholebody(mode="balanced", to_openpose=True, device="cpu")
        except Exception as error:  # whatever its downloader and onnxruntime raise
            raise OptionError(f"rtmlib's models can't be had ({error}); choose --estimator mediapipe") from error

    def __call__(self, frame: Tensor) -> Tensor:
        """The people of a frame: (P, 137, 3)."""
        points, scores = self._model(frame.flip(0).permute(1, 2, 0).contiguous().numpy())  # wants BGR
        return from_openpose_134(torch.from_numpy(points).float(), torch.from_numpy(scores).float())


def from_openpose_134(points: Tensor, scores: Tensor) -> Tensor:
    """Rtmlib's points (P, 134, 2) and scores (P, 134), which may exceed 1, as ``body_25_whole`` (P, 137, 3)."""
    people = torch.cat([points, scores[..., None].clamp(max=1)], dim=-1)
    people = torch.where(scores[..., None] >= _SURE, people, torch.zeros_like(people))
    return convert_pose(people, _OPENPOSE_134, WHOLE_25)
