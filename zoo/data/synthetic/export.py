"""Synthetic people as files, for other tools: videos with their conditions beside them."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from tqdm import tqdm

from zoo.data.source import Split
from zoo.data.synthetic.people import SyntheticPeople
from zoo.video import VideoWriter
from zoo.video.atomic import replaced_on_success


def export(
    people: SyntheticPeople, folder: str | Path, splits: Sequence[Split] = ("train", "val", "test")
) -> list[Path]:
    """Writes clips as videos, in the layout that `zoo.data.FolderSource` reads.

    A clip ``test/person003/walk-1`` becomes ``walk-1.mp4``, ``walk-1_pose.npz`` (``keypoints``), ``walk-1_iuv.npz``
    (``iuv``) and ``walk-1_mask.npz`` (``mask``) in ``FOLDER/test/person003``. Every file appears whole or not at all.

    Args:
        people: The clips.
        folder: Where to; made if it is missing.
        splits: Which of the splits.

    Returns:
        The videos' paths.

    Raises:
        VideoError: If something cannot be written.
    """
    written = []
    for clip in tqdm([clip for split in splits for clip in people.clips(split)], desc="export", unit="clip"):
        path = Path(folder) / f"{clip.name}.mp4"
        indices = range(clip.frames)
        arrays = {
            "pose": {
                "keypoints": people.condition(clip, "pose", indices).numpy(),
                "skeleton": np.array(people.skeleton.name),
            },
            "iuv": {"iuv": people.condition(clip, "iuv", indices).numpy()},
            "mask": {"mask": people.condition(clip, "mask", indices).numpy()},
        }
        for name, content in arrays.items():
            with replaced_on_success(path.with_name(f"{path.stem}_{name}.npz")) as temporary:
                np.savez_compressed(temporary, allow_pickle=False, **content)
        with VideoWriter(path, Fraction(clip.fps)) as writer:
            writer.write(people.frames(clip, indices))
        written.append(path)
    return written
