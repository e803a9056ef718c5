"""Values of the metrics on frames, over the whole frame and over regions, against independent references."""

import json
import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import kornia.metrics
import lpips
import numpy as np
import pytest
import torch
from metric_inputs import noise, smooth
from safetensors.torch import load_file
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from zoo.metrics import L1, LPIPS, MSSSIM, PSNR, SSIM, ClipMetric
from zoo.metrics.clip_metric import unit_range
from zoo.metrics.lpips import LpipsNetwork
from zoo.metrics.ms_ssim import SCALE_WEIGHTS
from zoo.weights import networks
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


def value(metric: ClipMetric, *pictures: Tensor, **known: Tensor) -> float:
    metric.update(*pictures, **known)
    return metric.compute().item()


@pytest.fixture(scope="module")
def recorded(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "parity" / "metrics" / "image_metrics_expected.json").read_text())


@pytest.fixture(scope="module")
def pairs(shared: Path, recorded: dict[str, Any]) -> list[tuple[Tensor, Tensor, dict[str, Any]]]:
    """Pictures (1, 3, H, W) uint8, what was done to them, and the recorded values of the two."""
    stored = load_file(shared / "parity" / "metrics" / "image_pairs.safetensors")
    pictures = {name: picture.permute(2, 0, 1)[None] for name, picture in stored.items()}
    return [(pictures[f"pair{n}_a"], pictures[f"pair{n}_b"], known) for n, known in recorded["pairs"].items()]


@pytest.mark.shared
@every_metric
@pytest.mark.parametrize("as_float", [False, True])
def test_equals_the_recorded_values(pairs: Any, name: str, as_float: bool) -> None:
    for first, second, known in pairs:
        expected = 100.0 if known[RECORDED[name]] is None else known[RECORDED[name]]  # None: infinite PSNR
        found = value(METRICS[name](), *((first / 255, second / 255) if as_float else (first, second)))
        assert found == pytest.approx(expected, abs=2e-6 if as_float and name == "psnr" else 1e-6)


@pytest.mark.shared
@pytest.mark.parametrize(("net", "key"), [("alex", "lpips_alex_per_layer"), ("vgg16", "lpips_vgg_per_layer")])
def test_lpips_equals_the_recorded_values_of_each_layer(pairs: Any, net: Any, key: str) -> None:
    network = LpipsNetwork(net)
    for first, second, known in pairs:
        directions = [network.directions(unit_range(pictures)) for pictures in (first, second)]
        layers = [distance.mean().item() for distance in network.distances(*map(tuple, directions))]
        assert layers == pytest.approx(known[key], abs=1e-6)


@pytest.mark.shared
def test_other_conventions_give_what_is_recorded_of_them(pairs: Any) -> None:
    """So that the recorded pictures and ours are the same, and the differences that docstrings state are real."""
    for first, second, known in pairs:
        one, other = first / 255, second / 255
        channels = [value(SSIM(), first[:, n : n + 1], second[:, n : n + 1]) for n in range(3)]
        assert channels == pytest.approx(known["ssim_per_channel"], abs=1e-6)
        weights = torch.tensor([0.299, 0.587, 0.114]).double().view(3, 1, 1)
        luma = [(picture.double() * weights).sum(1, keepdim=True) / 255 for picture in (first, second)]
        assert value(SSIM(), *luma) == pytest.approx(known["ssim_luma601"], abs=1e-6)
        same = kornia.metrics.ssim(one, other, 11, padding="same").mean().item()
        assert same == pytest.approx(known["ssim_kornia_same_float32_unit"], abs=2e-5)
        padded = structural_similarity_index_measure(one, other, data_range=1.0).item()
        assert padded == pytest.approx(known["ssim_torchmetrics_float32_unit"], abs=2e-5)
        pooled = (first.double() - second.double()).square().mean().item()
        assert pooled == pytest.approx(known["mse_255"], rel=1e-12)


