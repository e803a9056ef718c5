"""Awkward and broken files, and real clips, from the development data folder."""

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from zoo.video import VideoError, iter_frames, probe, read_frames

pytestmark = pytest.mark.shared

MISREAD_BY_DECORD = (
    "h264.ts",
    "open_gop.mp4",
    "intra_refresh.mp4",
    "edit_list.mp4",
    "tiny_16x16.mp4",
    "small_24x40.mp4",
)
REAL_CLIPS = ("taichi/2.mp4", "faces/driving.mp4", "faces/driving_original.mp4", "actions/videos/00000014.mp4")
NOT_CLIPS = ("kp_", "iuv_", "pairs_", "tree")  # annotations, pair lists and a folder of videos


@pytest.fixture(scope="session")
def manifest(torture: Path) -> dict[str, dict]:
    items = json.loads((torture / "manifest.json").read_text())
    return {name: item for name, item in items.items() if not name.startswith(NOT_CLIPS)}


@pytest.fixture(scope="session")
def read_index(shared: Path) -> Callable[[Tensor], int]:
    """Reads the bar code that the script painted."""
    sys.path.insert(0, str(shared / "data"))
    try:
        from make_torture import read_index
    finally:
        sys.path.pop(0)
    return lambda frame: read_index(frame.permute(1, 2, 0).numpy())


def named(manifest: dict[str, dict], *expectations: str) -> list[str]:
    names = [name for name, item in manifest.items() if item["expect"] in expectations]
    assert names
    return names


@pytest.mark.slow
def test_every_good_file_is_read_exactly(torture: Path, manifest: dict[str, dict], read_index: Callable[[Tensor], int]):
    for name in named(manifest, "ok"):
        info = probe(torture / name)
        expected = list(range(manifest[name]["frames"]))
        assert (info.frames, [info.height, info.width]) == (len(expected), manifest[name]["size"]), name
        assert [read_index(frame) for frame in iter_frames(info)] == expected, name
        order = random.Random(0).sample(expected, min(len(expected), 16))
        pairs = [order[start : start + 2] for start in range(0, len(order), 2)]
        assert [[read_index(frame) for frame in read_frames(info, pair)] for pair in pairs] == pairs, name


@pytest.mark.timeout(60, func_only=True)
def test_every_broken_file_is_refused_in_one_line(torture: Path, manifest: dict[str, dict]):
    for name in named(manifest, "reject"):
        with pytest.raises(VideoError) as caught:
            probe(torture / name)
        assert str(caught.value).startswith(str(torture / name)), name
        assert str(caught.value).count("\n") == name.count("\n"), name


def test_debatable_files_are_read_consistently_or_refused(torture: Path, manifest: dict[str, dict]):
    for name in named(manifest, "either", "ok_any"):
        try:
            info = probe(torture / name)
        except VideoError:
            assert manifest[name]["expect"] == "either", name
            continue
        streamed = torch.stack(list(iter_frames(info)))
        assert len(streamed) == info.frames == manifest[name]["frames"], name
        order = random.Random(0).sample(range(info.frames), min(info.frames, 20))
        assert torch.equal(torch.cat([read_frames(info, [index]) for index in order]), streamed[order]), name


def test_files_that_decord_misreads_go_to_pyav(torture: Path):
    assert {name: probe(torture / name).reader for name in MISREAD_BY_DECORD} == dict.fromkeys(
        MISREAD_BY_DECORD, "pyav"
    )


def test_edit_list_begins_where_it_says(torture: Path, read_index: Callable[[Tensor], int]):
    assert [read_index(frame) for frame in iter_frames(torture / "edit_list.mp4")] == list(range(10, 60))


def decoded_in_order(path: Path) -> Tensor:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(container.streams.best("video"))]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("name", REAL_CLIPS)
def test_real_clips_are_identical_through_both_readers(shared: Path, name: str):
    path = shared / "data" / name
    quick, thorough = probe(path), probe(path, reader="pyav")
    assert (quick.reader, quick.seekable, thorough.reader) == ("decord", True, "pyav")
    truth = decoded_in_order(path)
    order = random.Random(0).sample(range(quick.frames), 20)
    assert quick.frames == len(truth)
    assert torch.equal(read_frames(quick, order), truth[order])
    assert torch.equal(read_frames(thorough, order), truth[order])


def test_real_strips(shared: Path):
    """PNG data in files named .jpg, 64x64 frames side by side; the same recordings exist as videos."""
    strip = probe(shared / "data" / "actions" / "strips" / "00000002.jpg")
    video = probe(shared / "data" / "actions" / "videos" / "00000002.mp4")
    assert (strip.kind, strip.height, strip.width, strip.frames) == ("strip", 64, 64, video.frames)
    difference = read_frames(strip, [0, 30]).float() - read_frames(video, [0, 30]).float()
    assert 10 * torch.log10(255**2 / difference.square().mean()) > 36


def test_real_frame_folder(shared: Path):
    """Numbers without leading zeros and with a gap: frame10 follows frame9, frame98 follows frame11."""
    folder = shared / "data" / "fashion_frames" / "1" / "target"
    info = probe(folder)
    assert (info.kind, info.frames, info.height, info.width) == ("frames", 16, 256, 256)
    video = read_frames(shared / "data" / "fashion" / "1.mp4", [9, 10, 98])
    difference = read_frames(info, [9, 10, 12]).float() - video.float()
    assert (10 * torch.log10(255**2 / difference.square().mean(dim=(1, 2, 3))) > 36).all()
