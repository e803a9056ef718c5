"""What every method promises, checked on every `configs/<method>/tiny.yaml` through the real command line and trainer.

A new method is tested by adding its folder and its `tiny.yaml`; a version of a method that animates otherwise, by a
`tiny-animation.yaml` beside it.
"""

import csv
import json
import math
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from command_line import assert_equal_training, newest_state, run_zoo
from lightning import Callback, Trainer, seed_everything

from benchmarks.cost import measure_cost
from zoo import methods
from zoo.adversarial import AdversarialTraining
from zoo.base import MotionOptions, select
from zoo.batch import Batch
from zoo.cli import main
from zoo.data import VideoDataModule
from zoo.weights import load_weights, save_weights

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TINY = sorted([*CONFIGS.glob("*/tiny.yaml"), *CONFIGS.glob("*/tiny-animation.yaml")])
STEPS = 10


def name_of(config):
    """The method's folder, and what tells the version from that of `tiny.yaml`."""
    return config.parent.name + config.stem.removeprefix("tiny")


pytestmark = pytest.mark.parametrize("config", TINY, ids=name_of, scope="module")


def build(config, **data):
    """Method and data module of a tiny config, built without the command line."""
    content = yaml.safe_load(config.read_text())
    (method,) = [m for m in methods.discover().values() if m.__name__ == content["model"]["class_path"]]
    seed_everything(0)
    module = method(**content["model"]["init_args"])
    return module, VideoDataModule(**content["data"] | {"conditions": module.training_conditions} | data)


def trained_by(module):
    """The parameters that each phase trains; those of all networks where there are no phases."""
    if not isinstance(module, AdversarialTraining):
        return {"all": {name for name, parameter in module.named_parameters() if parameter.requires_grad}}
    return {
        phase.name: {n for name in phase.trains for n, _ in module.get_submodule(name).named_parameters(prefix=name)}
        for phase in module.phases
    }


def trainer(folder, **options):
    defaults = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 0,
        "default_root_dir": folder,
    }
    return Trainer(**defaults | options)


@pytest.fixture(scope="module")
def first_batch(config):
    """One evaluation batch as the method receives it: (B = 1, T = 5)."""
    _, data = build(config, evaluation_frames=5)
    data.trainer = trainer(None)
    batch = next(iter(data.val_dataloader()))
    return data.on_after_batch_transfer(batch, 0)


@pytest.fixture(scope="module")
def method(config):
    """The method, trained for one step so that nothing hides behind an initial zero."""
    module, data = build(config)
    trainer(None, max_steps=1).fit(module, data)
    return module.eval()


class TestCommandLine:
    @pytest.fixture(scope="class")
    def run(self, config, tmp_path_factory):
        """The folder in which `zoo fit` ran."""
        folder = tmp_path_factory.mktemp("run")
        main(["fit", "--config", str(config), *self.trainer(folder), "--trainer.max_steps", "4"])
        return folder

    def trainer(self, folder):
        return ["--trainer.default_root_dir", str(folder)]

    def newest(self, run, pattern):
        return max(run.glob(f"*/version_*/{pattern}"), key=lambda path: path.stat().st_mtime)

    def test_fit_writes_losses_checkpoint_and_weights(self, run):
        rows = list(csv.DictReader(self.newest(run, "metrics.csv").open()))
        losses = {key: value for row in rows for key, value in row.items() if key.startswith("train/") and value}
        assert losses
        assert all(math.isfinite(float(value)) for value in losses.values())
        assert self.newest(run, "checkpoints/last.ckpt").is_file()

    def test_validate_and_test_report_every_clip(self, config, run):
        main(["validate", "--config", str(config), *self.trainer(run), "--ckpt_path", "last"])
        main(["test", "--config", str(config), *self.trainer(run), "--ckpt_path", "last"])
        result = json.loads(self.newest(run, "test.json").read_text())
        _, data = build(config)
        assert len(result["per_clip"]) == result["clips"] == len(data.source.clips("test"))
        assert 0 < result["totals"]["l1"] < 1

    def test_predict_writes_videos(self, config, run):
        main(["predict", "--config", str(config), *self.trainer(run), "--ckpt_path", "last"])
        _, data = build(config)
        written = list(run.glob("*/version_*/predictions/*.mp4"))
        assert len(written) == len(data.source.clips("test"))

    def test_checkpoint_loads_without_unpickling_objects(self, run):
        torch.load(self.newest(run, "checkpoints/last.ckpt"), weights_only=True)


