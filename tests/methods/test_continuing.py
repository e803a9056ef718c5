"""A run that ended is continued."""

from pathlib import Path

import pytest
from command_line import assert_equal_training, newest_state, run_zoo

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "first_order_motion_model" / "tiny.yaml"


@pytest.mark.slow
@pytest.mark.parametrize("end", [4, 10, 14])  # inside the first epoch of ten batches, at its end, inside the second
def test_more_steps_after_the_end(end, tmp_path):
    """A run that ended, continued with more steps, equals one that had them from the start."""
    command = ["--config", str(CONFIG), "--model.milestones", "[1]", "--trainer.limit_val_batches", "0"]
    for name, *steps in (("extended", end, 17), ("whole", 17)):
        root = ["--trainer.default_root_dir", str(tmp_path / name)]
        for again, most in enumerate(steps):
            run_zoo("fit", *command, *root, "--trainer.max_steps", str(most), *["--ckpt_path", "last"][: 2 * again])
    ours, expected = newest_state(tmp_path / "extended"), newest_state(tmp_path / "whole")
    assert [rates["param_groups"][0]["lr"] for rates in ours["optimizer_states"]] == pytest.approx([1e-4, 1e-4])
    assert_equal_training(ours, expected)
