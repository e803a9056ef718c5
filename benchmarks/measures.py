"""The metrics of a protocol, built, with the reason for each that can't be."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from benchmarks.protocol import Content
from zoo.errors import OptionError
from zoo.measurement import build_sets
from zoo.metrics import AED, AKD, CLIP_METRICS, MKR, ClipMetric, build
from zoo.metrics.feature_sets import SetMetric

ESTIMATED: dict[str, tuple[str, Callable[[Any], ClipMetric]]] = {
    "akd": ("keypoints", AKD),
    "mkr": ("keypoints", MKR),
    "aed": ("identity", lambda embedding: AED(embedding, to="source")),
}
"""Metrics that look through a network of somebody else: which one, and how they are built."""


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
    estimators: Mapping[str, Any] = content.get("estimators", {})
    for name in content["metrics"]:
        if name in ESTIMATED:
            kind, metric = ESTIMATED[name]
            if path := estimators.get(kind):
                built = metric(_import(path)())
                measures.clips[built.name] = built
            else:
                measures.skipped[name] = f"it needs an estimator; name one under `estimators.{kind}` in the protocol"
    measures.sets, skipped = build_sets(content["sets"])  # type: ignore[arg-type]  # it checks the names
    measures.skipped |= skipped
    return measures


def _import(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise OptionError(f"{path!r} can't be imported ({error}); write package.module.ClassName") from error


def _listed(*known: Iterable[str]) -> str:
    return ", ".join(sorted(name for names in known for name in names))
