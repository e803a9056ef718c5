"""Positions under autocast: what half precision would do to them, and that it doesn't."""

import torch

from zoo.warp import Keypoints, RandomTransform, coordinate_grid, in_float32, sparse_motions, warp


def keypoints(seed: int) -> Keypoints:
    generator = torch.Generator().manual_seed(seed)
    value = torch.rand(2, 5, 2, generator=generator) * 2 - 1
    return Keypoints(value, torch.eye(2) + 0.1 * torch.randn(2, 5, 2, 2, generator=generator))


def test_motions_are_as_exact_as_without_autocast():
    expected = sparse_motions(keypoints(0), keypoints(1), 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        found = sparse_motions(keypoints(0), keypoints(1), 32, 32)
    assert torch.equal(found, expected)


def test_a_random_transform_is_as_exact_as_without_autocast():
    torch.manual_seed(0)
    pictures = torch.rand(2, 3, 24, 24)
    transform = RandomTransform.draw(2, 0.05, 0.005, 5, pictures)
    expected = transform.frames(pictures, align_corners=True), transform.jacobians(keypoints(0).value)
    with torch.autocast("cpu", torch.bfloat16):
        found = transform.frames(pictures, align_corners=True), transform.jacobians(keypoints(0).value)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_positions_and_pictures_of_half_precision_are_warped_in_full_precision():
    pictures = torch.rand(1, 3, 40, 40).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        warped = warp(pictures, coordinate_grid(40, 40, torch.empty(0)).float()[None], align_corners=True)
    assert warped.dtype == torch.float32
    torch.testing.assert_close(warped, pictures.float(), atol=1e-5, rtol=0)


def test_without_autocast_the_dtype_stays():
    @in_float32
    def double(tensor: torch.Tensor) -> torch.Tensor:
        return tensor @ tensor

    for dtype in (torch.bfloat16, torch.float64):
        assert double(torch.eye(2, dtype=dtype)).dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        assert double(torch.eye(2)).dtype == torch.float32
