from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from zoo.errors import OptionError
from zoo.warp.grids import coordinate_grid
from zoo.warp.precision import in_float32


class Keypoints(NamedTuple):
    """Keypoints and, for first-order motion, the local affine frames around them.

    Convention: (x, y) in [-1, 1]; matrix rows and columns in (x, y) order.

    Attributes:
        value: (..., K, 2).
        jacobian: (..., K, 2, 2), or None in a zero-order model.
    """

    value: Tensor
    jacobian: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> "Keypoints":
        """The same keypoints with ``change`` applied to both tensors."""
        return Keypoints(change(self.value), None if self.jacobian is None else change(self.jacobian))

    def detach(self) -> "Keypoints":
        """The same values outside the graph."""
        return self.map(Tensor.detach)


@in_float32
def sparse_motions(driving: Keypoints, source: Keypoints, height: int, width: int) -> Tensor:
    """Motion around each keypoint, as one backward grid per keypoint and one for the background.

    T_k(z) = p_k^S + J_k^S (J_k^D)^-1 (z - p_k^D): FOMM, equation 4. Without Jacobians the matrix is the identity.

    Convention: driving -> source, (x, y) in [-1, 1] on :func:`coordinate_grid`.

    Args:
        driving: (N, K, 2) and (N, K, 2, 2).
        source: The same shapes.
        height: Rows of the grids.
        width: Columns of the grids.

    Returns:
        (N, K + 1, height, width, 2); index 0 is the identity of the background.
    """
    identity = coordinate_grid(height, width, driving.value)
    offsets = identity - driving.value[:, :, None, None]
    if driving.jacobian is not None and source.jacobian is not None:
        matrices = source.jacobian @ torch.linalg.inv(driving.jacobian.float()).to(source.jacobian.dtype)
        offsets = torch.einsum("nkij,nkhwj->nkhwi", matrices, offsets)
    motions = offsets + source.value[:, :, None, None]
    background = identity.expand(len(motions), 1, -1, -1, -1)
    return torch.cat([background, motions], dim=1)


@in_float32
def transfer_motion(
    source: Keypoints,
    driving: Keypoints,
    initial: Keypoints,
    relative: bool,
    adapt_scale: bool,
    relative_jacobian: bool = True,
) -> Keypoints:
    """Driving keypoints as they are to be applied to the source (FOMM, section 3.3).

    Args:
        source: Of the source picture, (N, K, 2) and (N, K, 2, 2).
        driving: Of the driving frame.
        initial: Of the initial driving frame, which is taken to show the source's own pose.
        relative: Add the change since ``initial`` to the source's keypoints.
        adapt_scale: Multiply that change by the ratio of the two subjects' sizes: the square root of the area of
            the keypoints' convex hull.
        relative_jacobian: Transfer the local frames' change too; only together with ``relative``.

    Returns:
        Keypoints of the driving's shape.
    """
    if not relative:
        return driving
    change = driving.value - initial.value
    if adapt_scale:
        change = change * (subject_size(source.value) / subject_size(initial.value))[:, None, None]
    jacobian = driving.jacobian
    if relative_jacobian and jacobian is not None and initial.jacobian is not None and source.jacobian is not None:
        jacobian = jacobian @ torch.linalg.inv(initial.jacobian.float()).to(jacobian.dtype) @ source.jacobian
    return Keypoints(source.value + change, jacobian)


def subject_size(points: Tensor) -> Tensor:
    """Square root of the area of the convex hull of points (N, K, 2), as (N,) on the same device.

    Raises:
        OptionError: The points of a sample enclose no area: fewer than three, or all on one line.
    """
    try:  # in 2-D SciPy's volume is the area
        areas = [ConvexHull(p).volume for p in points.detach().float().cpu().numpy()]
    except QhullError:
        raise OptionError(
            f"the size of the subject is that of the hull of its {points.shape[1]} keypoints, which enclose no area; "
            "leave out adapt_scale and best_frame"
        ) from None
    return torch.tensor(areas, device=points.device, dtype=points.dtype).sqrt()
