"""Whole runs through the command line: resumed after a kill, never repeated, going on after a clip that fails."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_protocol
import torch
import yaml

import zoo
from benchmarks import publish
from benchmarks.evaluation import evaluate, open_data
from benchmarks.jobs import Settings, find_jobs
from benchmarks.measures import build_measures
from benchmarks.metadata import RESULTS
from benchmarks.protocol import PROTOCOLS, Suite, find_suite, names, read_protocol
from benchmarks.run import attempt, is_finished, is_same_training
from benchmarks.schema import ResultError, read_result, validate
from zoo.baselines import CopySource, Oracle
from zoo.errors import ZooError
from zoo.weights import networks, reference

ROOT = Path(__file__).resolve().parents[2]
FOMM = "first_order_motion_model"


def command(folder, *arguments):
    return [sys.executable, "-m", "benchmarks", "run", str(folder / "tiny.yaml"), "--output", str(folder / "results"),
            "--work", str(folder / "work"), "--device", "cpu", "--machine", "here", *arguments]  # fmt: skip


def start(folder, *arguments):
    return subprocess.Popen(
        command(folder, *arguments),
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )


def finish(folder, *arguments):
    process = start(folder, *arguments)
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


def run(folder, *arguments):
    code, output = finish(folder, *arguments)
    assert code == 0, output[-3000:]
    return output


def results(folder):
    return {path.name: read_result(path) for path in sorted((folder / "results" / "tiny").glob("*.json"))}


def lasting(result):
    """What doesn't depend on when, how fast and in how many attempts it was computed."""
    kept = {key: value for key, value in result.items() if key not in ("date", "speed", "commit")}
    kept["training"] = result["training"] and {"steps": result["training"]["steps"]}
    return kept


def logged(result):
    """What training logged: (step, name) -> value."""
    curve = result["training"]["curve"]
    rows = {name: zip(curve["step"], values, strict=True) for name, values in curve.items() if name != "step"}
    return {(step, name): value for name, row in rows.items() for step, value in row if value is not None}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    tiny_protocol.write(folder)
    began = time.monotonic()
    run(folder, "--methods", "copy_source", "oracle", FOMM)
    (folder / "seconds").write_text(str(time.monotonic() - began))
    return folder


@pytest.mark.slow
def test_results_hold_what_they_should(whole):
    found = results(whole)
    assert list(found) == [
        "copy_source--baseline--here.json",
        "first_order_motion_model--tiny-seed0--here.json",
        "oracle--baseline--here.json",
    ]
    copy, method, oracle = found.values()
    assert method["training"]["steps"] == 20
    assert method["training"]["config"]["trainer"]["max_steps"] == 20
    assert method["training"]["config"]["model"]["class_path"] == "FirstOrderMotionModel"
    assert method["training"]["curve"]["step"][-1] >= 19
    assert any(value is not None for value in method["training"]["curve"]["val/l1"])
    assert method["evaluation"]["expected"] == method["evaluation"]["measured"] == 4
    assert method["speed"]["frames_per_second"] > 0
    assert method["speed"]["parameters"] > 0
    assert copy["dataset"] == method["dataset"] == oracle["dataset"]
    assert method["networks"]["lpips_alex"].startswith("443c5bc35326")  # of its authors' file
    for name in ("l1", "moving_l1", "subject_l1"):
        low, high = method["evaluation"]["intervals"][name]
        assert low <= method["evaluation"]["totals"][name] <= high
        assert oracle["evaluation"]["totals"][name] < copy["evaluation"]["totals"][name]
    assert len(list((whole / "work" / "videos" / "tiny" / f"{FOMM}--tiny").glob("*.mp4"))) == 4
    for path in (whole / "results").rglob("*.json"):
        assert str(whole) not in path.read_text()


@pytest.mark.slow
def test_finished_runs_are_not_repeated(whole):
    files = sorted((whole / "results").rglob("*.json"))
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in files]
    output = run(whole, "--methods", "copy_source", "oracle", FOMM)
    assert output.count("finished before") == 3
    assert [(path.stat().st_mtime_ns, path.read_bytes()) for path in files] == before


