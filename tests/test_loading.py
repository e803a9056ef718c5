import json
import sys

import pytest
import torch
from lightning.pytorch.core.mixins.hparams_mixin import _given_hyperparameters_context
from safetensors.torch import save_file

from zoo.base import AnimationModule
from zoo.errors import ZooError
from zoo.loading import find_method, find_weights, list_methods, load
from zoo.methods.first_order_motion_model import FirstOrderMotionModel
from zoo.weights import reference, save_weights, trained_on

SMALL = {
    "num_keypoints": 3,
    "detector_width": 4,
    "detector_blocks": 2,
    "generator_width": 4,
    "bottleneck_blocks": 1,
    "motion_width": 4,
    "motion_blocks": 2,
}


@pytest.fixture(scope="module")
def method():
    torch.manual_seed(0)
    return FirstOrderMotionModel(**SMALL).eval()


def same(one, other):
    expected = other.inference_state()
    assert one.inference_state().keys() == expected.keys()
    return all(torch.equal(tensor, expected[name]) for name, tensor in one.inference_state().items())


def test_list_methods():
    assert "first_order_motion_model" in list_methods()


def test_the_file_says_which_method_it_belongs_to(method, tmp_path):
    loaded = load(save_weights(method, tmp_path / "ä ü.safetensors"))
    assert type(loaded) is FirstOrderMotionModel
    assert not loaded.training
    assert same(loaded, method)


def test_others_may_read_weights_as_any_other_file(method, tmp_path):
    (tmp_path / "ordinary").touch()
    written = save_weights(method, tmp_path / "weights.safetensors")
    assert written.stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def write_checkpoint(method, path, **hyper_parameters):
    torch.save({"state_dict": method.state_dict(), "hyper_parameters": {**SMALL, **hyper_parameters}}, path)
    return path


def test_checkpoint_of_the_command_line(method, tmp_path):
    """LightningCLI notes the class beside the constructor's arguments."""
    noted = {"_class_path": "zoo.methods.first_order_motion_model.FirstOrderMotionModel", "_instantiator": "x.y"}
    assert same(load(write_checkpoint(method, tmp_path / "last.ckpt", **noted)), method)


def test_weights_of_the_command_line(method, tmp_path):
    """In a module that LightningCLI built, hparams hold more than constructor arguments."""
    parsed = {**method.hparams, "_class_path": "zoo.methods.first_order_motion_model.FirstOrderMotionModel"}
    with _given_hyperparameters_context(parsed, "lightning.pytorch.cli.instantiate_module"):
        built = FirstOrderMotionModel(**SMALL)
    assert same(load(save_weights(built, tmp_path / "weights.safetensors")), built)


@pytest.mark.parametrize(
    "name",
    [
        "first_order_motion_model",
        "FirstOrderMotionModel",
        "zoo.methods.first_order_motion_model.module.FirstOrderMotionModel",
    ],
)
def test_checkpoint_that_names_no_class(method, tmp_path, name):
    path = write_checkpoint(method, tmp_path / "plain.ckpt")
    with pytest.raises(ZooError, match=r"plain\.ckpt.*`--method`"):
        load(path)
    assert same(load(path, name), method)


def test_weights_that_come_with_the_zoo(method, tmp_path, monkeypatch):
    path = save_weights(method, tmp_path / "first_order_motion_model" / "weights" / "synthetic-64.safetensors")
    monkeypatch.setattr(reference, "METHODS", tmp_path)
    assert find_weights("first_order_motion_model/synthetic-64") == path
    assert same(load("first_order_motion_model/synthetic-64", "FirstOrderMotionModel"), method)
    with pytest.raises(ZooError, match=r"METHOD/TAG.*first_order_motion_model/synthetic-64"):
        load("first_order_motion_model/synthetic-65")


