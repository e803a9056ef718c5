"""Pictures side by side, for comparing them by eye."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import interpolate

_GAP = 2  # pixels between pictures
_BACKGROUND = 255
_INK = (40, 40, 40)
_SMALLEST_TEXT, _LARGEST_TEXT = 9, 20  # pixels


def side_by_side(pictures: Sequence[Tensor], titles: Sequence[str] | None = None) -> Tensor:
    """Pictures in one row with a thin gap, each under its title.

    Lower pictures are enlarged to the height of the highest, keeping their aspect.

    Args:
        pictures: RGB, uint8 (3, h, w) each.
        titles: One per picture, broken between words; a longer word is cut off. None leaves the line of titles out.

    Returns:
        RGB, uint8 (3, H, W).

    Raises:
        ValueError: If there is no picture, or as many titles as pictures are not given.
    """
    return grid([pictures], titles)


def grid(rows: Sequence[Sequence[Tensor]], titles: Sequence[str] | None = None) -> Tensor:
    """Rows of pictures with thin gaps, under one line of column titles.

    Args:
        rows: Rows of RGB, uint8 (3, h, w); all rows must come out equally wide.
        titles: One per column, broken between words where they're wider, or None.

    Returns:
        RGB, uint8 (3, H, W).

    Raises:
        ValueError: If a row is empty, rows differ in width or the titles don't match the columns.
    """
    if not rows or not all(rows):
        raise ValueError("there is no picture to show")
    if titles is not None and len(titles) != len(rows[0]):
        raise ValueError(f"{len(titles)} titles for {len(rows[0])} pictures")
    levelled = [_level(row) for row in rows]
    widths = [picture.shape[2] for picture in levelled[0]]
    parts = [] if titles is None else [_row(_titles(titles, widths))]
    parts += [_row(row) for row in levelled]
    if len({part.shape[2] for part in parts}) > 1:
        raise ValueError(f"the rows differ in width: {[part.shape[2] for part in parts]}")
    return torch.cat([piece for part in parts for piece in (part, _blank(_GAP, part.shape[2]))][:-1], dim=1)


def magnify(pictures: Tensor, factor: int) -> Tensor:
    """Pictures a whole number of times as large, smoothly (bicubic): RGB, uint8 (N, 3, h, w) to uint8 (N, 3, H, W)."""
    large = interpolate(pictures.float(), scale_factor=factor, mode="bicubic")
    return large.round().clamp(0, 255).to(torch.uint8)


def _level(row: Sequence[Tensor]) -> list[Tensor]:
    height = max(picture.shape[1] for picture in row)
    return [_enlarge(picture.cpu(), height) for picture in row]


def _enlarge(picture: Tensor, height: int) -> Tensor:
    if picture.shape[1] == height:
        return picture
    width = round(picture.shape[2] * height / picture.shape[1])
    return interpolate(picture[None], size=(height, width), mode="bilinear", align_corners=False)[0]


def _row(pictures: Sequence[Tensor]) -> Tensor:
    gap = _blank(pictures[0].shape[1], _GAP)
    return torch.cat([piece for picture in pictures for piece in (picture, gap)][:-1], dim=2)


def _blank(height: int, width: int) -> Tensor:
    return torch.full((3, height, width), _BACKGROUND, dtype=torch.uint8)


def _titles(titles: Sequence[str], widths: Sequence[int]) -> list[Tensor]:
    sizes = [min(max(width // 12, _SMALLEST_TEXT), _LARGEST_TEXT) for width in widths]
    texts = [_wrapped(*given) for given in zip(titles, sizes, widths, strict=True)]
    lines = max(text.count("\n") for text in texts) + 1
    return [_title(*given, lines) for given in zip(texts, sizes, widths, strict=True)]


def _wrapped(text: str, size: int, width: int) -> str:
    """The text with line breaks between words, where it would be wider than its column."""
    font = ImageFont.load_default(size)
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width - 2:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def _title(text: str, size: int, width: int, lines: int) -> Tensor:
    picture = Image.new("RGB", (width, lines * (size + size // 2)), (_BACKGROUND,) * 3)
    font = ImageFont.load_default(size)
    ImageDraw.Draw(picture).text((1, size // 5), text, fill=_INK, font=font, spacing=size // 4)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
