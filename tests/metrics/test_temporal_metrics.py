"""tOF, tLP100, warping error and flicker against recorded values and their definitions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from metric_inputs import noise, smooth
from safetensors.torch import load_file
from scipy import ndimage
from torch import Tensor

from zoo.metrics import LPIPS, TOF, ClipMetric, Farneback, Flicker, TemporalLPIPS, WarpingError
from zoo.metrics.flicker import frame_changes
from zoo.metrics.warping_error import occluded, warping_error


@pytest.fixture(scope="module")
def recorded(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "parity" / "metrics" / "image_metrics_expected.json").read_text())["clip"]


@pytest.fixture(scope="module")
def pair(shared: Path) -> tuple[Tensor, Tensor]:
    """A generated and a true clip, (1, T, 3, H, W) uint8."""
    clip = load_file(shared / "parity" / "metrics" / "paired_clip.safetensors")
    return clip["gen"].permute(0, 3, 1, 2)[None], clip["gt"].permute(0, 3, 1, 2)[None]


def value(metric: ClipMetric, *clips: Tensor) -> float:
    metric.update(*clips)
    return metric.compute().item()


def per_step(metric: ClipMetric, *clips: Tensor) -> list[float]:
    """The metric of each two consecutive frames."""
    metric.update(*(torch.cat([clip[:, t : t + 2] for t in range(clip.shape[1] - 1)]) for clip in clips))
    return metric.per_clip().tolist()


@pytest.mark.shared
@pytest.mark.parametrize(("net", "key"), [("alex", "tLP100_alex"), ("vgg16", "tLP100_vgg")])
def test_tlp100_equals_the_recorded_values(recorded: Any, pair: Any, net: Any, key: str) -> None:
    assert value(TemporalLPIPS(net), *pair) == pytest.approx(recorded[key], abs=1e-4)
    assert per_step(TemporalLPIPS(net), *pair) == pytest.approx(recorded[f"{key}_per_step"], abs=1e-4)


def test_tlp100_is_the_difference_of_lpips() -> None:
    prediction, target = smooth(1, 3, 3, 40, 40), smooth(1, 3, 3, 40, 40, seed=1)
    changes = [per_frame(LPIPS(), clip[0, :-1], clip[0, 1:]) for clip in (prediction, target)]
    expected = 100 * (changes[0] - changes[1]).abs().mean().item()
    assert value(TemporalLPIPS(), prediction, target) == pytest.approx(expected, rel=1e-4)
    assert value(TemporalLPIPS(), prediction, prediction) == 0


def per_frame(metric: ClipMetric, *pictures: Tensor) -> Tensor:
    metric.update(*pictures)
    return metric.per_clip()


@pytest.mark.shared
def test_tof_equals_the_recorded_values(recorded: Any, pair: Any) -> None:
    pytest.importorskip("cv2", reason="needs OpenCV: pip install opencv-python-headless")
    assert value(TOF(), *pair) == pytest.approx(recorded["tOF"], abs=1e-3)
    assert per_step(TOF(), *pair) == pytest.approx(recorded["tOF_per_step"], abs=1e-3)
    assert value(TOF(), pair[1], pair[1]) == 0


def test_tof_as_published_sees_the_middle_of_the_clip_and_of_its_frames() -> None:
    pytest.importorskip("cv2", reason="needs OpenCV: pip install opencv-python-headless")
    prediction, target = smooth(1, 8, 3, 100, 79), smooth(1, 8, 3, 100, 79, seed=1)
    middle = [clip[:, 2:6, :, 18:82, 23:55] for clip in (prediction, target)]  # 64 of 100 - 16, 32 of 79 - 16
    published = TOF(as_published=True)
    assert published.name == "tof_tecogan"
    assert value(published, prediction, target) == value(TOF(), *middle)
    with pytest.raises(ValueError, match=r"tof_tecogan needs clips .* of at least 6 frames"):
        published.update(prediction[:, :5], target[:, :5])
    with pytest.raises(ValueError, match="tof_tecogan needs frames of at least 48 x 48"):
        published.update(prediction[..., :47, :], target[..., :47, :])


def test_farneback_follows_a_shift() -> None:
    pytest.importorskip("cv2", reason="needs OpenCV: pip install opencv-python-headless")
    picture = smooth(1, 3, 80, 80)
    flow = Farneback()(picture[..., 4:-4, 4:-4], picture[..., 2:-6, 1:-7])  # what was at p is now at p + (3, 2)
    assert flow.shape == (1, 2, 72, 72)
    inner = flow[0, :, 20:-20, 20:-20].mean((1, 2))
    assert inner.tolist() == pytest.approx([3, 2], abs=0.1)


@pytest.mark.shared
def test_warping_error_equals_the_recorded_values(shared: Path) -> None:
    folder = shared / "parity" / "metrics"
    known, expected = (
        load_file(folder / "warp_error.safetensors"),
        json.loads((folder / "warp_error_expected.json").read_text()),
    )
    frames = known["video"].permute(0, 3, 1, 2).double() / 255
    errors = warping_error(frames, known["flow"].permute(0, 3, 1, 2), known["occlusion"][:, None] > 0)
    assert errors.tolist() == pytest.approx(expected["per_step"], rel=1e-6)
    assert errors.mean().item() == pytest.approx(expected["video_mean"], rel=1e-6)


def test_warping_error_equals_its_definition() -> None:
    frames, flow = noise(4, 3, 24, 30), 8 * (smooth(3, 2, 24, 30) - 0.5)
    nothing = torch.zeros(3, 1, 24, 30, dtype=torch.bool)
    expected = definition(frames.double().numpy(), flow.permute(0, 2, 3, 1).double().numpy())
    assert warping_error(frames.double(), flow, nothing).tolist() == pytest.approx(expected, rel=1e-6)


def test_warping_error_is_zero_along_the_motion() -> None:
    picture = noise(3, 40, 60)
    frames = torch.stack([picture[:, 8 - 2 * t : 32 - 2 * t, 9 - 3 * t : 39 - 3 * t] for t in range(4)])
    flow = torch.tensor([3.0, 2.0]).view(1, 2, 1, 1).expand(3, -1, 24, 30)
    leaves = torch.zeros(3, 1, 24, 30, dtype=torch.bool)
    leaves[..., -2:, :] = True
    leaves[..., -3:] = True
    assert warping_error(frames, flow, leaves).max() < 1e-9
    assert warping_error(frames, -flow, leaves).min() > 0.01
    assert warping_error(frames[:1].expand(4, -1, -1, -1), 0 * flow, leaves).max() < 1e-9


class Gradient:
    """A flow that follows from the frames, so that it tells which ones it was given."""

    name = "gradient"

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        return 6 * (second - first).cumsum(-1)[:, :2] / first.shape[-1]


@pytest.mark.parametrize("flow_of", ["target", "prediction"])
def test_warping_error_takes_the_flow_of_the_clip_that_is_asked_for(flow_of: Any) -> None:
    prediction, target = smooth(1, 4, 3, 24, 30), smooth(1, 4, 3, 24, 30, seed=1)
    clip = {"target": target, "prediction": prediction}[flow_of][0]
    forward, backward = Gradient()(clip[:-1], clip[1:]), Gradient()(clip[1:], clip[:-1])
    hidden = occluded(forward, backward)
    assert 0 < hidden.float().mean() < 1
    expected = warping_error(prediction[0], forward, hidden).mean().item()
    metric = WarpingError(Gradient(), flow_of)
    assert value(metric, prediction, target) == pytest.approx(expected, rel=1e-5)
    if flow_of == "prediction":
        alone = WarpingError(Gradient(), flow_of)
        alone.update(prediction)
        assert alone.compute() == metric.compute()


def definition(frames: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Mean squared difference per step without occlusion: frames (T, C, H, W), flow (T - 1, H, W, 2), by SciPy."""
    rows, columns = np.indices(frames.shape[-2:])
    errors = []
    for first, second, step in zip(frames[:-1], frames[1:], flow, strict=True):
        where = [rows + step[..., 1], columns + step[..., 0]]
        warped = [ndimage.map_coordinates(channel, where, order=1, mode="nearest") for channel in second]
        errors.append(np.square(np.stack(warped) - first).mean())
    return np.array(errors)