@pytest.mark.shared
@every_metric
def test_a_clip_is_the_mean_over_its_frames(shared: Path, recorded: dict[str, Any], name: str) -> None:
    clip = load_file(shared / "parity" / "metrics" / "paired_clip.safetensors")
    pictures = [clip[key].permute(0, 3, 1, 2) for key in ("gen", "gt")]
    frames = METRICS[name]()
    frames.update(*pictures)
    assert frames.per_clip().tolist() == pytest.approx(recorded["clip"]["per_frame"][RECORDED[name]], abs=1e-6)
    whole = value(METRICS[name](), *(frames[None] for frames in pictures))
    assert whole == pytest.approx(recorded["clip"]["mean"][RECORDED[name]], abs=1e-6)
    if name == "psnr":
        mean_squares = [10 ** (-decibels / 10) for decibels in frames.per_clip().tolist()]
        pooled = -10 * math.log10(sum(mean_squares) / len(mean_squares))
        assert pooled == pytest.approx(recorded["clip"]["psnr_of_pooled_mse"], abs=1e-6)


def test_ssim_and_psnr_equal_scikit_image() -> None:
    for height, width, seed in ((11, 11, 0), (33, 50, 1), (64, 64, 2)):
        first = smooth(3, height, width, seed=seed)
        second = (first + 0.05 * noise(3, height, width, seed=seed + 9)).clamp(0, 1)
        pictures = [np.moveaxis(picture.double().numpy(), 0, -1) for picture in (first, second)]
        assert value(SSIM(), second[None], first[None]) == pytest.approx(similarity_map(*pictures).mean(), abs=1e-10)
        reference = peak_signal_noise_ratio(*pictures, data_range=1.0)
        assert value(PSNR(), second[None], first[None]) == pytest.approx(reference, abs=1e-10)


def similarity_map(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """scikit-image's similarity of pictures (H, W, 3) where the whole window reaches: (H - 10, W - 10, 3)."""
    _, full = structural_similarity(
        first,
        second,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
        channel_axis=-1,
        full=True,
    )
    return full[5:-5, 5:-5]


@pytest.mark.parametrize(("net", "expected"), [("alex", 0.813954), ("vgg16", 0.453837)])
def test_lpips_of_black_against_white(net: Any, expected: float) -> None:
    found = value(LPIPS(net), torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64))
    assert found == pytest.approx(expected, abs=1e-6)


def test_ssim_of_black_against_white() -> None:
    constant = 0.01**2 / (1 + 0.01**2)
    black, white = torch.zeros(1, 3, 176, 176), torch.ones(1, 3, 176, 176)
    assert value(SSIM(), black, white) == pytest.approx(constant, abs=1e-12)
    assert value(MSSSIM(), black, white) == pytest.approx(constant ** SCALE_WEIGHTS[-1], abs=1e-12)


def reference_ms_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Wang's MATLAB program in SciPy, for one channel (H, W): imfilter with 'symmetric' borders, every second pixel."""
    window = np.exp(-np.square(np.arange(-5, 6)) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2

    def local(picture: np.ndarray) -> np.ndarray:
        return ndimage.correlate(picture, window)[5:-5, 5:-5]

    product = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):
        mean, other = local(first), local(second)
        covariance = local(first * second) - mean * other
        variances = local(first**2) - mean**2 + local(second**2) - other**2
        terms = (2 * covariance + 0.03**2) / (variances + 0.03**2)
        if scale == 4:
            terms *= (2 * mean * other + 0.01**2) / (mean**2 + other**2 + 0.01**2)
        product *= terms.mean() ** weight
        halves = [ndimage.correlate(picture, np.full((2, 2), 0.25), origin=-1) for picture in (first, second)]
        first, second = (picture[::2, ::2] for picture in halves)
    return product


@pytest.mark.parametrize("size", [(176, 176), (179, 203), (256, 200)])
def test_ms_ssim_equals_the_authors_program(size: tuple[int, int]) -> None:
    first = smooth(3, *size)
    second = (0.8 * first + 0.2 * noise(3, *size, seed=1)).clamp(0, 1)
    expected = np.mean(
        [reference_ms_ssim(*pair) for pair in zip(*(p.double().numpy() for p in (first, second)), strict=True)]
    )
    assert value(MSSSIM(), first[None], second[None]) == pytest.approx(expected, abs=1e-9)
    padded = multiscale_structural_similarity_index_measure(first[None], second[None], data_range=1.0).item()
    assert abs(padded - expected) > 5e-5  # why torchmetrics' isn't used


def test_ms_ssim_of_a_negative_is_zero() -> None:
    first = noise(1, 3, 176, 176)
    assert value(MSSSIM(), first, 1 - first) == 0


