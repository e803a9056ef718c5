import json
import math
import pickle
from importlib import import_module
from pathlib import Path

import pytest
import torch
from metric_inputs import noise, smooth
from torch import Tensor, multiprocessing
from torch.nn import functional
from torchmetrics import MetricCollection
from torchmetrics.image.kid import poly_mmd

from zoo.errors import OptionError
from zoo.metrics.fid import FID
from zoo.metrics.frechet import frechet_distance
from zoo.metrics.inception import Inception, InceptionMetric
from zoo.metrics.kid import KID, kernel_distance
from zoo.weights.networks import MissingWeightsError, path

BOTH = pytest.mark.parametrize("kind", [FID, KID])


@pytest.fixture(scope="module")
def network() -> Inception:
    return Inception.published()


def test_network_equals_pytorch_fid(network: Inception, monkeypatch: pytest.MonkeyPatch) -> None:
    reference_code = import_module("pytorch_fid.inception")
    weights = dict(network.state_dict()) | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    weights |= {
        name.replace("bn.bias", "bn.weight"): torch.ones_like(weights[name]) for name in weights if "bn.bias" in name
    }
    monkeypatch.setattr(reference_code, "load_state_dict_from_url", lambda *_, **__: weights)
    reference = reference_code.InceptionV3(resize_input=False, normalize_input=False).eval()
    frames = 2 * smooth(2, 3, 299, 299) - 1
    with torch.no_grad():
        assert torch.allclose(network(frames), reference(frames)[0].flatten(1), rtol=0, atol=1e-5)