def test_warping_error_of_what_is_all_occluded_is_zero() -> None:
    frames = noise(3, 3, 8, 8)
    everything = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    assert warping_error(frames, torch.zeros(2, 2, 8, 8), everything).tolist() == [0, 0]
    some = everything.clone()
    some[0, 0, 3, 4:6] = False
    expected = (frames[1] - frames[0])[:, 3, 4:6].square().mean().item()
    assert warping_error(frames, torch.zeros(2, 2, 8, 8), some).tolist() == pytest.approx([expected, 0], rel=1e-6)


def test_flicker_raises_the_warping_error() -> None:
    pytest.importorskip("cv2", reason="needs OpenCV: pip install opencv-python-headless")
    picture = smooth(3, 72, 72)
    clip = torch.stack([picture[:, 4:68, 6 - t : 70 - t] for t in range(4)])[None]
    trembling = (clip + torch.tensor([0.0, 0.1, 0.0, 0.1]).view(4, 1, 1, 1)).clamp(0, 1)
    for metric in (WarpingError(), WarpingError(flow_of="prediction")):
        errors = per_frame(metric, torch.cat([clip, trembling]), torch.cat([clip, clip])).tolist()
        assert errors[0] < 1e-4
        assert errors[1] == pytest.approx(0.01, rel=0.3)


