"""A protocol's clips as pictures, for programs that aren't part of the zoo."""

from pathlib import Path

from torch import Tensor

from benchmarks.evaluation import batches
from benchmarks.protocol import Protocol
from zoo.batch import truth
from zoo.data import VideoDataModule
from zoo.errors import FileError
from zoo.framing import to_bytes
from zoo.measurement import check_clip_names, clip_name, describe, knows_truth
from zoo.video import write_image


def export(protocol: Protocol, output: Path, root: Path | None = None) -> list[str]:
    """Writes ``source/NAME.png``, ``driving/NAME/*.png`` and ``target/NAME/*.png``, without loss.

    A program animates each source with the driving frames of its name; ``zoo score`` compares its videos with the
    targets, and ``admit`` puts the result into the protocol's table.

    Args:
        protocol: Whose clips.
        output: The folder to write to, new or empty.
        root: The folder in which the folders of real clips lie; by default what ``ZOO_DATA`` names.

    Returns:
        The clips' names.

    Raises:
        FileError: The folder has something in it, the clips aren't there, two of them would be called alike, or nobody
            knows their true frames.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileError(output, "is not an empty folder", "name a new one")
    data = VideoDataModule(strict=True, workers=0, seed=protocol.content["seed"], **protocol.data_options(root))
    data.setup("test")
    check_clip_names(data.test_pairs())
    names = []
    for batch in batches(data):
        if not knows_truth(batch, 0):
            problem = f"nobody knows the true frames of {protocol.name}, so that no program can be scored by them"
            raise FileError(output, problem, "choose a protocol with truth")
        name = clip_name(describe(batch, 0))
        names.append(name)
        write_image(output / "source" / f"{name}.png", to_bytes(batch["source"][0, 0]))
        _write_frames(output / "driving" / name, batch["driving"][0])
        _write_frames(output / "target" / name, truth(batch)[0])
    return names


def _write_frames(folder: Path, frames: Tensor) -> None:
    for number, frame in enumerate(frames):
        write_image(folder / f"{number:06d}.png", to_bytes(frame))
