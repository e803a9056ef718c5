"""Any picture into a method's working frame and back."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.fitting import Fit
from zoo.errors import ZooError

Box = tuple[int, int, int, int]
"""x, y of the top left corner, width and height, pixels."""


@dataclass(frozen=True)
class Framing:
    """A picture, or a box of it, fitted whole into a working frame, with the way back.

    The aspect is kept: the box is resized to touch two opposite borders, centred, and its own edge pixels are repeated
    over the rest, so that a network sees no black bars. On the way back exactly these borders are cut off. For networks
    that learnt from stretched pictures the box is fitted into a picture like those first, which is then stretched over
    the whole frame, and back. Both resizes are bilinear and antialiased, on the device of the pictures.

    Attributes:
        stored: Height and width of the whole picture, pixels.
        fit: Which box goes where in the working frame. Its methods bring conditions along; it borders them with
            nothing, where pictures repeat their edge.
    """

    stored: tuple[int, int]
    fit: Fit

    @classmethod
    def plan(
        cls,
        stored: tuple[int, int],
        size: tuple[int, int],
        crop: Box | None = None,
        stretch: bool = False,
        clips: tuple[int, int] | None = None,
    ) -> "Framing":
        """The geometry for pictures of one size.

        Args:
            stored: Height and width of the pictures, pixels.
            size: Height and width of the working frame, pixels.
            crop: The box to fit; None is the whole picture.
            stretch: Whether the aspect changes, for networks that learnt from stretched pictures.
            clips: Height and width that those had before; only their aspect counts. A box of another aspect is bordered
                up to it, so that a body is stretched as in training, whatever picture shows it. None takes the box's.

        Raises:
            ZooError: The box isn't inside the picture.
        """
        x, y, width, height = crop or (0, 0, stored[1], stored[0])
        if min(x, y) < 0 or min(width, height) < 1 or x + width > stored[1] or y + height > stored[0]:
            raise ZooError(
                f"the crop {x} {y} {width} {height} (x y width height) isn't inside the picture of {stored[1]} x "
                f"{stored[0]} pixels; choose a smaller box"
            )
        fit = Fit.plan((height, width), size, "pad", (clips or (height, width)) if stretch else None)
        return cls(stored, replace(fit, box=(y, x, height, width)))

    def enter(self, picture: Tensor) -> Tensor:
        """Fits a picture into the working frame.

        Args:
            picture: (C, h, w) uint8.

        Returns:
            (C, H, W) float32 in [0, 1].
        """
        top, left, height, width = self.fit.box
        part = picture[:, top : top + height, left : left + width].to(torch.float32) / 255
        part = _resize(part, self.fit.inner)
        above, before = self.fit.offset
        below = self.fit.size[0] - above - self.fit.inner[0]
        after = self.fit.size[1] - before - self.fit.inner[1]
        return F.pad(part[None], (before, after, above, below), mode="replicate")[0]

    def leave(self, frame: Tensor) -> Tensor:
        """Takes the box out of a working frame, at its own size.

        Args:
            frame: (C, H, W) in [0, 1].

        Returns:
            (C, box height, box width) uint8.
        """
        above, before = self.fit.offset
        part = frame[:, above : above + self.fit.inner[0], before : before + self.fit.inner[1]].to(torch.float32)
        return to_bytes(_resize(part, self.fit.box[2:]))

    def paste(self, picture: Tensor, frame: Tensor) -> Tensor:
        """A copy of the whole picture with the box replaced from a working frame; outside the box nothing changes.

        Args:
            picture: (C, h, w) uint8, of the size that was planned for.
            frame: (C, H, W) in [0, 1], on any device.

        Returns:
            (C, h, w) uint8, on the device of the picture.
        """
        top, left, height, width = self.fit.box
        whole = picture.clone()
        whole[:, top : top + height, left : left + width] = self.leave(frame).to(picture.device)
        return whole


def to_bytes(picture: Tensor) -> Tensor:
    """Values in [0, 1] as uint8."""
    return (picture.float() * 255).round().clamp(0, 255).to(torch.uint8)


def _resize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    height, width = size
    if picture.shape[-2:] == size:
        return picture
    if width == 1:  # torch 2.14 on the CPU repeats the first row where a result is one column wide; rows are right
        return _resize(picture.mT, (width, height)).mT if height > 1 else picture.mean((1, 2), keepdim=True)
    return F.interpolate(picture[None], size, mode="bilinear", antialias=True)[0]
