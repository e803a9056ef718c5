import inspect
import re
from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser

from zoo.data import DataError, VideoDataModule
from zoo.preparation import prepare

FOLDER = Path(__file__).parents[1] / "configs" / "data"
CONFIGS = sorted(FOLDER.glob("*.yaml"))
PAGE = (FOLDER / "README.md").read_text("utf-8")
HEADINGS = {"vox": "## VoxCeleb", "taichi": "## Tai-Chi-HD", "fashion": "## UBC Fashion"}


def data_module(*configs: Path) -> VideoDataModule:
    parser = ArgumentParser()
    parser.add_class_arguments(VideoDataModule, "data")
    parser.add_argument("--config", action="config")
    options = parser.parse_args([f"--config={path}" for path in configs])
    return VideoDataModule(**options.data.as_dict())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_key_is_an_option_and_explained(path):
    options = yaml.safe_load(path.read_text())["data"]
    data = data_module(path)
    assert data.path == options["path"]
    for line in path.read_text().splitlines():
        assert line.startswith("#") or line in ("data:", "  synthetic:") or "  # " in line, line


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_page_knows_every_config(path):
    assert f"`{path.name}`" in PAGE


def test_a_data_config_changes_nothing_else_of_a_recipe(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data:\n  batch_size: 3\n  repeats: 75\n  augmentation:\n    horizontal_flip: true\n")
    data = data_module(recipe, FOLDER / "vox-256.yaml")
    assert (data.batch_size, data.repeats, data.augmentation["horizontal_flip"]) == (3, 75, True)
    assert (data.path, data.size, data.by_identity) == ("data/vox", (256, 256), True)


def test_the_synthetic_config_is_the_default():
    data, default = data_module(FOLDER / "synthetic.yaml"), VideoDataModule()
    assert data.source.clips("test") == default.source.clips("test")
    assert len(data.source.clips("train")) == len(default.source.clips("train"))


@pytest.mark.parametrize("name", HEADINGS)
def test_a_missing_dataset_says_how_to_get_it(tmp_path, name):
    data = VideoDataModule(path=str(tmp_path / name))
    with pytest.raises(DataError) as caught:
        data.prepare_data()
    steps = str(caught.value)
    assert HEADINGS[name] in steps
    assert "zoo prepare " in steps
    assert f"--output data/{name} " in steps
    assert all(other not in steps for key, other in HEADINGS.items() if key != name)


def test_another_missing_folder_gives_one_line(tmp_path):
    with pytest.raises(DataError, match=r"mine: is not a folder; give the folder that holds the clips$"):
        VideoDataModule(path=str(tmp_path / "mine")).prepare_data()


def test_the_commands_of_the_page_are_understood():
    commands = re.findall(r"zoo prepare (--[^`\n]+)", PAGE)
    assert len(commands) == 4
    for command in commands:
        parser = ArgumentParser()
        parser.add_function_arguments(prepare)
        options = parser.parse_args(command.split())
        assert inspect.signature(prepare).bind(**options.as_dict())
