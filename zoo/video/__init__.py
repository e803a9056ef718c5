"""Reading and writing clips, frame by frame and exactly."""

from .comparison import write_comparison
from .errors import VideoError
from .info import VideoInfo
from .panels import grid, magnify, side_by_side
from .pictures import read_image, write_image
from .probe import probe, unevenness
from .read import iter_frames, read_frames
from .write import H264, VideoWriter

__all__ = [
    "H264",
    "VideoError",
    "VideoInfo",
    "VideoWriter",
    "grid",
    "iter_frames",
    "magnify",
    "probe",
    "read_frames",
    "read_image",
    "side_by_side",
    "unevenness",
    "write_comparison",
    "write_image",
]
