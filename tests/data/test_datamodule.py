import csv
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from tiny_folders import numbered_frames, write_clips, write_frames, write_pose, write_strip

from zoo.batch import check_batch
from zoo.data import DataError, VideoDataModule
from zoo.data.augment import draw_parameters
from zoo.data.synthetic import SyntheticPeople
from zoo.errors import OptionError
from zoo.pose import BODY_18, BODY_25, draw_surface, flip_pose, to_pixels

FRAMES = 12


class Recorder(LightningModule):
    """Learns nothing, and remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: list[tuple[list[int], float]] = []
        self.evaluated: list[dict] = []

    def training_step(self, batch, batch_idx):
        self.trained.append((batch["index"].tolist(), batch["driving"].double().sum().item()))
        self.batch = batch
        return self.weight * 0

    def validation_step(self, batch, batch_idx):
        self.evaluated.append(batch)

    def test_step(self, batch, batch_idx):
        self.evaluated.append(batch)

    predict_step = test_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(**options) -> Trainer:
    return Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        **{"enable_checkpointing": False, **options},
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path) -> Path:
    write_clips(
        tmp_path / "data",
        [f"train/id{n % 3}#{n}.png" for n in range(5)] + ["test/x.png", "test/y.png", "test/z.png"],
        FRAMES,
    )
    return tmp_path / "data"


def data(folder, **options) -> VideoDataModule:
    path = folder and str(folder)
    return VideoDataModule(path, **{"size": 8, "workers": 0, "batch_size": 2, "repeats": 2, **options})


def run(folder, steps: int = 10, checkpoint: str | None = None, fit: dict | None = None, **options) -> Recorder:
    recorder = Recorder()
    trainer(max_steps=steps, max_epochs=-1, **(fit or {})).fit(recorder, data(folder, **options), ckpt_path=checkpoint)
    return recorder


# --- training


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(folder, workers):
    options = {"augmentation": {"horizontal_flip": True, "brightness": 0.2, "hue": 0.1}, "driving_frames": 3}
    assert run(folder, workers=workers, **options).trained == run(folder, **options).trained
    assert run(folder, **options).trained != run(folder, seed=1, **options).trained


def test_what_the_method_gets(folder):
    for name in [*(folder / "train").iterdir(), *(folder / "test").iterdir()]:
        pose = np.random.default_rng(0).uniform(3, 5, (FRAMES, 18, 3))
        pose[:, 4] = np.nan
        write_pose(name.with_name(f"{name.stem}_pose.npz"), pose)
        rng = np.random.default_rng(1)
        np.savez(name.with_name(f"{name.stem}_iuv.npz"), iuv=rng.integers(0, 25, (FRAMES, 3, 8, 8), dtype=np.uint8))
        np.savez(name.with_name(f"{name.stem}_mask.npz"), mask=rng.integers(0, 2, (FRAMES, 8, 8), dtype=np.uint8))
    conditions = ("pose", "iuv", "mask")
    recorder = run(
        folder, steps=1, conditions=conditions, size=(10, 6), driving_frames=4, stride=2, pose_window=1,
        augmentation={"rotation": 10.0, "scale": (0.9, 1.1)},
    )  # fmt: skip
    check_batch(recorder.batch, conditions)
    assert recorder.batch["driving"].shape == (2, 4, 3, 10, 6)
    assert recorder.batch["pose_window"].shape == (2, 4, 3, 18, 3)
    assert recorder.batch["driving_pose"][:, :, 4].eq(0).all()
    assert set(recorder.batch["driving_mask"].unique().tolist()) <= {0, 1}
    for batch in recorder.evaluated:
        check_batch(batch, conditions)


def test_surfaces_drawn_around_poses():
    people = {"train_identities": 1, "val_identities": 1, "test_identities": 2, "clips_per_identity": 1, "frames": 4}
    options = {"size": 64, "workers": 0, "conditions": ("pose", "iuv"), "pairs": "cross_identity", "synthetic": people}
    modules = [VideoDataModule(**options, surfaces=surfaces) for surfaces in ("skeleton", "stored")]
    drawn, exact = (next(iter(module.test_dataloader())) for module in modules)
    for role in ("source", "driving", "target"):
        poses = to_pixels(drawn[f"{role}_pose"][0], (64, 64))
        assert torch.equal(drawn[f"{role}_iuv"][0], draw_surface(poses, BODY_18, (64, 64)))
        body, true_body = (batch[f"{role}_iuv"][0, :, 0] > 0 for batch in (drawn, exact))
        assert 0.5 < (body & true_body).sum() / (body | true_body).sum() < 1


def test_surfaces_drawn_around_poses_need_no_maps(folder):
    for name in [*(folder / "train").iterdir(), *(folder / "test").iterdir()]:
        write_pose(name.with_name(f"{name.stem}_pose.npz"), np.random.default_rng(0).uniform(2, 6, (FRAMES, 18, 3)))
    recorder = run(folder, steps=1, conditions=("iuv",), surfaces="skeleton")
    check_batch(recorder.batch, ("iuv",))
    with pytest.raises(DataError, match="iuv"):
        run(folder, steps=1, conditions=("iuv",))
    (folder / "pairs.csv").write_text("source,driving\nx.png,y.png\n")
    listed = data(folder, conditions=("iuv",), surfaces="skeleton", pairs="pairs.csv")
    (batch,) = listed.test_dataloader()
    assert (batch["source_clip"], batch["driving_clip"]) == (["test/x.png"], ["test/y.png"])
    with pytest.raises(DataError, match=r"can't be used: x\.png"):  # there are parts of training clips instead
        data(folder, later_motion=0.5, pairs="pairs.csv").test_dataloader()


def test_only_training_is_varied(folder):
    augmentation = {"horizontal_flip": True}
    recorder = run(folder, steps=5, augmentation=augmentation)
    numbers = recorder.batch["index"].tolist()
    mirrored = draw_parameters(augmentation, 0, numbers, (8, 8))["mirrored"]
    blue = recorder.batch["driving"][:, 0, 2, 0]  # grows to the right in a picture that isn't mirrored
    assert blue[:, 0].gt(blue[:, -1]).equal(mirrored)
    assert mirrored.any()
    assert recorder.evaluated
    for batch in recorder.evaluated:
        assert batch["driving"][..., 2, :, 0].lt(batch["driving"][..., 2, :, -1]).all()


def test_other_people(folder):
    augmentation = {"horizontal_flip": True}
    recorder = run(folder, steps=5, augmentation=augmentation, source_frames=2, other_frames=3, sources_apart=True)
    batch = recorder.batch
    check_batch(batch)
    assert batch["other"].shape == (2, 3, 3, 8, 8)
    assert all(one != two for one, two in zip(batch["other_identity"], batch["source_identity"], strict=True))
    mirrored = draw_parameters(augmentation, 0, batch["index"].tolist(), (8, 8), other=True)["mirrored"]
    blue = batch["other"][:, 0, 2, 0]  # grows to the right in a picture that isn't mirrored
    assert blue[:, 0].gt(blue[:, -1]).equal(mirrored)
    assert not any(key.startswith("other") for evaluated in recorder.evaluated for key in evaluated)


def test_one_person_has_no_others(tmp_path):
    write_clips(tmp_path, ["train/anna#1.png", "train/anna#2.png", "test/x.png"], FRAMES)
    with pytest.raises(DataError, match=r"shows one person in training.*other_frames"):
        run(tmp_path, other_frames=1)


def test_half_precision_throughout(folder):
    recorder = run(folder, steps=1, fit={"precision": "bf16-true"})
    assert recorder.batch["driving"].dtype == torch.bfloat16


def test_overfitting_one_batch(folder):
    recorder = run(folder, steps=6, fit={"overfit_batches": 1})
    assert len({tuple(indices) for indices, _ in recorder.trained}) == 1


def test_the_summary_is_printed_before_training(folder, caplog):
    write_strip(folder / "train" / "short.png", numbered_frames(9, 3))
    (folder / "train" / "broken.mp4").write_bytes(b"")
    with caplog.at_level(logging.INFO, "lightning.pytorch"):
        run(folder, steps=1, driving_frames=5)
    assert "train: 6 clips, 63 frames, 4 identities, 8x8" in caplog.text
    assert "dropped 1 clips:" in caplog.text
    assert "not trained on: train/short.png: a training sample needs 5 frames, it has 3" in caplog.text


class DrivenByAnother(Recorder):
    pose_formats = (BODY_25,)


class DrivenByEither(DrivenByAnother):
    pose_formats = (BODY_25, BODY_18)


class Chooses(DrivenByAnother):
    def __init__(self, skeleton="body_25") -> None:
        super().__init__()
        self.save_hyperparameters()


@pytest.mark.parametrize(
    ("method", "remedy"),
    [(DrivenByAnother, "; remove the"), (Chooses, "; set `model.init_args.skeleton` to body_18, or")],
)
def test_poses_of_another_format_than_the_methods(folder, method, remedy):
    for clip in (folder / "train").glob("*.png"):
        write_pose(clip.with_name(f"{clip.stem}_pose.npz"), np.full((FRAMES, 18, 3), 4.0))
    animator = method()
    with pytest.raises(DataError, match=r"data: has poses of body_18, but \w+ is driven by body_25" + remedy) as caught:
        trainer(max_steps=1).fit(animator, data(folder, conditions=("pose",)))
    assert str(caught.value).endswith(f"`zoo prepare {folder} --pose --skeleton body_25`")
    assert not animator.trained
    either = DrivenByEither()
    trainer(max_steps=1).fit(either, data(folder, conditions=("pose",)))
    assert either.trained


@pytest.mark.parametrize(("second", "size"), [((24, 16), (12, 8)), ((18, 16), None)])
def test_the_size_of_clips_of_one_aspect(tmp_path, second, size):
    for number, (height, width) in enumerate([(12, 8), second]):
        frames = torch.zeros(4, 3, height, width, dtype=torch.uint8)
        write_frames(tmp_path / "data" / "train" / f"{number}#a", frames)
        write_frames(tmp_path / "data" / "test" / f"{number}#b", frames)
    assert data(tmp_path / "data").clip_size == size


# --- resuming


@pytest.mark.parametrize(
    ("options", "fit"),
    [
        ({}, {}),
        ({"workers": 2}, {}),
        ({}, {"limit_train_batches": 3}),
        ({}, {"val_check_interval": 2, "check_val_every_n_epoch": None}),
        ({}, {"val_check_interval": 7, "check_val_every_n_epoch": None}),
    ],
)  # fmt: skip
def test_resuming_after_any_step(folder, tmp_path, options, fit):
    """Checkpoints of a run through three epochs of five batches, taken up as after a kill, go on alike."""
    checkpoints = ModelCheckpoint(tmp_path / "checkpoints", "{step}", save_top_k=-1, every_n_train_steps=1)
    whole = run(folder, 12, fit={**fit, "enable_checkpointing": True, "callbacks": [checkpoints]}, **options)
    assert len(whole.trained) == 12
    written = sorted((tmp_path / "checkpoints").iterdir(), key=lambda path: int(path.stem.partition("=")[2]))
    assert len(written) == 12
    stride = 5 if options else 1  # starting workers takes time
    for done, checkpoint in list(enumerate(written[:-1], start=1))[::stride]:
        resumed = run(folder, 12, checkpoint=str(checkpoint), fit=fit, **options)
        assert resumed.trained == whole.trained[done:], checkpoint.name


# --- evaluation


def write_pairs(path: Path, rows: list[tuple[str, str, int]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("distance", "source", "driving", "frame"), *((0, *row) for row in rows)])


def evaluated_batches(folder, **options) -> list[dict]:
    recorder = Recorder()
    trainer().test(recorder, data(folder, **options), verbose=False)
    return recorder.evaluated


def test_reconstruction_of_each_test_clip(folder):
    batches = evaluated_batches(folder, evaluation_frames=4, evaluation_stride=3)
    assert [batch["driving_clip"] for batch in batches] == [["test/x.png"], ["test/y.png"], ["test/z.png"]]
    for number, batch in enumerate(batches):
        expected = numbered_frames(5 + number, FRAMES)[[0, 3, 6, 9]] / 255
        torch.testing.assert_close(batch["driving"][0], expected)
        torch.testing.assert_close(batch["source"][0], expected[:1])
        assert batch["valid"].tolist() == [True]
        assert batch["frame"].tolist() == [[0, 3, 6, 9]]
        assert batch["fps"] == [25.0]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("batch_size", 0, "`batch_size` is 0; it is 1 or more"),
        ("driving_frames", 0, "`driving_frames` is 0"),
        ("stride", -1, "`stride` is -1"),
        ("workers", -1, "`workers` is -1; it is 0 or more"),
        ("evaluation_frames", 0, "`evaluation_frames` is 0"),
        ("size", (64, 0), "`size` is"),
        ("fps", 0.0, "`fps` is 0"),
        ("test_fraction", 2.0, "`test_fraction` is 2"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_at_once(option, value, said):
    with pytest.raises(OptionError, match=re.escape(said)):
        VideoDataModule(**{option: value})


def test_listed_pairs(folder):
    write_pairs(folder / "pairs.csv", [("x.png", "y.png", 2), ("train/id0#0", "z", 0)])
    batches = evaluated_batches(folder, pairs="pairs.csv")
    assert [(*batch["source_clip"], *batch["driving_clip"]) for batch in batches] == [
        ("test/x.png", "test/y.png"),
        ("train/id0#0.png", "test/z.png"),
    ]
    torch.testing.assert_close(batches[0]["source"][0], numbered_frames(5, FRAMES)[[2]] / 255)
    assert batches[0]["source_identity"] == ["x"]
    assert "target" not in batches[0]


def test_listed_pairs_of_generated_people_and_of_parts(tmp_path, folder):
    people = {"train_identities": 1, "val_identities": 0, "test_identities": 2, "clips_per_identity": 1, "frames": 4}
    names = [clip.name for clip in SyntheticPeople(size=(32, 32), **people).clips("test")]
    list_of_pairs = tmp_path / "pairs.csv"
    write_pairs(list_of_pairs, [(names[1], names[0], 3), (names[0], names[0], 0)])
    generated = {"synthetic": people, "size": 32, "pairs": str(list_of_pairs)}
    foreign, own = evaluated_batches(None, **generated)
    assert [*foreign["source_clip"], *foreign["driving_clip"]] == [names[1], names[0]]
    source, driving = (SyntheticPeople(size=(32, 32), **people).find(name) for name in reversed(names))
    truth = SyntheticPeople(size=(32, 32), **people).target(source, driving, range(4)) / 255
    torch.testing.assert_close(foreign["target"][0], truth)
    torch.testing.assert_close(own["source"][0, 0], own["driving"][0, 0])
    drawn = evaluated_batches(None, **generated, surfaces="skeleton")
    torch.testing.assert_close(drawn[0]["driving"], foreign["driving"])
    write_pairs(list_of_pairs, [("train/id0#0.png[0:9]", "train/id1#1.png[9:12]", 2)])
    (later,) = evaluated_batches(folder, later_motion=0.25, evaluation_frames=3, pairs=str(list_of_pairs))
    torch.testing.assert_close(later["source"][0], numbered_frames(0, FRAMES)[[2]] / 255)
    torch.testing.assert_close(later["driving"][0], numbered_frames(1, FRAMES)[9:] / 255)
    write_pairs(list_of_pairs, [("nobody", names[0], 0)])
    with pytest.raises(DataError, match="names 1 clips that can't be used: nobody"):
        evaluated_batches(None, **generated)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("x.png", "y.png", 0), ("x.png", "gone.mp4", 0)], "names 1 clips that can't be used: gone.mp4"),
        ([("../../../../etc/passwd", "y.png", 0)], "etc/passwd"),
        ([("x.png", "y.png", 900)], "asks for frame 900 of test/x.png, which has 12"),
        ([], "lists no pairs"),
    ],
)
def test_wrong_pairs(folder, rows, said):
    write_pairs(folder / "pairs.csv", rows)
    with pytest.raises(DataError, match=said) as caught:
        evaluated_batches(folder, pairs="pairs.csv")
    assert str(caught.value).startswith(str(folder / "pairs.csv"))


def test_a_list_of_pairs_that_is_not_there(folder):
    with pytest.raises(OptionError, match=r"'cross_identiy'.*no list of pairs; give its path, `cross_identity` or"):
        data(folder, pairs="cross_identiy").test_dataloader()


def test_sources_are_apart_from_the_driving_frame_of_a_slowed_clip(folder):
    module = data(folder, fps=75.0, sources_apart=True, source_frames=2, repeats=20)
    for batch in module.train_dataloader():
        for source in batch["source"].unbind(1):
            assert not (source == batch["driving"][:, 0]).flatten(1).all(1).any()
    for batch in data(folder, fps=75.0, sources_apart=True, driving_frames=13).train_dataloader():
        for number in range(13):
            assert not (batch["source"][:, 0] == batch["driving"][:, number]).flatten(1).all(1).any()
    with pytest.raises(DataError, match="training clips are too short"):
        data(folder, fps=75.0, sources_apart=True, driving_frames=33).train_dataloader()


def test_known_subjects(folder):
    rows = [("id0#0.png", "train", 2, 7), ("id0#0.png", "test", 7, 9), ("id1#1.png", "train", 0, 5),
            ("id0#0.png", "test", 9, 12), ("id1#1.png", "test", 5, 12)]  # fmt: skip
    lines = ["video,split,start,end", *(",".join(map(str, row)) for row in rows)]
    (folder / "parts.csv").write_text("\n".join(lines))
    batches = evaluated_batches(folder, split="parts.csv", pairs="known_subject")
    first, second = numbered_frames(0, FRAMES) / 255, numbered_frames(1, FRAMES) / 255
    expected = [(first[[2]], first[7:9]), (first[[2]], first[9:12]), (second[[0]], second[5:12])]
    for batch, (source, truth) in zip(batches, expected, strict=True):
        torch.testing.assert_close(batch["source"][0], source)
        torch.testing.assert_close(batch["driving"][0], truth)
        torch.testing.assert_close(batch["target"][0], truth)
    with pytest.raises(DataError, match=r"recordings that aren't trained on, such as test/x.png; set `later_motion`"):
        evaluated_batches(folder, pairs="known_subject")


def test_two_people_in_one_recording(folder):
    rows = [("anna", "train", 0, 3), ("anna", "test", 3, 6), ("bob", "train", 6, 9), ("bob", "test", 9, 12)]
    lines = ["video,identity,split,start,end", *("id0#0.png," + ",".join(map(str, row)) for row in rows)]
    (folder / "parts.csv").write_text("\n".join(lines))
    frames = numbered_frames(0, FRAMES) / 255
    for batch, first in zip(evaluated_batches(folder, split="parts.csv", pairs="known_subject"), (0, 6), strict=True):
        torch.testing.assert_close(batch["source"][0], frames[[first]])
        torch.testing.assert_close(batch["target"][0], frames[first + 3 : first + 6])
    for batch in evaluated_batches(folder, split="parts.csv", pairs="cross_identity"):
        assert "target" not in batch


def test_predicting(folder):
    recorder = Recorder()
    trainer().predict(recorder, data(folder, pairs="cross_identity"))
    assert [batch["driving_clip"][0] for batch in recorder.evaluated] == ["test/x.png", "test/y.png", "test/z.png"]
    assert all(batch["source_identity"] != batch["driving_identity"] for batch in recorder.evaluated)


# --- generated people


def test_synthetic_people(tmp_path):
    people = {"train_identities": 2, "val_identities": 1, "test_identities": 2, "clips_per_identity": 2, "frames": 4}
    module = VideoDataModule(
        synthetic=people, size=(24, 16), workers=0, batch_size=2, conditions=("pose", "mask"), pairs="cross_identity"
    )
    recorder = Recorder()
    trainer(max_steps=2, max_epochs=-1).fit(recorder, module)
    check_batch(recorder.batch, ("pose", "mask"))
    assert recorder.batch["driving"].shape == (2, 1, 3, 24, 16)
    recorder.evaluated.clear()
    trainer().test(recorder, module, verbose=False)
    assert len(recorder.evaluated) == 4
    for batch in recorder.evaluated:
        check_batch(batch, ("pose", "mask"))
        assert batch["source_identity"] != batch["driving_identity"]
        source = next(clip for clip in module.source.clips("test") if clip.name == batch["source_clip"][0])
        driving = next(clip for clip in module.source.clips("test") if clip.name == batch["driving_clip"][0])
        truth = module.source.target(source, driving, range(4))
        torch.testing.assert_close(batch["target"][0], truth / 255)
        assert batch["target_mask"].shape == (1, 4, 1, 24, 16)
        assert batch["target_pose"].shape == (1, 4, 18, 3)
    assert module.name == "synthetic"


# --- mistakes


def test_an_epoch_has_as_many_samples_as_asked_for(folder):
    module = data(folder, batch_size=2, repeats=1, epoch_samples=13)
    module.setup("fit")
    clips = len(module.source.clips("train"))
    assert clips * (-(-13 // clips)) // 2 == len(module.train_dataloader()) > 5


def test_too_few_samples_for_a_batch(folder):
    with pytest.raises(DataError, match=r"10 samples .* one batch of 16; set `data.epoch_samples` to 16"):
        run(folder, batch_size=16)


def test_pictures_cannot_be_trained_on(tmp_path):
    write_strip(tmp_path / "train" / "a.png", numbered_frames(0, 1))
    write_strip(tmp_path / "test" / "b.png", numbered_frames(0, 5))
    with pytest.raises(
        DataError, match=r"1 training clips are too short; train/a\.png: a training sample needs 2 frames"
    ):
        run(tmp_path)


def test_nothing_to_test_on(tmp_path):
    write_strip(tmp_path / "train" / "a.png", numbered_frames(0, 5))
    write_strip(tmp_path / "test" / "picture.png", numbered_frames(0, 1))
    with pytest.raises(DataError, match="has nothing to test on"):
        evaluated_batches(tmp_path)
    assert "not tested on: test/picture.png" in data(tmp_path).summary()


def test_pose_windows_need_poses():
    with pytest.raises(ValueError, match="declare the condition 'pose'"):
        VideoDataModule(pose_window=2)


def test_a_file_that_breaks_later_is_named(folder):
    module = data(folder)
    module.setup("fit")
    for path in (folder / "train").iterdir():
        path.write_bytes(b"gone")
    with pytest.raises(Exception, match=r"train/id\d#\d\.png"):
        next(iter(module.train_dataloader()))


# --- real data


@pytest.mark.shared
def test_real_clips_and_conditions(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    module = VideoDataModule(
        str(shared / "data/taichi"), size=(96, 64), workers=0, batch_size=2, repeats=2, test_fraction=0.5,
        conditions=("pose", "iuv"), augmentation={"horizontal_flip": True}, pose_window=1,
    )  # fmt: skip
    recorder = Recorder()
    trainer(max_steps=1, limit_val_batches=0).fit(recorder, module)
    check_batch(recorder.batch, ("pose", "iuv"))
    pose, iuv = recorder.batch["driving_pose"], recorder.batch["driving_iuv"]
    # Joints lie on the person, mirrored or not: on or beside a pixel of the surface map.
    body = torch.nn.functional.max_pool2d((iuv[:, 0, :1] > 0).float(), 7, 1, 3)
    on_body = torch.nn.functional.grid_sample(body, pose[:, :1, :, :2].flatten(1, 2)[:, None], align_corners=False)
    there = pose[:, 0, :, 2] > 0
    assert on_body[:, 0, 0][there].mean() > 0.95
    assert flip_pose(flip_pose(pose, BODY_18), BODY_18).equal(pose)
