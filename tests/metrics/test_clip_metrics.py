import json
import math
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, multiprocessing

from zoo.metrics import L1, LPIPS, PSNR, SSIM, ClipMetric, MovingRegionL1
from zoo.weights.networks import MissingWeightsError

METRICS: dict[str, Callable[[], ClipMetric]] = {
    "l1": L1,
    "psnr": PSNR,
    "ssim": SSIM,
    "lpips_alex": LPIPS,
    "lpips_vgg16": partial(LPIPS, "vgg16"),
}
RECORDED = {"l1": "l1_unit", "psnr": "psnr", "ssim": "ssim", "lpips_alex": "lpips_alex", "lpips_vgg16": "lpips_vgg"}
every_metric = pytest.mark.parametrize("name", METRICS)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def smooth(*shape: int, seed: int = 0) -> Tensor:
    blurred = ndimage.gaussian_filter(noise(*shape, seed=seed).numpy(), (*[0] * (len(shape) - 2), 3, 3))
    return torch.from_numpy((blurred - blurred.min()) / (blurred.max() - blurred.min()))


@pytest.fixture(scope="module")
def recorded(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "parity" / "metrics" / "image_metrics_expected.json").read_text())


@pytest.mark.shared
@every_metric
@pytest.mark.parametrize("as_float", [False, True])
def test_equals_the_recorded_values(shared: Path, recorded: dict[str, Any], name: str, as_float: bool) -> None:
    pairs = load_file(shared / "parity" / "metrics" / "image_pairs.safetensors")
    for number, expected in recorded["pairs"].items():
        first, second = (pairs[f"pair{number}_{side}"].permute(2, 0, 1)[None] for side in "ab")
        metric = METRICS[name]()
        metric.update(first / 255 if as_float else first, second / 255 if as_float else second)
        value = 100.0 if expected[RECORDED[name]] is None else expected[RECORDED[name]]  # None: infinite PSNR
        assert metric.compute().item() == pytest.approx(value, abs=2e-6 if as_float and name == "psnr" else 1e-6)


@pytest.mark.shared
@every_metric
def test_a_clip_is_the_mean_over_its_frames(shared: Path, recorded: dict[str, Any], name: str) -> None:
    clip = load_file(shared / "parity" / "metrics" / "paired_clip.safetensors")
    metric = METRICS[name]()
    metric.update(*(clip[key].permute(0, 3, 1, 2)[None] for key in ("gen", "gt")))
    assert metric.compute().item() == pytest.approx(recorded["clip"]["mean"][RECORDED[name]], abs=1e-6)


def test_ssim_and_psnr_equal_scikit_image() -> None:
    for height, width, seed in ((11, 11, 0), (33, 50, 1), (64, 64, 2)):
        first = smooth(3, height, width, seed=seed)
        second = (first + 0.05 * noise(3, height, width, seed=seed + 9)).clamp(0, 1)
        ours = []
        for metric in (SSIM(), PSNR()):
            metric.update(second[None], first[None])
            ours.append(metric.compute().item())
        pictures = [np.moveaxis(picture.double().numpy(), 0, -1) for picture in (first, second)]
        reference = structural_similarity(
            *pictures,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            channel_axis=-1,
        )
        assert ours[0] == pytest.approx(reference, abs=1e-10)
        assert ours[1] == pytest.approx(peak_signal_noise_ratio(*pictures, data_range=1.0), abs=1e-10)


@pytest.mark.parametrize(("net", "expected"), [("alex", 0.813954), ("vgg16", 0.453837)])
def test_lpips_of_black_against_white(net: Any, expected: float) -> None:
    metric = LPIPS(net)
    metric.update(torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64))
    assert metric.compute().item() == pytest.approx(expected, abs=1e-6)


def test_ssim_of_black_against_white() -> None:
    metric = SSIM()
    metric.update(torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64))
    assert metric.compute().item() == pytest.approx(0.01**2 / (1 + 0.01**2), abs=1e-12)


@every_metric
def test_symmetric_and_perfect_for_identical_frames(name: str) -> None:
    first, second = smooth(2, 3, 40, 48), smooth(2, 3, 40, 48, seed=1)
    values = []
    for pair in ((first, second), (second, first), (first, first)):
        metric = METRICS[name]()
        metric.update(*pair)
        values.append(metric.compute().item())
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    assert values[2] == {"psnr": 100.0, "ssim": pytest.approx(1.0, abs=1e-12)}.get(name, 0.0)
    assert (values[0] < values[2]) == metric.higher_is_better


@every_metric
def test_clips_weigh_the_same_whatever_their_length(name: str) -> None:
    long, short = smooth(1, 6, 3, 40, 40), smooth(1, 2, 3, 40, 40, seed=1)
    metric = METRICS[name]()
    metric.update(long, long.flip(-1))
    metric.update(short, short.flip(-1))
    frames = [METRICS[name](), METRICS[name]()]
    for one, clip in zip(frames, (long, short), strict=True):
        one.update(clip[0], clip[0].flip(-1))
        assert len(one.per_clip()) == clip.shape[1]
    expected = [one.compute().item() for one in frames]
    assert metric.per_clip().tolist() == pytest.approx(expected, rel=1e-6)
    assert metric.compute().item() == pytest.approx(sum(expected) / 2, rel=1e-6)


@every_metric
def test_memory_portions_do_not_change_the_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = smooth(1, 5, 3, 40, 40), smooth(1, 5, 3, 40, 40, seed=1)
    whole, portioned = METRICS[name](), METRICS[name]()
    whole.update(first, second)
    monkeypatch.setattr("zoo.metrics.clip_metric._PIXELS_AT_ONCE", 2 * 40 * 40)
    portioned.update(first, second)
    assert portioned.compute().item() == pytest.approx(whole.compute().item(), rel=1e-6)


