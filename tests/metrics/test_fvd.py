import json
import math
import pickle
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from metric_inputs import noise, smooth
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, multiprocessing, nn
from torch.nn import functional
from torchmetrics import MetricCollection

from zoo.errors import OptionError
from zoo.measurement import build_sets, set_remark, set_value
from zoo.metrics.frechet import frechet_at_infinity, frechet_distance, frechet_interval
from zoo.metrics.fvd import FVD, FVD_VARIANTS
from zoo.metrics.i3d import I3D
from zoo.metrics.precision import full_float32
from zoo.metrics.resizing import Resizing, resize
from zoo.weights.networks import MissingWeightsError, path

RECORDED = ("tf1_legacy", "half_pixel", "half_pixel_antialias", "align_corners", "short_side_center_crop")
CONSTANT_CLIPS = {9: 492.6286, 14: 172.7749, 20: 338.4990, 30: 151.3924}
"""FVD between black and white clips, by their number of frames."""


class Moments:
    """A backbone without weights: mean and deviation of each channel, and the mean change between frames."""

    name = "moments"
    size = 8
    shortest = 3
    dimensions = 9

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def features(self, clips: Tensor) -> Tensor:
        self.seen.append(tuple(clips.shape))
        changes = (clips[:, 1:] - clips[:, :-1]).abs()
        return torch.cat([clips.mean((1, 3, 4)), clips.std((1, 3, 4)), changes.mean((1, 3, 4))], dim=1)


def small_fvd(**options: object) -> FVD:
    return FVD(frames=4, backbone=Moments(), **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def network() -> I3D:
    return I3D.published()


# --- the network


@pytest.mark.shared
@pytest.mark.parametrize("clip", ["clip_a", "clip_b"])
def test_every_layer_equals_the_original(shared: Path, network: I3D, clip: str) -> None:
    folder = shared / "parity" / "metrics"
    expected = load_file(folder / "i3d_expected.safetensors")
    frames = load_file(folder / "i3d_clips.safetensors")[clip].permute(3, 0, 1, 2)[None]
    features = 2 * frames.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2).float() / 255 - 1
    with torch.no_grad():
        for name, layer in network.named_children():
            features = layer(features)
            means = features.mean((0, 2, 3, 4)) if features.ndim == 5 else features[0]
            assert torch.allclose(means, expected[f"{clip}.mean.{name}"], rtol=0, atol=1e-4), name
    assert torch.allclose(features, expected[f"{clip}.logits"], rtol=0, atol=1e-4)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("frames", range(9, 18))
def test_logits_of_constant_clips_equal_the_original(shared: Path, network: I3D, frames: int) -> None:
    expected = load_file(shared / "parity" / "metrics" / "i3d_expected.safetensors")[f"const_T{frames}.logits"]
    clips = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1, 1).expand(2, 3, frames, 224, 224)
    with torch.no_grad():
        logits = torch.cat([network(clip) for clip in clips.split(1)])
    assert torch.allclose(logits, expected, rtol=0, atol=1e-4)


def test_state_has_the_names_of_the_file(network: I3D) -> None:
    assert network.state_dict().keys() == load_file(path("i3d")).keys()


# --- resizing


def test_legacy_resizing_equals_its_definition() -> None:
    frames = noise(2, 3, 11, 17)
    for size in (5, 11, 24):
        expected = np.empty((2, 3, size, size), np.float32)
        for row in range(size):
            for column in range(size):
                y, x = row * (11 / size), column * (17 / size)
                top, left = int(y), int(x)
                bottom, right = min(top + 1, 10), min(left + 1, 16)
                corners = [[frames[..., r, c] for c in (left, right)] for r in (top, bottom)]
                above, below = (corner[0] + (corner[1] - corner[0]) * (x - left) for corner in corners)
                expected[..., row, column] = above + (below - above) * (y - top)
        assert torch.allclose(resize(frames, size, "tf1_legacy"), torch.from_numpy(expected), atol=1e-5)


