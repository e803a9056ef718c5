"""What a generator did, as pictures."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.methods.deep_spatial_transformation.networks import Rendered
from zoo.pictures import show_flow
from zoo.warp import coordinate_grid
from zoo.warp.resampling import sample_bilinear


def show_rendered(rendered: Rendered, pictures: Sequence[Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """What was taken from each picture that the generator looked at, at the finest level.

    Args:
        rendered: N frames.
        pictures: (N, 3, H, W) in [0, 1], one for each of ``rendered.motions``.
        names: Of these pictures.

    Returns:
        For each, (N, 3, H, W): ``warped_<name>``; ``flow_<name>``, where hue is the direction; ``occlusion_<name>``,
        white where the warped picture is taken; ``attention_<name>``, the largest weight in each patch: white where a
        single pixel was picked, dark where the patch was averaged.
    """
    views: dict[str, Tensor] = {}
    for number, (name, picture) in enumerate(zip(names, pictures, strict=True)):
        size = tuple(picture.shape[-2:])
        level = min(rendered.motions[number])
        flow, mask = (part.float() for part in rendered.motions[number][level])
        views |= {
            f"warped_{name}": sample_bilinear(picture, _enlarged(flow, size)),
            f"flow_{name}": torch.stack([show_flow(grid, size) for grid in _grid(flow)]),
            f"occlusion_{name}": _grey(mask, size),
            f"attention_{name}": _grey(rendered.attention[level][number].float().amax(1, keepdim=True), size),
        }
    return views


def _enlarged(flow: Tensor, size: tuple[int, ...]) -> Tensor:
    """A flow (N, 2, h, w) in pixels of its own map, as (N, 2, H, W) in those of the picture."""
    scale = flow.new_tensor([size[1] / flow.shape[-1], size[0] / flow.shape[-2]])
    return F.interpolate(flow, size, mode="bilinear") * scale[:, None, None]


def _grid(flow: Tensor) -> Tensor:
    """A flow (N, 2, h, w) in pixels as a backward grid (N, h, w, 2) in [-1, 1]."""
    height, width = flow.shape[-2:]
    step = 2 / (flow.new_tensor([width, height]) - 1).clamp(min=1)
    return coordinate_grid(height, width, flow) + flow.permute(0, 2, 3, 1) * step


def _grey(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(maps, size).expand(-1, 3, -1, -1)
