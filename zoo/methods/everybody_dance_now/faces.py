"""Squares around faces, cut out of pictures and put back; one for each picture of a batch."""

import torch
from torch import Tensor


def crop(pictures: Tensor, boxes: Tensor) -> Tensor:
    """Cuts squares out of pictures.

    Args:
        pictures: (B, C, H, W).
        boxes: (B, 4) whole numbers: top, bottom, left, right, half open; all of one size and inside the picture.

    Returns:
        (B, C, bottom - top, right - left).
    """
    rows = zip(pictures, boxes.tolist(), strict=True)
    return torch.stack([picture[:, top:bottom, left:right] for picture, (top, bottom, left, right) in rows])


def paste(pictures: Tensor, boxes: Tensor, squares: Tensor) -> Tensor:
    """Pictures with the squares in place of what :func:`crop` would cut out; gradients reach both."""
    pasted = pictures.clone()
    for number, (top, bottom, left, right) in enumerate(boxes.tolist()):
        pasted[number, :, top:bottom, left:right] = squares[number]
    return pasted