@pytest.mark.parametrize(
    ("rule", "size", "filter_"),
    [
        ("bicubic_antialias", 7, Image.Resampling.BICUBIC),
        ("bicubic_antialias", 40, Image.Resampling.BICUBIC),
        ("half_pixel_antialias", 7, Image.Resampling.BILINEAR),
    ],
)
def test_antialiased_rules_equal_pillow(rule: Resizing, size: int, filter_: Image.Resampling) -> None:
    frame = noise(3, 20, 31)
    channels = [np.asarray(Image.fromarray(channel).resize((size, size), filter_)) for channel in frame.numpy()]
    expected = torch.from_numpy(np.stack(channels)).clamp(0, 1)
    assert torch.allclose(resize(frame[None], size, rule)[0], expected, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(40, 56), (56, 40), (48, 48)])
def test_center_crop_keeps_the_aspect_ratio(height: int, width: int) -> None:
    """A ramp whose slope per pixel is known keeps the same slope along both axes."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    frames = torch.stack([rows, columns])[None] / 100
    cropped = resize(frames, 224, "short_side_center_crop")[0]
    scale = 224 / min(height, width)
    inner = cropped[:, 10:-10, 10:-10]
    assert torch.allclose(inner[0].diff(dim=0), torch.tensor(0.01 / scale), atol=1e-4)
    assert torch.allclose(inner[1].diff(dim=1), torch.tensor(0.01 / scale), atol=1e-4)
    middle = cropped[:, 111:113, 111:113].mean((1, 2)) * 100
    assert middle.tolist() == pytest.approx([(height - 1) / 2, (width - 1) / 2], abs=0.1)


@pytest.mark.parametrize("rule", get_args(Resizing))
def test_frames_of_the_right_size_stay_as_they_are(rule: Resizing) -> None:
    frames = noise(2, 3, 24, 24)
    assert torch.allclose(resize(frames, 24, rule), frames, atol=1e-6)


def test_aligned_corners_are_kept() -> None:
    frames = noise(1, 3, 6, 9)
    resized = resize(frames, 20, "align_corners")
    assert torch.allclose(resized[..., ::19, ::19], frames[..., ::5, ::8], atol=1e-6)


# --- the distance through the real network


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("convention", RECORDED)
def test_equals_the_recorded_distance(shared: Path, convention: Resizing) -> None:
    folder = shared / "parity" / "metrics"
    clips = {name: clip.permute(0, 1, 4, 2, 3) for name, clip in load_file(folder / "fvd_clips.safetensors").items()}
    recorded = load_file(folder / "fvd_features_expected.safetensors")
    expected = json.loads((folder / "fvd_expected.json").read_text())["fvd"][convention]
    metric = FVD(convention)
    metric.update(clips["fake"], clips["real"])
    features = metric.features()
    assert torch.allclose(features.prediction, recorded[f"fake.{convention}"], rtol=0, atol=1e-4)
    assert torch.allclose(features.target, recorded[f"real.{convention}"], rtol=0, atol=1e-4)
    assert metric.compute().item() == pytest.approx(expected["unbiased_cov"], rel=1e-4)
    biased = frechet_distance(*features, unbiased=False).item()
    assert biased == pytest.approx(expected["biased_cov"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("frames", CONSTANT_CLIPS)
def test_black_against_white(frames: int) -> None:
    metric = FVD(frames=frames)
    black = torch.zeros(1, frames, 3, 1, 1).expand(1, frames, 3, 224, 224)
    metric.update(black, 1 - black)
    value = frechet_distance(*metric.features(), unbiased=False)  # one clip says it all: the covariances are 0
    assert value.item() == pytest.approx(CONSTANT_CLIPS[frames], rel=1e-5)


def test_real_network_stays_out_of_state_and_pickles() -> None:
    metric = FVD()
    clip = smooth(1, 9, 3, 32, 32)
    metric.update(clip, clip.flip(1))
    assert not metric.state_dict()
    assert not list(metric.parameters())
    assert not list(metric.children())
    pickled = pickle.dumps(metric)
    assert len(pickled) < 100_000
    copy = pickle.loads(pickled)
    assert torch.equal(copy.features().target, metric.features().target)
    copy.update(clip, clip[:0])
    first, again = copy.features().prediction
    assert torch.equal(first, again)
    metric.reset()
    assert metric.counts == (0, 0)
    assert copy.counts == (2, 1)


def test_real_network_is_float32_under_autocast() -> None:
    clip = smooth(1, 9, 3, 32, 32)
    plain, cast = FVD(), FVD()
    plain.update(clip, clip[:0])
    with torch.autocast("cpu", torch.bfloat16):
        cast.update(clip, clip[:0])
    assert torch.equal(plain.features().prediction, cast.features().prediction)


def test_full_float32_is_without_tf32_and_leaves_settings_alone() -> None:
    def convolutions_may_use_tf32() -> bool:
        cudnn = torch.backends.cudnn
        return cudnn.conv.fp32_precision == "tf32" if hasattr(cudnn, "conv") else cudnn.allow_tf32

    before = convolutions_may_use_tf32()
    with full_float32(torch.device("cpu")):
        assert not convolutions_may_use_tf32()
    assert convolutions_may_use_tf32() == before
    with pytest.raises(KeyError), full_float32(torch.device("cpu")):
        raise KeyError
    assert convolutions_may_use_tf32() == before


def test_without_weights_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    with pytest.raises(MissingWeightsError, match="zoo weights install fvd"):
        FVD()


# --- what doesn't depend on the network


def test_streaming_equals_one_update_in_any_order() -> None:
    prediction, truth = smooth(6, 9, 3, 20, 24), smooth(6, 9, 3, 20, 24, seed=1)
    whole, streamed = small_fvd(), small_fvd()
    whole.update(prediction, truth)
    for number in (3, 0, 5, 1, 4, 2):
        streamed.update(prediction[number : number + 1], truth[number : number + 1])
    assert whole.compute().dtype == torch.float64
    assert streamed.compute().item() == pytest.approx(whole.compute().item(), rel=1e-9)
    assert streamed.compute() > 1e-5


def test_truth_against_itself_is_zero() -> None:
    truth = smooth(5, 8, 3, 20, 20)
    metric = small_fvd()
    metric.update(truth, truth)
    assert metric.compute().item() == pytest.approx(0, abs=1e-12)
    assert metric.features().prediction.equal(metric.features().target)


@pytest.mark.parametrize(
    ("length", "every", "shapes", "skipped"),
    [
        (4, 1, [4], 0),
        (15, 1, [4, 4, 4], 0),
        (3, 1, [3], 0),  # shorter than a clip, long enough for the network
        (2, 1, [], 1),
        (15, 3, [4], 0),  # five frames are left
        (24, 3, [4, 4], 0),
    ],
)
def test_videos_are_cut_without_overlap(length: int, every: int, shapes: list[int], skipped: int) -> None:
    video, whole = smooth(1, length, 3, 12, 12), smooth(1, 8, 3, 12, 12, seed=1)
    backbone = Moments()
    metric = FVD(frames=4, every=every, backbone=backbone)
    metric.update(video, whole[:0])
    assert backbone.seen == [(1, frames, 3, 8, 8) for frames in shapes]  # one at a time, whatever the length
    assert metric.counts == (len(shapes), 0)
    assert metric.skipped == (skipped, 0)
    expected = video[0, ::every]
    for number, frames in enumerate(shapes):
        clip = resize(expected[4 * number : 4 * number + frames], 8, "half_pixel")
        assert torch.allclose(metric.features().prediction[number], Moments().features(clip[None])[0], atol=1e-6)


def test_bytes_equal_floats() -> None:
    prediction, truth = ((255 * smooth(3, 4, 3, 16, 16, seed=seed)).byte() for seed in (0, 1))
    as_bytes, as_floats = small_fvd(), small_fvd()
    as_bytes.update(prediction, truth)
    as_floats.update(prediction / 255, truth / 255)
    assert torch.equal(as_bytes.compute(), as_floats.compute())


def test_sets_may_differ_in_number_and_length() -> None:
    metric = small_fvd()
    metric.update(smooth(2, 8, 3, 12, 12), smooth(5, 4, 3, 12, 12, seed=1))
    assert metric.counts == (4, 5)
    assert metric.compute() > 0


def test_estimate_and_convention_change_the_value() -> None:
    prediction, truth = smooth(4, 4, 3, 12, 20), smooth(4, 4, 3, 12, 20, seed=1)
    values = {}
    for options in ({}, {"unbiased": False}, {"convention": "tf1_legacy"}, {"convention": "short_side_center_crop"}):
        metric = small_fvd(**options)
        metric.update(prediction, truth)
        values[metric.name] = metric.compute().item()
    assert list(values) == [
        "fvd_moments_half_pixel_4f",
        "fvd_moments_half_pixel_4f_biased",
        "fvd_moments_tf1_legacy_4f",
        "fvd_moments_short_side_center_crop_4f",
    ]
    assert len(set(values.values())) == 4


@pytest.mark.parametrize(
    ("name", "convention", "frames", "every", "unbiased"),
    [
        ("fvd", "half_pixel", 16, 1, True),
        ("fvd_tensorflow", "tf1_legacy", 16, 1, True),
        ("fvd_stylegan_v", "half_pixel", 16, 1, False),
        ("fvd_stylegan_v_128f", "half_pixel", 128, 1, False),
        ("fvd_stylegan_v_128f_subsample8f", "half_pixel", 16, 8, False),
        ("fvd_videogpt", "short_side_center_crop", 16, 1, True),
    ],
)
def test_variants_are_their_publications_conventions(
    name: str, convention: str, frames: int, every: int, unbiased: bool
) -> None:
    metric, skipped = build_sets([name])  # type: ignore[list-item]
    assert not skipped
    found = metric[name]
    assert isinstance(found, FVD)
    assert (found.convention, found.frames, found.every, found.unbiased) == (convention, frames, every, unbiased)
    assert found.fewest_frames == 8 * every + 1


@pytest.mark.parametrize("unbiased", [True, False])
def test_interval_and_extrapolation_are_of_the_same_estimate_as_the_value(unbiased: bool) -> None:
    metric = small_fvd(unbiased=unbiased)
    metric.update(smooth(9, 4, 3, 12, 20), smooth(9, 4, 3, 12, 20, seed=1))
    found = set_value(metric, seed=3)
    features = metric.features()
    assert found["value"] == frechet_distance(*features, unbiased).item()
    assert (found["low"], found["high"]) == frechet_interval(*features, unbiased, seed=3)
    assert found["infinity"] == frechet_at_infinity(*features, unbiased, seed=3).item()


def test_what_counted_and_what_was_too_short_is_recorded() -> None:
    metric = small_fvd()
    metric.update(smooth(3, 4, 3, 12, 20), smooth(5, 4, 3, 12, 20))
    metric.update(torch.zeros(0, 4, 3, 12, 20), smooth(2, 1, 3, 12, 20))
    found = set_value(metric, seed=0)
    assert (found["clips"], found["counts"], found["skipped"]) == (3, [3, 5], [0, 2])
    assert set_remark(found) == "3 items, 5 true ones; 2 too short; diagnostic: too few to rank anything"
    metric.update(smooth(2, 4, 3, 12, 20), torch.zeros(0, 4, 3, 12, 20))
    assert set_remark(found | {"counts": [*metric.counts], "skipped": [0, 0]}).startswith("5 items on each side; diag")


@pytest.mark.parametrize("name", FVD_VARIANTS)
def test_variants_have_names_of_their_own(name: str) -> None:
    names = [build().name for build in FVD_VARIANTS.values()]
    assert names.count(FVD_VARIANTS[name]().name) == 1


def test_few_clips_are_a_diagnostic_or_nothing() -> None:
    clips = noise(1, 4, 3, 8, 8)
    metric = small_fvd()
    metric.update(clips, clips)
    assert math.isnan(metric.compute())  # one clip has no covariance
    assert metric.diagnostic
    metric.update(clips.expand(255, *clips.shape[1:]), clips.expand(254, *clips.shape[1:]))
    assert metric.counts == (256, 255)
    assert metric.diagnostic
    metric.update(clips, clips)
    assert not metric.diagnostic


def test_bad_input_is_named() -> None:
    good = noise(2, 4, 3, 12, 12)
    broken = good.clone()
    broken[1, 2, 0, 5, 5] = math.nan
    metric = small_fvd()
    for prediction, truth, message in (
        (broken, good, "prediction.*clip 1.*NaN"),
        (good, 2 * good - 1, r"target should be in \[0, 1\]"),
        (good * 255, good, r"in \[0, 1\]"),
        (good.long(), good, "int64"),
        (good[0], good, r"prediction should be \(B, T, 3, H, W\)"),
        (good, good[:, :, :1], r"target should be \(B, T, 3, H, W\)"),
        (good, good[..., :-1], "same size"),
    ):
        with pytest.raises(ValueError, match=message):
            metric.update(prediction, truth)
    assert metric.counts == (0, 0)  # nothing of a refused batch is kept


def test_bad_options_are_named() -> None:
    with pytest.raises(OptionError, match="no 'bilinear'"):
        FVD("bilinear")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="frames: i3d needs clips of at least 9, not 8"):
        FVD(frames=8)
    with pytest.raises(OptionError, match="every: should be at least 1"):
        FVD(every=0)


def test_equal_features_are_computed_once_in_a_collection() -> None:
    backbone = Moments()
    collection = MetricCollection(
        {name: FVD(frames=4, unbiased=unbiased, backbone=backbone) for name, unbiased in (("a", True), ("b", False))}
    )
    clips = smooth(3, 4, 3, 12, 12)
    collection.update(clips[:1], clips[1:2])
    assert len(backbone.seen) == 4
    collection.update(clips[1:], clips[:2])
    assert len(backbone.seen) == 4 + 4
    values = collection.compute()
    assert values["b"] < values["a"]


class ModuleBackbone(nn.Module):
    name = "convolution"
    size = 8
    shortest = 1
    dimensions = 5

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 5)

    def features(self, clips: Tensor) -> Tensor:
        return functional.relu(self.layer(clips.mean((1, 3, 4))))


def test_a_backbone_stays_out_of_the_state() -> None:
    metric = FVD(frames=4, backbone=ModuleBackbone())
    clips = noise(3, 4, 3, 12, 12)
    metric.update(clips, clips.flip(0))
    assert not metric.state_dict()
    assert not list(metric.parameters())
    assert torch.equal(pickle.loads(pickle.dumps(metric)).compute(), metric.compute())


SHARDS = ([[0, 1, 2, 3, 4], [5, 6]], [[0, 1, 2, 3], []])
"""Videos per process: uneven shards, and a process without any video."""


def _take(metric: FVD, videos: list[int]) -> None:
    for number in videos:
        length = 9 if number < 6 else 2
        prediction, truth = (smooth(1, length, 3, 16, 16, seed=number + offset) for offset in (0, 100))
        metric.update(prediction, truth)


def _measure_shards(rank: int, folder: Path, real: bool) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    found = []
    for shards in SHARDS[:1] if real else SHARDS:
        metric = FVD() if real else small_fvd()
        _take(metric, shards[rank])
        with metric.sync_context():
            counts = [list(metric.counts), list(metric.skipped), [len(features) for features in metric.features()]]
        found.append([metric.compute().item(), *counts, list(metric.counts)])
    (folder / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*before the ``update``.*")
@pytest.mark.parametrize("real", [False, True])
def test_two_processes_equal_one(tmp_path: Path, real: bool) -> None:
    multiprocessing.start_processes(_measure_shards, (tmp_path, real), nprocs=2, start_method="spawn")
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    for case in range(len(found[0])):
        alone = FVD() if real else small_fvd()
        _take(alone, [number for shard in SHARDS[case] for number in shard])
        for rank in (0, 1):
            value, counts, skipped, gathered, own = found[rank][case]
            assert value == pytest.approx(alone.compute().item(), rel=1e-6)
            assert tuple(counts) == tuple(gathered) == alone.counts
            assert tuple(skipped) == alone.skipped
            assert sum(own) < sum(counts) or not SHARDS[case][1]
