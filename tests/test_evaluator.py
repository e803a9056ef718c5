import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from PIL import Image
from torch import Tensor, multiprocessing
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from zoo.base import AnimationModule
from zoo.batch import Batch
from zoo.data import VideoDataModule
from zoo.data.synthetic import SyntheticPeople
from zoo.errors import FileError
from zoo.evaluator import Evaluator, PredictionWriter, log_picture
from zoo.measurement import check_clip_names
from zoo.metrics import L1
from zoo.report import sha256_of
from zoo.video import VideoWriter

SIZE = 32
FAST = ("l1", "moving_l1", "psnr", "ssim")


class Clips(Dataset):
    """Clips of coloured noise that grows brighter; clip k is ``clip k``."""

    def __init__(self, count: int, frames: int = 3, padded: int = 0) -> None:
        self.count = count
        self.frames = frames
        self.padded = padded

    def __len__(self) -> int:
        return self.count + self.padded

    def __getitem__(self, number: int) -> dict[str, Any]:
        clip = number % self.count
        generator = torch.Generator().manual_seed(clip)
        first = 0.6 * torch.rand(1, 3, SIZE, SIZE, generator=generator)
        steps = torch.linspace(0, 0.3, self.frames)[:, None, None, None] * torch.rand(1, generator=generator)
        return {
            "source": first,
            "driving": first + steps,
            "valid": number < self.count,
            "frame": torch.arange(self.frames),
            "source_frame": 0,
            "source_clip": f"clip {clip}",
            "driving_clip": f"clip {clip}",
            "fps": 25.0,
        }


def loader(*arguments: Any, batch_size: int = 2, **options: Any) -> DataLoader:
    return DataLoader(Clips(*arguments, **options), batch_size=batch_size, shuffle=False)


class CopySource(AnimationModule):
    """A method that shows the source all the time."""

    inference_networks = ()

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def encode(self, source: Batch, options: object) -> Tensor:
        return source["source"]

    def render(self, state: Tensor, driving: Batch) -> tuple[Tensor, Tensor]:
        return state[:, :1].expand_as(driving["driving"]), state

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        return {"inverted": 1 - batch["source"][0, 0]}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return (self.scale * batch["source"]).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Perfect(CopySource):
    """A method that knows the answer."""

    def render(self, state: Tensor, driving: Batch) -> tuple[Tensor, Tensor]:
        return driving["driving"], state


def trainer(folder: Path, *callbacks: Any, **options: Any) -> Trainer:
    options = {"max_epochs": 2, "logger": CSVLogger(str(folder), name="", version=""), **options}
    return Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def read_result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "test.json").read_text())


def test_copying_the_source_equals_the_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = CopySource()
    trainer(tmp_path, Evaluator()).test(module, loader(3), verbose=False)
    result = read_result(tmp_path)
    assert result["clips"] == 3
    for name in (*FAST, "lpips_alex"):
        assert result["totals"][name] == result["totals"][f"copy_source/{name}"]
        assert [row[name] for row in result["per_clip"]] == [row[f"copy_source/{name}"] for row in result["per_clip"]]
    assert [row["clip"] for row in result["per_clip"]] == ["clip 0", "clip 1", "clip 2"]
    assert all(row["frames"] == 3 and row["source"] == row["clip"] for row in result["per_clip"])
    assert result["weights"]["sha256"] == sha256_of(module.state_dict())
    assert result["versions"]["torch"] == torch.__version__
    assert "copy source" in capsys.readouterr().out


def test_totals_equal_the_metrics_used_alone(tmp_path: Path) -> None:
    trainer(tmp_path, Evaluator(FAST)).test(CopySource(), loader(5), verbose=False)
    result = read_result(tmp_path)
    whole, moving = L1(), L1("moving")
    for clip in map(Clips(5).__getitem__, range(5)):
        source, driving = clip["source"], clip["driving"]
        whole.update(source[None].expand(1, 3, -1, -1, -1), driving[None])
        moving.update(source[None].expand(1, 3, -1, -1, -1), driving[None], source)
    assert [row["l1"] for row in result["per_clip"]] == pytest.approx(whole.per_clip().tolist(), rel=1e-6)
    assert result["totals"]["l1"] == pytest.approx(whole.compute().item(), rel=1e-6)
    assert result["totals"]["moving_l1"] == pytest.approx(moving.compute().item(), rel=1e-6)
    values = [row["moving_l1"] for row in result["per_clip"]]
    assert [math.nan if value is None else value for value in values] == pytest.approx(
        moving.per_clip().tolist(), rel=1e-6, nan_ok=True
    )
    assert None in values  # so that a clip without motion is part of this test


