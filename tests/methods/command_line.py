"""The command line as the tests run it, and what its runs leave behind."""

import os
import subprocess
import sys

import torch


def run_zoo(*arguments, wait=True):
    process = subprocess.Popen(
        [sys.executable, "-m", "zoo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    if wait:
        output, _ = process.communicate()
        assert process.returncode == 0, output.decode()[-3000:]
    return process


def newest_state(folder):
    newest = max(folder.glob("*/*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    return torch.load(newest, weights_only=True)


def assert_equal_training(ours, expected):
    """Checkpoints hold the same weights and the same optimiser state, bit for bit."""
    assert ours["state_dict"].keys() == expected["state_dict"].keys()
    for key, tensor in expected["state_dict"].items():
        assert torch.equal(ours["state_dict"][key], tensor), key
    for mine, theirs in zip(ours["optimizer_states"], expected["optimizer_states"], strict=True):
        assert mine["param_groups"] == theirs["param_groups"]
        for key, state in theirs["state"].items():
            assert all(torch.equal(mine["state"][key][n], v) for n, v in state.items()), key
