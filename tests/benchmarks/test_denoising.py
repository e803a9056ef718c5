import json
import math
from pathlib import Path

import pytest
import torch

from benchmarks.ablations import denoising
from benchmarks.metadata import RESULTS
from zoo.methods.deep_spatial_transformation import SkeletonDenoiser
from zoo.weights.reference import METHODS


def moving(frames, seed):
    """Joints that move evenly: (frames, 18, 3)."""
    draw = torch.Generator().manual_seed(seed)
    start, speed = torch.rand(2, 1, 18, 2, generator=draw) - 0.5
    places = start + speed * torch.linspace(0, 0.5, frames)[:, None, None]
    return torch.cat([places, torch.ones(frames, 18, 1)], -1)


def test_gaps_are_straight_lines_and_ends_stay():
    true = moving(20, 0)
    track = true.clone()
    track[4:9, 3] = 0
    track[:2, 5] = 0
    filled = denoising.filled(track)
    torch.testing.assert_close(filled[:, 3], true[:, 3])
    torch.testing.assert_close(filled[:2, 5], true[2, 5].expand(2, 3))
    assert denoising.distance(filled, true) < 0.01


def test_the_error_of_noise_is_the_mean_of_its_length():
    """The length of normal noise in the plane has the mean sigma sqrt(pi / 2) (Rayleigh); the side is 2 wide."""
    denoiser = SkeletonDenoiser("body_18", channels=4, drop=0, drop_frames=0).eval()
    result = denoising.measure(denoiser, [moving(300, seed) for seed in range(3)], 0.04)
    assert result["ways"]["noisy"]["error"] == pytest.approx(0.04 * math.sqrt(math.pi / 2) / 2, rel=0.02)
    (best,) = (name for name in result["ways"] if name.startswith("median"))
    assert best == f"median over {max(denoising.WINDOWS)}"  # even motion: the longer the better
    assert result["ways"][best]["error"] < 0.5 * result["ways"]["noisy"]["error"]
    assert result["denoiser_minus_median"]["difference"] > 0  # it was never trained


@pytest.mark.parametrize("path", sorted(RESULTS.glob("denoising--*.json")), ids=lambda path: path.name)
def test_the_page_says_what_was_measured(path):
    page = (METHODS / "deep_spatial_transformation" / "README.md").read_text("utf-8")
    for jitter, result in json.loads(Path(path).read_text("utf-8"))["results"].items():
        errors = (f"{100 * figure['error']:.2f}" for figure in result["ways"].values())
        assert f"| {jitter} | {' | '.join(errors)} | {result['left']:.2f} |" in page
