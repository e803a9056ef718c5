"""Global pose normalisation of Everybody Dance Now: a driver's poses in the place and scale of another person."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zoo.errors import OptionError, PoseError
from zoo.pose.boxes import letterbox_pose
from zoo.pose.limbs import transfer_limbs
from zoo.pose.skeleton import Skeleton
from zoo.pose.smoothing import last_true
from zoo.pose.statistics import Mode, PoseStatistics, measure_frames, nothing_measured

_NEAR = 0.05  # of the range: which frames show the body at its closest or farthest
_TALLER = 0.1  # a body this much taller elsewhere was bent where it was closest
_FAR_FRACTION: dict[Mode, float] = {"paper": 0.7, "released": 0.5}
_STANDING = 0.02  # of the body's height: ankles that move less only tremble


@dataclass(frozen=True)
class Position:
    """Where one video's person stands: ankle heights in the picture and body heights, pixels.

    Attributes:
        close: Ankles nearest to the camera.
        far: Ankles farthest from it.
        middle: Median of the ankles.
        height_close: The body's height near ``close``.
        height_far: The body's height near ``far``; 0 where no frame is near it.
    """

    close: float
    far: float
    middle: float
    height_close: float
    height_far: float


@dataclass(frozen=True)
class PoseNormalisation:
    """How one person's poses are brought into another's place and scale, frame by frame.

    With the ankles at S in a frame and u = (S - source.far) / (source.close - source.far), the new ankle height is
    target.far + u (target.close - target.far), and the scale is scale_far + u (scale_close - scale_far).

    Attributes:
        source: The driver's position.
        target: The subject's.
        mode: ``paper`` scales about the frame's own ankles, ``released`` about a fixed point: the picture's middle
            column and the ankles of the first frame.
        anchor_x: That column, pixels.
        same_place: The driver stands in one place, so that u means nothing: it is put into the subject's middle place.
    """

    source: Position
    target: Position
    mode: Mode
    anchor_x: float
    same_place: bool = False

    @classmethod
    def between(
        cls,
        source: PoseStatistics,
        target: PoseStatistics,
        source_far_fraction: float | None = None,
        target_far_fraction: float | None = None,
    ) -> "PoseNormalisation":
        """Compares a driver with a subject (sections A.2 of the ICCV paper, 9 of the first version).

        In ``paper`` mode a person whose ankles move by less than 2 % of the body's height stands in one place. In
        ``released`` mode the subject's range is cut to the length of the driver's where that is shorter, and a
        subject that is never seen near the cut range's far end keeps its near scale.

        Args:
            source: The driver's statistics.
            target: The subject's.
            source_far_fraction: How much farther from the camera than the driver's median, as a share of the distance
                from the median to the closest position, counts; by default 0.7 in ``paper``, 0.5 in ``released`` mode.
            target_far_fraction: The same for the subject.

        Raises:
            OptionError: The modes differ, or in ``released`` mode somebody is never farther away than the median.
        """
        if source.mode != target.mode:
            raise OptionError(f"the driver was measured in mode {source.mode!r}, the subject in {target.mode!r}")
        mode, anchor_x = target.mode, float(target.size[1] // 2)
        of_source = _FAR_FRACTION[mode] if source_far_fraction is None else source_far_fraction
        of_target = _FAR_FRACTION[mode] if target_far_fraction is None else target_far_fraction
        if mode == "paper" and _stands_still(source, of_source):
            return cls(_one_place(source), _one_place(target), mode, anchor_x, same_place=True)
        if mode == "paper" and _stands_still(target, of_target):
            return cls(_position(source, *_range(source, of_source)), _one_place(target), mode, anchor_x)
        source_close, source_far = _range(source, of_source)
        target_close, target_far = _range(target, of_target)
        if mode == "released" and source_close - source_far < target_close - target_far:
            middle, half = (target_close + target_far) / 2, (source_close - source_far) / 2
            target_close, target_far = middle + half, middle - half
        positions = _position(source, source_close, source_far), _position(target, target_close, target_far)
        return cls(*positions, mode, anchor_x)

    @property
    def scale_close(self) -> float:
        """Scale at the closest position."""
        return self.target.height_close / self.source.height_close

    @property
    def scale_far(self) -> float:
        """Scale at the farthest position."""
        # Official: 0 where the subject was never seen there, and the figure collapses.
        return self.target.height_far / self.source.height_far if self.target.height_far else self.scale_close

    def apply(self, track: Tensor, skeleton: Skeleton) -> Tensor:
        """The driver's poses as the subject would be seen in them.

        Frames without head or ankles are moved by interpolation between their neighbours in ``paper`` mode; in
        ``released`` mode as the frame before. At the ends the nearest known frame counts.

        Args:
            track: (T, K, 3) with x, y in pixels and confidence.
            skeleton: The format of the K joints.

        Returns:
            The same shape, in pixels of the subject's pictures. Official: missing joints move too; their confidence
            stays 0.

        Raises:
            PoseError: No frame shows head and ankles.
        """
        ankles, _, measured = measure_frames(track, skeleton, self.mode)
        if not measured.any():
            raise nothing_measured(track, skeleton, self.mode)
        scale, placed = self._scale_and_place(ankles)
        if self.mode == "released":
            first = ankles[measured][0]
            shift_x, shift_y = (1 - scale) * self.anchor_x, (1 - scale) * first + placed - ankles
            moves = torch.stack([scale, shift_x, shift_y], dim=1)[last_true(measured)]
        else:
            feet = track[:, [skeleton.index("right_ankle"), skeleton.index("left_ankle")], 0].double().mean(dim=1)
            moves = torch.stack([scale, (1 - scale) * feet, placed - scale * ankles], dim=1)
            moves = _interpolate(moves, measured)
        scale, shift = moves[:, None, :1], moves[:, None, 1:]
        return torch.cat([(track[..., :2] * scale + shift).to(track.dtype), track[..., 2:]], dim=-1)

    def _scale_and_place(self, ankles: Tensor) -> tuple[Tensor, Tensor]:
        """Scale (T,) and new ankle height (T,)."""
        if self.same_place:
            scale = torch.full_like(ankles, self.scale_close)
            return scale, self.target.middle + self.scale_close * (ankles - self.source.middle)
        u = (ankles - self.source.far) / (self.source.close - self.source.far)
        scale = self.scale_far + u * (self.scale_close - self.scale_far)
        return scale, self.target.far + u * (self.target.close - self.target.far)


def normalise_pose(
    track: Tensor,
    skeleton: Skeleton,
    size: tuple[int, int],
    target: PoseStatistics,
    limbs: bool = False,
) -> Tensor:
    """A driver's poses, brought into the place, scale and (if wanted) proportions of a subject.

    Args:
        track: (T, K, 3) with x, y in pixels and confidence: the whole track, because its range counts.
        skeleton: The format of the K joints.
        size: Height and width of the driver's pictures, pixels. Others than the subject's are letterboxed first.
        target: The subject's statistics; their mode is used.
        limbs: Whether each limb also takes the subject's length.

    Returns:
        The same shape, in pixels of the subject's pictures. Missing joints are 0 in all three.

    Raises:
        PoseError: No frame shows head and ankles, or in ``released`` mode somebody never moves towards the camera.
    """
    track = letterbox_pose(track, size, target.size)
    source = PoseStatistics.fit(track, skeleton, target.size, target.mode)
    track = PoseNormalisation.between(source, target).apply(track, skeleton)
    if limbs:
        track = transfer_limbs(track, skeleton, target.limbs)
    return torch.where(track[..., 2:] > 0, track, torch.zeros_like(track))


def _range(statistics: PoseStatistics, fraction: float) -> tuple[float, float]:
    """Closest and farthest ankles."""
    far = _far_ankles(statistics, fraction)
    if not len(far):
        raise PoseError(
            "a person stands in one place, so that nothing tells near from far",
            "choose mode 'paper', which allows it, or switch normalisation off",
        )
    return float(statistics.frames[:, 0].max()), float(far.min())


def _far_ankles(statistics: PoseStatistics, fraction: float) -> Tensor:
    """Ankles above the median in the picture, without those (jumps, wrong detections) that are too far above it."""
    ankles = statistics.frames[:, 0]
    above = ankles.quantile(0.5) - ankles
    return ankles[(above > 0) & (above < fraction * (ankles.max() - ankles.quantile(0.5)))]


def _position(statistics: PoseStatistics, close: float, far: float) -> Position:
    ankles, heights = statistics.frames.unbind(dim=1)
    tolerance = _NEAR * (close - far)
    height_close = _largest(heights[(ankles - close).abs() <= tolerance])
    height_far = _largest(heights[(ankles - far).abs() <= tolerance])
    # Official: of the frames with exactly equal ankles the first one counts.
    _, group = ankles.unique(return_inverse=True)
    order = torch.arange(len(ankles), device=ankles.device)
    firsts = order.new_full((int(group.max()) + 1,), len(ankles)).scatter_reduce(0, group, order, "amin")
    tallest = float(heights[firsts].max())
    if tallest - height_close > _TALLER * tallest:
        height_close = tallest
    return Position(close, far, float(ankles.quantile(0.5)), height_close, height_far)


def _largest(heights: Tensor) -> float:
    return float(heights.max()) if len(heights) else 0.0


def _stands_still(statistics: PoseStatistics, fraction: float) -> bool:
    ankles, heights = statistics.frames.unbind(dim=1)
    far = _far_ankles(statistics, fraction)
    return not len(far) or bool(ankles.max() - far.min() < _STANDING * heights.max())


def _one_place(statistics: PoseStatistics) -> Position:
    ankles, heights = statistics.frames.unbind(dim=1)
    middle, tallest = float(ankles.quantile(0.5)), float(heights.max())
    return Position(middle, middle, middle, tallest, tallest)


def _interpolate(values: Tensor, known: Tensor) -> Tensor:
    """(T, C): unknown rows as straight lines between known ones; at the ends the nearest."""
    places, at = np.arange(len(values)), known.nonzero().flatten().cpu().numpy()
    columns = [np.interp(places, at, column[known].cpu().numpy()) for column in values.t()]
    return torch.from_numpy(np.stack(columns, axis=1)).to(values)
