from typing import ClassVar

from torch import Tensor

from zoo.base import AnimationModule
from zoo.data import VideoDataModule


class Baseline(AnimationModule):
    """A method that learns nothing: no steps, no weights, the same for every seed.

    What a baseline needs of the training clips it takes in :meth:`prepare`, which stands where others are fitted.
    """

    inference_networks = ()

    title: ClassVar[str]
    """What tables call it."""

    def inference_state(self) -> dict[str, Tensor]:
        """What it keeps of the training clips."""
        return self.state_dict()

    def prepare(self, data: VideoDataModule) -> None:
        """Looks at the training clips, once, before anything is animated. By default at nothing.

        Args:
            data: Opened with the conditions that the baseline declares.
        """
