"""What charts the body's surface in frames: the interface of a back end, how one is chosen, DensePose's model."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.errors import OptionError


@runtime_checkable
class SurfaceEstimator(Protocol):
    """Charts the person in the frames of one clip, in order; a new one is made for each clip."""

    def __call__(self, frame: Tensor) -> Tensor:
        """The next frame's surface map.

        Args:
            frame: (3, H, W) uint8 RGB.

        Returns:
            (3, H, W) uint8: I in 0..24, U and V times 255; 0 where there is nobody.
        """
        ...


def load_surface_estimator(name: str) -> SurfaceEstimator:
    """A back end by name.

    Args:
        name: The path of a DensePose model in TorchScript, or the path ``package.module:Class`` of any class that is a
            `SurfaceEstimator` and is made without arguments.

    Raises:
        OptionError: There is no such back end, or it is none.
    """
    if Path(name).is_file():
        return DensePoseScript(name)
    module, colon, attribute = name.partition(":")
    if not colon:
        raise OptionError(
            f"there are no surfaces {name!r}; choose `skeleton`, the path of a DensePose model in TorchScript, a "
            "folder of DensePose pictures, or package.module:Class"
        )
    try:
        estimator = getattr(import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError) as error:
        raise OptionError(f"the surface estimator {name!r} can't be made: {error}") from error
    if not isinstance(estimator, SurfaceEstimator):
        raise OptionError(f"{name!r} is no surface estimator: it takes a frame when it is called")
    return estimator


class DensePoseScript:
    """A DensePose model exported to TorchScript: who is followed is the largest person of the first frame.

    The model takes a picture (3, H, W) uint8, blue before green before red, and returns for P people boxes (P, 4) as
    left, top, right, bottom in pixels, and maps over the boxes: coarse segmentation (P, 2, h, w), parts (P, 25, h, w),
    U (P, 25, h, w) and V (P, 25, h, w). Run only models that you trust.

    Args:
        path: The model.

    Raises:
        OptionError: The file is no TorchScript.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            self._model: Callable[[Tensor], tuple[Tensor, ...]] = torch.jit.load(str(path), map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            problem = str(error).splitlines()[0]
            raise OptionError(f"{path}: is no model in TorchScript ({problem}); export one with torch.jit") from error
        self._path = path
        self._followed: Tensor | None = None

    @torch.no_grad()
    def __call__(self, frame: Tensor) -> Tensor:
        """The surface map (3, H, W) uint8 of the next frame."""
        surface = torch.zeros_like(frame)
        try:
            boxes, coarse, fine, u, v = self._model(frame.flip(0))
        except (RuntimeError, TypeError, ValueError) as error:
            problem = str(error).splitlines()[-1]
            raise OptionError(f"{self._path}: doesn't work as a DensePose model ({problem})") from error
        if not len(boxes):
            return surface
        person = self._choose(boxes.float())
        self._followed = boxes[person].float()
        left, top, right, bottom = self._followed.round().long().tolist()
        size = (max(1, bottom - top), max(1, right - left))
        maps = [F.interpolate(x[person, None].float(), size, mode="bilinear")[0] for x in (coarse, fine, u, v)]
        part = maps[1].argmax(0, keepdim=True) * (maps[0].argmax(0, keepdim=True) > 0)
        places = [(255 * x.gather(0, part).clamp(0, 1)).round() * (part > 0) for x in maps[2:]]
        charted = torch.cat([part, *places]).byte()
        height, width = frame.shape[-2:]
        rows, columns = slice(max(0, top), min(height, bottom)), slice(max(0, left), min(width, right))
        shown = charted[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        surface[:, rows, columns] = shown
        return surface

    def _choose(self, boxes: Tensor) -> int:
        """The person who overlaps the followed one most (intersection over union); the largest, if nobody does."""
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        if self._followed is not None:
            low = torch.maximum(boxes[:, :2], self._followed[:2])
            high = torch.minimum(boxes[:, 2:], self._followed[2:])
            common = (high - low).clamp(min=0).prod(1)
            if common.any():
                followed = (self._followed[2:] - self._followed[:2]).prod()
                return int((common / (area + followed - common).clamp(min=1)).argmax())
        return int(area.argmax())