def test_copies_that_fill_a_shard_do_not_count(tmp_path: Path) -> None:
    trainer(tmp_path / "padded", Evaluator(FAST)).test(CopySource(), loader(3, padded=3), verbose=False)
    trainer(tmp_path / "plain", Evaluator(FAST)).test(CopySource(), loader(3), verbose=False)
    assert read_result(tmp_path / "padded")["per_clip"] == read_result(tmp_path / "plain")["per_clip"]


def test_transfer_without_known_result_is_not_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Transfer(Clips):
        def __getitem__(self, number: int) -> dict[str, Any]:
            return super().__getitem__(number) | {"source_clip": "clip 0"}

    trainer(tmp_path, Evaluator(FAST)).test(CopySource(), DataLoader(Transfer(3)), verbose=False)
    assert [row["clip"] for row in read_result(tmp_path)["per_clip"]] == ["clip 0"]
    assert "2 clips of this process have no true frames" in capsys.readouterr().out


def test_target_is_the_truth_where_it_is_given(tmp_path: Path) -> None:
    class WithTarget(Clips):
        def __getitem__(self, number: int) -> dict[str, Any]:
            sample = super().__getitem__(number)
            return sample | {"target": sample["source"].expand_as(sample["driving"]), "source_clip": "other"}

    trainer(tmp_path, Evaluator(FAST)).test(CopySource(), DataLoader(WithTarget(2)), verbose=False)
    assert read_result(tmp_path)["totals"]["l1"] == 0
    assert read_result(tmp_path)["clips"] == 2


@pytest.mark.filterwarnings("ignore:.*log_every_n_steps.*")
def test_validation_is_logged_monitored_and_pictured(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, "best-{step}", monitor="val/l1", mode="min")
    run = trainer(tmp_path, Evaluator(FAST, samples=2), checkpoint, log_every_n_steps=1)
    run.fit(Perfect(), loader(2), loader(3))
    assert run.callback_metrics["val/l1"] == 0
    assert run.callback_metrics["val/psnr"] == 100
    assert run.callback_metrics["val/copy_source/l1"] > 0
    assert checkpoint.best_model_score == 0
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == [
        "step-00000001-inverted.png",
        "step-00000001.png",
        "step-00000002-inverted.png",
        "step-00000002.png",
    ]
    grid = np.asarray(Image.open(tmp_path / "samples" / "step-00000001.png"))
    assert grid.shape == (2 * 3 * SIZE, 4 * SIZE, 3)  # two clips of three frames; source, driving, prediction, truth
    clip = Clips(3)[1]
    last = grid[5 * SIZE :]
    columns = [clip["source"][0], *3 * [clip["driving"][2]]]
    expected = torch.cat(columns, dim=2).mul(255).round().byte().permute(1, 2, 0)
    np.testing.assert_array_equal(last, expected)
    assert "val/copy_source/ssim" in (tmp_path / "metrics.csv").read_text().splitlines()[0]


def test_tensorboard_receives_the_pictures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(str(tmp_path), name="", version="")
    trainer(tmp_path, Evaluator(("l1",)), logger=logger).test(CopySource(), loader(2), verbose=False)
    logger.experiment.flush()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert sorted(events.Tags()["images"]) == ["inverted", "samples"]


def test_wandb_receives_the_pictures_offline(tmp_path: Path) -> None:
    logger = WandbLogger(save_dir=str(tmp_path), offline=True)
    log_picture(logger, "samples", torch.zeros(3, 8, 12, dtype=torch.uint8), 7)
    logger.experiment.finish()
    pictures = list(tmp_path.glob("wandb/**/media/images/samples_*.png"))
    assert [Image.open(picture).size for picture in pictures] == [(12, 8)]


def test_missing_weights_are_skipped_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "empty"))
    with pytest.warns(UserWarning, match="lpips_alex is skipped.*zoo weights install lpips"):
        trainer(tmp_path, Evaluator()).test(CopySource(), loader(2), verbose=False)
    result = read_result(tmp_path)
    assert "zoo weights install lpips" in result["skipped"]["lpips_alex"]
    assert set(FAST) <= set(result["totals"])
    assert "lpips_alex" not in result["totals"]


