import pytest

from benchmarks.illustrate import illustrate
from benchmarks.metadata import RESULTS
from benchmarks.replay import replay
from benchmarks.schema import read_result
from zoo.errors import OptionError
from zoo.video import read_image
from zoo.weights.checkpoint import read_metadata
from zoo.weights.reference import find_reference_weights

PUBLISHED = [
    path
    for name, weights in find_reference_weights().items()
    for made in [read_result(RESULTS / read_metadata(weights)["result"])]
    for path in sorted(RESULTS.glob(f"synthetic-*/{name.replace('/', '--')}-seed{made['seed']}--*.json"))
    if read_result(path)["weights"] == made["weights"]
]
"""Results of the trainings whose weights come with the zoo; protocols that differ in their tests share a training."""


@pytest.mark.slow
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: f"{path.parent.name}-{path.stem.partition('--')[0]}")
def test_a_replayed_clip_has_the_error_that_was_measured(path):
    """The weights that come along are those of the result, but for half precision."""
    result = read_result(path)
    (shown,) = replay(result, result["evaluation"]["per_clip"][:1])
    truth = shown.batch.get("target", shown.batch["driving"])
    assert (shown.prediction - truth).abs().mean().item() == pytest.approx(shown.row["l1"], rel=0.02)


@pytest.mark.slow
def test_pictures_of_a_page(tmp_path):
    (path,) = [path for path in PUBLISHED if path.parent.name == "synthetic-64-reconstruction" and "first" in path.name]
    result = read_result(path)
    idea, worst = illustrate(result, tmp_path)
    assert idea == tmp_path / "first_order_motion_model" / "pictures" / "idea.png"
    assert read_image(idea).shape[2] == 8 * 128 + 7 * 2
    rows = read_image(worst).float()
    row = max(result["evaluation"]["per_clip"], key=lambda row: row["lpips_alex"])
    (shown,) = replay(result, [row])
    assert rows[:, -128:, :128].mean() == pytest.approx(255 * shown.prediction[0, 0].mean().item(), abs=1)


def test_a_result_whose_clips_all_failed_has_no_pictures(tmp_path):
    result = read_result(PUBLISHED[0])
    failed = [{"clip": row["clip"], "error": "out of memory"} for row in result["evaluation"]["per_clip"]]
    with pytest.raises(OptionError, match="no clip of this result has a value of lpips_alex"):
        illustrate(result | {"evaluation": result["evaluation"] | {"per_clip": failed}}, tmp_path)


def test_each_of_the_weights_has_results_to_show():
    shown = {f"{path.parent.name}/{path.name}" for path in PUBLISHED}
    assert {read_metadata(weights)["result"] for weights in find_reference_weights().values()} <= shown


def test_a_result_of_another_training_is_refused():
    result = read_result(PUBLISHED[0])
    other = result | {"weights": result["weights"] | {"sha256": "0" * 64}}
    with pytest.raises(OptionError, match=f"are of another training; show .*/{PUBLISHED[0].name}"):
        next(replay(other, other["evaluation"]["per_clip"][:1]))


def test_real_clips_and_unpublished_methods_are_refused():
    result = read_result(PUBLISHED[0])
    with pytest.raises(OptionError, match="aren't generated"):
        next(replay(result | {"data": result["data"] | {"path": "actions"}}, []))
    with pytest.raises(OptionError, match="no weights first_order_motion_model/huge come with the zoo"):
        next(replay(result | {"method": result["method"] | {"recipe": "huge", "name": "first_order_motion_model"}}, []))
