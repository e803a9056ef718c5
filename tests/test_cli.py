"""The command line as a user meets it."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

import zoo
from zoo.animation import animate
from zoo.cli import FUNCTIONS, LIGHTNING_COMMANDS, main, spell_out
from zoo.errors import FileError
from zoo.folders import find_recipe
from zoo.preparation import prepare
from zoo.training import check_newest, latest_checkpoint
from zoo.video import iter_frames
from zoo.weights import trained_on


def zoo_command(*arguments):
    return subprocess.run([sys.executable, "-m", "zoo", *arguments], capture_output=True, text=True, check=False)


def test_help_names_every_command_without_importing_torch():
    script = (
        "import sys; from zoo.cli import main; main(['--help']); main(['--version']); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in done.stdout for name in [*LIGHTNING_COMMANDS, *FUNCTIONS])
    assert zoo.__version__ in done.stdout


def test_a_misspelt_command_gets_one_line_with_the_right_spelling():
    done = zoo_command("animat")
    assert done.returncode == 1
    assert done.stderr.strip() == "zoo animat: there is no such command; did you mean 'animate'?"


def test_memory_that_runs_out_gets_one_line(tmp_path):
    """No machine has the 600 terabytes that a frame of ten million pixels a side takes."""
    Image.new("RGB", (128, 64)).save(tmp_path / "strip.png")
    files = ["--source", tmp_path / "strip.png", "--driving", tmp_path / "strip.png", "--output", tmp_path / "out.mp4"]
    weights = "first_order_motion_model/synthetic-64"
    with pytest.raises(SystemExit, match=r"^zoo animate: memory ran out .*; smaller pictures need less: --size"):
        main(["animate", "--weights", weights, "--size", "10000000", *map(str, files)])
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("value", ["true", "True", "FALSE"])
def test_a_switch_takes_a_truth_value_as_yaml_and_python_spell_it(value):
    assert spell_out(["a.mp4", "--pose", value], prepare) == ["--videos=a.mp4", "--pose", value]
    assert spell_out(["--best-frame", value], animate) == ["--best_frame", value]


def test_videos_may_stand_before_between_and_behind_switches():
    expected = ['--videos=["a.mp4", "b.mp4"]', "--pose=true", "--iuv=true"]
    for words in ("a.mp4 b.mp4 --pose --iuv", "a.mp4 --pose b.mp4 --iuv", "--pose a.mp4 --iuv b.mp4"):
        assert spell_out(words.split(), prepare) == expected


def test_no_crop_may_be_asked_for():
    assert spell_out(["--crop", "null", "-h"], animate) == ["--crop", "null", "-h"]
    assert spell_out(["--crop", "1", "2", "30", "40", "-h"], animate) == ["--crop=[1, 2, 30, 40]", "-h"]


def test_a_name_that_is_not_utf8_is_printed_as_it_is(tmp_path):
    os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9.mp4")  # a folder of no frames
    command = [sys.executable, "-m", "zoo", "prepare", str(tmp_path), "--pose"]
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}  # as in most languages' terminals
    done = subprocess.run(command, capture_output=True, env=strict, check=False)
    assert b"/caf\xe9.mp4: " in done.stdout
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["--clips", "--steps"])
def test_a_demo_of_nothing_is_refused_before_it_trains(option, tmp_path):
    with pytest.raises(SystemExit, match=f"zoo demo: {option} is 0; it is 1 or more"):
        main(["demo", "--output", str(tmp_path / "demo"), option, "0"])
    assert not (tmp_path / "demo").exists()


def test_a_misspelt_method_gets_one_line_with_the_right_spelling():
    done = zoo_command("fit", "--model", "FirstOrderMotionModl")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "there is no method 'FirstOrderMotionModl'; did you mean 'FirstOrderMotionModel'?" in line


def test_options_of_another_methods_recipe_are_not_dropped_in_silence(caplog):
    recipe = str(find_recipe("first_order_motion_model", "tiny"))
    nothing = ["--data.path", "nowhere", "--trainer.logger", "false"]
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit, match="nowhere"):
        main(["fit", "--config", recipe, "--model", "DwNet", *nothing])
    assert f"{recipe} is a recipe of FirstOrderMotionModel; its options that DwNet doesn't know" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit, match="nowhere"):
        main(["fit", "--config", recipe, *nothing])
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit, match="nowhere"):
        main(["fit", "--config", "model: FirstOrderMotionModel", *nothing])  # what is no file has no name either
    assert "is a recipe of" not in caplog.text


@pytest.mark.parametrize(
    "command", [["animate"], ["prepare"], ["score"], ["demo"], ["weights", "install"], ["weights", "list"]]
)
def test_functions_explain_themselves(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 3


def test_an_empty_data_folder_is_explained_in_one_line(tmp_path):
    done = zoo_command(
        "fit", "--model", "FirstOrderMotionModel", "--data.path", str(tmp_path), "--trainer.logger", "false"
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(tmp_path) in done.stderr.splitlines()[-1]


def test_the_newest_run_is_the_last(tmp_path):
    with pytest.raises(FileError, match="zoo fit"):
        latest_checkpoint(tmp_path)
    for version in ("version_0", "version_1"):
        (tmp_path / version / "checkpoints").mkdir(parents=True)
        (tmp_path / version / "checkpoints" / "last.ckpt").touch()
    assert latest_checkpoint(tmp_path).parts[-3] == "version_1"


def test_of_two_trainings_side_by_side_that_which_saved_last_is_the_last(tmp_path):
    for moment, version in enumerate(("version_0", "version_1")):  # one began after the other, but saved before it
        checkpoint = tmp_path / version / "checkpoints" / "last.ckpt"
        checkpoint.parent.mkdir(parents=True)
        for path, time in {checkpoint: 10 - moment, tmp_path / version / "config.yaml": moment}.items():
            path.write_text("ckpt_path: null\n")
            os.utime(path, (time, time))
    check_newest(tmp_path, str(latest_checkpoint(tmp_path)))
    assert latest_checkpoint(tmp_path).parts[-3] == "version_0"
    (tmp_path / "version_1" / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(FileError, match="version_1: is the newest run, but has no checkpoint"):
        check_newest(tmp_path, str(latest_checkpoint(tmp_path)))


@pytest.mark.slow
def test_last_goes_on_with_no_run_but_the_newest(tmp_path):
    tiny = ["--config", str(find_recipe("first_order_motion_model", "tiny"))]
    options = ["--trainer.default_root_dir", str(tmp_path), "--trainer.limit_val_batches", "0"]
    main(["fit", *tiny, *options, "--trainer.max_steps", "1"])
    main(["fit", *tiny, *options, "--trainer.max_steps", "1", "--trainer.enable_checkpointing", "false"])  # none yet
    with pytest.raises(SystemExit, match=r"version_1: is the newest run, but has no checkpoint.*version_0/checkpoints"):
        main(["fit", *tiny, *options, "--trainer.max_steps", "2", "--ckpt_path", "last"])
    checkpoint = str(tmp_path / "FirstOrderMotionModel" / "version_0" / "checkpoints" / "last.ckpt")
    main(["fit", *tiny, *options, "--trainer.max_steps", "2", "--ckpt_path", checkpoint])
    main(["test", *tiny, *options[:2], "--ckpt_path", "last", "--evaluator.metrics", "[l1]"])
    main(["fit", *tiny, *options, "--trainer.max_steps", "3", "--ckpt_path", "last"])  # a test is no training
    newest = tmp_path / "FirstOrderMotionModel" / "version_4"
    (newest / "weights.safetensors").unlink()
    (newest / "checkpoints" / "last.ckpt").unlink()  # killed before its first one: it had gone on from version_2's
    (tmp_path / "FirstOrderMotionModel" / "version_3" / "config.yaml").write_text("")
    main(["fit", *tiny, *options, "--trainer.max_steps", "3", "--ckpt_path", "last"])
    other = ["--config", str(find_recipe("dwnet", "tiny"))]
    with pytest.raises(SystemExit, match=r"is of FirstOrderMotionModel, but DwNet is configured"):
        main(["test", *other, *options[:2], "--ckpt_path", checkpoint])


def test_methods_are_listed():
    assert "first_order_motion_model" in zoo.list_methods()


def test_a_method_from_outside_the_package(tmp_path):
    """A dotted class path of any importable module is a method; nothing is registered."""
    (tmp_path / "outside.py").write_text(
        "from zoo.methods.first_order_motion_model import FirstOrderMotionModel\n\n\n"
        "class MyMethod(FirstOrderMotionModel):\n"
        '    """Mine."""\n'
    )
    tiny = str(find_recipe("first_order_motion_model", "tiny"))
    done = subprocess.run(
        [sys.executable, "-m", "zoo", "fit", "--config", tiny, "--model", "outside.MyMethod", "--print_config"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{tmp_path}:.", "PATH": ""},
    )
    assert "class_path: outside.MyMethod" in done.stdout, done.stderr[-2000:]


def test_a_size_that_the_method_cannot_take_is_explained_before_training(tmp_path):
    tiny = str(find_recipe("first_order_motion_model", "tiny"))
    done = zoo_command("fit", "--config", tiny, "--data.size", "40", "--trainer.default_root_dir", str(tmp_path))
    assert done.returncode == 1
    assert "multiples of 16, not 40 x 40" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "recipe", sorted(Path("configs").glob("*_*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_every_recipe_is_understood(recipe, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(recipe), "--print_config"])
    assert stop.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    written = yaml.safe_load(recipe.read_text())
    for name, value in written["model"].get("init_args", {}).items():
        if not isinstance(value, dict):
            assert printed["model"]["init_args"][name] == value, name
    for name, value in written["data"].items():
        if not isinstance(value, dict):
            assert printed["data"][name] == value, name


@pytest.mark.parametrize("switch", ["enable_progress_bar", "enable_checkpointing"])
def test_what_the_trainer_is_asked_not_to_do_is_left_out(switch, tmp_path):
    tiny = str(find_recipe("first_order_motion_model", "tiny"))
    options = ["--trainer.max_steps", "1", "--trainer.limit_val_batches", "0", f"--trainer.{switch}", "false"]
    main(["fit", "--config", tiny, "--trainer.default_root_dir", str(tmp_path), *options])
    checkpoints = list(tmp_path.rglob("*.ckpt"))
    assert bool(checkpoints) == (switch != "enable_checkpointing")
    for written in [*checkpoints, *tmp_path.rglob("weights.safetensors")]:  # what size clips had is said of both
        assert trained_on(written).clips == trained_on(written).size == (32, 32)


@pytest.mark.slow
def test_the_demo_goes_on_where_it_was_interrupted(tmp_path):
    recipe = ["--config", str(find_recipe("first_order_motion_model", "synthetic-64"))]
    options = [
        "--trainer.default_root_dir",
        str(tmp_path),
        "--trainer.max_steps",
        "1",
        "--trainer.limit_val_batches",
        "0",
    ]
    assert zoo_command("fit", *recipe, *options).returncode == 0
    run = tmp_path / "FirstOrderMotionModel" / "version_0"
    (run / "weights.safetensors").unlink()  # a run that was killed leaves its checkpoint alone
    done = zoo_command("demo", "--output", str(tmp_path), "--steps", "2", "--clips", "1")
    assert done.returncode == 0, done.stderr
    printed = done.stdout + done.stderr
    assert f"Restored all states from the checkpoint at {run / 'checkpoints' / 'last.ckpt'}" in printed
    assert printed.count("every clip: ") == 2  # as their own driver, and driven by somebody else
    assert sum(1 for _ in iter_frames(tmp_path / "animation.mp4")) == 48
    trained = run.parent / "version_1" / "weights.safetensors"
    for _ in range(2):
        again = zoo_command("demo", "--output", str(tmp_path), "--steps", "2", "--clips", "1")
        assert f"trained before: {trained.parent}" in again.stdout
        assert f"zoo animate --weights {trained}" in again.stdout
    assert list(run.parent.glob("*/weights.safetensors")) == [trained]


@pytest.mark.slow
def test_training_and_testing_print_what_the_user_needs_and_no_more(tmp_path):
    """One table of results, not Lightning's beside ours, and no warning that asks for nothing."""
    tiny = ["--config", str(find_recipe("first_order_motion_model", "tiny")), "--trainer.default_root_dir", tmp_path]
    done = [
        zoo_command("fit", *map(str, tiny), "--trainer.max_epochs=-1", "--trainer.max_steps=2"),
        zoo_command("test", *map(str, tiny), "--ckpt_path", "last", "--evaluator.metrics", "[l1]"),
    ]
    printed = [run.stdout + run.stderr for run in done]
    assert [run.returncode for run in done] == [0, 0], printed
    assert "weights for `zoo animate --weights`" in printed[0]
    assert "every clip: " in printed[1]
    for text in printed:
        for noise in ("DataLoader 0", "LeafSpec", "saved_models", "dirpath has changed", "/-2"):
            assert noise not in text
