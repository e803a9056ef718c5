"""Measuring clip by clip, and sets of clips as a whole: what training, testing and the benchmark share."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from torch import Tensor

from zoo.batch import Batch, truth
from zoo.data.datamodule import Pair
from zoo.errors import FileError, OptionError
from zoo.metrics import ClipMetric
from zoo.metrics.clip_metric import Need
from zoo.metrics.detection import DetectionMetric
from zoo.metrics.feature_sets import SetMetric
from zoo.metrics.fid import FID
from zoo.metrics.frechet import frechet_at_infinity, frechet_interval
from zoo.metrics.fvd import FVD_VARIANTS
from zoo.report import Row
from zoo.weights.networks import MissingWeightsError

SetMetricName = Literal[
    "fvd",
    "fvd_tensorflow",
    "fvd_stylegan_v",
    "fvd_stylegan_v_128f",
    "fvd_stylegan_v_128f_subsample8f",
    "fvd_videogpt",
    "fid",
]

SET_METRICS: dict[str, Callable[[], SetMetric]] = {**FVD_VARIANTS, "fid": FID}
"""Metrics on all clips together: a distance between the predicted ones and the true (else the driving) ones."""


class Measurement:
    """Collects a row per clip. Clips are told apart by their true frames being known or not.

    A prediction is compared with the batch's ``target``, else with its ``driving`` frames where they show the source's
    clip. Of other transfers nobody knows the true frames: there only metrics count that need none, and the poses are
    the driving clip's.

    Args:
        metrics: Measured on each clip.
        sets: Measured on all clips together: predictions as one set, and as the other the true frames, where nobody
            knows them the driving frames.

    Attributes:
        rows: One per clip, in the order of the batches. Where an estimator looks for something, ``<metric>_skipped``
            says how many frames (for jitter: keypoints) lack it, so that the clip's mean leaves them out.
        without_truth: Clips whose true frames nobody knows.
    """

    def __init__(self, metrics: Mapping[str, ClipMetric], sets: Mapping[str, SetMetric] | None = None) -> None:
        self.metrics = metrics
        self.sets = sets or {}
        self.rows: list[Row] = []
        self.without_truth = 0
        self._lacking: dict[str, str] = {}

    def add(self, batch: Batch, predictions: Mapping[str, Tensor]) -> None:
        """Measures a batch; copies that only fill up a shard are left out.

        Args:
            batch: Its clips.
            predictions: Beginning of the values' names in the row -> frames (B, T, 3, H, W) in [0, 1]; those that
                begin with nothing enter the sets.
        """
        valid = valid_clips(batch)
        for metric in self.sets.values() if valid else ():
            metric.update(predictions[""][valid], truth(batch)[valid])
        known = [clip for clip in valid if knows_truth(batch, clip)]
        unknown = [clip for clip in valid if not knows_truth(batch, clip)]
        self.without_truth += len(unknown)
        for clips, facts in ((known, _facts(batch)), (unknown, _facts_without_truth(batch))):
            if clips:
                rows = [describe(batch, clip) for clip in clips]
                chosen = {need: value[clips] for need, value in facts.items()}
                for prefix, prediction in predictions.items():
                    self._measure(rows, prefix, prediction[clips], chosen)
                self.rows += rows

    def unmeasured(self, rows: list[Row]) -> dict[str, str]:
        """Metrics that none of the rows has, because the data lacks what they need -> the reason."""
        return {name: reason for name, reason in self._lacking.items() if not any(name in row for row in rows)}

    def _measure(self, rows: list[Row], prefix: str, prediction: Tensor, known: Mapping[Need, Tensor]) -> None:
        for name, metric in self.metrics.items():
            if reason := metric.lacks(known):
                self._lacking[name] = reason
                continue
            metric.reset()
            metric.update(prediction, **known)  # type: ignore[arg-type]  # a Need is a str
            for row, value in zip(rows, metric.per_clip().tolist(), strict=True):
                row[prefix + name] = value
            if isinstance(metric, DetectionMetric):
                for row, count in zip(rows, metric.skipped_per_clip().tolist(), strict=True):
                    row[f"{prefix}{name}_skipped"] = count


def build_sets(names: Iterable[SetMetricName]) -> tuple[dict[str, SetMetric], dict[str, str]]:
    """Builds metrics on sets of clips.

    Returns:
        The metrics by name, and the names of those whose weights are missing, with the command that fetches them.

    Raises:
        OptionError: There is no such metric.
    """
    metrics: dict[str, SetMetric] = {}
    skipped: dict[str, str] = {}
    for name in names:
        if name not in SET_METRICS:
            raise OptionError(f"no metric on sets is called {name!r}; there are {', '.join(sorted(SET_METRICS))}")
        try:
            metrics[name] = SET_METRICS[name]()
        except MissingWeightsError as missing:
            skipped[name] = str(missing)
    return metrics, skipped


def valid_clips(batch: Batch) -> list[int]:
    """The batch's clips without copies that only fill up a shard."""
    clips = list(range(len(batch["driving"])))
    return [clip for clip in clips if batch["valid"][clip]] if "valid" in batch else clips


