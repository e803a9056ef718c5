"""What every metric on clips keeps to: names, inputs, means, states, processes. Their values are tested elsewhere."""

import importlib.util
import json
import math
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from metric_inputs import noise, smooth
from torch import Tensor, multiprocessing
from torchmetrics import MetricCollection

from zoo.errors import OptionError
from zoo.metrics import AED, AKD, CLIP_METRICS, CSIM, L1, LPIPS, MKR, ClipMetric, Jitter, WarpingError, build
from zoo.metrics.flow import MissingPackageError
from zoo.weights.networks import MissingWeightsError


class Centroids:
    """A keypoint per channel: the centre of its light; missing in a dark channel."""

    name = "centroids"

    def __call__(self, frames: Tensor) -> Tensor:
        height, width = frames.shape[-2:]
        light = frames.sum((2, 3))
        x = (frames.sum(2) @ (2 * torch.arange(width) + 1).float() / width) / light - 1
        y = (frames.sum(3) @ (2 * torch.arange(height) + 1).float() / height) / light - 1
        return torch.stack([x, y, (light > 0.42 * height * width).float()], dim=-1)


class Thumbnail:
    """Embeds a frame as its 4 x 4 miniature; sees nobody in a dark one."""

    name = "thumbnail"

    def __call__(self, frames: Tensor) -> Tensor:
        dark = frames.mean((1, 2, 3)) < 0.42
        return torch.nn.functional.adaptive_avg_pool2d(frames, 4).flatten(1).where(~dark[:, None], math.nan)


METRICS: dict[str, Callable[[], ClipMetric]] = {
    **CLIP_METRICS,
    "akd_centroids": partial(AKD, Centroids()),
    "akd_centroids_on_both": partial(AKD, Centroids(), truth="target"),
    "mkr_centroids": partial(MKR, Centroids()),
    "jitter_centroids": partial(Jitter, Centroids()),
    "aed_l2_thumbnail": partial(AED, Thumbnail()),
    "aed_sq_thumbnail": partial(AED, Thumbnail(), squared=True),
    "csim_thumbnail_to_source": partial(CSIM, Thumbnail(), to="source"),
}
WITHOUT_OPENCV = [name for name in METRICS if name != "tof" and "farneback" not in name]
has_opencv = importlib.util.find_spec("cv2") is not None
needs_opencv = pytest.mark.skipif(not has_opencv, reason="needs OpenCV: pip install opencv-python-headless")
every_metric = pytest.mark.parametrize(
    "name", [name if name in WITHOUT_OPENCV else pytest.param(name, marks=needs_opencv) for name in METRICS]
)
FRAME_METRICS = ("l1", "psnr", "ssim", "ms_ssim", "lpips_alex", "lpips_vgg16")


def clips(name: str, count: int = 2, frames: int = 4, seed: int = 0) -> dict[str, Tensor]:
    """All that a metric may ask for, at a size that it can measure."""
    size = 176 if "ms_ssim" in name else 40
    prediction, target = (smooth(count, frames, 3, size, size, seed=seed + number) for number in (1, 2))
    target[:, 1:, :, :10] = target[:, :1, :, :10]  # a part that rests
    pose = 2 * noise(count, frames, 3, 3, seed=seed) - 1
    pose[..., 2] = (pose[..., 2] > -0.8).float()
    return {
        "prediction": prediction,
        "target": target,
        "source": target[:, 0].clone(),
        "mask": (smooth(count, frames, 1, size, size, seed=seed + 3) > 0.5).float(),
        "pose": pose,
    }


def measured(name: str, given: dict[str, Tensor]) -> ClipMetric:
    metric = METRICS[name]()
    metric.update(**given)
    return metric


@every_metric
def test_says_what_it_is(name: str) -> None:
    metric = METRICS[name]()
    assert metric.name == name
    assert isinstance(metric.higher_is_better, bool)
    given = clips(name)
    metric.update(given["prediction"], **{need: given[need] for need in metric.needs})  # type: ignore[arg-type]
    assert metric.compute().dtype == torch.float64
    assert torch.equal(metric.compute(), measured(name, given).compute())  # what it doesn't need changes nothing


@every_metric
def test_what_is_missing_is_named(name: str) -> None:
    metric = METRICS[name]()
    given = clips(name, count=1)
    for need in metric.needs:
        with pytest.raises(ValueError, match=f"{name} needs {need}="):
            metric.update(**{key: value for key, value in given.items() if key != need})  # type: ignore[arg-type]
        assert f"the {need}" in metric.lacks(given.keys() - {need})
    assert not metric.lacks(metric.needs)


