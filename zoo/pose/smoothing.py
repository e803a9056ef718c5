"""Cleaning of pose tracks over time."""

import math
from itertools import pairwise

import torch
from scipy.signal import savgol_filter
from torch import Tensor

from zoo.errors import OptionError


def fill_gaps(track: Tensor, longest: int = 5) -> Tensor:
    """Short gaps of a joint as straight lines between their ends; longer ones, and those at the ends, stay.

    Args:
        track: (T, K, 3) with x, y in any unit and confidence; 0 confidence means missing.
        longest: The longest gap that is filled, frames.

    Returns:
        The same shape; filled joints have the lower confidence of the gap's two ends.
    """
    filled = track.clone()
    for joint in range(track.shape[1]):
        seen = (track[:, joint, 2] > 0).nonzero().flatten().tolist()
        for before, after in pairwise(seen):
            if 1 < after - before <= longest + 1:
                share = torch.arange(1, after - before, device=track.device)[:, None] / (after - before)
                ends = track[before, joint], track[after, joint]
                line = torch.lerp(ends[0], ends[1], share.to(track))
                line[:, 2] = torch.minimum(ends[0][2], ends[1][2])
                filled[before + 1 : after, joint] = line
    return filled


def smooth_median(track: Tensor, window: int = 7) -> Tensor:
    """The median over a window around each frame, as Everybody Dance Now smooths normalised poses.

    A joint that is there in most frames of the window is the median of those; else it is missing. Windows shrink at
    the ends. (The released program leaves the first and last ``window // 2`` frames away.)

    Args:
        track: (T, K, 3) with x, y in any unit and confidence; 0 confidence means missing.
        window: Frames, odd.

    Returns:
        The same shape.
    """
    _check_odd(window)
    half = window // 2
    outside = track.new_full((half, *track.shape[1:]), torch.nan)
    windows = torch.cat([outside, track, outside]).unfold(0, window, 1)  # (T, K, 3, window)
    plain = windows.nanquantile(0.5, dim=-1)
    seen = torch.where(windows[..., 2:, :] > 0, windows, torch.nan).nanquantile(0.5, dim=-1)
    return torch.where(plain[..., 2:] > 0, seen, plain)


def average_windows(track: Tensor, window: int = 4) -> Tensor:
    """Means of consecutive windows that don't overlap: 120 frames per second become 30.

    Args:
        track: (T, K, 3) with x, y in any unit and confidence; 0 confidence means missing.
        window: Frames.

    Returns:
        (T // window, K, 3), which belongs to frames ``window // 2``, ``window // 2 + window`` and so on. A joint that
        is missing in any frame of a window is 0 in all three.
    """
    windows = track[: len(track) // window * window].unflatten(0, (-1, window))
    whole = (windows[..., 2:] > 0).all(dim=1)
    return torch.where(whole, windows.mean(dim=1), 0.0)


def smooth_one_euro(track: Tensor, fps: float, cutoff: float = 2.0, speed_gain: float = 10.0) -> Tensor:
    """The One-Euro filter: strong where a joint rests, weak where it moves, so that it doesn't lag behind.

    It looks at no later frame, and so suits a running camera. Casiez et al., "1€ Filter", CHI 2012. A joint that was
    missing starts anew.

    Args:
        track: (T, K, 3) with x, y in any unit and confidence; 0 confidence means missing.
        fps: Frames per second.
        cutoff: Hz below which a resting joint's movement is kept.
        speed_gain: Hz by which the cutoff rises for a speed of one body size per second.

    Returns:
        The same shape; confidences are kept.
    """
    seen, points = track[..., 2:] > 0, track[..., :2].double()
    size = _body_size(track)
    smooth, velocity = points.clone(), torch.zeros_like(points)
    for frame in range(1, len(track)):
        moving = (points[frame] - points[frame - 1]) * fps
        velocity[frame] = torch.lerp(velocity[frame - 1], moving, _one_euro_share(torch.ones(()).double(), fps))
        speed = velocity[frame].norm(dim=-1, keepdim=True) / size
        share = _one_euro_share(cutoff + speed_gain * speed, fps)
        both = seen[frame] & seen[frame - 1]
        smooth[frame] = torch.where(both, torch.lerp(smooth[frame - 1], points[frame], share), points[frame])
        velocity[frame] = torch.where(both, velocity[frame], 0.0)
    return torch.cat([smooth.to(track.dtype), track[..., 2:]], dim=-1)


def smooth_savitzky_golay(track: Tensor, window: int = 7, degree: int = 2) -> Tensor:
    """A polynomial fitted to a window around each frame (Savitzky and Golay, 1964): no lag, and peaks stay.

    Args:
        track: (T, K, 3) with x, y in any unit and confidence; 0 confidence means missing.
        window: Frames, odd. Stretches of a joint that are shorter stay as they are.
        degree: Of the polynomial, below ``window``.

    Returns:
        The same shape; confidences are kept.
    """
    _check_odd(window)
    if degree >= window:
        raise OptionError(f"a polynomial of degree {degree} needs a window of more than {window} frames")
    smooth = track.clone()
    for joint in range(track.shape[1]):
        for stretch in _stretches(track[:, joint, 2] > 0):
            if stretch.stop - stretch.start >= window:
                values = track[stretch, joint, :2].cpu().numpy()
                smooth[stretch, joint, :2] = torch.from_numpy(savgol_filter(values, window, degree, axis=0)).to(track)
    return smooth


def last_true(flags: Tensor) -> Tensor:
    """For each place of (T,) bool the index of the last true one up to it, or of the first true one before there is."""
    index = torch.where(flags, torch.arange(len(flags), device=flags.device), -1).cummax(dim=0).values
    return torch.where(index < 0, flags.int().argmax(), index)


def _check_odd(window: int) -> None:
    if window < 1 or window % 2 == 0:
        raise OptionError(f"window is {window} frames; it must be odd, because it is centred on a frame")


def _one_euro_share(cutoff: Tensor, fps: float) -> Tensor:
    """How much of the new value an exponential filter of a given cutoff takes."""
    return 1 / (1 + fps / (2 * math.pi * cutoff))


def _body_size(track: Tensor) -> Tensor:
    """The median diagonal of the box around all joints, in the track's unit."""
    seen, points = track[..., 2:] > 0, track[..., :2].double()
    high = torch.where(seen, points, -torch.inf).amax(dim=1)
    low = torch.where(seen, points, torch.inf).amin(dim=1)
    diagonals = (high - low).norm(dim=-1)
    diagonals = diagonals[(track[..., 2] > 0).any(dim=1)]
    return diagonals.median().clamp(min=1e-6) if len(diagonals) else points.new_ones(())


def _stretches(flags: Tensor) -> list[slice]:
    """Runs of true values."""
    padded = torch.cat([flags.new_zeros(1), flags, flags.new_zeros(1)]).int().diff()
    return [slice(a, b) for a, b in zip((padded == 1).nonzero(), (padded == -1).nonzero(), strict=True)]