def knows_truth(batch: Batch, clip: int) -> bool:
    """Whether it is known what the prediction should be."""
    return "target" in batch or "source_clip" not in batch or batch["source_clip"][clip] == batch["driving_clip"][clip]


def describe(batch: Batch, clip: int) -> Row:
    """A clip's row before anything was measured."""
    row: Row = {"clip": "", "source": "", "source_frame": 0, "frames": truth(batch).shape[1]}
    if "driving_clip" in batch:
        row |= {"clip": batch["driving_clip"][clip], "source": batch["source_clip"][clip]}
    if "source_frame" in batch:
        row["source_frame"] = int(batch["source_frame"][clip])
    return row


def clip_name(row: Row) -> str:
    """How the files of a clip are called: ``<source>--<clip>``, and the source's frame where it isn't the first."""
    name = f"{row['source']}--{row['clip']}"
    if row["source_frame"]:
        name += f"--{row['source_frame']:06d}"
    return name.replace("/", "_")


def check_clip_names(pairs: Iterable[Pair]) -> None:
    """Complains about clips whose files would replace one another: ``a/b_c.mp4`` and ``a_b/c.mp4`` are called alike.

    Args:
        pairs: Of all clips, as the data module's ``test_pairs`` gives them. The same one may come twice.

    Raises:
        FileError: Names two.
    """
    owners: dict[str, Row] = {}
    for source, frame, driving in pairs:
        row: Row = {"clip": driving.name, "source": source.name, "source_frame": frame}
        name = clip_name(row)
        owner = owners.setdefault(name, row)
        if owner != row:
            problem = f"driving {row['source']} would be called {name}, as {owner['clip']} driving {owner['source']}"
            raise FileError(row["clip"], problem, "rename one of them")


def check_prediction(prediction: object, batch: Batch) -> Tensor:
    """The prediction, if it is one.

    Raises:
        ValueError: It has another shape than the true frames, holds integers, or isn't a tensor at all.
    """
    expected = truth(batch).shape
    if not isinstance(prediction, Tensor) or prediction.shape != expected:
        found = tuple(prediction.shape) if isinstance(prediction, Tensor) else type(prediction).__name__
        raise ValueError(f"validation_step and test_step should return {tuple(expected)}, not {found}")
    if not prediction.is_floating_point():
        raise ValueError(
            f"validation_step and test_step should return floating point in [0, 1], not {prediction.dtype}"
        )
    return prediction


def set_record(metric: SetMetric) -> dict[str, Any]:
    """What belongs beside a set metric's value: of how many clips or frames it is, and its convention.

    Returns:
        ``clips``, the smaller set; ``counts`` and ``skipped``, those of each set that counted and that were too short,
        predictions first; ``diagnostic`` and ``convention``.
    """
    return {
        "clips": min(metric.counts),
        "counts": [*metric.counts],
        "skipped": [*metric.skipped],
        "diagnostic": bool(metric.diagnostic),
        "convention": metric.name,
    }


def set_remark(record: Mapping[str, Any]) -> str:
    """Such a record in words: of how many items, which were too short, and whether they are too few."""
    predictions, truths = record["counts"]
    words = f"{predictions} items on each side" if predictions == truths else f"{predictions} items, {truths} true ones"
    short = sum(record["skipped"])
    words += f"; {short} too short" if short else ""
    return words + ("; diagnostic: too few to rank anything" if record["diagnostic"] else "")


def set_value(metric: SetMetric, seed: int) -> dict[str, Any]:
    """A set metric's value with its interval, its extrapolation, and its record.

    Args:
        metric: Of the Fréchet kind, on the clips that it has seen.
        seed: Of the resampling.
    """
    features = metric.features()
    interval = frechet_interval(*features, metric.unbiased, seed=seed)
    return {
        "value": float(metric.compute()),
        "low": interval.low,
        "high": interval.high,
        "infinity": float(frechet_at_infinity(*features, metric.unbiased, seed=seed)),
        **set_record(metric),
    }


def _facts(batch: Batch) -> dict[Need, Tensor]:
    """What is known of each clip beside its prediction, under the names by which metrics ask for it."""
    role = "target" if "target" in batch else "driving"
    facts: dict[Need, Tensor] = {
        "target": truth(batch),
        "source": batch["source"][:, 0],
        "driving": batch["driving"],
    }
    if f"{role}_mask" in batch:
        facts["mask"] = batch[f"{role}_mask"]  # type: ignore[literal-required]
    if f"{role}_pose" in batch:
        facts["pose"] = batch[f"{role}_pose"]  # type: ignore[literal-required]
    return facts


def _facts_without_truth(batch: Batch) -> dict[Need, Tensor]:
    facts: dict[Need, Tensor] = {"source": batch["source"][:, 0], "driving": batch["driving"]}
    if "driving_pose" in batch:
        facts["pose"] = batch["driving_pose"]
    return facts