@every_metric
def test_wrong_pictures_are_refused(name: str) -> None:
    given = clips(name)
    pictures = "prediction", *({"target", "source"} & set(METRICS[name]().needs))
    for key in pictures:
        value = given[key]
        hole = value.clone()
        hole[1].view(-1)[7] = math.nan
        for bad, message in (
            (hole, rf"{key} should be in \[0, 1\].*clip 1 of the batch: it holds NaN"),
            (value * 255, rf"{key} should be in \[0, 1\].*clip 0 of the batch: its values reach"),
            (value * 2 - 1, r"in \[0, 1\]"),
            (value.long(), "int64"),
            (value[0], "not"),
        ):
            with pytest.raises(ValueError, match=message):
                METRICS[name]().update(**given | {key: bad})
        if pictures != ("prediction",):
            with pytest.raises(ValueError, match="not"):
                METRICS[name]().update(**given | {key: value[..., :-1]})


def test_wrong_masks_and_poses_are_refused() -> None:
    given = clips("l1")
    for bad, message in (
        (given["mask"][:, :, 0], r"mask should be \(B, T, 1, H, W\)"),
        (given["mask"] * 255, r"mask should be in \[0, 1\]"),
        (given["mask"].byte(), "uint8"),
    ):
        with pytest.raises(ValueError, match=message):
            L1("subject").update(**given | {"mask": bad})
    hole = given["pose"].clone()
    hole[0, 1, 2, 0] = math.nan
    for bad, message in (
        (given["pose"][..., :2], r"pose should be \(B, T, K, 3\)"),
        (hole, "pose holds NaN"),
        (given["pose"][:, :, :2], r"compares \(3, 3\) keypoints with \(2, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            METRICS["akd_centroids"]().update(**given | {"pose": bad})
    with pytest.raises(OptionError, match="region: there is no 'face'"):
        L1("face")  # type: ignore[arg-type]


@every_metric
def test_bytes_equal_floats(name: str) -> None:
    given = clips(name)
    stored = {key: (given[key] * 255).round().byte() for key in ("prediction", "target", "source")}
    floats = {key: value / 255 for key, value in stored.items()}
    values = [measured(name, given | pictures).per_clip().tolist() for pictures in (stored, floats)]
    assert values[0] == pytest.approx(values[1], abs=1e-6)


@every_metric
def test_clips_weigh_the_same_whatever_their_length(name: str) -> None:
    long, short = clips(name, count=1, frames=6), clips(name, count=1, frames=3, seed=10)
    both = METRICS[name]()
    both.update(**long)
    both.update(**short)
    expected = [measured(name, given).compute().item() for given in (long, short)]
    assert both.per_clip().tolist() == pytest.approx(expected, rel=1e-6)
    assert both.compute().item() == pytest.approx(sum(expected) / 2, rel=1e-6)


@every_metric
def test_memory_portions_do_not_change_the_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = clips(name, count=1, frames=5)
    whole = measured(name, given).compute().item()
    for frames in (1, 2, 4):
        monkeypatch.setattr("zoo.metrics.clip_metric._PIXELS_AT_ONCE", frames * given["target"][0, 0, 0].numel())
        assert measured(name, given).compute().item() == pytest.approx(whole, rel=1e-5)


@every_metric
def test_pickle_clone_and_reset(name: str) -> None:
    given = clips(name)
    metric = measured(name, given)
    value = metric.compute()
    assert not value.isnan()
    for copy in (metric.clone(), pickle.loads(pickle.dumps(metric))):
        assert torch.equal(copy.compute(), value)
        copy.update(**given)
        assert copy.per_clip().tolist() == [*metric.per_clip().tolist()] * 2
    assert not metric.state_dict()
    assert not list(metric.parameters())
    metric.reset()
    assert len(metric.per_clip()) == 0
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert math.isnan(metric.compute())


def test_networks_of_an_estimator_stay_out_of_the_state() -> None:
    class Network(torch.nn.Linear):
        name = "linear"

        def forward(self, frames: Tensor) -> Tensor:
            return super().forward(frames.mean((2, 3)))

    class Still(Network):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return torch.zeros_like(first[:, :2])

    for metric in (AED(Network(3, 8)), WarpingError(Still(3, 8))):
        metric.update(**clips("aed"))
        assert not metric.compute().isnan()
        assert not metric.state_dict()
        assert not list(metric.parameters())


@pytest.mark.parametrize("name", [*FRAME_METRICS, "akd_centroids", "mkr_centroids", "aed_sq_thumbnail"])
def test_pictures_are_clips_of_their_own(name: str) -> None:
    given = {key: clips(name, count=1, frames=3)[key][0] for key in ("prediction", "target", "pose")}
    metric = measured(name, given)
    assert len(metric.per_clip()) == 3
    clip = measured(name, {key: value[None] for key, value in given.items()})
    assert metric.compute().item() == pytest.approx(clip.compute().item(), rel=1e-6)


@pytest.mark.parametrize("name", ["l1", "akd_centroids", "aed_sq_thumbnail"])
def test_frames_of_all_clips_together_are_pictures(name: str) -> None:
    """The mean that the published pose evaluation takes: a long clip weighs more."""
    given = [clips(name, count=1, frames=6), clips(name, count=1, frames=3, seed=10)]
    together, by_frame = METRICS[name](), []
    for clip in given:
        frames = {key: clip[key][0] for key in ("prediction", "target", "pose")}
        together.update(**frames)
        by_frame += measured(name, frames).per_clip().tolist()
    assert len(by_frame) == 9
    known = [number for number in by_frame if not math.isnan(number)]
    assert together.compute().item() == pytest.approx(sum(known) / len(known), rel=1e-6)


@pytest.mark.parametrize("name", ["l1", "psnr", "ssim", "lpips_alex", "flicker"])
def test_clips_without_frames_are_refused(name: str) -> None:
    empty = {key: value[:, :0] for key, value in clips(name).items() if key in ("prediction", "target")}
    with pytest.raises(ValueError, match=rf"{name} needs clips \(B, T, C, H, W\) of at least [12] frame"):
        METRICS[name]().update(**empty)


@pytest.mark.parametrize("name", [n for n in METRICS if "tlp" in n or "flicker" in n])
def test_pictures_and_short_clips_have_no_motion(name: str) -> None:
    given = clips(name)
    for part in ((slice(None), 0), (slice(None), slice(1))):
        with pytest.raises(ValueError, match=rf"{name} needs clips \(B, T, C, H, W\) of at least 2 frames"):
            METRICS[name]().update(*(given[key][part] for key in ("prediction", "target")))
    with pytest.raises(ValueError, match="of at least 3 frames"):
        METRICS["jitter_centroids"]().update(given["prediction"][:, :2], pose=given["pose"][:, :2])


def test_a_collection_takes_no_two_metrics_for_one() -> None:
    """torchmetrics merges metrics of equal state names while their values are equal, as of a perfect first batch."""
    collection = MetricCollection({name: METRICS[name]() for name in ("l1", "moving_l1", "subject_l1", "flicker")})
    for given in (clips("l1", count=1), clips("l1", count=1, seed=5)):
        collection.update(**given | {"prediction": given["target"]})
    given = clips("l1", count=1, seed=20)
    collection.update(**given)
    for name, value in collection.compute().items():
        alone = METRICS[name]()
        for seed in (0, 5):
            perfect = clips("l1", count=1, seed=seed)
            alone.update(**perfect | {"prediction": perfect["target"]})
        alone.update(**given)
        assert value == alone.compute()


def test_building_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=r"no metric is called 'lpips'.*lpips_alex"):
        build(["lpips"])
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)  # what makes `import cv2` fail
    metrics, skipped = build(["l1", "lpips_alex", "tlp100_alex", "tof", "warping_error_farneback"])
    assert list(metrics) == ["l1"]
    assert "zoo weights install lpips" in skipped["lpips_alex"]
    assert "zoo weights install lpips" in skipped["tlp100_alex"]
    assert 'pip install "animation-zoo[flow]"' in skipped["tof"]
    assert 'pip install "animation-zoo[flow]"' in skipped["warping_error_farneback"]
    with pytest.raises(MissingWeightsError):
        LPIPS()
    with pytest.raises(MissingPackageError):
        WarpingError()


