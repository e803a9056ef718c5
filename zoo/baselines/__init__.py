"""What every method is held against: in the methods' own contract, but learning nothing."""

from zoo.baselines.baseline import Baseline
from zoo.baselines.copy_source import CopySource
from zoo.baselines.nearest_frame import NearestFrame
from zoo.baselines.oracle import Oracle

__all__ = ["BASELINES", "Baseline", "CopySource", "NearestFrame", "Oracle"]

BASELINES: dict[str, type[Baseline]] = {
    "copy_source": CopySource,
    "nearest_frame": NearestFrame,
    "oracle": Oracle,
}
"""How each is called in results."""
