from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from zoo.data.synthetic import SyntheticPeople, export
from zoo.video import probe, read_frames


def test_exported_clips_read_back(tmp_path: Path) -> None:
    people = SyntheticPeople((48, 64), 0, 0, 1, clips_per_identity=2, frames=7)
    paths = export(people, tmp_path, ["test"])
    assert [path.relative_to(tmp_path).with_suffix("").as_posix() for path in paths] == [
        c.name for c in people.clips("test")
    ]
    for path, clip in zip(paths, people.clips("test"), strict=True):
        info = probe(path)
        assert (info.frames, info.height, info.width, info.fps) == (7, 48, 64, Fraction(25))
        frames = read_frames(info, range(7)).float()
        assert (frames - people.frames(clip, range(7)).float()).abs().mean() < 6  # lossy video
        for name, key in (("pose", "keypoints"), ("iuv", "iuv"), ("mask", "mask")):
            with np.load(path.with_name(f"{path.stem}_{name}.npz"), allow_pickle=False) as stored:
                assert torch.equal(torch.from_numpy(stored[key]), people.condition(clip, name, range(7)))
    assert len(list(tmp_path.rglob("*.*"))) == 2 * 4  # nothing temporary is left
