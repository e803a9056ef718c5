"""Times of training steps in both precisions."""

import pytest

from benchmarks.timings.training_speed import PRECISIONS, RECIPES, ROUNDS, measure
from zoo.folders import find_recipe


@pytest.mark.slow
def test_steps_are_timed_in_both_precisions():
    speed = measure("first_order_motion_model/tiny", steps=2)
    assert [speed[precision]["n"] for precision in PRECISIONS] == [2 * ROUNDS, 2 * ROUNDS]
    single, half = (speed[precision]["median_s"] for precision in PRECISIONS)
    assert speed["ratio"] == pytest.approx(single / half)
    assert min(single, half) > 0
    assert speed["peak_memory_megabytes"] > 100  # torch alone takes more


def test_the_recipes_exist():
    assert all(find_recipe(*recipe.split("/")).is_file() for recipe in RECIPES)