def test_pool_branches_are_those_of_the_published_graph(network: Inception) -> None:
    """Averages leave the padding out; the last block takes a maximum."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    hooks = []
    for name in ("Mixed_5b", "Mixed_6c", "Mixed_7b", "Mixed_7c"):
        block = network.get_submodule(name)

        def keep(_: object, arguments: tuple[Tensor], output: Tensor, name: str = name, block: torch.nn.Module = block):
            pooled = output[:, -block.branch_pool.conv.out_channels :]
            seen[name] = arguments[0], pooled

        hooks.append(block.register_forward_hook(keep))
    with torch.no_grad():
        network(2 * smooth(1, 3, 299, 299) - 1)
    for hook in hooks:
        hook.remove()
    for name, (inputs, pooled) in seen.items():
        windows = functional.pad(inputs, (1, 1, 1, 1), value=math.nan).unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2)
        expected = windows.nan_to_num(-math.inf).amax(-1) if name == "Mixed_7c" else windows.nanmean(-1)
        with torch.no_grad():
            expected = network.get_submodule(name).branch_pool(expected)
        assert torch.allclose(pooled, expected, atol=1e-4), name
    assert len(seen) == 4


def test_state_has_the_names_of_the_file(network: Inception) -> None:
    from safetensors import safe_open

    with safe_open(path("inception"), framework="pt") as file:
        expected = set(file.keys())
    assert {name for name in network.state_dict() if not name.endswith("num_batches_tracked")} == expected


@BOTH
def test_frames_are_seen_as_published(kind: type[InceptionMetric], network: Inception) -> None:
    """Frames of clips and pictures, bytes and floats: as (x - 128) / 128, in the order of the updates."""
    clips = (255 * smooth(2, 2, 3, 299, 299)).round().byte()
    metric = kind()
    metric.update(clips[:1], clips[1, :1])
    metric.update((clips[1] / 255)[None], clips[1, 1:].float() / 255)
    assert metric.counts == (4, 2)
    with torch.no_grad():
        expected = network((clips.flatten(0, 1).float() - 128) / 128)
    assert torch.allclose(metric.features().prediction, expected, atol=1e-4)
    assert torch.allclose(metric.features().target, expected[2:], atol=1e-4)
    distance = frechet_distance if kind is FID else kernel_distance
    assert metric.compute().item() == pytest.approx(distance(expected, expected[2:]).item(), rel=1e-3, abs=1e-6)
    assert metric.compute().dtype == torch.float64


@BOTH
def test_state_and_pickle_are_clean(kind: type[InceptionMetric]) -> None:
    metric = kind("half_pixel")
    frames = smooth(3, 3, 40, 40)
    metric.update(frames, frames.flip(-1))
    assert not metric.state_dict()
    assert not list(metric.parameters())
    pickled = pickle.dumps(metric)
    assert len(pickled) < 200_000
    assert torch.equal(pickle.loads(pickled).compute(), metric.compute())


def test_truth_against_itself_is_zero() -> None:
    truth = smooth(4, 3, 40, 40)
    fid, kid = FID(), KID()
    fid.update(truth, truth)
    assert fid.compute().item() == pytest.approx(0, abs=1e-9)
    assert fid.diagnostic
    kid.update(truth, truth)
    assert kid.compute() < 0  # without bias, what two different sets of the same origin give on average is 0


def test_fid_and_kid_share_their_features(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    forward = Inception.forward
    monkeypatch.setattr(Inception, "forward", lambda self, x: calls.append(len(x)) or forward(self, x))
    collection = MetricCollection([FID(), KID()])
    frames = smooth(5, 3, 40, 40)
    collection.update(frames[:1], frames[1:2])
    assert len(calls) == 4
    collection.update(frames[2:], frames[:2])
    assert len(calls) == 4 + 2
    values = collection.compute()
    alone = KID()
    alone.update(torch.cat([frames[:1], frames[2:]]), torch.cat([frames[1:2], frames[:2]]))
    assert values["KID"].item() == pytest.approx(alone.compute().item(), rel=1e-4)


def test_kernel_distance_equals_torchmetrics_and_its_definition() -> None:
    x, y = noise(30, 16).double(), noise(30, 16, seed=1).double() + 0.1
    assert kernel_distance(x, y).item() == pytest.approx(poly_mmd(x, y).item(), rel=1e-10)
    y = y[:7]
    kernel = lambda a, b: (torch.dot(a, b).item() / 16 + 1) ** 3  # noqa: E731
    within = [
        sum(kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j) / len(z) / (len(z) - 1)
        for z in (x, y)
    ]
    between = sum(kernel(a, b) for a in x for b in y) / len(x) / len(y)
    assert kernel_distance(x, y).item() == pytest.approx(sum(within) - 2 * between, rel=1e-9)
    assert math.isnan(kernel_distance(x, y[:1]))


def test_kernel_distance_has_no_bias_and_portions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = [noise(8, 4, seed=seed).double() for seed in range(400)]
    values = torch.stack([kernel_distance(*pair) for pair in zip(sets[::2], sets[1::2], strict=True)])
    assert abs(values.mean()) < 3 * values.std() / len(values) ** 0.5
    x, y = torch.cat(sets[:10]), torch.cat(sets[10:15])
    whole = kernel_distance(x, y)
    monkeypatch.setattr("zoo.metrics.kid._ROWS_AT_ONCE", 7)
    assert kernel_distance(x, y).item() == pytest.approx(whole.item(), rel=1e-9)


@BOTH
def test_bad_input_is_named(kind: type[InceptionMetric]) -> None:
    good = noise(2, 3, 40, 40)
    metric = kind()
    for prediction, truth, message in (
        (torch.full_like(good, math.nan), good, "prediction.*NaN"),
        (good, good * 255, r"target should be in \[0, 1\]"),
        (good[:, :1], good, r"\(B, T, 3, H, W\) or \(N, 3, H, W\)"),
        (good, good[..., 1:], "same size"),
    ):
        with pytest.raises(ValueError, match=message):
            metric.update(prediction, truth)
    assert metric.counts == (0, 0)
    assert math.isnan(frechet_distance(*metric.features()))
    with pytest.raises(OptionError, match="no 'bilinear'"):
        kind("bilinear")  # type: ignore[arg-type]


@BOTH
def test_without_weights_names_the_command(
    kind: type[InceptionMetric], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    with pytest.raises(MissingWeightsError, match="zoo weights install fid"):
        kind()


SHARDS = [0, 1, 2], [3]
"""Clips per process."""


def _take(metrics: list[InceptionMetric], clips: list[int]) -> None:
    for clip in clips:
        for metric in metrics:
            metric.update(smooth(2, 3, 40, 40, seed=clip), smooth(3, 3, 40, 40, seed=100 + clip))


def _measure_shards(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    metrics: list[InceptionMetric] = [FID(), KID()]
    _take(metrics, SHARDS[rank])
    (folder / f"{rank}.json").write_text(json.dumps([metric.compute().item() for metric in metrics]))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    multiprocessing.start_processes(_measure_shards, (tmp_path,), nprocs=2, start_method="spawn")
    alone: list[InceptionMetric] = [FID(), KID()]
    _take(alone, [3, 0, 2, 1])  # another order too
    expected = [metric.compute().item() for metric in alone]
    for rank in (0, 1):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == pytest.approx(expected, rel=1e-6)
