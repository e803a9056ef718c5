"""Awkward and broken annotations, pair lists and folders from the development data folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from zoo.batch import check_batch
from zoo.data import DataError, FolderSource, VideoDataModule

pytestmark = [pytest.mark.shared, pytest.mark.slow]


def expectations(torture: Path, prefix: str, suffix: str) -> dict[str, str]:
    items = json.loads((torture / "manifest.json").read_text())
    found = {name: item["expect"] for name, item in items.items() if name.startswith(prefix) and name.endswith(suffix)}
    assert found
    return found


def put(folder: Path, torture: Path, name: str, condition: str) -> Path:
    """Makes three clips, of which the first has the side-car in question and the others a good one."""
    for clip in ("train/ok", "train/other", "test/clip"):
        path = folder / f"{clip}.mp4"
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            shutil.copy(torture / "ok.mp4", path)
        sidecar = name if clip == "train/ok" else f"{name.partition('_')[0]}_ok.npz"
        shutil.copy(torture / sidecar, folder / f"{clip}_{condition}.npz")
    return folder


@pytest.mark.parametrize(("prefix", "condition"), [("kp_", "pose"), ("iuv_", "iuv")])
def test_annotations(torture, tmp_path, prefix, condition):
    for name, expected in expectations(torture, prefix, ".npz").items():
        folder = put(tmp_path, torture, name, condition)
        try:
            read, refusal = read_everything(folder, condition), None
        except DataError as error:
            read, refusal = torch.zeros(1), str(error)
        assert refusal is None or f"ok_{condition}.npz: " in refusal, name
        assert (refusal is None) == (expected != "reject") or expected == "ok_any", name
        assert read.isfinite().all(), name


def read_everything(folder: Path, condition: str) -> torch.Tensor:
    source = FolderSource(folder, required=(condition,), strict=True)
    values = [source.condition(clip, condition, range(clip.frames)) for clip in source.clips("train")]
    return torch.cat([value.float() for value in values])


def test_training_goes_on_with_the_rest(torture, tmp_path):
    folder = put(tmp_path, torture, "kp_short.npz", "pose")
    module = VideoDataModule(str(folder), conditions=("pose",), workers=0, batch_size=2, repeats=2)
    assert "has 50 frames, but the video has 60" in module.summary()
    batch = next(iter(module.train_dataloader()))
    assert batch["source_clip"] == ["train/other.mp4"] * 2
    check_batch(module.on_after_batch_transfer(batch, 0), ("pose",))


def test_missing_values_are_missing_joints(torture, tmp_path):
    folder = put(tmp_path, torture, "kp_nan.npz", "pose")
    source = FolderSource(folder, required=("pose",))
    clip = source.clips("train")[0]
    with np.load(torture / "kp_nan.npz") as stored:
        finite = np.isfinite(stored["keypoints"]).all(-1)
    pose = source.condition(clip, "pose", range(clip.frames))
    assert (pose[..., 2] > 0).numpy().tolist() == finite.tolist()
    assert not finite.all()


def test_pair_lists(torture, tmp_path):
    for name in ("ok.mp4", "1.mp4", "2.mp4", "fast.mp4"):
        (tmp_path / "test").mkdir(exist_ok=True)
        shutil.copy(torture / "ok.mp4", tmp_path / "test" / name)
    for name, expected in expectations(torture, "pairs_", ".csv").items():
        shutil.copy(torture / name, tmp_path / name)
        module = VideoDataModule(str(tmp_path), pairs=name, workers=0)
        if expected == "reject":
            with pytest.raises(DataError) as caught:
                module.test_dataloader()
            assert str(caught.value).startswith(f"{tmp_path / name}: ")
        else:
            assert len(module.test_dataloader()) in (1, 2)


def test_link_loop(torture):
    source = FolderSource(torture / "tree")
    assert [clip.name for clip in source.clips("train")] == ["a/ok.mp4[0:48]"]


def test_everything_that_cannot_be_read(torture, tmp_path):
    items = json.loads((torture / "manifest.json").read_text())
    wanted = {
        name
        for name, item in items.items()
        if item["expect"] == "reject" and Path(name).suffix in (".mp4", ".gif") and name != "does_not_exist.mp4"
    }
    assert len(wanted) > 10
    for name in ("ok.mp4", "fast.mp4", *wanted):
        (tmp_path / name).symlink_to(torture / name)
    source = FolderSource(tmp_path)
    assert {clip.name for split in ("train", "test") for clip in source.clips(split)} == {"ok.mp4", "fast.mp4"}
    summary = source.summary()
    assert f"dropped {len(wanted)} clips" in summary
    for name in wanted:
        (line,) = [line for line in summary.splitlines() if f"/{name}: " in line]
        assert "; " in line
