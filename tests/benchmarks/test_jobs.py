"""Which jobs there are, and how they are divided."""

import pytest
import tiny_protocol

from benchmarks import publish
from benchmarks.__main__ import parser
from benchmarks.evaluation import batches, open_data
from benchmarks.jobs import Entry, find_jobs, groups, share
from benchmarks.measures import build_measures
from benchmarks.metadata import RESULTS
from benchmarks.protocol import Suite, find_suite, read_protocol
from benchmarks.run import is_same_training
from benchmarks.schema import read_result
from zoo.baselines import BASELINES
from zoo.errors import ZooError
from zoo.folders import find_recipe, recipes_folder
from zoo.methods.dwnet import DwNet
from zoo.weights.checkpoint import read_metadata
from zoo.weights.reference import find_reference_weights


@pytest.fixture
def suite(tmp_path):
    first = read_protocol(tiny_protocol.write(tmp_path, "reconstruction"))
    second = read_protocol(tiny_protocol.write(tmp_path, "cross", data={"pairs": "cross_identity"}))
    return Suite((first, second), seeds=(0, 1, 2))


METHODS = [*BASELINES, "first_order_motion_model"]


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 40])
def test_parts_are_exactly_the_whole(suite, parts):
    jobs, _ = find_jobs(suite, METHODS)
    divided = [share(jobs, part, parts) for part in range(1, parts + 1)]
    assert sorted(job.label for part in divided for job in part) == sorted(job.label for job in jobs)
    assert len(jobs) == len({job.label for job in jobs}) == 2 * (3 + 3)
    for part in divided:  # a training belongs to one part alone
        others = {job.training_name for other in divided if other is not part for job in other}
        assert not {job.training_name for job in part} & (others - {None})


@pytest.mark.parametrize("part", [0, 4])
def test_parts_that_do_not_exist(suite, part):
    with pytest.raises(ZooError, match="from 1 to 3"):
        share(find_jobs(suite, METHODS)[0], part, 3)


def test_protocols_share_a_training(suite):
    jobs, _ = find_jobs(suite, ["first_order_motion_model"], seeds=[0, 1])
    assert [[job.protocol.name for job in group] for group in groups(jobs)] == 2 * [["reconstruction", "cross"]]


def test_another_budget_is_another_protocol_and_training(suite):
    ours, theirs = find_jobs(suite, METHODS[-1:])[0][0], find_jobs(suite, METHODS[-1:], steps=30)[0][0]
    assert ours.protocol.hash != theirs.protocol.hash
    assert ours.training_name != theirs.training_name
    assert theirs.training()["trainer"]["max_steps"] == 30


def test_another_precision_is_another_training_of_the_same_protocol(suite):
    ours = find_jobs(suite, METHODS[-1:])[0][0]
    theirs = find_jobs(suite, METHODS[-1:], precision="bf16-mixed")[0][0]
    assert ours.protocol.hash == theirs.protocol.hash
    assert ours.training_name != theirs.training_name
    assert theirs.training()["trainer"]["precision"] == "bf16-mixed"


def test_a_known_subject_is_trained_on_the_first_part(tmp_path):
    (job,), _ = find_jobs(find_suite("synthetic-64-later-motion"), ["first_order_motion_model"])
    config = job.training()
    assert config["data"]["later_motion"] == 0.2
    assert config["data"]["synthetic"]["train_identities"] == 1


def test_methods_whose_conditions_are_missing_are_left_out(tmp_path):
    suite = Suite((read_protocol(tiny_protocol.write(tmp_path, provides=["mask"])),))
    jobs, left_out = find_jobs(suite, ["nearest_frame", "oracle"])
    assert [job.entry.name for job in jobs] == ["oracle"]
    assert left_out == ["tiny: nearest_frame needs pose, which its clips don't have"]


def test_the_animation_version_is_a_method_of_its_own(tmp_path):
    """Its training may need masks, its animation doesn't; that is known of its class, before anything is built."""
    suite = Suite((read_protocol(tiny_protocol.write(tmp_path, provides=["pose"])),))
    (job,), _ = find_jobs(suite, [str(find_recipe("deep_spatial_transformation", "tiny-animation"))])
    assert job.entry.title == "Deep Spatial Animation"


def test_drawn_surfaces_need_poses_alone(tmp_path):
    recipes = [str(find_recipe("dwnet", name)) for name in ("synthetic-64", "synthetic-64-skeleton")]
    suite = Suite((read_protocol(tiny_protocol.write(tmp_path, provides=["pose"])),))
    jobs, left_out = find_jobs(suite, recipes)
    assert [job.variant for job in jobs] == ["synthetic-64-skeleton-seed0"]
    assert left_out == ["tiny: dwnet needs iuv, which its clips don't have"]
    (job,) = jobs
    measures = build_measures({**job.protocol.content, "metrics": ["l1"]})
    data = open_data(job.protocol, None, DwNet(), measures, job.entry.data_options)
    assert "driving_iuv" in next(batches(data))


