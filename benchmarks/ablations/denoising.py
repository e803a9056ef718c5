"""How much of the noise on poses a trained skeleton denoiser removes, against a median filter.

``python -m benchmarks denoising WEIGHTS`` takes tracks of synthetic people that no training saw, makes them
noisy as a poor detector would (jitter, lost joints, lost frames, in the shares that the denoiser was trained with), and
measures how far joints then are from where they truly are:

- noisy: as they are, gaps filled by straight lines between the frames around them;
- median: the same after a median filter, over as many frames as suit these tracks best;
- denoiser.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from benchmarks.evaluation import batches
from benchmarks.metadata import RESULTS, machine_name, metadata
from benchmarks.protocol import find_suite
from benchmarks.statistics import compare, mean_interval
from zoo.data import VideoDataModule
from zoo.methods.deep_spatial_transformation import SkeletonDenoiser
from zoo.pose.smoothing import fill_gaps, last_true, smooth_median
from zoo.report import sha256_of, write_json
from zoo.weights import load_weights

PROTOCOL = "synthetic-64-reconstruction"
JITTERS = (0.01, 0.02, 0.04, 0.08)
WINDOWS = (3, 5, 7, 9, 11)
"""Of the median filter, frames."""

Way = Callable[[Tensor], Tensor]


def denoising(weights: Path, results: Path = RESULTS) -> list[str]:
    """Measures, and writes the result.

    Args:
        weights: Of a SkeletonDenoiser (`zoo fit --config configs/.../denoiser.yaml`).
        results: Where the result goes.

    Returns:
        A line per strength of noise, and the result's path.

    Raises:
        WeightsError: They aren't a denoiser's.
    """
    denoiser = load_weights(weights, SkeletonDenoiser)
    tracks = true_tracks()
    found = {f"{jitter:g}": measure(denoiser, tracks, jitter) for jitter in JITTERS}
    path = results / f"denoising--{machine_name()}.json"
    trained = {"sha256": sha256_of(denoiser.inference_state()), "arguments": dict(denoiser.hparams)}
    content = {"metadata": metadata("denoising", torch.get_num_threads()), "weights": trained, "clips": len(tracks)}
    write_json(path, content | {"unit": "share of the picture's side", "results": found})
    lines = []
    for jitter, result in found.items():
        errors = ", ".join(f"{way} {figure['error']:.4f}" for way, figure in result["ways"].items())
        lines.append(f"jitter {jitter}: {errors}; of the noise {result['left']:.0%} is left")
    return [*lines, str(path)]


def true_tracks() -> list[Tensor]:
    """Tracks (T, 18, 3) of the protocol's test clips, whole."""
    (protocol,) = find_suite(PROTOCOL).protocols
    options = protocol.data_options(None) | {"size": 16, "evaluation_frames": None}  # the pictures aren't looked at
    data = VideoDataModule(**options, conditions=("pose",), workers=0)
    return [batch["driving_pose"][0] for batch in batches(data)]


@torch.no_grad()
def measure(denoiser: SkeletonDenoiser, tracks: list[Tensor], jitter: float) -> dict[str, Any]:
    """Mean distance of joints from the truth in each way, per clip and in total.

    Args:
        denoiser: In eval mode.
        tracks: (T, 18, 3), true.
        jitter: Standard deviation of the noise, where a picture is 2 wide.
    """
    torch.manual_seed(0)
    noisy = [denoiser.corrupt(track[None], jitter)[0] for track in tracks]
    ways: dict[str, Way] = {"noisy": filled, "denoiser": lambda track: filled(denoiser.clean(track[None])[0])}
    medians: dict[str, Way] = {
        f"median over {window}": lambda track, window=window: smooth_median(filled(track), window)  # type: ignore[misc]
        for window in WINDOWS
    }
    errors = {
        name: [distance(way(track), true) for track, true in zip(noisy, tracks, strict=True)]
        for name, way in (ways | medians).items()
    }
    best = min(medians, key=lambda name: sum(errors[name]))
    found = {name: _summed_up(errors[name]) for name in ("noisy", best, "denoiser")}
    return {
        "ways": found,
        "left": found["denoiser"]["error"] / found["noisy"]["error"],
        "denoiser_minus_median": vars(compare(errors["denoiser"], errors[best])),
    }


def filled(track: Tensor) -> Tensor:
    """A track (T, K, 3) whose joints are nowhere missing, unless one is in no frame."""
    track = fill_gaps(track, longest=len(track))
    for joint in range(track.shape[1]):
        track[:, joint] = track[last_true(track[:, joint, 2] > 0), joint]
    return track


def distance(track: Tensor, true: Tensor) -> float:
    """Mean distance of two tracks (T, K, 3) over the joints that truly are there, as a share of the picture's side."""
    present = true[..., 2] > 0
    return cast(float, ((track - true)[..., :2].norm(dim=-1)[present].mean() / 2).item())


def _summed_up(errors: list[float]) -> dict[str, Any]:
    interval = mean_interval(errors, seed=0)
    return {"error": sum(errors) / len(errors), "interval": interval, "per_clip": errors}
