from torch import Tensor

from zoo.base import MotionOptions
from zoo.baselines.baseline import Baseline
from zoo.batch import Batch


class CopySource(Baseline):
    """Shows the source picture all the time. A method that doesn't beat it animates nothing."""

    title = "Copy source"

    def encode(self, source: Batch, options: MotionOptions) -> Tensor:
        """The (first) source picture, (B, 1, 3, H, W)."""
        return source["source"][:, :1]

    def render(self, state: Tensor, driving: Batch) -> tuple[Tensor, Tensor]:
        """The source picture, once per driving frame."""
        return state.expand_as(driving["driving"]), state
