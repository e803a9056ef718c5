"""Differentiable geometry on kornia. Grids hold (x, y) in [-1, 1]; every warp is backward: output -> input position."""

from zoo.warp.grids import coordinate_grid, gaussian_maps, resize_grid, warp
from zoo.warp.keypoint_motion import Keypoints, sparse_motions, transfer_motion
from zoo.warp.precision import in_float32
from zoo.warp.thin_plate import RandomTransform

__all__ = [
    "Keypoints",
    "RandomTransform",
    "coordinate_grid",
    "gaussian_maps",
    "in_float32",
    "resize_grid",
    "sparse_motions",
    "transfer_motion",
    "warp",
]