class TestAnimation:
    def test_frames_are_pictures(self, method, first_batch):
        frames = method.animate(first_batch)
        assert frames.shape == first_batch["driving"].shape
        assert frames.dtype == torch.float32
        assert frames.isfinite().all()
        assert frames.min() >= 0
        assert frames.max() <= 1

    def test_deterministic(self, method, first_batch):
        assert torch.equal(method.animate(first_batch), method.animate(first_batch))

    @pytest.mark.parametrize("frames", [1, 5])
    def test_any_length(self, method, first_batch, frames):
        short = _cut(first_batch, frames)
        assert method.animate(short).shape[1] == frames

    @pytest.mark.parametrize("chunk", [1, 2, 3])
    def test_chunked_equals_whole(self, method, first_batch, chunk):
        for options in _known_options(method):
            whole = method.animate(first_batch, options, chunk=5)
            torch.testing.assert_close(method.animate(first_batch, options, chunk=chunk), whole, atol=1e-5, rtol=0)

    def test_source_is_encoded_once(self, method, first_batch):
        calls = []
        encode = method.encode
        method.encode = lambda *arguments: calls.append(1) or encode(*arguments)
        try:
            method.animate(first_batch, chunk=1)
        finally:
            del method.encode
        assert len(calls) == 1

    def test_its_cost_can_be_measured(self, method, first_batch):
        cost = measure_cost(method, first_batch, torch.device("cpu"))
        assert cost["frames_per_second"] > 0
        kept = method.inference_state()
        assert 0 < cost["parameters"] <= sum(tensor.numel() for tensor in kept.values())

    def test_copies_in_a_batch_equal_a_single(self, method, first_batch):
        tensors = {key: value for key, value in first_batch.items() if isinstance(value, torch.Tensor)}
        copies = Batch(**{key: torch.cat([value] * 3) for key, value in tensors.items()})
        single = method.animate(first_batch)
        torch.testing.assert_close(method.animate(copies), single.expand(3, -1, -1, -1, -1), atol=1e-5, rtol=0)

    def test_non_square(self, config, method):
        side = method.size_multiple
        height = max(32, side)
        module_data = build(config, size=(height, height + max(16, side)), evaluation_frames=2)[1]
        module_data.trainer = trainer(None)
        batch = module_data.on_after_batch_transfer(next(iter(module_data.val_dataloader())), 0)
        assert method.animate(batch).shape == batch["driving"].shape

    def test_bfloat16(self, method, first_batch):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            frames = method.animate(_cut(first_batch, 2))
        assert frames.isfinite().all()

    def test_weights_file_gives_equal_output(self, method, first_batch, tmp_path):
        loaded = load_weights(save_weights(method, tmp_path / "weights.safetensors"), type(method))
        assert torch.equal(loaded.animate(first_batch), method.animate(first_batch))


