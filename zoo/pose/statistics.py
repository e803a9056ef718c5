"""Where a person stands in a video and how tall it appears there: what normalisation knows of a subject."""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from zoo.errors import PoseError
from zoo.pose.limbs import limb_lengths
from zoo.pose.skeleton import Skeleton

Mode = Literal["paper", "released"]
"""``paper``: the formulas of Everybody Dance Now's appendix. ``released``: what the authors' program computes."""


@dataclass(frozen=True)
class PoseStatistics:
    """What global pose normalisation needs of a subject.

    Attributes:
        frames: (M, 2) float64, a row for each frame that shows head and ankles: the height of the ankles in the picture
            (mean of both in ``paper`` mode, the lower one in ``released`` mode; y grows downwards) and the height of
            the body, pixels.
        limbs: (L,) float64 lengths of the skeleton's limbs, pixels; NaN for those never seen.
        size: Height and width of the pictures, pixels.
        mode: By whose formulas frames were measured.
    """

    frames: Tensor
    limbs: Tensor
    size: tuple[int, int]
    mode: Mode = "paper"

    @classmethod
    def fit(cls, track: Tensor, skeleton: Skeleton, size: tuple[int, int], mode: Mode = "paper") -> Self:
        """Measures a subject.

        Each frame that shows head and ankles counts once. (The released program draws frames at random with
        replacement, at most 20000 of the driver and 5000 of the subject, which comes to the same.)

        Args:
            track: (T, K, 3) with x, y in pixels and confidence.
            skeleton: The format of the K joints.
            size: Height and width of the pictures, pixels.
            mode: By whose formulas.

        Raises:
            PoseError: No frame shows head and ankles.
        """
        ankles, heights, measured = measure_frames(track, skeleton, mode)
        if not measured.any():
            raise nothing_measured(track, skeleton)
        frames = torch.stack([ankles, heights], dim=1)[measured]
        return cls(frames, limb_lengths(track, skeleton), size, mode)


def nothing_measured(track: Tensor, skeleton: Skeleton) -> PoseError:
    """The error about a track (T, K, 3) without a single frame that shows head and ankles; says what the best lacks."""
    joints = ("nose", "left_ankle", "right_ankle")
    seen = track[..., 2] > 0
    best = int(seen.sum(dim=1).argmax())
    lacking = [joint for joint in joints if not seen[best, skeleton.index(joint)]]
    return PoseError(
        f"none of {len(track)} frames shows both the head and the ankles, which pose normalisation goes by (frame "
        f"{best}, the most complete, lacks {', '.join(lacking)})",
        "take a video that shows the whole body, or switch normalisation off (leave out `--retarget`)",
    )


def measure_frames(track: Tensor, skeleton: Skeleton, mode: Mode) -> tuple[Tensor, Tensor, Tensor]:
    """Ankles and body height of every frame.

    Args:
        track: (T, K, 3) with x, y in pixels and confidence.
        skeleton: The format of the K joints.
        mode: ``paper`` takes the mean of both ankles, ``released`` the lower one.

    Returns:
        Ankle height (T,), body height (T,) in pixels, float64, and which frames (T,) show what they are measured from.
    """
    track = track.double()
    names = ("nose", "right_ear", "left_ear", "right_ankle", "left_ankle")
    nose, right_ear, left_ear, right_ankle, left_ankle = (track[:, skeleton.index(joint)] for joint in names)
    seen = {name: track[:, skeleton.index(name), 2] > 0 for name in names}
    head = torch.where(seen["nose"][:, None], nose, (right_ear + left_ear) / 2)[:, :2]
    foot = (right_ankle[:, :2] + left_ankle[:, :2]) / 2
    measured = (seen["nose"] | (seen["right_ear"] & seen["left_ear"])) & seen["right_ankle"]
    if mode == "released":  # Official: tests the left ear in place of the left ankle; a missing ankle stands at y = 0.
        measured &= seen["left_ear"]
        ankle = torch.maximum(right_ankle[:, 1], left_ankle[:, 1])
    else:
        measured &= seen["left_ankle"]
        ankle = foot[:, 1]
    return ankle, (head - foot).norm(dim=1), measured
