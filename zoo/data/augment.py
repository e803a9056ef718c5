import math
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from kornia import enhance
from kornia.geometry.transform import warp_affine
from torch import Tensor

from zoo.data.fitting import hide_outside
from zoo.pose import Skeleton, flip_pose, flip_surface


class Augmentation(TypedDict, total=False):
    """How training samples are varied, each way off unless given.

    All frames of a sample, source and driving, get the same parameters (frames of another person their own); poses,
    surface maps and masks follow the pictures. The order is First Order Motion's: flip, rotation, scale, colours.

    Attributes:
        time_flip: Half of the samples run backwards. As in First Order Motion these are not mirrored as well.
        horizontal_flip: Half of the samples (of those that run forwards) are mirrored.
        rotation: Degrees: turned about the centre by an angle drawn from [-rotation, rotation].
        scale: Lowest and highest factor of a random resize, after which a random part of the original size is cut out;
            what became smaller than that is centred and surrounded by its own edge.
        brightness: Multiplied by a factor drawn from [max(0, 1 - brightness), 1 + brightness].
        contrast: The same for the contrast about the mean grey of each frame.
        saturation: The same for the distance of the colours from grey.
        hue: Moved by a part of the colour circle drawn from [-hue, hue].
    """

    time_flip: bool
    horizontal_flip: bool
    rotation: float
    scale: tuple[float, float]
    brightness: float
    contrast: float
    saturation: float
    hue: float


class Parameters(TypedDict, total=False):
    """What is done to each of B samples; only what is on is there.

    Attributes:
        backwards: (B,) bool.
        mirrored: (B,) bool.
        transform: (B, 2, 3): where a pixel (x, y, 1) goes, in pixels.
        colours: Per way of changing the colours, (B,) factors (``hue``: radians).
        order: Per sample, the order in which its colours are changed.
    """

    backwards: Tensor
    mirrored: Tensor
    transform: Tensor
    colours: dict[str, Tensor]
    order: list[list[str]]


_COLOURS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": enhance.adjust_brightness_accumulative,
    "contrast": enhance.adjust_contrast_with_mean_subtraction,
    "saturation": enhance.adjust_saturation_with_gray_subtraction,
    "hue": enhance.adjust_hue,
}
_STREAM = 1  # keeps these draws apart from those that chose the frames of the same sample
_OTHER_STREAM = 2  # and those for another person's frames apart from both
_PICTURES = ("source", "driving", "other")


def draw_parameters(
    augmentation: Augmentation, seed: int, numbers: Sequence[int], size: tuple[int, int], other: bool = False
) -> Parameters:
    """What is done to each sample of a batch: a pure function of the seed and the sample's running number.

    Args:
        augmentation: Which variations are on, and how far they go.
        seed: The data module's seed.
        numbers: B running numbers.
        size: Height and width of the pictures.
        other: Draw for the frames of another person, who are varied on their own.
    """
    stream = _OTHER_STREAM if other else _STREAM
    # Always the same number of draws, so that one variation doesn't change the others.
    draws = np.stack([np.random.default_rng((seed, number, stream)).uniform(size=14) for number in numbers])
    backwards, mirrored, angle, scale, left, top, *colours = torch.from_numpy(draws[:, :10]).float().unbind(1)
    parameters = Parameters()
    if augmentation.get("time_flip"):
        parameters["backwards"] = backwards < 0.5
    if augmentation.get("horizontal_flip"):
        parameters["mirrored"] = (mirrored < 0.5) & ~parameters.get("backwards", torch.zeros_like(mirrored).bool())
    if augmentation.get("rotation") or augmentation.get("scale"):
        low, high = augmentation.get("scale", (1.0, 1.0))
        turn = math.radians(augmentation.get("rotation", 0.0)) * (2 * angle - 1)
        parameters["transform"] = _transform(turn, low + (high - low) * scale, torch.stack([left, top], 1), size)
    amounts = {
        "brightness": augmentation.get("brightness"),
        "contrast": augmentation.get("contrast"),
        "saturation": augmentation.get("saturation"),
        "hue": augmentation.get("hue"),
    }
    parameters["colours"] = {
        name: _factors(name, amount, draw)
        for (name, amount), draw in zip(amounts.items(), colours, strict=True)
        if amount
    }
    names = list(_COLOURS)
    parameters["order"] = [[names[place] for place in row.argsort()] for row in draws[:, 10:]]
    return parameters


