"""Skeleton formats, and what every pose-driven method does with poses."""

from zoo.pose.boxes import face_boxes, letterbox, letterbox_pose
from zoo.pose.capsules import draw_surface
from zoo.pose.coordinates import are_pixels, snapped, to_pixels, to_units, without_missing
from zoo.pose.drawing import PUBLISHED_CANVAS, draw_figure, draw_pixels
from zoo.pose.limbs import limb_lengths, retarget_limbs, transfer_limbs
from zoo.pose.normalisation import PoseNormalisation, normalise_pose
from zoo.pose.openpose import OpenPoseFolder, follow_person, read_openpose, write_openpose
from zoo.pose.skeleton import (
    BODY_18,
    BODY_23,
    BODY_25,
    COCO_17,
    FACE_68,
    MEDIAPIPE_33,
    SKELETONS,
    WHOLE_18,
    WHOLE_23,
    WHOLE_25,
    Skeleton,
    convert_pose,
    flip_pose,
    whole_body,
)
from zoo.pose.smoothing import average_windows, fill_gaps, smooth_median, smooth_one_euro, smooth_savitzky_golay
from zoo.pose.statistics import Mode, PoseStatistics
from zoo.pose.surface import SURFACE_PARTS, flip_surface, part_palette, show_surface

__all__ = [
    "BODY_18",
    "BODY_23",
    "BODY_25",
    "COCO_17",
    "FACE_68",
    "MEDIAPIPE_33",
    "PUBLISHED_CANVAS",
    "SKELETONS",
    "SURFACE_PARTS",
    "WHOLE_18",
    "WHOLE_23",
    "WHOLE_25",
    "Mode",
    "OpenPoseFolder",
    "PoseNormalisation",
    "PoseStatistics",
    "Skeleton",
    "are_pixels",
    "average_windows",
    "convert_pose",
    "draw_figure",
    "draw_pixels",
    "draw_surface",
    "face_boxes",
    "fill_gaps",
    "flip_pose",
    "flip_surface",
    "follow_person",
    "letterbox",
    "letterbox_pose",
    "limb_lengths",
    "normalise_pose",
    "part_palette",
    "read_openpose",
    "retarget_limbs",
    "show_surface",
    "smooth_median",
    "smooth_one_euro",
    "smooth_savitzky_golay",
    "snapped",
    "to_pixels",
    "to_units",
    "transfer_limbs",
    "whole_body",
    "without_missing",
    "write_openpose",
]