@pytest.mark.parametrize(
    "content", [b"", b"\x20\0\0\0\0\0\0\0{not json at all, but long enough}", b"# weights\n", b"PK\3\4 no archive"]
)
def test_a_file_of_something_else_is_one_line(tmp_path, content):
    path = tmp_path / "wrong.safetensors"
    path.write_bytes(content)
    with pytest.raises(ZooError, match=r"wrong\.safetensors") as caught:
        load(path)
    assert "\n" not in str(caught.value)


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module that must not be imported: it leaves a file behind."""
    (tmp_path / "trap_module.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'sprung')!r}).touch()\nclass FirstOrderMotionModel: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "sprung"
    sys.modules.pop("trap_module", None)


@pytest.mark.parametrize(
    "named", ["trap_module.FirstOrderMotionModel", "trap_module.anything", "os.system", "", "a..b"]
)
def test_what_a_file_names_is_never_imported(method, tmp_path, trap, named):
    safe, checkpoint = tmp_path / "hostile.safetensors", tmp_path / "hostile.ckpt"
    arguments = json.dumps({"command": "touch sprung"})
    save_file(dict(method.inference_state()), safe, {"method": named, "arguments": arguments})
    write_checkpoint(method, checkpoint, _class_path=named, _instantiator=named)
    for path in (safe, checkpoint):
        with pytest.raises(ZooError, match="name the method yourself"):
            load(path)
    assert not trap.exists()
    assert "trap_module" not in sys.modules


def test_a_method_from_outside_is_imported_when_the_user_names_it(tmp_path, monkeypatch):
    (tmp_path / "my_package.py").write_text(
        "from zoo.methods.first_order_motion_model import FirstOrderMotionModel\n"
        "class MyMethod(FirstOrderMotionModel): ...\n"
        "CONSTANT = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    mine = find_method("my_package.MyMethod")
    assert issubclass(mine, AnimationModule)
    path = save_weights(mine(**SMALL), tmp_path / "mine.safetensors")
    with pytest.raises(ZooError, match=r"'my_package\.MyMethod', which is no method of the zoo"):
        load(path)
    assert type(load(path, "my_package.MyMethod")) is mine
    for name in ("my_package.CONSTANT", "my_package.Missing", "json.loads", "no_such_package.MyMethod", "Nothing"):
        with pytest.raises(ZooError, match=name.replace(".", r"\.")):
            find_method(name)


@pytest.mark.parametrize(("noted", "size"), [("64x48", (64, 48)), ("", None), ("large", None)])
def test_trained_size(method, tmp_path, noted, size):
    assert trained_on(save_weights(method, tmp_path / "a.safetensors", size=noted)) == (size, False, False, None, False)


@pytest.mark.parametrize(
    ("said", "stretched", "drawn"),
    [({}, False, False), ({"fit": "stretch"}, True, False), ({"fit": "crop", "surfaces": "skeleton"}, False, True)],
)
def test_weights_and_checkpoints_say_how_pictures_were_fitted(method, tmp_path, said, stretched, drawn):
    weights = save_weights(method, tmp_path / "a.safetensors", size="64x48", **said)
    torch.save({"datamodule_hyper_parameters": {"size": [64, 48], **said}}, tmp_path / "a.ckpt")
    assert trained_on(weights) == trained_on(tmp_path / "a.ckpt") == ((64, 48), stretched, drawn, None, False)


@pytest.mark.parametrize(("name", "path", "synthetic"), [("synthetic", None, True), ("mine", "data/mine", False)])
def test_weights_and_checkpoints_say_whether_people_were_generated(method, tmp_path, name, path, synthetic):
    weights = save_weights(method, tmp_path / "a.safetensors", data=name)
    torch.save({"datamodule_hyper_parameters": {"path": path}}, tmp_path / "a.ckpt")
    for file in (weights, tmp_path / "a.ckpt"):
        assert trained_on(file).knows_drawn_surfaces == trained_on(file).is_synthetic == synthetic


def test_weights_and_checkpoints_say_what_size_the_clips_had(method, tmp_path):
    weights = save_weights(method, tmp_path / "a.safetensors", clips="480x854")
    torch.save({"VideoDataModule": {"clips": (480, 854)}}, tmp_path / "a.ckpt")
    assert trained_on(weights).clips == trained_on(tmp_path / "a.ckpt").clips == (480, 854)


class TakesNothing(AnimationModule):
    def __init__(self) -> None:
        super().__init__()


def test_arguments_of_another_method(method, tmp_path):
    path = save_weights(method, tmp_path / "a.safetensors")
    with pytest.raises(ZooError, match=r"a\.safetensors: holds arguments of another method than TakesNothing"):
        load(path, f"{__name__}.TakesNothing")