def test_occlusion_equals_its_definition() -> None:
    forward, backward = (8 * (smooth(2, 2, 24, 30, seed=seed) - 0.5) for seed in (0, 1))
    backward[0] = -forward[0] + 0.3 * (noise(2, 24, 30) - 0.5)
    forward[0, :, :, 15:] += 3  # a motion boundary
    found = occluded(forward, backward)
    expected = np.stack([lai(f, b) for f, b in zip(forward.double().numpy(), backward.double().numpy(), strict=True)])
    assert 0.02 < expected.mean(axis=(1, 2))[0] < 0.98
    assert np.array_equal(found[:, 0].numpy(), expected)


def lai(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Occlusion of a frame pixel by pixel: flows (2, H, W) to (H, W)."""
    height, width = forward.shape[1:]
    hidden = np.zeros((height, width), dtype=bool)
    for y in range(height):
        for x in range(width):
            f = forward[:, y, x]
            place = [[y + f[1]], [x + f[0]]]
            b = np.array([ndimage.map_coordinates(part, place, order=1, mode="nearest")[0] for part in backward])
            right = forward[:, y, x + 1] - f if x + 1 < width else np.zeros(2)
            down = forward[:, y + 1, x] - f if y + 1 < height else np.zeros(2)
            inconsistent = np.square(f + b).sum() > 0.01 * (np.square(f).sum() + np.square(b).sum()) + 0.5
            boundary = np.square(right).sum() + np.square(down).sum() > 0.01 * np.square(f).sum() + 0.002
            hidden[y, x] = inconsistent or boundary
    return hidden


@pytest.mark.shared
def test_frame_changes_equal_the_recorded_values(recorded: Any, pair: Any) -> None:
    for clip, key in zip(pair, ("gen", "gt"), strict=True):
        assert frame_changes(clip[0]).mean().item() == pytest.approx(recorded["frame_diff_l1_unit"][key], abs=1e-9)


@pytest.mark.parametrize("as_float", [False, True])
def test_flicker_looks_only_where_the_truth_rests(as_float: bool) -> None:
    target = torch.full((2, 4, 3, 12, 10), 100, dtype=torch.uint8)
    target[0, 1, 0, :6] += 2  # two levels in one channel are a motion, and again when it goes back
    target[0, 3, :, 6:] += 1  # one level isn't
    target[1] += torch.tensor([0, 5, 0, 5], dtype=torch.uint8).view(4, 1, 1, 1)
    prediction = (255 * noise(2, 4, 3, 12, 10)).byte()
    clips = (prediction / 255, target / 255) if as_float else (prediction, target)
    changes = prediction[0].double().diff(dim=0).abs() / 255
    expected = torch.cat([changes[0, :, 6:].flatten(), changes[1, :, 6:].flatten(), changes[2].flatten()]).mean()
    assert per_frame(Flicker(), *clips).tolist() == pytest.approx([expected.item(), float("nan")], nan_ok=True)
    assert value(Flicker(), clips[1][:1], clips[1][:1]) == pytest.approx(1 / 255 / 4, rel=1e-5)
