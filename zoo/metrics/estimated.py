"""Metrics that look through somebody else's network, which is named by the dotted path of its class."""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, Literal

from zoo.errors import OptionError
from zoo.metrics.aed import AED
from zoo.metrics.akd import AKD
from zoo.metrics.clip_metric import ClipMetric
from zoo.metrics.embedding import Reference
from zoo.metrics.jitter import Jitter
from zoo.metrics.keypoints import TrueKeypoints
from zoo.metrics.mkr import MKR
from zoo.weights.networks import MissingWeightsError

EstimatedName = Literal["akd", "mkr", "jitter", "aed"]

KEYPOINTS: dict[str, Callable[[Any, TrueKeypoints], ClipMetric]] = {"akd": AKD, "mkr": MKR, "jitter": Jitter}
"""Metrics that look through an estimator of keypoints."""

ESTIMATED = (*KEYPOINTS, "aed")
"""All of them; AED looks through a network that tells people apart."""


def build_estimated(
    names: Iterable[str], estimators: Mapping[str, str | None], keypoints: TrueKeypoints, identity: Reference
) -> tuple[dict[str, ClipMetric], dict[str, str]]:
    """Builds metrics, one network of each kind for all of them.

    Args:
        names: Of ``ESTIMATED``.
        estimators: ``keypoints`` and ``identity`` -> the dotted path of the network's class, or None.
        keypoints: Where true keypoints come from.
        identity: Whom the predictions should show.

    Returns:
        The metrics by their own names, which end in the estimator's; and those of ``names`` that can't be measured on
        this machine, with the reason and the command that mends it.

    Raises:
        OptionError: A path leads nowhere.
    """
    metrics: dict[str, ClipMetric] = {}
    skipped: dict[str, str] = {}
    kinds = {name: "keypoints" if name in KEYPOINTS else "identity" for name in names}
    networks, missing = _networks(estimators, sorted(set(kinds.values())))
    for name, kind in kinds.items():
        if kind in missing:
            skipped[name] = missing[kind]
            continue
        network = networks[kind]
        metric = AED(network, to=identity) if name == "aed" else KEYPOINTS[name](network, keypoints)
        metrics[metric.name] = metric
    return metrics, skipped


def _networks(estimators: Mapping[str, str | None], kinds: Iterable[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The networks by kind, and why the others can't be had."""
    networks: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for kind in kinds:
        path = estimators.get(kind)
        if path is None:
            missing[kind] = f"it needs an estimator; name one under `estimators.{kind}` in the protocol"
            continue
        estimator = _import(path)
        try:
            networks[kind] = estimator()
        except (MissingWeightsError, OptionError) as error:  # it isn't on this machine; says what to install
            missing[kind] = str(error)
    return networks, missing


def _import(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise OptionError(f"{path!r} can't be imported ({error}); write package.module.ClassName") from error
