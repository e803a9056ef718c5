"""From a clip to one clean pose track."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal

from torch import Tensor

from zoo.conditions.estimator import PoseEstimator
from zoo.pose import (
    Skeleton,
    convert_pose,
    fill_gaps,
    follow_person,
    smooth_median,
    smooth_one_euro,
    smooth_savitzky_golay,
)

Smoothing = Literal["savitzky_golay", "median", "one_euro", "none"]


def estimate_track(
    frames: Iterable[Tensor], estimator: PoseEstimator, skeleton: Skeleton, numbers: Sequence[int] | None = None
) -> Tensor:
    """One person's raw track; `zoo.pose.follow_person` says whose, where the estimator finds several.

    Args:
        frames: (3, H, W) uint8 RGB, in order.
        estimator: A fresh one.
        skeleton: The wanted format.
        numbers: The frames' numbers in the video, where they don't follow each other.

    Returns:
        (T, K, 3) with x, y in pixels and confidence; frames without the person are 0 throughout.
    """
    people = [estimator(frame) for frame in frames]
    return convert_pose(follow_person(people, estimator.skeleton, numbers), estimator.skeleton, skeleton)


def clean_track(track: Tensor, fps: float, smoothing: Smoothing, longest_gap: int) -> Tensor:
    """Short gaps filled, then smoothed.

    Args:
        track: (T, K, 3) with x, y in pixels and confidence.
        fps: Frames per second.
        smoothing: By which of `zoo.pose`'s filters.
        longest_gap: Frames; longer gaps, and those at the ends, stay missing.
    """
    filters: dict[str, Callable[[Tensor], Tensor]] = {
        "savitzky_golay": smooth_savitzky_golay,
        "median": smooth_median,
        "one_euro": partial(smooth_one_euro, fps=fps),
    }
    filled = fill_gaps(track, longest_gap)
    return filled if smoothing == "none" else filters[smoothing](filled)


def missing_rates(track: Tensor, skeleton: Skeleton) -> dict[str, float]:
    """The share of frames in which a joint is missing, for each joint; frames without anybody are not counted."""
    seen = track[..., 2] > 0
    seen = seen[seen.any(dim=1)]
    shares = 1 - seen.double().mean(dim=0) if len(seen) else seen.new_ones(len(skeleton.joints)).double()
    return dict(zip(skeleton.joints, shares.tolist(), strict=True))
