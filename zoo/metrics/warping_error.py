from typing import Literal

import torch
from einops import rearrange
from kornia.geometry import create_meshgrid
from kornia.geometry.transform import remap
from torch import Tensor
from torch.nn import functional

from zoo.metrics.clip_metric import ClipMetric, Known, in_float64, portions, unit_range
from zoo.metrics.flow import Farneback, FlowEstimator
from zoo.metrics.region import average


class WarpingError(ClipMetric):
    """How badly a frame is predicted by the next one, moved back along the optical flow. Lower is better.

    Lai et al. 2018, *Learning blind video temporal consistency*, equation 9: the mean squared difference, frames in
    [0, 1], over the pixels that aren't occluded, then over the clip's steps. Called ``warping_error_<flow>``.

    Args:
        flow: Finds the flow; Farnebäck's by default (the authors used FlowNet 2, so figures can't be compared).
        flow_of: Whose flow it is: ``target``, the true clip's, so that all methods are measured along the same one;
            or ``prediction``, where nobody knows the true frames: then it says only whether brightness stays along
            whatever moves. The latter's name ends in ``_along_own_flow``.

    Raises:
        MissingPackageError: OpenCV isn't installed, and no other flow is given; names the command.
    """

    higher_is_better = False
    fewest_frames = 2

    def __init__(self, flow: FlowEstimator | None = None, flow_of: Literal["target", "prediction"] = "target") -> None:
        flow = flow or Farneback()
        super().__init__(f"warping_error_{flow.name}" + ("_along_own_flow" if flow_of == "prediction" else ""))
        self.needs = ("target",) if flow_of == "target" else ()
        self._flow = flow.__call__  # bound, since a network assigned to a metric puts its weights into state dicts

    def _measure_clip(self, prediction: Tensor, known: Known) -> Tensor:
        errors = []
        moving = known.get("target", prediction)
        for frames, true in zip(portions(prediction, 1), portions(moving, 1), strict=True):
            first, second = unit_range(true[:-1]), unit_range(true[1:])
            forward, backward = self._flow(first, second), self._flow(second, first)
            errors.append(warping_error(in_float64(frames), forward, occluded(forward, backward)))
        return torch.cat(errors).mean()


def warping_error(frames: Tensor, flow: Tensor, occlusion: Tensor) -> Tensor:
    """Mean squared difference of each frame from the next one, warped to it.

    Args:
        frames: (T, C, H, W) in [0, 1].
        flow: (T - 1, 2, H, W): from each frame to the next, x, y in pixels.
        occlusion: (T - 1, 1, H, W) bool: pixels of the earlier frame that don't count.

    Returns:
        (T - 1,) float64; 0 where everything is occluded.
    """
    squared_error = (warp(frames[1:], flow) - frames[:-1]).square()
    error, _ = average(squared_error, ~occlusion)
    return error.nan_to_num(0)  # Official: the sum over nothing is divided by the number of elements.


def warp(pictures: Tensor, flow: Tensor) -> Tensor:
    """Samples pictures (N, C, H, W) at p + flow(p), bilinearly; beyond the border its nearest pixel counts.

    Convention: backward warp; flow (N, 2, H, W) is x, y in pixels.
    """
    height, width = pictures.shape[-2:]
    grid = create_meshgrid(height, width, normalized_coordinates=False, device=pictures.device, dtype=pictures.dtype)
    x, y = (rearrange(grid, "1 h w xy -> 1 xy h w") + flow.to(pictures)).unbind(1)
    return remap(pictures, x, y, padding_mode="border", align_corners=True)


def occluded(forward: Tensor, backward: Tensor) -> Tensor:
    """Which pixels of a frame can't be found in the next one, or lie on a motion boundary (Lai et al., section 4.1).

    Args:
        forward: (N, 2, H, W): flow from the frames to the next ones, in pixels.
        backward: (N, 2, H, W): flow back.

    Returns:
        (N, 1, H, W) bool: where the two flows don't cancel, |f + b|² > 0.01 (|f|² + |b|²) + 0.5 with b taken where f
        leads to; or where the flow changes abruptly, |∇f|² > 0.01 |f|² + 0.002.
    """
    back = warp(backward, forward)
    length = _squared_length(forward)
    inconsistent = _squared_length(forward + back) > 0.01 * (length + _squared_length(back)) + 0.5
    right = functional.pad(forward[..., 1:] - forward[..., :-1], (0, 1))
    down = functional.pad(forward[..., 1:, :] - forward[..., :-1, :], (0, 0, 0, 1))
    boundary = _squared_length(right) + _squared_length(down) > 0.01 * length + 0.002
    return inconsistent | boundary


def _squared_length(vectors: Tensor) -> Tensor:
    return vectors.square().sum(1, keepdim=True)
