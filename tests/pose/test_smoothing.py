"""Cleaning of tracks: the official program's smoothing, and jitter and lag on a noisy synthetic walk."""

from functools import partial

import numpy as np
import pytest
import torch
from recorded_tracks import whole_track
from safetensors.torch import load_file

from zoo.errors import OptionError
from zoo.pose import average_windows, face_boxes, fill_gaps, smooth_median, smooth_one_euro, smooth_savitzky_golay

FILTERS = {
    "median": smooth_median,
    "one_euro": partial(smooth_one_euro, fps=25),
    "savitzky_golay": smooth_savitzky_golay,
}


@pytest.mark.shared
def test_recorded_smoothing(recorded):
    tensors = load_file(recorded / "smoothing.safetensors")
    track, skeleton = whole_track(tensors, "input")
    average = average_windows(track)
    torch.testing.assert_close(average, whole_track(tensors, "output.average")[0])
    assert torch.equal(torch.arange(len(track))[2::4][: len(average)], tensors["output.image_frame_of_window"])
    assert torch.equal(face_boxes(average, skeleton), tensors["output.face_box_miny_maxy_minx_maxx"])
    body = smooth_median(track)[3:-3, skeleton.part("body")]
    assert torch.equal(body.flatten(1), tensors["output.median_adapt7.pose"])
    plain = tensors["output.median_plain7.pose"].view_as(body)  # of missing joints, too, which ours leaves out
    there = (track[:, skeleton.part("body"), 2] > 0).unfold(0, 7, 1).all(dim=-1)
    assert torch.equal(body[there], plain[there])
    assert not torch.equal(body[~there], plain[~there])


@pytest.mark.parametrize("name", FILTERS)
def test_jitter_falls_by_more_than_half_with_less_than_a_frame_of_lag(walk, name):
    noise = torch.randn(walk[..., :2].shape, generator=torch.Generator().manual_seed(0), dtype=walk.dtype)
    noisy = torch.cat([walk[..., :2] + 2 * noise, walk[..., 2:]], dim=-1)
    smooth = FILTERS[name](noisy)
    assert jitter(smooth) < 0.5 * jitter(noisy)
    assert abs(lag(smooth, walk)) < 1
    assert error(smooth, walk) < error(noisy, walk)


def jitter(track):
    """Root mean square of the second difference, pixels."""
    return float(track[..., :2].diff(n=2, dim=0).square().mean().sqrt())


def error(track, truth):
    return float((track - truth)[..., :2].square().mean().sqrt())


def lag(track, truth):
    """The delay of the truth, frames, that the track is nearest to."""
    delays = np.arange(-3, 3.01, 0.05)
    frames = np.arange(4, len(track) - 4)
    columns = truth[..., :2].flatten(1).t().numpy()
    distances = []
    for delay in delays:
        delayed = np.stack([np.interp(frames - delay, np.arange(len(truth)), column) for column in columns], axis=1)
        distances.append(np.square(track[..., :2].flatten(1).numpy()[frames] - delayed).mean())
    return delays[int(np.argmin(distances))]


@pytest.mark.parametrize("name", FILTERS)
def test_a_joint_at_rest_stays_and_nobody_stays_nobody(name):
    track = torch.zeros(20, 3, 3)
    track[:, 0] = torch.tensor([5.0, 7.0, 0.8])
    track[5:8, 1] = torch.tensor([1.0, 2.0, 0.5])
    smooth = FILTERS[name](track)
    torch.testing.assert_close(smooth[:, 0], track[:, 0])
    assert not smooth[:, 2].any()
    assert smooth.isfinite().all()


@pytest.mark.parametrize("name", ["one_euro", "savitzky_golay"])
def test_a_gap_is_neither_filled_nor_smoothed_over(name):
    track = torch.zeros(40, 1, 3)
    track[:16, 0] = torch.tensor([5.0, 7.0, 1.0])
    track[24:, 0] = torch.tensor([50.0, 70.0, 1.0])
    torch.testing.assert_close(FILTERS[name](track), track)


def test_only_short_gaps_are_filled():
    track = torch.ones(20, 1, 3)
    track[:, 0, 0] = torch.arange(20)
    track[:, 0, 2] = torch.linspace(1, 0.5, 20)
    expected = track.clone()
    track[0] = track[4:7] = track[9:15] = 0
    filled = fill_gaps(track, longest=3)
    torch.testing.assert_close(filled[4:7, :, :2], expected[4:7, :, :2])
    assert (filled[4:7, 0, 2] == expected[7, 0, 2]).all()
    assert not filled[9:15].any()
    assert not filled[0].any()
    assert torch.equal(fill_gaps(track, longest=6)[9:15, :, :2], expected[9:15, :, :2])


def test_windows_are_odd():
    with pytest.raises(OptionError, match="window is 6 frames; it must be odd"):
        smooth_median(torch.zeros(9, 1, 3), 6)
    with pytest.raises(OptionError, match="degree 7 needs a window of more than 7"):
        smooth_savitzky_golay(torch.zeros(9, 1, 3), 7, 7)