@pytest.mark.parametrize("name", [*METRICS, "ms_ssim"])
def test_symmetric_and_perfect_for_identical_frames(name: str) -> None:
    build = METRICS.get(name, MSSSIM)
    first, second = (smooth(2, 3, 176 if name == "ms_ssim" else 40, 176, seed=seed) for seed in (0, 1))
    values = [value(build(), *pair) for pair in ((first, second), (second, first), (first, first))]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    perfect = {"psnr": 100.0, "ssim": 1.0, "ms_ssim": 1.0}.get(name, 0.0)
    assert values[2] == pytest.approx(perfect, abs=1e-12)
    assert (values[0] < values[2]) == build().higher_is_better


def test_moving_region_equals_its_definition() -> None:
    source, truth = smooth(3, 3, 30, 41), smooth(3, 4, 3, 30, 41, seed=1)
    truth[1] = source[1] + 0.05 * (0.5 - source[1])  # nothing moves by more than 0.1
    prediction = smooth(3, 4, 3, 30, 41, seed=2)
    metric = L1("moving")
    metric.update(prediction, truth, source)
    expected = []
    for predicted, true, region in zip(prediction.numpy(), truth.numpy(), moving(truth, source), strict=True):
        error = np.abs(predicted - true).mean(axis=1)
        expected.append(error[region].mean() if region.any() else math.nan)
    assert metric.per_clip().tolist() == pytest.approx(expected, rel=1e-5, nan_ok=True)
    assert math.isnan(metric.per_clip()[1])
    assert metric.compute().item() == pytest.approx((expected[0] + expected[2]) / 2, rel=1e-5)


def moving(truth: Tensor, source: Tensor) -> np.ndarray:
    """The region (B, T, H, W) by its definition."""
    moved = np.abs(truth.numpy() - source[:, None].numpy()).max(axis=2) > 0.1
    return ndimage.maximum_filter(moved, size=(1, 1, 7, 7), mode="constant")


def test_moving_region_of_copied_sources_is_larger_than_their_l1() -> None:
    source = torch.zeros(1, 3, 32, 32)
    truth = torch.zeros(1, 2, 3, 32, 32)
    truth[..., 10:14, 10:14] = 1.0
    copied = source[:, None].expand_as(truth)
    assert value(L1("moving"), copied, truth, source) == pytest.approx(16 / 100)
    assert value(L1(), copied, truth) == pytest.approx(16 / 1024)


@cache
def official_lpips(net: str) -> lpips.LPIPS:
    """The official package as it computes a map, with its own heads and the published backbone."""
    official = lpips.LPIPS(net={"vgg16": "vgg"}.get(net, net), spatial=True, pnet_rand=True, verbose=False)
    tensors = networks.load(f"lpips_{net}")
    official.net.load_state_dict(
        {name: tensors[f"features.{name.partition('.')[2]}"] for name in official.net.state_dict()}
    )
    return official.eval()


def maps(name: str, prediction: Tensor, truth: Tensor) -> np.ndarray:
    """A frame's error (h, w) per pixel, computed by the references."""
    if name == "ssim":
        return similarity_map(*(np.moveaxis(p.double().numpy(), 0, -1) for p in (prediction, truth))).mean(-1)
    if name.startswith("lpips"):
        with torch.no_grad():
            return official_lpips(name[6:])(prediction[None], truth[None], normalize=True)[0, 0].numpy()
    return (prediction - truth).abs().mean(0).numpy()


@pytest.mark.parametrize("name", ["l1", "ssim", "lpips_alex"])
@pytest.mark.parametrize("region", ["moving", "subject"])
def test_a_region_is_the_mean_over_its_pixels(name: str, region: Any) -> None:
    builds: dict[str, Callable[[Any], ClipMetric]] = {
        "l1": L1,
        "ssim": SSIM,
        "lpips_alex": partial(LPIPS, "alex"),
    }
    truth, prediction = smooth(1, 3, 3, 40, 52), smooth(1, 3, 3, 40, 52, seed=1)
    source = truth[:, 0].clone()
    truth[:, :, :, :20] = source[:, None, :, :20] + 0.05
    mask = torch.zeros(1, 3, 1, 40, 52)
    mask[:, 0, :, 12:30, 20:40] = 1
    mask[:, 1, :, 12:18, 20:40] = 0.6
    where = moving(truth, source)[0] if region == "moving" else mask[0, :, 0].numpy() > 0.5
    assert not where.all()
    assert where.any((1, 2)).tolist() == ([False, True, True] if region == "moving" else [True, True, False])
    errors, inside = [], []
    for predicted, true, part in zip(prediction[0], truth[0].clamp(0, 1), where, strict=True):
        errors.append(maps(name, predicted, true))
        inside.append(part[5:-5, 5:-5] if name == "ssim" else part)
    expected = np.stack(errors)[np.stack(inside)].mean()
    metric = builds[name](region)
    assert value(metric, prediction, truth.clamp(0, 1), source=source, mask=mask) == pytest.approx(expected, abs=1e-6)
    assert value(metric.clone(), prediction, truth.clamp(0, 1), source=source, mask=mask > 0.5) == pytest.approx(
        expected, abs=1e-6
    )


