"""Skeleton formats, and what every pose-driven method does with poses."""

from zoo.pose.skeleton import BODY_18, Skeleton, flip_pose
from zoo.pose.surface import SURFACE_PARTS, flip_surface

__all__ = ["BODY_18", "SURFACE_PARTS", "Skeleton", "flip_pose", "flip_surface"]
