from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Policy = Literal["crop", "pad", "stretch"]


@dataclass(frozen=True)
class Fit:
    """How a stored frame becomes a picture of the wanted size: a box is cut out, resized, and surrounded with black.

    The same geometry serves pictures, maps and keypoints, so that they stay on top of each other.

    Attributes:
        box: Top, left, height and width of the part of the stored frame that is kept, pixels.
        inner: Height and width of that part in the picture, pixels.
        offset: Top and left of that part in the picture, pixels.
        size: Height and width of the picture, pixels.
    """

    box: tuple[int, int, int, int]
    inner: tuple[int, int]
    offset: tuple[int, int]
    size: tuple[int, int]

    @classmethod
    def plan(
        cls, stored: tuple[int, int], size: tuple[int, int], policy: Policy, canvas: tuple[int, int] | None = None
    ) -> "Fit":
        """The geometry for frames of one stored size.

        Args:
            stored: Height and width of the frames, pixels.
            size: Height and width wanted, pixels.
            policy: ``crop`` keeps the largest centred box of the wanted aspect; ``pad`` keeps everything and adds
                black borders; ``stretch`` keeps everything and changes the aspect.
            canvas: Height and width of larger pictures that ``pad`` adds borders up to before these are stretched to
                the size wanted; only their aspect counts. None is the size wanted, where nothing is stretched.
        """
        (stored_height, stored_width), (height, width) = stored, size
        box_height, box_width, inner = stored_height, stored_width, size
        if policy == "crop":
            if stored_height * width > height * stored_width:  # too tall
                box_height = max(1, round(stored_width * height / width))
            else:
                box_width = max(1, round(stored_height * width / height))
        elif policy == "pad":
            high, wide = canvas or size
            scale = min(high / stored_height, wide / stored_width)
            inner = (
                max(1, round(stored_height * scale * (height / high))),
                max(1, round(stored_width * scale * (width / wide))),
            )
        return cls(
            box=((stored_height - box_height) // 2, (stored_width - box_width) // 2, box_height, box_width),
            inner=inner,
            offset=((height - inner[0]) // 2, (width - inner[1]) // 2),
            size=size,
        )

    def pictures(self, frames: Tensor) -> Tensor:
        """Fits pictures with antialiased bilinear interpolation.

        Args:
            frames: (N, C, h, w) uint8, as stored.

        Returns:
            (N, C, H, W) uint8.
        """
        return self._place(frames, mode="bilinear", antialias=True)

    def labels(self, maps: Tensor) -> Tensor:
        """Fits maps whose values must not be mixed (surface maps, masks), with the nearest pixel.

        Args:
            maps: (N, C, h, w) uint8, as stored.

        Returns:
            (N, C, H, W) uint8; the borders are 0, which is background.
        """
        return self._place(maps, mode="nearest-exact", antialias=False)

    def pose(self, keypoints: Tensor) -> Tensor:
        """Fits keypoints and brings them to the batch's coordinates.

        Args:
            keypoints: (..., K, 3) with x, y in stored pixels (a pixel's centre is a whole number) and a confidence.

        Returns:
            The same shape with x, y in [-1, 1] (pixel centres as in ``align_corners=False``). Joints outside the
            picture are missing, and missing joints are 0 in all three.
        """
        top, left, box_height, box_width = self.box
        scale = keypoints.new_tensor([self.inner[1] / box_width, self.inner[0] / box_height])
        corner = keypoints.new_tensor([left, top])
        offset = keypoints.new_tensor([self.offset[1], self.offset[0]])
        size = keypoints.new_tensor([self.size[1], self.size[0]])
        edges = (keypoints[..., :2] + 0.5 - corner) * scale + offset  # pixel edges are whole numbers here
        return hide_outside(torch.cat([2 * edges / size - 1, keypoints[..., 2:]], dim=-1))

    def _place(self, frames: Tensor, mode: str, antialias: bool) -> Tensor:
        top, left, box_height, box_width = self.box
        part = frames[..., top : top + box_height, left : left + box_width]
        if self.inner != (box_height, box_width):
            part = F.interpolate(part, self.inner, mode=mode, antialias=antialias)
        if self.inner == self.size:
            return part
        above, before = self.offset
        below, after = self.size[0] - above - self.inner[0], self.size[1] - before - self.inner[1]
        return F.pad(part, (before, after, above, below))


def hide_outside(pose: Tensor) -> Tensor:
    """Poses whose joints outside the picture are marked as missing.

    Args:
        pose: (..., K, 3) with x, y in [-1, 1] inside the picture, and a confidence.

    Returns:
        The same shape; a joint that is outside, or had confidence 0, is 0 in all three.
    """
    inside = (pose[..., :2].abs() <= 1).all(dim=-1, keepdim=True) & (pose[..., 2:] > 0)
    return torch.where(inside, pose, torch.zeros_like(pose))
