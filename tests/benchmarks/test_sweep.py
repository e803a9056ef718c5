import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
import tiny_protocol
import torch

import zoo
from benchmarks.ablations.sweep import (
    AXES,
    DRIVER_SIZE,
    OWN_SOURCES,
    POSE_NOISE,
    SOURCES,
    pictures,
    read_sweep,
    sweep,
    table,
    with_sweeps,
    write,
)
from benchmarks.evaluation import evaluate, open_data
from benchmarks.measures import build_measures
from benchmarks.metadata import RESULTS
from benchmarks.protocol import find_suite
from zoo.errors import FileError, OptionError
from zoo.methods.deep_spatial_transformation import SkeletonDenoiser
from zoo.report import sha256_of
from zoo.weights import load_weights, save_weights
from zoo.weights.reference import METHODS

COMMITTED = [path for axis in AXES for path in sorted(RESULTS.glob(f"{axis}-*.json"))]
POSED, RETRIEVING = "deep_spatial_transformation/synthetic-64", "pose_attentive_reassembling/synthetic-64"


@pytest.fixture
def protocol(tmp_path):
    data = {"size": 64, "evaluation_frames": 2, "pairs": "cross_identity"}
    return str(tiny_protocol.write(tmp_path, metrics=["l1"], data=data))


def plainly_measured(protocol, weights, **options):
    """The mean L1 without any sweep."""
    (protocol,) = find_suite(protocol).protocols
    measures, method = build_measures(protocol.content), zoo.load(weights)
    data = open_data(protocol, None, method, measures, options)
    return evaluate(protocol, method.test_step, data, measures, torch.device("cpu"))[0]["totals"]["l1"]


def test_sources_are_as_many_as_the_value_says(protocol):
    found = sweep(replace(SOURCES, protocol=protocol, metrics=("l1",), values=(1, 4)), RETRIEVING)
    expected = [plainly_measured(protocol, RETRIEVING, source_frames=count) for count in (1, 4)]
    figures = found["series"]["all sources"]["l1"]
    assert [figure["value"] for figure in figures] == pytest.approx(expected)
    assert expected[0] != pytest.approx(expected[1], rel=1e-3)
    assert all(figure["low"] < figure["value"] < figure["high"] for figure in figures)
    assert found["clips"] == 4
    of_one, of_four = (figure["value"] for figure in found["series"]["background of the first source"]["l1"])
    assert of_one == pytest.approx(expected[0])  # the mean of one is the first
    assert of_four != pytest.approx(expected[1], rel=1e-3)


def test_own_sources_are_of_the_clip_itself_and_a_single_clip_is_refused(tmp_path):
    data = {"size": 64, "evaluation_frames": 2}
    protocol = str(tiny_protocol.write(tmp_path, metrics=["l1"], data=data))
    found = sweep(replace(OWN_SOURCES, protocol=protocol, metrics=("l1",), values=(2,)), RETRIEVING)
    (figure,) = found["series"]["all sources"]["l1"]
    assert figure["value"] == pytest.approx(plainly_measured(protocol, RETRIEVING, source_frames=2))
    alone = tiny_protocol.CONTENT["data"]["synthetic"] | {"test_identities": 1, "clips_per_identity": 1}
    protocol = str(tiny_protocol.write(tmp_path, metrics=["l1"], data=data | {"synthetic": alone}))
    with pytest.raises(OptionError, match=r"l1 of all sources can't be measured.*two clips"):
        sweep(replace(OWN_SOURCES, protocol=protocol, metrics=("l1",), values=(1,)), RETRIEVING)


