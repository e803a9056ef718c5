"""What finds people in frames: the interface of a back end, and how one is chosen by name."""

from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, runtime_checkable

from torch import Tensor

from zoo.errors import OptionError
from zoo.pose import Skeleton

ESTIMATORS = {
    "mediapipe": "zoo.conditions.mediapipe:MediaPipePose",
    "rtmlib": "zoo.conditions.rtmlib:RtmlibWholeBody",
}
"""The back ends that come with the zoo, by name."""


@runtime_checkable
class PoseEstimator(Protocol):
    """Finds people in the frames of one clip, in order; a new one is made for each clip.

    Attributes:
        skeleton: The format that people are given in.
    """

    skeleton: Skeleton

    def __call__(self, frame: Tensor) -> Tensor:
        """The people of the next frame.

        Args:
            frame: (3, H, W) uint8 RGB.

        Returns:
            (P, K, 3) of the P people, maybe none: x and y in pixels (0 is the middle of the first pixel), confidence
            in [0, 1]; missing joints are 0 in all three.
        """
        ...


def load_estimator(name: str) -> PoseEstimator:
    """A back end by name.

    Args:
        name: ``mediapipe``, ``rtmlib``, ``auto`` (rtmlib where it is installed and its models can be had, else
            MediaPipe), or the path
            ``package.module:Class`` of any class that is a `PoseEstimator` and is made without arguments.

    Raises:
        OptionError: There is no such back end, or it is none.
    """
    if name == "auto":
        return _preferred()
    path = ESTIMATORS.get(name, name)
    module, colon, attribute = path.partition(":")
    if not colon:
        raise OptionError(
            f"there is no pose estimator {name!r}; choose {', '.join(ESTIMATORS)} or package.module:Class"
        )
    try:
        estimator = getattr(import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError) as error:
        raise OptionError(f"the pose estimator {path!r} can't be made: {error}") from error
    if not isinstance(estimator, PoseEstimator):
        raise OptionError(f"{path!r} is no pose estimator: it needs a `skeleton`, and takes a frame when it is called")
    return estimator


def check_finds(estimator: PoseEstimator, skeleton: Skeleton) -> None:
    """Refuses an estimator of other joints than the wanted ones, before it looks at any frame.

    Raises:
        OptionError: It finds none of them, as one of bodies finds no landmarks of a face.
    """
    if not estimator.skeleton.shares_joints(skeleton):
        raise OptionError(
            f"{type(estimator).__name__} finds {estimator.skeleton.name}, which has no joint of {skeleton.name}; "
            "choose --estimator rtmlib (`pip install rtmlib onnxruntime`), which finds faces and hands too"
        )


def _preferred() -> PoseEstimator:
    if find_spec("rtmlib"):
        try:
            return load_estimator("rtmlib")
        except OptionError as error:
            print(f"{error}; going on with mediapipe")
    return load_estimator("mediapipe")