SHARDS = ([[0, 1, 2], [3]], [[0, 1], []])
"""Clips per process: uneven shards, and a process without any clip."""


def _measure_shards(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    values = [_measure(shards[rank]) for shards in SHARDS]
    (folder / f"{rank}.json").write_text(json.dumps(values))
    torch.distributed.destroy_process_group()


def _measure(numbers: list[int]) -> dict[str, Any]:
    values = {}
    for name in METRICS if has_opencv else WITHOUT_OPENCV:
        metric = METRICS[name]()
        for number in numbers:
            given = clips(name, count=1, frames=3, seed=100 * number)
            if number == 1:  # nothing moves, nobody is seen: a clip without value for some
                given |= {"target": given["source"][:, None].expand_as(given["target"]), "mask": 0 * given["mask"]}
            metric.update(**given)
        values[name] = metric.compute().item()
    return values


@pytest.fixture(scope="module")
def shard_values(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, float]]]:
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.start_processes(_measure_shards, (folder,), nprocs=2, start_method="spawn")
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def values_alone() -> list[dict[str, float]]:
    return [_measure([clip for shard in shards for clip in shard]) for shards in SHARDS]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*before the ``update``.*")
@every_metric
def test_two_processes_equal_one(
    shard_values: list[list[dict[str, float]]], values_alone: list[dict[str, float]], name: str
) -> None:
    for case in range(len(SHARDS)):
        expected = values_alone[case][name]
        assert math.isfinite(expected)
        for rank in (0, 1):
            assert shard_values[rank][case][name] == pytest.approx(expected, abs=1e-9)
