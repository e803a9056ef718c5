"""Weights that come with the zoo are what a committed result measured."""

import pytest

import zoo
from benchmarks.metadata import RESULTS
from benchmarks.publish import LICENCE, MEGABYTES, scores
from benchmarks.schema import read_result
from zoo.weights.checkpoint import read_metadata
from zoo.weights.reference import find_reference_weights, reference_weights


@pytest.mark.parametrize("name", find_reference_weights())
def test_reference_weights_state_a_committed_result(name: str) -> None:
    row = next(row for row in reference_weights() if row.name == name)
    result = read_result(RESULTS / read_metadata(row.file)["result"])
    assert row.megabytes <= MEGABYTES
    assert row.licence == LICENCE
    assert row.scores == scores(result)
    training, speed = result["training"], result["speed"]
    assert training is not None
    assert speed is not None
    assert int(row.steps) == training["steps"]
    assert name == f"{result['method']['name']}/{row.file.stem}"
    assert zoo.load(name).count_inference_parameters() == speed["parameters"]
