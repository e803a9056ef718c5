"""Differentiable geometry on kornia. Grids hold (x, y) in [-1, 1]; every warp is backward: output -> input position."""

from zoo.warp.grids import coordinate_grid, gaussian_maps, resize_grid, warp
from zoo.warp.keypoint_motion import Keypoints, sparse_motions, transfer_motion
from zoo.warp.precision import in_float32
from zoo.warp.surface import SurfaceWarp, surface_warp
from zoo.warp.thin_plate import RandomTransform

__all__ = [
    "Keypoints",
    "RandomTransform",
    "SurfaceWarp",
    "coordinate_grid",
    "gaussian_maps",
    "in_float32",
    "resize_grid",
    "sparse_motions",
    "surface_warp",
    "transfer_motion",
    "warp",
]
