"""Files that hold no weights."""

import os

import pytest
import torch
from safetensors.torch import save

from zoo.baselines import CopySource
from zoo.weights import WeightsError, load_weights, save_weights
from zoo.weights.checkpoint import read_foreign, read_metadata

JUNK = [b"", b"h", b"junk", b"Repository not found", b"<!DOCTYPE html><html></html>", bytes(range(256))]
CUT_OFF = save({"weight": torch.zeros(20)}, {"arguments": "{}"})[:-8]


@pytest.mark.parametrize("content", [*JUNK, CUT_OFF])
@pytest.mark.parametrize("name", ["weights.safetensors", "latest_net_G.pth", "last.ckpt"])
def test_a_file_that_holds_no_weights_is_named(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    for read in (read_foreign, lambda path: load_weights(path, torch.nn.Identity)):
        with pytest.raises(WeightsError, match=rf"{name}: (is|holds) "):
            read(tmp_path / name)


def test_data_of_a_name_that_is_not_utf8_costs_no_weights(tmp_path):
    path = save_weights(CopySource(), tmp_path / "weights.safetensors", data=os.fsdecode(b"caf\xe9"))
    assert read_metadata(path)["data"] == r"caf\udce9"
