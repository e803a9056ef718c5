"""The commands and Python of README and method pages, run as they are written, in a folder with the files they name.

Trainings are run for one step, also those of benchmark runs that name their methods; recipes whose data can't be here
are parsed, down to every option. Of the other benchmark runs the jobs are listed; commands that write into the package
are parsed, and `make` says what it would do.
"""

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

import benchmarks.__main__
from benchmarks.schema import read_result
from zoo import methods
from zoo.cli import main
from zoo.data.synthetic import SyntheticPeople, export
from zoo.methods import deep_spatial_transformation, dwnet, first_order_motion_model
from zoo.methods.deep_spatial_transformation import DeepSpatialTransformation, SkeletonDenoiser
from zoo.methods.dwnet import DwNet
from zoo.methods.first_order_motion_model import FirstOrderMotionModel
from zoo.video import VideoWriter, write_image
from zoo.weights import save_weights

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("zoo/methods/*/README.md"))]
PAGES += ["benchmarks/README.md", "configs/data/README.md"]

ONE_STEP = ["--trainer.max_steps", "1", "--trainer.limit_val_batches", "0", "--trainer.accelerator", "cpu"]
ONE_STEP += ["--trainer.enable_progress_bar", "false", "--data.batch_size", "1", "--data.workers", "0"]
FRAMES = 10
"""Of the clips: as few as FVD's network takes."""

NOT_HERE = ("vox-256", "fashion-256", "taichi-256", "market", "published", "--trainer.devices")
"""In commands of which only the configuration is parsed: data or devices that no test machine has."""


def commands(page: str) -> list[list[str]]:
    """The commands of a page's shell blocks as words; what an earlier one said is filled in for `...`."""
    blocks = re.findall(r"^```bash\n(.*?)^```", (ROOT / page).read_text("utf-8"), flags=re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    found: list[list[str]] = []
    for line in lines:
        words = shlex.split(line, comments=True)
        while "&&" in words:
            found.append(words[: words.index("&&")])
            words = words[words.index("&&") + 1 :]
        if words:
            found.append(words)
    return [_filled_in(words, found) for words in found]


def python(page: str) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), flags=re.M | re.S)


def _filled_in(words: list[str], others: list[list[str]]) -> list[str]:
    if "..." not in words:
        return words
    alike = [other for other in others if other[:2] == words[:2] and "..." not in other]
    if ("--config", "...") in pairwise(words):
        config = next(b for other in alike for a, b in pairwise(other) if a == "--config")
        return [config if word == "..." else word for word in words]
    options = dict(zip(alike[0][2::2], alike[0][3::2], strict=True))
    given = {name: value for name, value in options.items() if name not in words}
    return [word for word in words if word != "..."] + [word for pair in given.items() for word in pair]


class Torso(nn.Module):
    """A DensePose model that finds a torso in the middle of every picture."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        height, width = image.shape[-2], image.shape[-1]
        box = torch.tensor([[width / 4, height / 4, 3 * width / 4, 3 * height / 4]])
        coarse, fine = torch.zeros(1, 2, 8, 8), torch.zeros(1, 25, 8, 8)
        coarse[:, 1], fine[:, 2] = 1, 1
        return box, coarse, fine, torch.full((1, 25, 8, 8), 0.5), torch.full((1, 25, 8, 8), 0.5)


OWN_SURFACES = """
import torch
from zoo.conditions.surface import load_surface_estimator
class MySurfaces:
    def __init__(self):
        self.model = load_surface_estimator("densepose.torchscript")
    def __call__(self, frame):
        return self.model(frame)
