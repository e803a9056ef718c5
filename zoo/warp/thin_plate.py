from typing import Self

import torch
from torch import Tensor

from zoo.warp.grids import coordinate_grid, warp
from zoo.warp.precision import in_float32


class RandomTransform:
    """A smooth random deformation per sample: affine, and a thin-plate-like term (FOMM, supplementary B).

    T(q) = A q + b + s(q) (1, 1) with s(q) = sum_m a_m r_m^2 ln(r_m + 1e-6).

    Official: r is the *L1* distance to the control point, the logarithm is of r instead of r^2, and one scalar moves
    both coordinates; kornia's thin-plate splines can't stand in.

    Convention: (x, y) in [-1, 1]; used as a backward warp.

    Args:
        theta: (B, 2, 3) affine part [A | b].
        weights: (B, M) the a_m, or None for an affine transform.
        points: (M, 2) control points.
    """

    def __init__(self, theta: Tensor, weights: Tensor | None = None, points: Tensor | None = None) -> None:
        self.theta, self.weights, self.points = theta, weights, points

    @classmethod
    def draw(cls, batch: int, sigma_affine: float, sigma_tps: float, points_tps: int, like: Tensor) -> Self:
        """Draws one transform per sample from the CPU's generator, so that every device sees the same ones.

        Args:
            batch: B.
            sigma_affine: Standard deviation of all six affine entries around the identity.
            sigma_tps: Standard deviation of the a_m.
            points_tps: Control points per side of a regular grid.
            like: Gives device and dtype.
        """
        theta = torch.eye(2, 3) + sigma_affine * torch.randn(batch, 2, 3)
        weights = sigma_tps * torch.randn(batch, points_tps**2)
        points = coordinate_grid(points_tps, points_tps, like).reshape(-1, 2)
        return cls(theta.to(like), weights.to(like), points)

    @in_float32
    def positions(self, q: Tensor) -> Tensor:
        """T(q) of positions q, (B, N, 2) or (1, N, 2) for the same positions in every sample; returns (B, N, 2)."""
        moved = q @ self.theta[:, :, :2].mT + self.theta[:, None, :, 2]
        if self.weights is None or self.points is None:
            return moved
        r = (q[:, :, None] - self.points).abs().sum(-1)  # 1 or B, N, M
        return moved + (r**2 * torch.log(r + 1e-6)) @ self.weights[:, :, None]

    @in_float32
    def jacobians(self, q: Tensor) -> Tensor:
        """dT/dq at positions q (B, N, 2), as (B, N, 2, 2): row 0 is the gradient of x', row 1 of y'."""
        affine = self.theta[:, None, :, :2].expand(-1, q.shape[1], -1, -1)
        if self.weights is None or self.points is None:
            return affine
        offsets = q[:, :, None] - self.points
        r = offsets.abs().sum(-1)
        slope = 2 * r * torch.log(r + 1e-6) + r**2 / (r + 1e-6)
        gradient = torch.einsum("bm,bnm,bnmi->bni", self.weights, slope, offsets.sign())
        return affine + gradient[:, :, None]

    def frames(self, frames: Tensor, align_corners: bool) -> Tensor:
        """Frames (B, C, H, W) looked up at T(grid), mirrored at the border."""
        height, width = frames.shape[-2:]
        grid = coordinate_grid(height, width, frames).reshape(1, -1, 2)
        return warp(frames, self.positions(grid).unflatten(1, (height, width)), align_corners, "reflection")