def test_moving_region_equals_its_definition() -> None:
    source, truth = smooth(3, 3, 30, 41), smooth(3, 4, 3, 30, 41, seed=1)
    truth[1] = source[1] + 0.05 * (0.5 - source[1])  # nothing moves by more than 0.1
    prediction = smooth(3, 4, 3, 30, 41, seed=2)
    metric = MovingRegionL1()
    metric.update(prediction, truth, source)
    expected = []
    for predicted, true, still in zip(prediction.numpy(), truth.numpy(), source.numpy(), strict=True):
        moved = np.abs(true - still).max(axis=1) > 0.1
        region = np.stack([ndimage.maximum_filter(frame, size=7, mode="constant") for frame in moved])
        error = np.abs(predicted - true).mean(axis=1)
        expected.append(error[region].mean() if region.any() else math.nan)
    assert metric.per_clip().tolist() == pytest.approx(expected, rel=1e-5, nan_ok=True)
    assert math.isnan(metric.per_clip()[1])
    assert metric.compute().item() == pytest.approx((expected[0] + expected[2]) / 2, rel=1e-5)


def test_moving_region_of_copied_sources_is_larger_than_their_l1() -> None:
    source = torch.zeros(1, 3, 32, 32)
    truth = torch.zeros(1, 2, 3, 32, 32)
    truth[..., 10:14, 10:14] = 1.0
    metric = MovingRegionL1()
    metric.update(source[:, None].expand_as(truth), truth, source)
    assert metric.compute().item() == pytest.approx(16 / 100)


@every_metric
def test_range_and_shape_are_checked(name: str) -> None:
    good = noise(1, 3, 40, 40)
    for bad, message in (
        (good * 2 - 1, r"in \[0, 1\]"),
        (good * 255, r"in \[0, 1\]"),
        (torch.full_like(good, math.nan), r"in \[0, 1\]"),
        (good.long(), "int64"),
        (good[..., :-1], "not"),
        (good[0], "not"),
    ):
        with pytest.raises(ValueError, match=message):
            METRICS[name]().update(bad, good)
    with pytest.raises(ValueError, match=r"source should be \(B, C, H, W\)"):
        MovingRegionL1().update(good, good, good[..., 1:])


@pytest.mark.parametrize(("name", "size"), [("ssim", 10), ("lpips_alex", 30), ("lpips_vgg16", 15)])
def test_too_small_frames_are_named(name: str, size: int) -> None:
    with pytest.raises(ValueError, match=f"at least {size + 1} x {size + 1}"):
        METRICS[name]().update(noise(1, 3, size, 60), noise(1, 3, size, 60))
    METRICS[name]().update(noise(1, 3, size + 1, 60), noise(1, 3, size + 1, 60))


@every_metric
def test_pickle_clone_and_reset(name: str) -> None:
    first, second = smooth(2, 3, 40, 40), smooth(2, 3, 40, 40, seed=1)
    metric = METRICS[name]()
    metric.update(first, second)
    value = metric.compute()
    for copy in (metric.clone(), pickle.loads(pickle.dumps(metric))):
        assert torch.equal(copy.compute(), value)
        copy.update(first, first)
        assert len(copy.per_clip()) == 4
    assert not metric.state_dict()
    assert not list(metric.parameters())
    metric.reset()
    assert len(metric.per_clip()) == 0
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert math.isnan(metric.compute())


def test_lpips_is_float32_under_autocast() -> None:
    first, second = smooth(1, 3, 64, 64), smooth(1, 3, 64, 64, seed=1)
    plain, cast = LPIPS(), LPIPS()
    plain.update(first, second)
    with torch.autocast("cpu", torch.bfloat16):
        cast.update(first, second)
    assert torch.equal(plain.compute(), cast.compute())


def test_lpips_without_weights_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    with pytest.raises(MissingWeightsError, match="zoo weights install lpips"):
        LPIPS()


SHARDS = ([[0, 1, 2], [3]], [[0, 1], []])
"""Clips per process: uneven shards, and a process without any clip."""


def _measure_shards(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    values = []
    for shards in SHARDS:
        metrics = [L1(), SSIM(), MovingRegionL1()]
        _measure(metrics, shards[rank])
        values.append([metric.compute().item() for metric in metrics])
    (folder / f"{rank}.json").write_text(json.dumps(values))
    torch.distributed.destroy_process_group()


def _measure(metrics: list[ClipMetric], clips: list[int]) -> None:
    for clip in clips:
        prediction, truth = smooth(1, 2, 3, 20, 20, seed=clip), smooth(1, 2, 3, 20, 20, seed=clip + 100)
        metrics[0].update(prediction, truth)
        metrics[1].update(prediction, truth)
        metrics[2].update(prediction, truth, truth[:, 0] if clip == 1 else prediction[:, 0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*before the ``update``.*")
def test_two_processes_equal_one(tmp_path: Path) -> None:
    multiprocessing.start_processes(_measure_shards, (tmp_path,), nprocs=2, start_method="spawn")
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    for case, shards in enumerate(SHARDS):
        alone: list[ClipMetric] = [L1(), SSIM(), MovingRegionL1()]
        _measure(alone, [clip for shard in shards for clip in shard])
        expected = [metric.compute().item() for metric in alone]
        assert found[0][case] == found[1][case] == pytest.approx(expected, abs=1e-12)