"""


def official_checkpoints() -> dict[str, dict[str, Any]]:
    """Files in the layouts of the official codes, of published sizes; their weights are random."""
    image = DeepSpatialTransformation()
    return {
        "vox-cpk.pth.tar": first_order_motion_model.official.to_official(FirstOrderMotionModel().state_dict()),
        "fashion_best/latest_net_G.pth": dwnet.official.to_official(DwNet().state_dict())["G"],
        "pose_fashion/latest_net_G.pth": deep_spatial_transformation.official.to_official(image.state_dict())["G"],
        "dance_keypoint/latest_net_G.pth": deep_spatial_transformation.official.to_official_denoiser(
            SkeletonDenoiser().state_dict()
        ),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the pages take for granted: pictures, clips, trained weights, videos of benchmark runs."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "configs").symlink_to(ROOT / "configs")
    people = {"train_identities": 2, "val_identities": 1, "test_identities": 1, "clips_per_identity": 1, "frames": 26}
    export(SyntheticPeople((128, 128), **people), folder / "clips")
    shutil.copytree(folder / "clips", folder / "alice")
    large = SyntheticPeople((480, 480), **people)
    clip, other = large.clips("train")
    write_image(folder / "me.png", large.frames(clip, [0])[0])
    for path, shown in {"dance": other, "somebody_else": clip, "results/a": clip, "test/a": clip}.items():
        with VideoWriter(folder / f"{path}.mp4", Fraction(25)) as writer:
            writer.write(large.frames(shown, range(FRAMES)))
    (folder / "dance_densepose").mkdir()
    surface = torch.zeros(3, 480, 480, dtype=torch.uint8)
    surface[0, 100:300, 200:280], surface[1:, 100:300, 200:280] = 2, 128
    for number in range(FRAMES):
        write_image(folder / f"dance_densepose/frame{number}_IUV.png", surface)
    torch.jit.script(Torso()).save(str(folder / "densepose.torchscript"))
    (folder / "my_package").mkdir()
    (folder / "my_package" / "module.py").write_text(OWN_SURFACES)
    for recipe, path in {
        "first_order_motion_model/tiny": folder / "demo/FirstOrderMotionModel/version_0/weights.safetensors",
        "deep_spatial_transformation/tiny-animation": folder / "animation.safetensors",
    }.items():
        model = yaml.safe_load((ROOT / "configs" / f"{recipe}.yaml").read_text())["model"]
        (method,) = [found for found in methods.discover().values() if found.__name__ == model["class_path"]]
        save_weights(method(**model["init_args"]), path, size="32x32")
    shutil.copy(folder / "demo/FirstOrderMotionModel/version_0/weights.safetensors", folder)
    for path, content in official_checkpoints().items():
        (folder / path).parent.mkdir(exist_ok=True)
        torch.save(content, folder / path)
    with contextlib.chdir(folder):  # it must have seen its dancer
        main(["fit", "--config", "configs/everybody_dance_now/tiny.yaml", *ONE_STEP])
    shutil.move(folder / "runs/EverybodyDanceNow/version_0", folder / "runs/everybody")
    for made_by in ("copy_source", "oracle", "first_order_motion_model--synthetic-64"):
        path = folder / "runs/benchmarks/videos/synthetic-64-reconstruction" / made_by / "clip.mp4"
        path.parent.mkdir(parents=True)
        shutil.copy(folder / "test" / "a.mp4", path)
    for known in folder.glob("clips/*/*/*.npz"):  # `zoo prepare` should make them
        known.unlink()
    return folder


def forget(package: str) -> None:
    """Makes Python import a package anew."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


@pytest.fixture
def here(folder, monkeypatch):
    """Inside the folder, as a user would be."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    forget("my_package")  # another test's
    monkeypatch.setenv("WANDB_MODE", "offline")
    yield folder
    forget("my_package")  # which other tests call theirs


def parse(words: list[str]) -> None:
    """Checks the configuration of a training, every option of it, without starting it."""
    with pytest.raises(SystemExit) as end:
        main([*words, "--print_config"])
    assert end.value.code == 0


def fit(words: list[str]) -> None:
    parse(words)
    if not any(name in " ".join(words) for name in NOT_HERE):
        main([*words, *ONE_STEP])


def fit_stages(words: list[str]) -> None:
    for stage in sorted(Path(words[1]).glob("*.yaml")):
        parse(["fit", "--config", str(stage), *words[2:]])


def prepare(words: list[str]) -> None:
    for made in Path().glob("**/*_iuv.npz"):
        made.unlink()  # what is there is never made again
    main(words)
    assert "--iuv" not in words or list(Path().glob("**/*_iuv.npz"))


def benchmark(words: list[str]) -> None:
    if words[0] in ("illustrate", "sweep"):  # write into the package; tests/benchmarks run them
        assert benchmarks.__main__.parser().parse_args(words).command
        return
    if words[0] != "run":
        benchmarks.__main__.main(words)
    elif "--methods" in words:
        run_one_step(words)
    else:  # all methods take hours: of many parts, the last one is empty
        benchmarks.__main__.main([*words, "--only", "999/999"])


def run_one_step(words: list[str]) -> None:
    """Trains a benchmark's methods for a step, and measures them on all clips."""
    with tempfile.TemporaryDirectory() as folder:
        here = ["--output", f"{folder}/results", "--work", f"{folder}/work"]
        benchmarks.__main__.main([*words, "--steps", "1", *here])
        results = [read_result(path) for path in Path(folder).glob("results/*/*.json")]
    assert len(results) == len(benchmarks.__main__.parser().parse_args(words).methods)
    for result in results:
        assert result["evaluation"]["measured"] == result["evaluation"]["expected"] > 0
        assert result["evaluation"]["skipped"] == {}


def measure(words: list[str]) -> None:
    main([*words, "--trainer.limit_test_batches", "1", "--trainer.accelerator", "cpu"])


ZOO = {"fit": fit, "test": measure, "fit-stages": fit_stages, "prepare": prepare}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_commands_work_as_they_are_written(page, here):
    assert commands(page)
    for words in commands(page):
        print("$", *words)  # pytest shows it where one fails
        match words:
            case ["make", *targets]:
                subprocess.run(["make", "--dry-run", *targets], check=True, capture_output=True, cwd=ROOT)
            case ["zoo", command, *_]:
                ZOO.get(command, main)(words[1:])
            case ["python", "-m", "benchmarks", *rest]:
                benchmark(rest)
            case _:
                assert words == ["source", ".venv/bin/activate"]
    for block in python(page):
        print(block)
        exec(compile(block, page, "exec"), {})


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text("utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (ROOT / page).parent.joinpath(link).exists()] == []
