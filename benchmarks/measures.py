"""The metrics of a protocol, built, with the reason for each that can't be."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks.protocol import Content
from zoo.errors import OptionError
from zoo.measurement import build_sets
from zoo.metrics import CLIP_METRICS, ESTIMATED, ClipMetric, build, build_estimated
from zoo.metrics.feature_sets import SetMetric
from zoo.metrics.keypoints import TrueKeypoints


@dataclass
class Measures:
    """What is measured.

    Attributes:
        clips: Metrics with a value per clip.
        sets: Metrics on all clips together.
        skipped: Name -> why it isn't measured, with the command that mends it.
    """

    clips: dict[str, ClipMetric] = field(default_factory=dict)
    sets: dict[str, SetMetric] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def build_measures(content: Content) -> Measures:
    """Builds a protocol's metrics.

    Raises:
        OptionError: A metric or an estimator doesn't exist.
    """
    plain = [name for name in content["metrics"] if name not in ESTIMATED]
    if unknown := [name for name in plain if name not in CLIP_METRICS]:
        raise OptionError(f"metrics: no metric is called {unknown[0]!r}; there are {_listed(CLIP_METRICS, ESTIMATED)}")
    clips, skipped = build(plain)
    measures = Measures(clips, skipped=skipped)
    estimated = [name for name in content["metrics"] if name in ESTIMATED]
    # Poses that the clips don't have are found in the driving frames.
    keypoints: TrueKeypoints = "pose" if "pose" in content["provides"] else "driving"
    named: dict[str, str | None] = {**content.get("estimators", {})}  # type: ignore[dict-item]  # all are
    metrics, missing = build_estimated(estimated, named, keypoints, identity="source")
    measures.clips |= metrics
    measures.skipped |= missing
    measures.sets, skipped = build_sets(content["sets"])  # type: ignore[arg-type]  # it checks the names
    measures.skipped |= skipped
    return measures


def _listed(*known: Iterable[str]) -> str:
    return ", ".join(sorted(name for names in known for name in names))
