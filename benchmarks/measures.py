"""The metrics of a protocol, built, with the reason for each that can't be."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from benchmarks.protocol import Content
from zoo.errors import OptionError
from zoo.measurement import build_sets
from zoo.metrics import AED, AKD, CLIP_METRICS, MKR, ClipMetric, Jitter, build
from zoo.metrics.feature_sets import SetMetric
from zoo.metrics.keypoints import TrueKeypoints
from zoo.weights.networks import MissingWeightsError

KEYPOINTS: dict[str, Callable[[Any, TrueKeypoints], ClipMetric]] = {"akd": AKD, "mkr": MKR, "jitter": Jitter}
"""Metrics that look through an estimator of keypoints."""

ESTIMATED = (*KEYPOINTS, "aed")
"""Metrics that look through a network of somebody else, which the protocol names."""


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
    networks, missing = _estimators(content)
    for name in content["metrics"]:
        if name in ESTIMATED:
            kind = "keypoints" if name in KEYPOINTS else "identity"
            if kind in networks:
                metric = _estimated(name, networks[kind], content)
                measures.clips[metric.name] = metric
            else:
                measures.skipped[name] = missing[kind]
    measures.sets, skipped = build_sets(content["sets"])  # type: ignore[arg-type]  # it checks the names
    measures.skipped |= skipped
    return measures


def _estimators(content: Content) -> tuple[dict[str, Any], dict[str, str]]:
    """The protocol's estimators by kind, one of each for all metrics, and why the others can't be had."""
    named: Mapping[str, Any] = content.get("estimators", {})
    networks: dict[str, Any] = {}
    missing = {
        kind: f"it needs an estimator; name one under `estimators.{kind}` in the protocol"
        for kind in ("keypoints", "identity")
    }
    for kind, path in named.items():
        if path is None:
            continue
        estimator = _import(path)
        try:
            networks[kind] = estimator()
        except (MissingWeightsError, OptionError) as error:  # it isn't on this machine; says what to install
            missing[kind] = str(error)
    return networks, missing


def _estimated(name: str, network: Any, content: Content) -> ClipMetric:
    """A metric that looks through an estimator; poses that the clips don't have are found in the driving frames."""
    if name == "aed":
        return AED(network, to="source")
    return KEYPOINTS[name](network, "pose" if "pose" in content["provides"] else "driving")


def _import(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise OptionError(f"{path!r} can't be imported ({error}); write package.module.ClassName") from error


def _listed(*known: Iterable[str]) -> str:
    return ", ".join(sorted(name for names in known for name in names))
