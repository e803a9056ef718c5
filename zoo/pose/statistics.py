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
            PoseError: No frame shows head and ankles (in ``released`` mode head, right ankle and left ear).
        """
        ankles, heights, measured = measure_frames(track, skeleton, mode)
        if not measured.any():
            raise nothing_measured(track, skeleton, mode)
        frames = torch.stack([ankles, heights], dim=1)[measured]
        return cls(frames, limb_lengths(track, skeleton), size, mode)


def nothing_measured(track: Tensor, skeleton: Skeleton, mode: Mode) -> PoseError:
    """The error about a track (T, K, 3) of which `measure_frames` measures no frame; says what the best lacks."""
    shown = _shown(track, skeleton, mode)
    best = int((track[..., 2] > 0).sum(dim=1).argmax())
    lacking = ", ".join(joint for joint, frames in shown.items() if not frames[best])
    needed = "both the head and the ankles" if mode == "paper" else "the head, the right ankle and the left ear"
    other = "" if mode == "paper" else " choose mode 'paper', which needs no ear,"
    return PoseError(
        f"none of {len(track)} frames shows {needed}, which pose normalisation goes by (frame {best}, the most "
        f"complete, lacks {lacking})",
        f"take a video that shows the whole body,{other} or switch normalisation off (leave out `--retarget`)",
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
    head = torch.where(nose[:, 2:] > 0, nose, (right_ear + left_ear) / 2)[:, :2]
    foot = (right_ankle[:, :2] + left_ankle[:, :2]) / 2
    # Official: a missing left ankle stands at y = 0.
    ankle = torch.maximum(right_ankle[:, 1], left_ankle[:, 1]) if mode == "released" else foot[:, 1]
    measured = torch.stack(list(_shown(track, skeleton, mode).values())).all(dim=0)
    return ankle, (head - foot).norm(dim=1), measured


def _shown(track: Tensor, skeleton: Skeleton, mode: Mode) -> dict[str, Tensor]:
    """In which frames (T,) each joint that measuring needs is seen; both ears stand in for a nose."""
    names = ("nose", "right_ear", "left_ear", "right_ankle", "left_ankle")
    seen = {joint: track[:, skeleton.index(joint), 2] > 0 for joint in names}
    # Official: tests the left ear in place of the left ankle.
    left = "left_ear" if mode == "released" else "left_ankle"
    head = seen["nose"] | (seen["right_ear"] & seen["left_ear"])
    return {"nose": head, left: seen[left], "right_ankle": seen["right_ankle"]}