class Conditioned(Clips):
    """Clips with the conditions of their driving frames, and wrong ones where the true frames are another's."""

    def __init__(self, count: int, with_target: bool) -> None:
        super().__init__(count)
        self.with_target = with_target

    def __getitem__(self, number: int) -> dict[str, Any]:
        sample = super().__getitem__(number)
        mask = torch.zeros(self.frames, 1, SIZE, SIZE)
        mask[..., : SIZE // 2] = 1
        if self.with_target:
            return sample | {"target": sample["driving"], "target_mask": mask, "driving_mask": 1 - mask}
        return sample | {"driving_mask": mask}


@pytest.mark.parametrize("with_target", [False, True])
def test_metrics_receive_the_conditions_of_the_true_frames(tmp_path: Path, with_target: bool) -> None:
    data = DataLoader(Conditioned(3, with_target), batch_size=2)
    trainer(tmp_path, Evaluator(("subject_l1",))).test(CopySource(), data, verbose=False)
    for row, clip in zip(read_result(tmp_path)["per_clip"], map(Clips(3).__getitem__, range(3)), strict=True):
        expected = (clip["driving"] - clip["source"])[..., : SIZE // 2].abs().mean().item()
        assert row["subject_l1"] == pytest.approx(expected, rel=1e-5)


def test_what_the_data_does_not_have_is_skipped_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.warns(UserWarning, match="subject_l1 is skipped: it needs the mask of each clip"):
        trainer(tmp_path, Evaluator(("l1", "subject_l1"))).test(CopySource(), loader(3), verbose=False)
    result = read_result(tmp_path)
    assert list(result["totals"]) == ["l1", "copy_source/l1"]
    assert result["skipped"] == {"subject_l1": "it needs the mask of each clip, which the data doesn't have"}
    assert "subject_l1 was skipped" in capsys.readouterr().out


def test_a_step_without_prediction_is_named(tmp_path: Path) -> None:
    class Silent(CopySource):
        def test_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]
            return None

    with pytest.raises(ValueError, match=r"should return \(2, 3, 3, 32, 32\), not NoneType"):
        trainer(tmp_path, Evaluator(FAST)).test(Silent(), loader(2), verbose=False)


def test_a_prediction_in_integers_is_named(tmp_path: Path) -> None:
    class Bytes(CopySource):
        def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
            return (255 * super().test_step(batch, batch_idx)).byte()

    with pytest.raises(ValueError, match=r"should return floating point in \[0, 1\], not torch.uint8"):
        trainer(tmp_path, Evaluator(FAST)).test(Bytes(), loader(2), verbose=False)


def test_plain_lightning_modules_are_measured_too(tmp_path: Path) -> None:
    class Plain(LightningModule):
        def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
            return batch["driving"]

    trainer(tmp_path, Evaluator(("l1",)), logger=False).test(Plain(), loader(2), verbose=False)
    assert read_result(tmp_path)["totals"]["l1"] == 0


def test_unknown_metric_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no metric is called 'lpips'"):
        trainer(tmp_path, Evaluator(("lpips",))).test(CopySource(), loader(1))  # type: ignore[arg-type]


def test_predictions_are_written_with_their_frame_rate(tmp_path: Path) -> None:
    from zoo.video import probe, read_frames

    trainer(tmp_path, PredictionWriter()).predict(CopySource(), loader(2, padded=1), return_predictions=False)
    files = sorted((tmp_path / "predictions").iterdir())
    assert [file.name for file in files] == ["clip 0--clip 0.mp4", "clip 1--clip 1.mp4"]
    info = probe(files[1])
    assert (info.frames, info.height, info.width, float(info.fps)) == (3, SIZE, SIZE, 25.0)
    written, expected = read_frames(info, [2]) / 255, Clips(2)[1]["source"]
    difference = functional.avg_pool2d(written - expected, 8)  # noise doesn't survive compression, its colours do
    assert difference.abs().max() < 0.05


def test_clips_whose_videos_would_replace_one_another_are_named_before_any_is_written(tmp_path: Path) -> None:
    frames = torch.zeros(3, 3, SIZE, SIZE, dtype=torch.uint8)
    for name in ("a/b_c.mp4", "a_b/c.mp4"):
        with VideoWriter(tmp_path / "clips" / "test" / name, Fraction(25)) as writer:
            writer.write(frames)
    data = VideoDataModule(str(tmp_path / "clips"), size=SIZE, workers=0)
    run = trainer(tmp_path, PredictionWriter())
    with pytest.raises(
        FileError, match=r"test/a_b/c\.mp4: .* would be called .*, as test/a/b_c\.mp4 driving .*; rename"
    ):
        run.predict(CopySource(), datamodule=data, return_predictions=False)
    assert not (tmp_path / "predictions").exists()
    (tmp_path / "clips" / "test" / "a_b" / "c.mp4").rename(tmp_path / "clips" / "test" / "a_b" / "d.mp4")
    data = VideoDataModule(str(tmp_path / "clips"), size=SIZE, workers=0)
    run.predict(CopySource(), datamodule=data, return_predictions=False)
    written = {file.name for file in (tmp_path / "predictions").iterdir()}
    assert written == {f"{name}--{name}.mp4" for name in ("test_a_b_c.mp4", "test_a_b_d.mp4")}


def test_the_same_pair_twice_is_no_clash() -> None:
    source, driving = SyntheticPeople(train_identities=1, clips_per_identity=2).clips("train")
    check_clip_names([(source, 0, driving)] * 2)


def _test_in_two_processes(rank: int, folder: Path) -> None:
    import os

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=(folder / "port").read_text(), NODE_RANK="0")
    os.environ.update(LOCAL_RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    shard = torch.utils.data.Subset(Clips(3, padded=1), [rank, rank + 2])  # 3 clips and one copy on two processes
    run = trainer(folder, Evaluator(FAST), strategy="ddp", devices=2, use_distributed_sampler=False)
    metrics = run.test(CopySource(), DataLoader(shard, batch_size=2), verbose=False)
    (folder / f"logged-{rank}.json").write_text(json.dumps(metrics[0]))


@pytest.mark.slow
def test_two_processes_count_each_clip_once(tmp_path: Path) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (tmp_path / "port").write_text(str(free.getsockname()[1]))
    multiprocessing.start_processes(_test_in_two_processes, (tmp_path,), nprocs=2, start_method="spawn")
    trainer(tmp_path / "alone", Evaluator(FAST)).test(CopySource(), loader(3), verbose=False)
    alone, together = read_result(tmp_path / "alone"), read_result(tmp_path)
    assert together["processes"] == 2
    assert together["per_clip"] == alone["per_clip"]
    assert together["totals"] == alone["totals"]
    for rank in (0, 1):
        logged = json.loads((tmp_path / f"logged-{rank}.json").read_text())
        assert logged["test/l1"] == pytest.approx(alone["totals"]["l1"], rel=1e-6)


def test_two_sources_of_one_clip_are_told_apart(tmp_path: Path) -> None:
    first, second = (Clips(1)[0] | {"source_frame": number} for number in (0, 3))
    pair = DataLoader([first, second], batch_size=1)
    trainer(tmp_path, PredictionWriter()).predict(CopySource(), pair, return_predictions=False)
    assert len(list((tmp_path / "predictions").iterdir())) == 2
    trainer(tmp_path, Evaluator(metrics=("l1",), output=str(tmp_path))).test(CopySource(), pair, verbose=False)
    rows = json.loads((tmp_path / "test.json").read_text())["per_clip"]
    assert [row["source_frame"] for row in rows] == [0, 3]


def test_a_metric_on_sets_is_measured_in_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluator = Evaluator(("l1",), sets=("fvd",))
    trainer(tmp_path, evaluator).test(Perfect(), loader(3, frames=9, padded=1), verbose=False)
    fvd = read_result(tmp_path)["sets"]["fvd"]
    assert fvd["value"] == pytest.approx(0, abs=1e-6)  # the truth against itself
    assert (fvd["clips"], fvd["diagnostic"]) == (3, True)  # the copy that fills up doesn't count
    assert "diagnostic" in capsys.readouterr().out


def test_a_set_metric_without_weights_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "empty"))
    with pytest.warns(UserWarning, match="fvd is skipped.*zoo weights install fvd"):
        trainer(tmp_path, Evaluator(("l1",), sets=("fvd",))).test(CopySource(), loader(2), verbose=False)
    assert read_result(tmp_path)["sets"] == {}


def test_poses_are_compared_where_nobody_knows_the_true_frames() -> None:
    from zoo.measurement import Measurement
    from zoo.metrics import AKD

    class Exact:
        name = "exact"

        def __call__(self, frames: Tensor) -> Tensor:
            return torch.tensor([[[0.5, 0.0, 1.0]]]).expand(len(frames), 1, 3)

    frames = torch.zeros(2, 2, 3, 16, 16)
    pose = torch.tensor([[0.0, 0.0, 1.0]]).repeat(2, 2, 1, 1)
    pose[0, 1, 0, 2] = 0  # nobody is there
    batch = Batch(
        source=frames[:, :1], driving=frames, source_clip=["a", "a"], driving_clip=["b", "c"], driving_pose=pose
    )
    measurement = Measurement({"akd": AKD(Exact()), "l1": L1()})
    measurement.add(batch, {"": frames})
    for row, skipped in zip(measurement.rows, (1, 0), strict=True):
        assert row["akd"] == pytest.approx(2)  # a quarter of the side, 4 pixels, in x and 0 in y
        assert row["akd_skipped"] == skipped
        assert "l1" not in row
    assert measurement.unmeasured(measurement.rows)["l1"].startswith("it needs the target")
