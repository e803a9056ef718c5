import torch
from torch import Tensor

from zoo.base import MotionOptions
from zoo.baselines.baseline import Baseline
from zoo.batch import Batch
from zoo.data import VideoDataModule
from zoo.errors import OptionError

MISSING = 0.5
"""What a joint counts that only one of two poses has: a quarter of the picture's side."""


class NearestFrame(Baseline):
    """Shows, for each driving frame, the training frame whose pose is nearest. It knows no source.

    Strong where training shows the person who is tested, as in later motion of a known subject; elsewhere it shows
    what quality of single frames is worth without identity.

    Args:
        most_frames: Frames kept, spread evenly over the training clips: all that memory depends on.
    """

    title = "Nearest training frame"
    conditions = ("pose",)
    pictures_kept: Tensor
    poses_kept: Tensor

    def __init__(self, most_frames: int = 1000) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.most_frames = most_frames
        self.register_buffer("pictures_kept", torch.zeros(0, 3, 0, 0, dtype=torch.uint8))  # N,3,H,W
        self.register_buffer("poses_kept", torch.zeros(0, 0, 3))  # N,K,3

    def prepare(self, data: VideoDataModule) -> None:
        """Keeps frames and poses of the training clips."""
        frames = data.training_frames(self.most_frames)
        self.pictures_kept = frames["driving"].to(self.device)
        self.poses_kept = frames["driving_pose"].to(self.device)

    def encode(self, source: Batch, options: MotionOptions) -> None:
        """Nothing: it knows no source.

        Raises:
            OptionError: It has not seen any training frames.
        """
        if not len(self.poses_kept):
            raise OptionError("NearestFrame has no training frames; call `prepare(data)` first")

    def render(self, state: None, driving: Batch) -> tuple[Tensor, None]:
        """The training frames (B, t, 3, H, W) of the nearest poses."""
        distances = pose_distance(driving["driving_pose"][:, :, None], self.poses_kept)  # B,t,N
        return self.pictures_kept[distances.argmin(-1)].float() / 255, None


def pose_distance(first: Tensor, second: Tensor) -> Tensor:
    """Mean distance of joints, in the units of the coordinates, [-1, 1] across the picture.

    Args:
        first: (..., K, 3): x, y and confidence, 0 for a missing joint.
        second: The same, of shapes that broadcast.

    Returns:
        (...): the mean over joints that at least one of the poses has; a joint that only one has counts ``MISSING``.
        0 where neither has any.
    """
    in_first, in_second = first[..., 2] > 0, second[..., 2] > 0
    apart = torch.linalg.vector_norm(first[..., :2] - second[..., :2], dim=-1)
    counted = torch.where(in_first & in_second, apart, MISSING) * (in_first | in_second)
    return counted.sum(-1) / (in_first | in_second).sum(-1).clamp(min=1)
