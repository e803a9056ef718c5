"""Threads, forks and memory: what makes decord hang or abort when it is used carelessly."""

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from coded_clips import code, coded_frames, codes, encode
from torch.utils.data import DataLoader, Dataset

from zoo.video import VideoError, VideoInfo, iter_frames, probe, read_frames

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


class Frames(Dataset[int]):
    """Reads frame k of a clip and returns the number that it carries."""

    def __init__(self, info: VideoInfo) -> None:
        self.info = info

    def __len__(self) -> int:
        return self.info.frames

    def __getitem__(self, index: int) -> int:
        return code(read_frames(self.info, [index])[0])


@needs_fork
@pytest.mark.timeout(120)
@pytest.mark.parametrize("reader", [None, "pyav"])
def test_forked_workers_after_the_parent_has_read(clip: Path, reader: str | None):
    info = probe(clip, reader=reader)
    assert codes(read_frames(info, [7])) == [7]
    half_way = iter_frames(info)
    next(half_way)
    loader = DataLoader(Frames(info), batch_size=5, num_workers=2, multiprocessing_context="fork")
    for _ in range(2):
        assert torch.cat(list(loader)).tolist() == list(range(60))
    assert code(next(half_way)) == 1
    assert codes(read_frames(info, [8])) == [8]


@pytest.mark.timeout(120)
def test_threads_share_nothing(tmp_path: Path):
    infos = [probe(encode(tmp_path / f"{number}.mp4", coded_frames(40), {"g": "12"})) for number in range(6)]

    def read(start: int) -> bool:
        wanted = [(start * 7 + step * 11) % 40 for step in range(8)]
        return all(codes(read_frames(info, wanted)) == wanted for info in infos)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(read, range(16)))


@pytest.mark.timeout(120)
def test_probing_in_threads(tmp_path: Path):
    paths = [encode(tmp_path / f"{number}.mp4", coded_frames(30), {"g": "12"}) for number in range(8)]
    with ThreadPoolExecutor(4) as threads:
        assert {info.reader for info in threads.map(probe, paths)} == {"decord"}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files through /proc")
def test_few_readers_stay_open(tmp_path: Path):
    clip = encode(tmp_path / "clip.mp4", coded_frames(10))
    copies = [tmp_path / f"{number}.mp4" for number in range(30)]
    for copy in copies:
        copy.write_bytes(clip.read_bytes())
        read_frames(probe(copy), [5])
    opened = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert sum(str(tmp_path) in target for target in opened) <= 8  # at most four readers, which may use two files each


def test_import_is_light():
    """`zoo --help` imports this package: the decoders are loaded when the first file is opened."""
    script = "import sys, zoo.video; print(sorted({'av', 'decord'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"


def test_other_packages_read_pictures_after_decord(clip: Path, tmp_path: Path):
    """decord brings libraries of its own into the process; torchvision's PNG reader must survive that."""
    script = """
import sys, torch
from zoo.video import probe, read_frames, write_image
info = probe(sys.argv[1])
assert info.reader == "decord"
write_image(sys.argv[2], read_frames(info, [0])[0])
import torchvision
assert torchvision.io.read_image(sys.argv[2]).shape == (3, info.height, info.width)
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(clip), str(tmp_path / "frame.png")], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""


def test_error_survives_the_way_out_of_a_worker(tmp_path: Path):
    error = VideoError(tmp_path / "a.mp4", "is broken", "mend it")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.path) == (f"{tmp_path / 'a.mp4'}: is broken; mend it", tmp_path / "a.mp4")