def test_psnr_of_a_region_is_the_mean_over_frames_that_have_one() -> None:
    truth, prediction = smooth(1, 3, 3, 20, 20), smooth(1, 3, 3, 20, 20, seed=1)
    mask = torch.zeros(1, 3, 1, 20, 20)
    mask[:, 0, :, :2] = 1
    mask[:, 2, :, 5:] = 1
    squares = (prediction.double() - truth.double()).square()[0]
    expected = [-10 * math.log10(part.mean()) for part in (squares[0, :, :2], squares[2, :, 5:])]
    assert value(PSNR("subject"), prediction, truth, mask=mask) == pytest.approx(sum(expected) / 2, abs=1e-9)


def test_ms_ssim_of_a_region_sees_only_what_is_there() -> None:
    truth = smooth(1, 2, 3, 352, 352)
    noisy = (truth + 0.2 * noise(1, 2, 3, 352, 352, seed=1)).clamp(0, 1)
    prediction = truth.clone()
    prediction[..., :176] = noisy[..., :176]
    left, right = torch.zeros(2, 1, 2, 1, 352, 352)
    left[..., :176] = 1
    right[..., 256:272] = 1  # the last column (of 16 pixels) whose window fits in, and sees nothing of the left half
    assert value(MSSSIM("subject"), prediction, truth, mask=right) == pytest.approx(1)
    everywhere = value(MSSSIM(), prediction, truth)
    assert value(MSSSIM("subject"), prediction, truth, mask=left) < everywhere < 0.999
    assert value(MSSSIM("subject"), prediction, truth, mask=torch.ones_like(left)) == pytest.approx(everywhere)
    assert math.isnan(value(MSSSIM("subject"), prediction, truth, mask=right.roll(16, dims=-1)))


@pytest.mark.parametrize(
    ("build", "size"), [(SSIM, 10), (MSSSIM, 175), (LPIPS, 30), (partial(LPIPS, "vgg16"), 15)], ids=str
)
def test_too_small_frames_are_named(build: Callable[[], ClipMetric], size: int) -> None:
    with pytest.raises(ValueError, match=f"at least {size + 1} x {size + 1}"):
        build().update(noise(1, 3, size, 200), noise(1, 3, size, 200))
    build().update(noise(1, 3, size + 1, 200), noise(1, 3, size + 1, 200))


def test_lpips_is_float32_under_autocast() -> None:
    first, second = smooth(1, 3, 64, 64), smooth(1, 3, 64, 64, seed=1)
    plain, cast = LPIPS(), LPIPS()
    plain.update(first, second)
    with torch.autocast("cpu", torch.bfloat16):
        cast.update(first, second)
    assert torch.equal(plain.compute(), cast.compute())


@pytest.fixture
def tf32() -> Iterator[None]:
    """Convolutions may take TF32, which is a graphics card's default."""
    cudnn = torch.backends.cudnn
    if not hasattr(cudnn, "conv"):  # torch before 2.9, where it is the setting's default
        yield
        return
    before, cudnn.conv.fp32_precision = cudnn.conv.fp32_precision, "tf32"
    yield
    cudnn.conv.fp32_precision = before


def test_lpips_is_without_tf32(tf32: None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    convolution = functional.conv2d

    def watched(*arguments: Any, **options: Any) -> Tensor:
        cudnn = torch.backends.cudnn
        seen.append(cudnn.conv.fp32_precision == "tf32" if hasattr(cudnn, "conv") else cudnn.allow_tf32)
        return convolution(*arguments, **options)

    monkeypatch.setattr(functional, "conv2d", watched)
    LPIPS().update(noise(1, 3, 40, 40), noise(1, 3, 40, 40, seed=1))
    assert seen
    assert not any(seen)


def test_lpips_without_weights_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    with pytest.raises(MissingWeightsError, match="zoo weights install lpips"):
        LPIPS()