def augment(batch: dict[str, Any], parameters: Parameters, skeleton: Skeleton) -> dict[str, Any]:
    """Varies a training batch on its device.

    Args:
        batch: Float pictures and conditions, as `zoo.batch.Batch` says; of source and driving, or of another person.
        parameters: From `draw_parameters`, on the batch's device.
        skeleton: The format of the poses.

    Returns:
        A new batch; the given one stays as it is.
    """
    batch = dict(batch)
    roles = [key for key in _PICTURES if key in batch]
    size = batch[roles[0]].shape[-2:]
    if "backwards" in parameters:
        _change(batch, parameters["backwards"], _reversed)
    if "mirrored" in parameters:
        _change(batch, parameters["mirrored"], lambda key, value: _mirrored(key, value, skeleton))
    if "transform" in parameters:
        for key in batch:
            batch[key] = _moved(key, batch[key], parameters["transform"], size)
    if parameters["colours"]:
        pictures = _recoloured(torch.cat([batch[key] for key in roles], 1), parameters)
        parts = pictures.split([batch[key].shape[1] for key in roles], 1)
        batch |= dict(zip(roles, parts, strict=True))
    return batch


def to_floats(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch with pictures, masks and surface maps in the ranges that `zoo.batch.Batch` says, instead of bytes."""
    floats = dict(batch)
    for key, value in batch.items():
        if isinstance(value, Tensor) and value.dtype == torch.uint8:
            floats[key] = value.to(torch.float32)
            scaled = floats[key][:, :, 1:] if key.endswith("_iuv") else floats[key]  # I stays a whole number
            scaled /= 255
    return floats


def _transform(turn: Tensor, scale: Tensor, window: Tensor, size: tuple[int, int]) -> Tensor:
    """Turning about the centre, resizing and cutting out, as (B, 2, 3) from old to new pixels."""
    extent = torch.tensor([size[1], size[0]], dtype=torch.float32)
    cosine, sine = scale * turn.cos(), scale * turn.sin()
    linear = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    scale = scale[:, None]
    surplus = (scale - 1) * extent
    corner = torch.where(scale > 1, window, torch.full_like(window, 0.5)) * surplus
    # Edge coordinates, in which the centre is extent / 2 and a pixel's centre is its number + 1/2.
    shift = scale * extent / 2 - corner - (linear @ (extent / 2))
    shift = shift + linear.sum(-1) / 2 - 0.5
    return torch.cat([linear, shift[..., None]], -1)


def _factors(name: str, amount: float, draw: Tensor) -> Tensor:
    if name == "hue":
        return 2 * math.pi * amount * (2 * draw - 1)
    lowest = max(0.0, 1 - amount)
    return lowest + (1 + amount - lowest) * draw


def _change(batch: dict[str, Any], rows: Tensor, change: Callable[[str, Tensor], Tensor]) -> None:
    for key, value in batch.items():
        if _is_condition(key) or key in (*_PICTURES, "frame"):
            batch[key] = torch.where(rows.view(-1, *[1] * (value.ndim - 1)), change(key, value), value)


def _is_condition(key: str) -> bool:
    return key == "pose_window" or key.endswith(("_pose", "_iuv", "_mask"))


def _reversed(key: str, value: Tensor) -> Tensor:
    if key.startswith(("source", "other")):  # drawn without regard to order
        return value
    return value.flip(1, 2) if key == "pose_window" else value.flip(1)


def _mirrored(key: str, value: Tensor, skeleton: Skeleton) -> Tensor:
    if key == "frame":
        return value
    if key.endswith("_iuv"):
        return flip_surface(value)
    return flip_pose(value, skeleton) if "pose" in key else value.flip(-1)


def _moved(key: str, value: Any, transform: Tensor, size: tuple[int, int]) -> Any:
    if key in _PICTURES or key.endswith(("_iuv", "_mask")):
        frames = value.shape[1]
        moved = warp_affine(
            value.flatten(0, 1),
            transform.repeat_interleave(frames, 0),
            size,
            mode="bilinear" if key in _PICTURES else "nearest",
            padding_mode="border",
        )
        return moved.unflatten(0, (-1, frames))
    if "pose" in key:
        extent = value.new_tensor([size[1], size[0]])
        pixels = ((value[..., :2] + 1) * extent - 1) / 2
        matrix = transform.view(-1, *[1] * (value.ndim - 2), 2, 3)
        pixels = (matrix[..., :2] @ pixels[..., None])[..., 0] + matrix[..., 2]
        return hide_outside(torch.cat([(2 * pixels + 1) / extent - 1, value[..., 2:]], -1))
    return value


def _recoloured(pictures: Tensor, parameters: Parameters) -> Tensor:
    pictures = pictures.clone()
    for place in range(len(_COLOURS)):
        for name, factors in parameters["colours"].items():
            rows = [row for row, order in enumerate(parameters["order"]) if order[place] == name]
            if rows:
                frames = pictures[rows]
                factor = factors[rows].repeat_interleave(frames.shape[1])
                pictures[rows] = _COLOURS[name](frames.flatten(0, 1), factor).unflatten(0, frames.shape[:2])
    return pictures