class TestTraining:
    def test_each_phase_reaches_its_networks_and_no_other(self, config):
        module, data = build(config)
        watch = _GradientWatch()
        trainer(None, max_steps=2, callbacks=[watch]).fit(module, data)
        assert watch.seen == trained_by(module)

    def test_global_step_counts_batches(self, config):
        module, data = build(config)
        counter = _BatchCounter()
        fitted = trainer(None, max_steps=3, callbacks=[counter])
        fitted.fit(module, data)
        assert fitted.global_step == counter.batches == 3

    def test_reconstruction_falls_on_one_overfitted_clip(self, config):
        module, data = build(config, augmentation={}, repeats=60, batch_size=2)
        losses = _Distances()
        trainer(None, max_steps=50, overfit_batches=1, callbacks=[losses]).fit(module, data)
        start, end = sum(losses.values[:5]), sum(losses.values[-5:])
        assert end < 0.85 * start

    @pytest.mark.parametrize("batch_size", [1, 2, 3])
    def test_any_batch_size(self, config, batch_size):
        module, data = build(config, batch_size=batch_size)
        fitted = trainer(None, max_steps=1)
        fitted.fit(module, data)
        assert all(value.isfinite() for value in fitted.callback_metrics.values())

    def test_bfloat16(self, config):
        module, data = build(config)
        fitted = trainer(None, max_steps=2, precision="bf16-mixed")
        fitted.fit(module, data)
        assert all(p.isfinite().all() for p in module.parameters())

    @pytest.mark.slow
    def test_two_processes(self, config, tmp_path):
        """Two-process DDP through the command line: replicas stay equal, and each test clip counts once."""
        command = ["--config", str(config), "--trainer.default_root_dir", str(tmp_path), "--trainer.devices", "2"]
        run_zoo("fit", *command, "--trainer.max_steps", "3")
        run_zoo("test", *command, "--ckpt_path", "last", "--trainer.strategy", "ddp")
        (result,) = tmp_path.glob("*/version_*/test.json")
        content = json.loads(result.read_text())
        _, data = build(config)
        assert content["processes"] == 2
        names = [row["clip"] for row in content["per_clip"]]
        assert sorted(names) == sorted(clip.name for clip in data.source.clips("test"))

    @pytest.mark.slow
    def test_killed_and_resumed_equals_uninterrupted(self, config, tmp_path):
        """A run that SIGKILL ended in the middle of an epoch ends with the same weights and losses, bit for bit."""
        whole, broken = tmp_path / "whole", tmp_path / "broken"
        command = ["--config", str(config), "--checkpoint.every_n_train_steps", "3"]
        run_zoo("fit", *command, "--trainer.default_root_dir", str(whole), "--trainer.max_steps", str(STEPS))
        process = run_zoo("fit", *command, "--trainer.default_root_dir", str(broken), "--trainer.max_steps", "100000",
                       "--trainer.max_epochs", "100000", "--trainer.limit_val_batches", "0", wait=False)  # fmt: skip
        _wait_for_checkpoint(broken, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        resumed_at = newest_state(broken)["global_step"]
        steps = resumed_at + STEPS
        run_zoo("fit", *command, "--trainer.default_root_dir", str(broken), "--trainer.max_steps", str(steps),
             "--trainer.max_epochs", "100000", "--ckpt_path", "last")  # fmt: skip
        run_zoo("fit", *command, "--trainer.default_root_dir", str(whole), "--trainer.max_steps", str(steps),
             "--trainer.max_epochs", "100000")  # fmt: skip
        ours, expected = newest_state(broken), newest_state(whole)
        assert ours["global_step"] == expected["global_step"] == steps
        assert_equal_training(ours, expected)
        assert _losses(broken, after=resumed_at) == _losses(whole, after=resumed_at)


class _GradientWatch(Callback):
    """Which parameters have a gradient that isn't zero everywhere when a phase's optimiser steps."""

    def __init__(self):
        self.seen, self.after = {}, {}

    def on_before_optimizer_step(self, trainer, module, optimizer):
        index = [o is optimizer for o in trainer.optimizers].index(True)
        reached = {n for n, p in module.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
        stale = {n for n, p in module.named_parameters() if id(p) not in mine}
        name = list(trained_by(module))[index]
        # gradients of another phase's networks may remain from that phase, but this phase must not have changed them
        self.seen.setdefault(name, set()).update(reached - stale)
        current = {n: p.grad.clone() for n, p in module.named_parameters() if n in stale and p.grad is not None}
        assert all(torch.equal(current[n], self.after[n]) for n in current if n in self.after)
        self.after = {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


class _BatchCounter(Callback):
    def __init__(self):
        self.batches = 0

    def on_train_batch_end(self, *_):
        self.batches += 1


class _Distances(Callback):
    """Distance between prediction and truth on the training batch itself."""

    def __init__(self):
        self.values = []

    @torch.no_grad()
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        module.eval()
        self.values.append((module.animate(batch) - batch["driving"]).abs().mean().item())
        module.train()


def _cut(batch, frames):
    tensors = {key: value for key, value in batch.items() if isinstance(value, torch.Tensor)}
    driving = select(batch, "driving")
    return Batch(**tensors | {key: value[:, :frames] for key, value in driving.items()})


def _known_options(method):
    yield MotionOptions()
    for name in sorted(method.motion_options - {"relative"}):
        yield MotionOptions(**{name: True}, motion="relative" if "relative" in method.motion_options else "absolute")


def _wait_for_checkpoint(folder, process):
    while not list(folder.glob("*/*/checkpoints/last.ckpt")):
        assert process.poll() is None, process.stdout.read().decode()[-3000:]
        time.sleep(0.2)


def _losses(folder, after):
    newest = max(folder.glob("*/*/metrics.csv"), key=lambda path: path.stat().st_mtime)
    rows = [row for row in csv.DictReader(newest.open()) if row.get("train/generator/perceptual")]
    return [
        {key: value for key, value in row.items() if key.startswith("train/")}
        for row in rows
        if int(row["step"]) >= after
    ]