LONG_JOB = """
import sys, time
from types import SimpleNamespace
from benchmarks import run

def long(job, settings):
    print("begun", flush=True)
    time.sleep(20)
    open(settings, "w").close()

if __name__ == "__main__":
    run.attempt = long
    run.run_here([SimpleNamespace(label="long")], sys.argv[1])
"""


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_running(tmp_path):
    script, finished = tmp_path / "job.py", tmp_path / "finished"
    script.write_text(LONG_JOB)
    process = subprocess.Popen(
        [sys.executable, str(script), str(finished)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    process.kill()
    output, _ = process.communicate(timeout=120)  # until the job's process has closed it, too
    assert output == ""
    assert not finished.exists()


@pytest.mark.slow
def test_a_changed_recipe_is_run_again(whole, tmp_path):
    (job,), _ = find_jobs(Suite((read_protocol(tiny_protocol.write(tmp_path)),)), [FOMM])
    path = next((whole / "results").rglob("first_order*.json"))
    assert is_finished(path, job)
    result = json.loads(path.read_text())
    result["training"]["config"]["model"]["init_args"]["num_keypoints"] += 1
    other = tmp_path / path.name
    other.write_text(json.dumps(result))
    assert not is_finished(other, job)


@pytest.mark.parametrize("method", ["deep_spatial_transformation", "pose_attentive_reassembling"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_committed_results_of_the_present_recipes_count_as_finished(method, seed):
    """They say `repeats: 4` of 256 clips, the recipe now `epoch_samples: 1024`: the same training."""
    (job,), _ = find_jobs(find_suite("synthetic-64-reconstruction"), [method], seeds=[seed])
    (path,) = (RESULTS / job.protocol.name).glob(f"{method}--{job.variant}--*.json")
    assert is_finished(path, job)
    longer = json.loads(path.read_text())
    longer["training"]["config"]["data"]["repeats"] = 12
    assert not is_same_training(longer["training"]["config"], job)


@pytest.mark.slow
def test_a_result_counts_in_whatever_precision_unless_one_is_asked_for(whole, tmp_path):
    path = next((whole / "results").rglob("first_order*.json"))
    result = json.loads(path.read_text())
    result["training"]["config"]["trainer"]["precision"] = "bf16-mixed"
    other = tmp_path / path.name
    other.write_text(json.dumps(result))
    (job,), _ = find_jobs(Suite((read_protocol(tiny_protocol.write(tmp_path)),)), [FOMM])
    assert is_finished(other, job)
    assert is_finished(other, replace(job, precision="bf16-mixed"))
    assert not is_finished(other, replace(job, precision="32-true"))


@pytest.mark.slow
def test_published_weights_are_half_of_those_measured(whole, tmp_path, monkeypatch):
    result = next((whole / "results").rglob("first_order*.json"))
    for module in (publish, reference):
        monkeypatch.setattr(module, "METHODS", tmp_path)
    file = publish.publish(result, whole / "work")
    assert file == tmp_path / "first_order_motion_model" / "weights" / "tiny.safetensors"
    (row,) = reference.reference_weights()
    assert (row.name, row.size, row.steps) == ("first_order_motion_model/tiny", "32x32", "20")
    assert f"moving_l1 {read_result(result)['evaluation']['totals']['moving_l1']:.4f}" in row.scores
    measured = zoo.load(next((whole / "work" / "trainings").rglob("weights.safetensors"))).inference_state()
    for name, tensor in zoo.load(row.name).inference_state().items():
        assert torch.equal(tensor, measured[name].half().float() if tensor.is_floating_point() else measured[name])
    monkeypatch.setattr(publish, "MEGABYTES", 0.001)
    before = file.read_bytes()
    with pytest.raises(ZooError, match=r"MB in half precision, more than"):
        publish.publish(result, whole / "work")
    assert file.read_bytes() == before
    with pytest.raises(ZooError, match=r"none of the 0 trainings in .*--work"):
        publish.publish(result, tmp_path)
    with pytest.raises(ZooError, match=r"copy_source.*not of a training on synthetic people"):
        publish.publish(next((whole / "results").rglob("copy_source*.json")), whole / "work")


@pytest.mark.slow
def test_clips_that_all_failed_are_tried_again(whole, tmp_path):
    (job,), _ = find_jobs(Suite((read_protocol(whole / "tiny.yaml"),)), ["copy_source"])
    result = read_result(job.result(whole / "results", "here"))
    path = job.result(tmp_path, "here")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(result))
    assert is_finished(path, job)
    evaluation = result["evaluation"]
    evaluation["errors"] = {row["clip"]: "OutOfMemoryError: CUDA out of memory" for row in evaluation["per_clip"]}
    evaluation["measured"] = evaluation["expected"] - len(evaluation["errors"])
    path.write_text(json.dumps(result))
    assert evaluation["measured"] == 0
    assert not is_finished(path, job)


@pytest.mark.slow
def test_a_result_of_another_protocol_is_not_taken_for_this_one(whole, tmp_path):
    tiny_protocol.write(tmp_path, metrics=["l1"])
    (tmp_path / "results").symlink_to(whole / "results")
    stale = whole / "results" / "tiny" / "copy_source--baseline--here.json"
    before = stale.read_bytes()
    try:
        run(tmp_path, "--methods", "copy_source")
        assert list(read_result(stale)["evaluation"]["totals"]) == ["l1"]
    finally:
        stale.write_bytes(before)


@pytest.mark.slow
@pytest.mark.parametrize("everything", [True, False], ids=["with-its-children", "alone"])
def test_a_killed_run_goes_on_to_the_same_result(whole, tmp_path, everything):
    """Killed after a checkpoint; alone, its `zoo fit` lives on, and the next run must not write beside it."""
    tiny_protocol.write(tmp_path)
    process = start(tmp_path, "--methods", FOMM)
    deadline = time.monotonic() + 500
    while not list((tmp_path / "work").glob("trainings/*/*/*/checkpoints/last.ckpt")):
        assert process.poll() is None, process.stdout.read()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if everything:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    run(tmp_path, "--methods", FOMM)
    (name,) = results(tmp_path)
    ours, expected = results(tmp_path)[name], results(whole)[name]
    assert lasting(ours) == lasting(expected)
    # Lightning logs a step behind its checkpoint: a kill in between costs that step's losses, and nothing else.
    missing = {step for step, _ in logged(expected).keys() - logged(ours).keys()}
    assert len(missing) <= 1
    assert logged(ours).items() <= logged(expected).items()


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_same_table(whole, tmp_path):
    """While it starts, trains, writes, measures, or after all: nobody knows, so the moments differ each time."""
    tiny_protocol.write(tmp_path)
    seconds = float((whole / "seconds").read_text())
    for _ in range(4):
        moment = random.uniform(0, 0.8 * seconds)
        print(f"killed after {moment:.2f} s")  # shown where this fails
        process = start(tmp_path, "--methods", "copy_source", "oracle", FOMM)
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        results(tmp_path)  # whatever is there is whole
    run(tmp_path, "--methods", "copy_source", "oracle", FOMM)
    ours, expected = results(tmp_path), results(whole)
    assert ours.keys() == expected.keys()
    for name, result in expected.items():
        assert lasting(ours[name]) == lasting(result)


class FailsOnce(CopySource):
    """Raises on the second clip and returns NaN on the third."""

    def test_step(self, batch, batch_idx):
        if batch_idx == 1:
            raise RuntimeError("out of ideas\nand more")
        return super().test_step(batch, batch_idx) * (torch.nan if batch_idx == 2 else 1)


def evaluated(folder, method, **changes):
    protocol = read_protocol(tiny_protocol.write(folder, **changes))
    measures = build_measures(protocol.content)
    data = open_data(protocol, None, method, measures, {})
    method.prepare(data)
    return evaluate(protocol, method.eval().test_step, data, measures, torch.device("cpu"))[0]


def test_a_clip_that_fails_is_a_row_and_the_rest_is_measured(tmp_path):
    evaluation = evaluated(tmp_path, FailsOnce())
    assert (evaluation["expected"], evaluation["measured"]) == (4, 2)
    assert sorted(message.partition(":")[0] for message in evaluation["errors"].values()) == [
        "RuntimeError",
        "ValueError",
    ]
    assert "RuntimeError: out of ideas" in evaluation["errors"].values()
    assert any("NaN" in message for message in evaluation["errors"].values())
    complete = evaluated(tmp_path, CopySource())
    assert [row["clip"] for row in evaluation["per_clip"]] == [row["clip"] for row in complete["per_clip"]]
    for row, full in zip(evaluation["per_clip"], complete["per_clip"], strict=True):
        assert "error" in row or row == full


def test_metrics_that_cannot_be_measured_say_why(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "empty"))
    evaluation = evaluated(
        tmp_path, CopySource(), metrics=["l1", "subject_l1", "lpips_alex", "akd"], sets=["fvd"], provides=[]
    )
    assert list(evaluation["totals"]) == ["l1"]
    assert "zoo weights install lpips" in evaluation["skipped"]["lpips_alex"]
    assert "zoo weights install fvd" in evaluation["skipped"]["fvd"]
    assert "mask" in evaluation["skipped"]["subject_l1"]
    assert "estimators.keypoints" in evaluation["skipped"]["akd"]


def test_what_was_skipped_is_measured_once_its_network_is_there(tmp_path, monkeypatch):
    cache = os.environ.get("ZOO_CACHE")
    (job,), _ = find_jobs(
        Suite((read_protocol(tiny_protocol.write(tmp_path, metrics=["l1", "lpips_alex"])),)), ["oracle"]
    )
    settings = Settings(tmp_path / "results", tmp_path / "work", device="cpu", machine="here")
    path = job.result(settings.output, "here")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "empty"))
    assert not attempt(job, settings)
    assert list(read_result(path)["evaluation"]["skipped"]) == ["lpips_alex"]
    assert is_finished(path, job)  # as long as it can't be had
    monkeypatch.setenv("ZOO_CACHE", cache) if cache else monkeypatch.delenv("ZOO_CACHE")
    if not next(row.present for row in networks.status() if row.name == "lpips_alex"):
        pytest.skip("needs `zoo weights install lpips`")
    assert not is_finished(path, job)
    assert not attempt(job, settings)
    assert list(read_result(path)["evaluation"]["totals"]) == ["l1", "lpips_alex"]
    assert is_finished(path, job)


