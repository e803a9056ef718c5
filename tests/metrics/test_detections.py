"""AKD, MKR, jitter, AED and CSIM against what the published scripts print, and against their definitions."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from metric_inputs import noise
from safetensors.torch import load_file
from torch import Tensor

from zoo.metrics import AED, AKD, CSIM, MKR, Jitter
from zoo.metrics.aed import embedding_distance
from zoo.metrics.akd import keypoint_distance
from zoo.metrics.jitter import acceleration
from zoo.metrics.keypoints import in_pixels
from zoo.metrics.mkr import missing_rate

SIZE = 256


class Recorded:
    """Finds in a frame what was recorded of it: its grey level is its number."""

    name = "recorded"

    def __init__(self, *recordings: Tensor) -> None:
        self.recordings = torch.cat(recordings)

    def __call__(self, frames: Tensor) -> Tensor:
        return self.recordings[(frames[:, 0, 0, 0] * 255).round().long()]


def numbered(first: int, count: int, size: int = SIZE) -> Tensor:
    """A clip (1, T, 3, H, W) uint8 of frames first, first + 1, ... as ``Recorded`` counts them."""
    return torch.arange(first, first + count, dtype=torch.uint8).view(1, -1, 1, 1, 1).expand(1, -1, 3, size, size)


def keypoints(pixels: Tensor, found: Tensor) -> Tensor:
    """Detections of the recordings (N, K, 2), in pixels, with their confidence."""
    return torch.cat([pixels, found.double()[..., None]], dim=-1)


def normalised(detections: Tensor, size: int = SIZE) -> Tensor:
    return torch.cat([(2 * detections[..., :2] + 1) / size - 1, detections[..., 2:]], dim=-1)


@pytest.fixture(scope="module", params=["metrics/pose_metrics", "first_order_motion_model/pose_evaluation"])
def published(request: pytest.FixtureRequest, shared: Path) -> dict[str, Any]:
    """Detections in generated and true frames, and what the published scripts print of them."""
    folder = shared / "parity" / Path(request.param).parent
    if request.param == "metrics/pose_metrics":
        known = load_file(folder / "pose_metrics.safetensors")
        printed = json.loads((folder / "pose_metrics_expected.json").read_text())
        true, generated, embedding = "{}_gt", "{}_gen", "emb"
        expected = {
            "body": (printed["body"]["Average difference"], printed["body"]["Missing count"]),
            "face": (printed["face"]["Average difference"], None),
            "aed": (printed["embedding"]["Average difference"], printed["embedding_l2_as_in_paper"]),
            "csim": printed["cosine"],
        }
    else:
        known = load_file(folder / "pose_evaluation.safetensors")
        printed = json.loads((folder / "pose_evaluation.json").read_text())
        true, generated, embedding = "{}.gt", "{}.generated", "id"
        expected = {
            "body": (printed["body_akd"], printed["body_mkr"]),
            "face": (printed["face_akd"], None),
            "aed": (printed["aed_script_value_is_mean_squared_l2"], printed["mean_l2"]),
            "csim": None,
        }
    joints = [known[side.format("body")] for side in (generated, true)]
    marks = [known[side.format("face")] for side in (generated, true)]
    unseen = known[generated.format("face") + "_missing"]
    seen = [~unseen[:, None].expand(-1, 68), torch.ones(len(unseen), 68)]
    return {
        "body": [keypoints(side, side[..., 0] != -1) for side in joints],
        "face": [keypoints(side, there) for side, there in zip(marks, seen, strict=True)],
        "embedding": [known[side.format(embedding)] for side in (generated, true)],
        "expected": expected,
    }


@pytest.mark.shared
@pytest.mark.parametrize("part", ["body", "face"])
def test_akd_and_mkr_equal_the_published_scripts(published: dict[str, Any], part: str) -> None:
    generated, true = published[part]
    distance, rate = published["expected"][part]
    assert keypoint_distance(generated, true).nanmean().item() == pytest.approx(distance, rel=1e-12)
    count = len(true)
    estimator = Recorded(normalised(generated), normalised(true))
    prediction, target = numbered(0, count), numbered(count, count)
    for known in ({"pose": normalised(true)[None]}, {"target": target}):
        metric = AKD(estimator, truth=next(iter(known)))  # type: ignore[arg-type]
        metric.update(prediction, **known)
        assert metric.compute().item() == pytest.approx(distance, rel=1e-9)
        assert metric.skipped == keypoint_distance(generated, true).isnan().sum()
    if rate is not None:
        assert missing_rate(generated, true).nanmean().item() == pytest.approx(rate, rel=1e-12)
        missing = MKR(estimator, truth="target")
        missing.update(prediction, target)
        assert missing.compute().item() == pytest.approx(rate, rel=1e-12)
    else:
        assert keypoint_distance(generated, true).isnan().any()  # a generated face that nobody found


@pytest.mark.shared
def test_aed_and_csim_equal_the_published_scripts(published: dict[str, Any]) -> None:
    generated, true = published["embedding"]
    squared, plain = published["expected"]["aed"]
    assert embedding_distance(generated, true, squared=True).mean().item() == pytest.approx(squared, rel=1e-6)
    estimator = Recorded(generated, true)
    given = numbered(0, len(true), 16), numbered(len(true), len(true), 16)
    for metric, expected in (
        (AED(estimator), plain),
        (AED(estimator, squared=True), squared),
        (CSIM(estimator), published["expected"]["csim"]),
    ):
        if expected is not None:
            metric.update(*given)
            assert metric.compute().item() == pytest.approx(expected, rel=1e-6)


def test_akd_in_other_sizes_is_in_their_pixels() -> None:
    true = torch.tensor([[[10.0, 20.0, 1.0], [30.0, 5.0, 1.0]]])
    found = true + torch.tensor([[[2.0, -4.0, 0.0], [0.0, 0.0, 0.0]]])
    scale = torch.tensor([2 / 48, 2 / 32, 1])  # frames of 32 x 48
    offset = torch.tensor([1 / 48 - 1, 1 / 32 - 1, 0])
    assert torch.allclose(in_pixels(true * scale + offset, 32, 48), true, atol=1e-5)
    metric = AKD(Recorded(found * scale + offset))
    metric.update(torch.zeros(1, 1, 3, 32, 48), pose=(true * scale + offset)[None])
    assert metric.compute().item() == pytest.approx((2 + 4) / 4, abs=1e-5)


def test_frames_without_a_person_are_left_out_and_counted() -> None:
    true = torch.rand(4, 5, 3, generator=torch.Generator().manual_seed(0))
    true[..., 2] = 1
    found = true.clone()
    found[..., 0] += 0.1
    true[0, :, 2] = 0  # nobody is there
    found[1, :, 2] = 0  # nobody is found
    found[2, :4, 2] = 0
    prediction, pose = numbered(0, 4, 16), true[None]
    distance, rate = AKD(Recorded(found)), MKR(Recorded(found))
    distance.update(prediction, pose=pose)
    rate.update(prediction, pose=pose)
    assert distance.compute().item() == pytest.approx(0.1 * 8 / 2, rel=1e-5)
    assert rate.compute().item() == pytest.approx((1 + 0.8 + 0) / 3)
    assert (distance.skipped, rate.skipped) == (2, 1)
    distance.update(prediction[0, [1, 3], None], pose=true[[1, 3], None])  # two clips of one frame
    assert distance.skipped_per_clip().tolist() == [2, 1, 0]
    distance.reset()
    assert distance.skipped == 0
    empty = AKD(Recorded(found))
    empty.update(prediction[:, :2], pose=pose[:, :2])
    assert math.isnan(empty.compute())

    faces = noise(4, 8)
    faces[2] = math.nan
    similarity = CSIM(Recorded(faces), to="source")
    similarity.update(prediction[:, 1:], source=prediction[:, 0])
    cosines = torch.nn.functional.cosine_similarity(faces[[1, 3]], faces[:1])
    assert similarity.compute().item() == pytest.approx(cosines.mean().item(), rel=1e-6)
    assert similarity.skipped == 1


def test_jitter_is_the_additional_acceleration() -> None:
    time = torch.arange(6.0)
    path = torch.stack([3 * time + 20, 10 + 0.5 * time**2, torch.ones(6)], dim=-1)[:, None].double()
    assert acceleration(path)[:, 0].tolist() == pytest.approx([1.0] * 4)  # x uniform, y'' = 1
    trembling = path.clone()
    trembling[::2, 0, 0] += 3
    expected = math.hypot(6, 1) - 1
    true = torch.cat([path, path], dim=1)
    found = torch.cat([trembling, path], dim=1)
    found[3, 1, 2] = 0  # leaves the first instant of the second keypoint
    metric = Jitter(Recorded(normalised(found, 64)))
    metric.update(numbered(0, 6, 64), pose=normalised(true, 64)[None])
    assert metric.compute().item() == pytest.approx(4 * expected / 5, rel=1e-6)
    assert metric.skipped == 3
    same = Jitter(Recorded(normalised(true, 64)), truth="target")
    same.update(numbered(0, 6, 64), numbered(0, 6, 64))
    assert same.compute() == 0


@pytest.mark.parametrize("found", [torch.zeros(4, 2), torch.zeros(1, 4, 2, 3)])
def test_an_estimator_of_another_shape_is_named(found: Tensor) -> None:
    metric = AKD(Recorded(found))
    with pytest.raises(ValueError, match=r"estimator of akd_recorded should return \(N, K, 3\)"):
        metric.update(numbered(0, 1, 16), pose=torch.zeros(1, 1, 2, 3))
