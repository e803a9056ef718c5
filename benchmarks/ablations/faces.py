"""What the face stage of Everybody Dance Now is worth: faces of one model, with and without its face generator.

``python -m benchmarks faces WEIGHTS`` paints the later part of a dance (`synthetic-64-later-motion`, but
larger) twice with the weights of a face stage. That stage trains nothing else: without the face generator they are the
model of the stage before. The squares around faces are cut out of both and compared with the truth. LPIPS needs 31
pixels at least, more than a face has in a picture of 64 x 64; hence the larger ones.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from pydantic import with_config
from torch import Tensor
from tqdm import tqdm
from typing_extensions import TypedDict

from benchmarks.ablations.reading import OPEN, read
from benchmarks.board.places import filled
from benchmarks.board.tables import metric_column
from benchmarks.evaluation import batches
from benchmarks.metadata import RESULTS, machine_name, metadata
from benchmarks.protocol import find_suite
from benchmarks.statistics import compare, mean_interval
from zoo.data import VideoDataModule
from zoo.errors import OptionError
from zoo.methods.everybody_dance_now import EverybodyDanceNow
from zoo.methods.everybody_dance_now.faces import crop
from zoo.metrics import L1, LPIPS, ClipMetric
from zoo.report import sha256_of, write_json
from zoo.weights import WeightsError, load_weights, trained_on

PROTOCOL = "synthetic-64-later-motion"
METRICS: dict[str, Callable[[], ClipMetric]] = {
    "lpips_alex": LPIPS,
    "lpips_vgg16": partial(LPIPS, "vgg16"),  # faces are trained with one of the two networks: the other is no party
    "l1": L1,
}


@with_config(OPEN)
class OneWay(TypedDict):
    """A metric of faces that were painted in one way."""

    per_clip: list[float]
    interval: list[float]  # low and high end, 95 %


@with_config(OPEN)
class Difference(TypedDict):
    """How the two ways compare."""

    p_value: float


BothWays = TypedDict(  # in this form because a key is called `with`
    "BothWays", {"with": OneWay, "without": OneWay, "with_minus_without": Difference}
)
"""A metric with the face generator, and without."""


@with_config(OPEN)
class Faces(TypedDict):
    """What was found."""

    size: list[int]  # height and width of the pictures
    clips: int
    metrics: dict[str, BothWays]


def faces(weights: Path, results: Path = RESULTS) -> list[str]:
    """Measures, and writes the result.

    Args:
        weights: Of a face stage (`zoo fit-stages configs/everybody_dance_now/...`).
        results: Where the result goes.

    Returns:
        A line per metric, and the result's path.

    Raises:
        WeightsError: They aren't a face stage's, or don't say at what size it was trained.
    """
    method = load_weights(weights, EverybodyDanceNow)
    size = trained_on(weights).size
    if size is None:
        raise WeightsError(weights, "doesn't say which size it was trained on", "give a run's weights.safetensors")
    found = measure(method, open_data(size))
    path = results / f"faces--{machine_name()}.json"
    arguments = {name: value for name, value in method.hparams.items() if name != "init_from"}  # a path of this machine
    trained = {"sha256": sha256_of(method.inference_state()), "arguments": arguments}
    write_json(path, metadata("faces", torch.get_num_threads()) | {"weights": trained, "size": size} | found)
    return [*_lines(found), str(path)]


def _lines(found: dict[str, Any]) -> Iterator[str]:
    for name, result in found["metrics"].items():
        with_it, without = (sum(result[way]["per_clip"]) / found["clips"] for way in ("with", "without"))
        yield f"{name} of faces: {with_it:.4f} with the face generator, {without:.4f} without"


def open_data(size: tuple[int, int]) -> VideoDataModule:
    """The protocol's clips, in pictures of another height and width."""
    (protocol,) = find_suite(PROTOCOL).protocols
    options = protocol.data_options(None) | {"size": size}
    return VideoDataModule(**options, conditions=EverybodyDanceNow.conditions, workers=0)


@torch.inference_mode()
def measure(method: EverybodyDanceNow, data: VideoDataModule) -> dict[str, Any]:
    """Faces against the true ones, with and without the face generator.

    Args:
        method: Weights of a face stage.
        data: Clips of its subject.

    Returns:
        ``clips``, their number, and ``metrics``: of each its value per clip in both ways, the means' intervals, and how
        the two compare.

    Raises:
        OptionError: The weights have no face generator.
    """
    if method.face_generator is None:
        raise OptionError("these weights are of an earlier stage, without a face generator; train the face stage")
    method.eval()
    body = deepcopy(method)
    body.face_generator = None
    measured = {way: {name: metric() for name, metric in METRICS.items()} for way in ("with", "without")}
    for number, batch in enumerate(tqdm(batches(data), desc="faces", unit="clip")):
        size = batch["driving"].shape[-2:]
        boxes = method.faces(batch["driving_pose"][0], size)
        assert boxes is not None
        true = crop(batch["driving"][0], boxes)
        for way, model in (("with", method), ("without", body)):
            faces: Tensor = crop(model.test_step(batch, number)[0], boxes)
            for metric in measured[way].values():
                metric.update(faces[None], true[None])
    found: dict[str, Any] = {}
    for name in METRICS:
        values = {way: metrics[name].per_clip().tolist() for way, metrics in measured.items()}
        found[name] = {way: {"per_clip": each, "interval": mean_interval(each, seed=0)} for way, each in values.items()}
        found[name]["with_minus_without"] = vars(compare(values["with"], values["without"]))
    return {"clips": len(values["with"]), "metrics": found}


def read_faces(path: Path) -> Faces:
    """Reads such a result and checks it.

    Raises:
        FileError: It isn't one.
    """
    return read(path, Faces, "faces")


def table(found: Faces) -> str:
    """Such a result as Markdown: a row for each metric."""
    rows = [["faces", "without the face stage", "with it", "p of the difference"], ["---", "---:", "---:", "---:"]]
    for name, ways in found["metrics"].items():
        shown = (ways["without"], ways["with"])
        means = [fmean(way["per_clip"]) for way in shown]
        column = metric_column(name, means)
        cells = []
        for mean, way in zip(means, shown, strict=True):
            low, high = way["interval"]
            cells.append(f"{column.number(mean)} [{column.number(low)}, {column.number(high)}]")
        rows.append([column.label, *cells, f"{ways['with_minus_without']['p_value']:.4f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def with_faces(page: str, results: Path) -> str:
    """A page with the tables of now between `<!-- faces: RESULT -->` and `<!-- end -->`, RESULT without `.json`."""
    return filled(page, "faces", lambda words: table(read_faces(results / f"{words[0]}.json")))