def test_recipes_and_weights_from_anywhere(suite, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("model:\n  class_path: zoo.baselines.CopySource\ndata:\n  source_frames: 1\n")
    jobs, _ = find_jobs(suite, [str(recipe)], seeds=[5])
    assert jobs[0].label == "reconstruction: copy_source (mine-seed5)"
    weights = tmp_path / "best.safetensors"
    weights.write_bytes(b"")
    (job, _), _ = find_jobs(suite, METHODS[-1:], weights=[f"{METHODS[-1]}={weights}"])
    empty = "e3b0c442"  # SHA-256 of nothing, as everybody knows it
    assert (job.variant, job.seed, job.training()) == (f"weights-best-{empty}", None, None)
    weights.write_bytes(b"another run's, of the same name")
    assert job.variant.startswith("weights-best-")
    assert not job.variant.endswith(empty)
    for wrong in ("first_order_motion_model", f"nobody={weights}"):
        with pytest.raises(ZooError, match="--weights"):
            find_jobs(suite, METHODS[-1:], weights=[wrong])
    with pytest.raises(ZooError, match="there is no method 'nobody'"):
        find_jobs(suite, ["nobody"])


def test_given_weights_stand_instead_of_a_recipes_training(suite, tmp_path):
    recipe, weights = find_recipe("first_order_motion_model", "tiny"), tmp_path / "best.safetensors"
    weights.write_bytes(b"")
    jobs, _ = find_jobs(suite, [str(recipe)], weights=[f"first_order_motion_model={weights}"])
    assert [(job.entry.recipe, job.training()) for job in jobs] == 2 * [(recipe, None)]
    with pytest.raises(ZooError, match="--weights names oracle, no method that is run"):
        find_jobs(suite, ["oracle"], weights=[f"oracle={weights}"])


def test_recipes_whose_results_would_replace_one_another_are_refused(suite, tmp_path):
    recipes = [tmp_path / name / "mine.yaml" for name in ("one", "other")]
    for recipe in recipes:
        recipe.parent.mkdir()
        recipe.write_text("model:\n  class_path: zoo.baselines.CopySource\n")
    with pytest.raises(ZooError, match=r"one/mine\.yaml and .*other/mine\.yaml have results of one name"):
        find_jobs(suite, [str(recipe) for recipe in recipes])


def test_a_run_has_one_step_at_least(suite):
    with pytest.raises(ZooError, match="--steps is -1; it is 1 or more"):
        find_jobs(suite, METHODS, steps=-1)


def test_a_recipe_that_is_no_yaml_is_named(suite, tmp_path):
    (tmp_path / "mine.yaml").write_text("model: {")
    with pytest.raises(ZooError, match=r"mine\.yaml: is no YAML"):
        find_jobs(suite, [str(tmp_path / "mine.yaml")])


def test_every_method_that_an_error_offers_can_be_run(suite):
    with pytest.raises(ZooError, match="there is no method 'DeepSpatialAnimation' with recipes of its own") as error:
        find_jobs(suite, ["DeepSpatialAnimation"])
    offered = str(error.value).partition("there are ")[2].partition(", or name")[0].split(", ")
    assert offered[-1] == "pose_attentive_reassembling"
    suite = find_suite("synthetic-64-reconstruction")
    assert {job.entry.name for job in find_jobs(suite, offered)[0]} == set(offered)


@pytest.mark.parametrize(
    "name",
    [
        *(read_metadata(weights)["result"] for weights in find_reference_weights().values()),
        "synthetic-64-reconstruction/DeepSpatialAnimation--synthetic-64-animation-seed1--amd-epyc-2-cores.json",
        "actions-64-reconstruction/pose_attentive_reassembling--synthetic-64-seed1--amd-epyc-2-cores.json",  # bfloat16
    ],
)
def test_the_command_of_published_weights_makes_their_result_again(name, monkeypatch):
    monkeypatch.chdir(recipes_folder().parent)
    path = RESULTS / name
    result = read_result(path)
    options = parser().parse_args(publish.command(result).split()[3:])
    (job,), _ = find_jobs(find_suite(options.suite), options.methods, options.seeds, precision=options.precision)
    assert path.name.startswith(f"{job.entry.name}--{job.variant}--")
    assert path.parent.name == job.protocol.name
    if "config" in result["training"]:  # the first results lack it
        assert is_same_training(result["training"]["config"], job)
        assert job.training()["trainer"].get("precision") == result["training"]["config"]["trainer"].get("precision")


@pytest.mark.parametrize(
    ("class_name", "title"), [("DwNet", "DwNet"), ("FirstOrderMotionModel", "First Order Motion Model")]
)
def test_titles_are_the_words_of_class_names(class_name, title):
    assert Entry("name", "method", f"package.module.{class_name}").title == title