def test_noise_reaches_the_method_and_not_the_truth(protocol, tmp_path):
    denoiser = save_weights(SkeletonDenoiser("body_18", channels=8).eval(), tmp_path / "denoiser.safetensors")
    found = sweep(replace(POSE_NOISE, protocol=protocol, metrics=("l1",), values=(0, 0.3)), POSED, denoiser)
    assert found["sha256"] == sha256_of(zoo.load(POSED).inference_state())
    assert found["denoiser_sha256"] == sha256_of(load_weights(denoiser, SkeletonDenoiser).inference_state())
    plain, noisy = (figure["value"] for figure in found["series"]["poses as they are"]["l1"])
    assert plain == pytest.approx(plainly_measured(protocol, POSED))
    assert noisy > plain * 1.01
    assert found["series"]["poses denoised"]["l1"][0]["value"] != pytest.approx(plain, rel=1e-3)
    for axis in (POSE_NOISE, SOURCES, OWN_SOURCES):
        with pytest.raises(OptionError, match=r"FirstOrderMotionModel (isn't driven by poses|looks at one source)"):
            sweep(replace(axis, protocol=protocol, metrics=("l1",)), "first_order_motion_model/synthetic-64")


def test_another_driver_is_another_pose_and_not_another_truth(protocol):
    """Drivers of the subject's size are the driving poses themselves."""
    found = sweep(replace(DRIVER_SIZE, protocol=protocol, metrics=("l1",), values=(1, 0.5)), POSED)
    plain, smaller = (figure["value"] for figure in found["series"]["poses as they are"]["l1"])
    assert plain == pytest.approx(plainly_measured(protocol, POSED))
    assert smaller > plain * 1.01
    with pytest.raises(OptionError, match="doesn't fit driving poses"):
        sweep(replace(DRIVER_SIZE, protocol=protocol, metrics=("l1",)), RETRIEVING)


def test_pose_normalisation_undoes_a_part_of_another_size():
    found = sweep(replace(DRIVER_SIZE, metrics=("lpips_alex",), values=(0.7,)), "everybody_dance_now/synthetic-64")
    as_they_are, normalised = (figures["lpips_alex"][0] for figures in found["series"].values())
    assert normalised["high"] < as_they_are["low"]


def test_what_was_found_is_written_read_and_shown(protocol, tmp_path):
    found = sweep(replace(SOURCES, protocol=protocol, metrics=("l1", "ssim"), values=(1, 2)), RETRIEVING)
    path, *drawn = write(found, tmp_path, tmp_path)
    assert read_sweep(path)["series"] == found["series"]
    heading, _, *rows = table(found).splitlines()
    assert heading == "| source frames | 1 | 2 |"
    ways = ["all sources", "background of the first source"]
    assert [row.split(" | ")[0] for row in rows] == [
        f"| {metric}, {way}" for metric in ("L1 ↓", "SSIM ↑") for way in ways
    ]
    assert "(n = " not in table(found)
    figure = found["series"][ways[1]]["ssim"][0]
    assert figure["clips"] == figure["expected"] == found["clips"]
    figure["clips"] -= 1  # as where no keypoint was found in one
    assert f"(n = {found['clips'] - 1} of {found['clips']}) | " in table(found).splitlines()[-1]
    figure["clips"] += 1
    page = f"above\n<!-- sweep: {path.stem} -->\nold\n<!-- end -->\nbelow"
    assert with_sweeps(page, tmp_path) == page.replace("old", table(found))
    assert [picture.name for picture in drawn] == ["sources-l1.svg", "sources-ssim.svg"]
    for picture in drawn:
        assert ElementTree.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    path.write_text("{}")
    with pytest.raises(FileError, match="is no result of sweep"):
        read_sweep(path)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_the_committed_charts_are_what_the_committed_sweeps_say(path):
    found = read_sweep(path)
    for name, text in pictures(found).items():
        picture = METHODS / found["method"] / "pictures" / name
        assert picture.read_text("utf-8") == text, "run `python -m benchmarks sweep` again"


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_the_committed_sweeps_are_of_weights_that_are_here(path):
    found = read_sweep(path)
    assert found["sha256"] == sha256_of(zoo.load(found["weights"]).inference_state()), "sweep again with these weights"
    assert ("poses denoised" in found["series"]) == ("denoiser_sha256" in found)
    if "denoiser_sha256" in found:
        measured = (json.loads(result.read_text("utf-8")) for result in RESULTS.glob("denoising--*.json"))
        assert found["denoiser_sha256"] in [result["weights"]["sha256"] for result in measured]  # as the page says