@pytest.mark.parametrize("name", names(PROTOCOLS))
def test_networks_that_are_missing_are_named_with_the_command(tmp_path, monkeypatch, name):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    content = read_protocol(PROTOCOLS / f"{name}.yaml").content
    skipped = build_measures(content).skipped
    assert {"akd", "mkr", "jitter"} <= skipped.keys()
    assert ("aed" in skipped) == ("aed" in content["metrics"])
    assert all("zoo weights install " in why or "pip install " in why for why in skipped.values())


def test_the_oracle_reads_the_true_frames_of_a_transfer(tmp_path):
    pairs = {"pairs": "cross_identity"}
    oracle, copy = evaluated(tmp_path, Oracle(), data=pairs), evaluated(tmp_path, CopySource(), data=pairs)
    assert oracle["totals"]["subject_l1"] < 0.5 * copy["totals"]["subject_l1"]
    assert all(row["clip"] != row["source"] for row in oracle["per_clip"])


@pytest.mark.slow
def test_ray_runs_the_same_jobs(whole, tmp_path):
    pytest.importorskip("ray")
    tiny_protocol.write(tmp_path)
    run(tmp_path, "--methods", "copy_source", "oracle", "--ray", "local")
    for name, result in results(tmp_path).items():
        assert result["evaluation"] == results(whole)[name]["evaluation"]


