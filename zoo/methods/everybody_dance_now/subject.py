import torch
from torch import Tensor, nn

from zoo.errors import OptionError, PoseError
from zoo.pose import PoseStatistics, Skeleton, normalise_pose, smooth_median, to_pixels, to_units
from zoo.pose.statistics import Mode

CAPACITY = 5000
"""Poses that are remembered: as many as the official code draws, also at random, of the target's video."""


class Subject(nn.Module):
    """How the person that a model learnt stands and moves: poses of the training samples, kept with the weights.

    Pose normalisation compares a driver with them, so that animation needs nothing of the subject but the weights.

    Args:
        skeleton: The format of the poses; only the body's joints are kept.
    """

    poses: Tensor
    count: Tensor
    size: Tensor

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__()
        self.skeleton = skeleton
        self.register_buffer("poses", torch.zeros(CAPACITY, len(skeleton.body().joints), 3))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("size", torch.zeros(2, dtype=torch.int64))  # height and width of the pictures

    @torch.no_grad()
    def remember(self, poses: Tensor, size: tuple[int, int]) -> None:
        """Keeps poses (N, K, 3) of pictures of some height and width; the oldest make room."""
        places = (self.count + torch.arange(len(poses), device=self.poses.device)) % CAPACITY
        self.poses[places] = poses[:, self.skeleton.part("body")].to(self.poses.dtype)
        self.count += len(poses)
        self.size.copy_(torch.tensor(size))

    def statistics(self, mode: Mode) -> PoseStatistics:
        """What pose normalisation knows of the subject.

        Raises:
            OptionError: Nothing was remembered, or no pose shows head and ankles.
        """
        if not self.count:
            raise OptionError("these weights know no poses of their subject, which `retarget` needs; train them here")
        height, width = self.size.tolist()
        poses = to_pixels(self.poses[: int(self.count)].double(), (height, width))
        try:
            return PoseStatistics.fit(poses, self.skeleton.body(), (height, width), mode)
        except PoseError as error:
            raise OptionError(f"the subject's own poses, kept with the weights: {error}") from error

    def place(self, poses: Tensor, size: tuple[int, int], mode: Mode, window: int) -> Tensor:
        """Poses of somebody else as if the subject had taken them up: section 7 of the paper's appendix.

        Args:
            poses: (T, K, 3) the whole track.
            size: Height and width of the driver's pictures.
            mode: By whose formulas.
            window: Frames over which the result's median is taken.

        Returns:
            The same shape, over the subject's pictures.

        Raises:
            OptionError: No remembered pose of the subject shows head and ankles.
            PoseError: None of the driver does.
        """
        target = self.statistics(mode)
        placed = normalise_pose(to_pixels(poses.double(), size), self.skeleton, size, target)
        return to_units(smooth_median(placed, window), target.size).to(poses.dtype)
