"""`zoo fit-stages`: a folder of configs in order, resumed by repeating the command."""

from pathlib import Path

import pytest
import torch

from zoo import stages
from zoo.errors import ZooError

TINY = Path(__file__).resolve().parents[1] / "configs" / "everybody_dance_now" / "tiny-stages"
NAMES = ["1-global-32", "2-local-64", "3-face-64"]


def fit(folder, root, *options):
    stages.run([str(folder), "--trainer.default_root_dir", str(root), *options])


def newest(root, name):
    return stages.read_stages(TINY, root)[name].checkpoint


@pytest.mark.slow
def test_stages_run_in_order_and_resume(tmp_path, capfd):
    fit(TINY, tmp_path, "--seed_everything", "3")
    printed = capfd.readouterr().out
    assert [line for line in printed.splitlines() if line.endswith(": started")] == [f"{n}: started" for n in NAMES]
    contents = {name: torch.load(newest(tmp_path, name), weights_only=True) for name in NAMES}
    for name, before in zip(NAMES[1:], NAMES, strict=False):
        assert contents[name]["hyper_parameters"]["init_from"] == str(newest(tmp_path, before))
    body = {key: tensor for key, tensor in contents[NAMES[1]]["state_dict"].items() if key.startswith("generator.")}
    assert all(torch.equal(contents[NAMES[2]]["state_dict"][key], tensor) for key, tensor in body.items())

    stages.read_stages(TINY, tmp_path)[NAMES[2]].weights.unlink()  # as if the last stage had been interrupted
    interrupted = newest(tmp_path, NAMES[2])
    fit(TINY, tmp_path, "--trainer.max_epochs", "2")
    printed = capfd.readouterr().out
    assert [f"{name}: finished" in printed for name in NAMES] == [True, True, False]
    assert f"{NAMES[2]}: resumed from {interrupted}" in printed
    steps = contents[NAMES[2]]["global_step"]
    assert torch.load(newest(tmp_path, NAMES[2]), weights_only=True)["global_step"] == 2 * steps


def test_a_stage_that_fails_ends_the_command(tmp_path):
    (tmp_path / "1.yaml").write_text("model: {class_path: NoSuchMethod}")
    with pytest.raises(ZooError, match="1 failed"):
        fit(tmp_path, tmp_path / "runs")


def test_a_start_that_was_never_trained_is_named(tmp_path):
    (tmp_path / "1.yaml").write_text("model: {class_path: M, init_args: {init_from: '2'}}")
    (tmp_path / "2.yaml").write_text("model: {class_path: M}")
    with pytest.raises(ZooError, match="1 starts from 2, which has no checkpoint"):
        fit(tmp_path, tmp_path / "runs")


@pytest.mark.parametrize(
    "content", ["- a list", "model: {}", "data: {size: 3}", "model: {", "model: {class_path: 3}", "model: é"]
)
def test_files_that_are_no_configs_are_named(tmp_path, content):
    (tmp_path / "1.yaml").write_text(content, "latin-1")
    with pytest.raises(ZooError, match=r"1\.yaml: names no method"):
        fit(tmp_path, tmp_path / "runs")


def test_a_stage_may_leave_all_options_at_their_defaults(tmp_path):
    (tmp_path / "1.yaml").write_text("model:\n  class_path: Method\n  init_args:\n")
    assert stages.read_stages(tmp_path, tmp_path)["1"].init_from is None


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(ZooError, match="holds no configs"):
        fit(tmp_path, tmp_path / "runs")