def test_failures_are_listed_and_the_other_runs_finish(tmp_path):
    tiny_protocol.write(tmp_path)
    recipe = tmp_path / "broken.yaml"
    recipe.write_text("model:\n  class_path: FirstOrderMotionModel\n  init_args:\n    num_keypoints: many\n")
    code, output = finish(tmp_path, "--methods", str(recipe), "copy_source")
    assert code == 1
    assert "1 of 2 runs failed" in output
    assert "first_order_motion_model (broken-seed0): `zoo fit` failed" in output
    assert list(results(tmp_path)) == ["copy_source--baseline--here.json"]


@pytest.mark.parametrize(
    ("place", "value", "complaint"),
    [
        (("method", "kind"), "friend", "method.kind: Input should be"),
        (("evaluation", "measured"), 7, r"evaluation.measured: 7 and 0 errors don't add up"),
        (("evaluation", "per_clip"), [], "evaluation.per_clip: 0 rows"),
        (("protocol",), None, "protocol: "),
        (("more",), 1, "more: Extra inputs"),
    ],
)
def test_schema_names_file_and_field(tmp_path, place, value, complaint):
    result = {
        "schema": 1,
        "protocol": {"name": "tiny", "hash": "0" * 12, "title": "Tiny"},
        "method": {"name": "m", "title": "M", "kind": "method", "recipe": "tiny", "class": None},
        "seed": 0,
        "training": {"steps": 1, "seconds": 1.0, "budget": "1 step", "curve": {"step": [1], "val/l1": [None]}},
        "evaluation": evaluated(tmp_path, CopySource()),
        "speed": None,
        "arguments": {},
        "data": None,
        "weights": None,
        "dataset": {"fingerprint": "0"},
        "versions": {},
        "machine": {},
        "commit": None,
        "date": "2026-01-01",
    }
    validate(json.loads(json.dumps(result)))
    parent = result
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result))
    with pytest.raises(ResultError, match=complaint) as error:
        read_result(path)
    assert str(path) in str(error.value)


def test_committed_protocols_parse_as_yaml_without_paths():
    for path in (ROOT / "benchmarks" / "protocols").glob("*.yaml"):
        folder = yaml.safe_load(path.read_text())["data"]["path"]
        assert folder is None or "/" not in folder
