"""MediaPipe Pose without MediaPipe: its two networks, run by LiteRT, and the steps between them."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.errors import OptionError
from zoo.pose import MEDIAPIPE_33
from zoo.weights import networks

_DETECTOR_SIDE, _LANDMARK_SIDE = 224, 256
_DETECTED = 0.5  # score of a detection, and of the landmarks of a person that is followed
_PRESENT = 0.5  # score of one landmark
_MARGIN = 1.25  # by which the region around a person is larger than its circle
_REFINING_SIDE = 7  # window of the heat map around a landmark
_STRIDES = (8, 16, 32, 32, 32)  # the detector's layers; each has two anchors at every place


@dataclass(frozen=True)
class _Region:
    """A turned square of a frame: its centre and side in pixels from the frame's corner, and its angle in radians."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    @classmethod
    def around(cls, hips: Tensor, top: Tensor) -> "_Region":
        """The square around the circle whose centre lies at the hips, turned so that the person is upright."""
        x, y = (top - hips).tolist()
        return cls(float(hips[0]), float(hips[1]), 2 * _MARGIN * math.hypot(x, y), math.pi / 2 - math.atan2(-y, x))

    def to_frame(self, points: Tensor) -> Tensor:
        """Points (..., 2) in [0, 1] over the square, as points of the frame."""
        across, down = (points - 0.5).unbind(dim=-1)
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        x = self.x + self.side * (across * cosine - down * sine)
        y = self.y + self.side * (across * sine + down * cosine)
        return torch.stack([x, y], dim=-1)

    def crop(self, frame: Tensor, side: int) -> Tensor:
        """(side, side, 3) float32 in [0, 1] of a frame (3, H, W) uint8; black outside of it."""
        place = (torch.arange(side) + 0.5) / side
        grid = torch.stack(torch.meshgrid(place, place, indexing="xy"), dim=-1)
        size = torch.tensor([frame.shape[2], frame.shape[1]])
        grid = self.to_frame(grid) / size * 2 - 1
        crop = F.grid_sample(frame[None].float() / 255, grid[None], align_corners=False)
        return crop[0].permute(1, 2, 0)


class MediaPipePose:
    """One person per frame: found once, then followed until lost (BlazePose, arXiv 2006.10204, the full model).

    Where there are several people it takes the one that the detector is surest of, who may be a smaller one; when that
    person is lost, whoever it is surest of then. Joints outside the frame, or that the network takes for absent, are
    missing.

    Raises:
        OptionError: The runtime isn't installed.
        MissingWeightsError: The networks aren't on this machine; names the command that fetches them.
    """

    skeleton = MEDIAPIPE_33

    def __init__(self) -> None:
        self._detector = _Network("pose_detect")
        self._landmarks = _Network("pose_points")
        self._anchors = _anchors()
        self._region: _Region | None = None

    def __call__(self, frame: Tensor) -> Tensor:
        """The person of the next frame: (1, 33, 3), or (0, 33, 3) if there is none."""
        for region in (self._region, None):
            region = region or self._detect(frame)
            if region is None:
                break
            person, self._region = self._follow(frame, region)
            if person is not None:
                return person[None]
        return torch.zeros(0, len(self.skeleton.joints), 3)

    def in_whole(self, frame: Tensor) -> Tensor:
        """The person (33, 3) who fills most of a frame, 0 throughout if there is none.

        Without the detector, which finds hardly anybody in small frames, and whatever was seen before: equal frames
        have equal joints. They are looked for in the whole frame, then again in the region where they were.
        """
        person, region = self._follow(frame, _whole(frame))
        again = self._follow(frame, region)[0] if region else None
        if again is not None:
            return again
        return torch.zeros(len(self.skeleton.joints), 3) if person is None else person

    def _detect(self, frame: Tensor) -> _Region | None:
        whole = _whole(frame)
        boxes, scores = self._detector(whole.crop(frame, _DETECTOR_SIDE) * 2 - 1)
        scores = scores[0, :, 0].sigmoid()
        if scores.max() < _DETECTED:
            return None
        best = int(scores.argmax())
        # Four numbers of a box, then points: hips, a point on the circle around the body, and two more.
        points = boxes[0, best, 4:8].view(2, 2) / _DETECTOR_SIDE + self._anchors[best]
        return _Region.around(*whole.to_frame(points))

    def _follow(self, frame: Tensor, region: _Region) -> tuple[Tensor | None, _Region | None]:
        """The landmarks (33, 3) in a region and the region of the next frame, or nothing if nobody is in it."""
        outputs = self._landmarks(region.crop(frame, _LANDMARK_SIDE))
        landmarks, score, _, heatmaps, _ = outputs
        if float(score) < _DETECTED:
            return None, None
        landmarks = landmarks.view(39, 5)
        points = region.to_frame(_refine(landmarks[:, :2] / _LANDMARK_SIDE, heatmaps[0].sigmoid()))
        visible, present = landmarks[:33, 3:].sigmoid().unbind(dim=1)
        pixels = points[:33] - 0.5
        height, width = frame.shape[1:]
        inside = ((pixels > -0.5) & (pixels < torch.tensor([width, height]) - 0.5)).all(dim=1)
        person = torch.cat([pixels, visible[:, None]], dim=1)
        person = torch.where((inside & (present > _PRESENT))[:, None], person, 0.0)
        return person, _Region.around(points[33], points[34])


def _whole(frame: Tensor) -> _Region:
    height, width = frame.shape[1:]
    return _Region(width / 2, height / 2, max(height, width))


class _Network:
    """One of MediaPipe's networks, ready to run."""

    def __init__(self, name: str) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise OptionError(
                f"the runtime of MediaPipe's networks is missing ({error}); run `pip install 'animation-zoo[pose]'`"
            ) from error
        content = networks.load(name)["tflite"].numpy().tobytes()
        self._interpreter: Any = Interpreter(model_content=content, num_threads=torch.get_num_threads())
        self._interpreter.allocate_tensors()

    def __call__(self, picture: Tensor) -> list[Tensor]:
        """All outputs, in the network's own order."""
        self._interpreter.set_tensor(self._interpreter.get_input_details()[0]["index"], picture[None].numpy())
        self._interpreter.invoke()
        outputs = self._interpreter.get_output_details()
        return [torch.from_numpy(self._interpreter.get_tensor(output["index"])) for output in outputs]


def _anchors() -> Tensor:
    """(2254, 2) x and y in [0, 1]: the places that the detector's numbers count from."""
    anchors = []
    for stride in sorted(set(_STRIDES)):
        side = _DETECTOR_SIDE // stride
        place = (torch.arange(side) + 0.5) / side
        grid = torch.stack(torch.meshgrid(place, place, indexing="xy"), dim=-1).view(-1, 2)
        anchors.append(grid.repeat_interleave(2 * _STRIDES.count(stride), dim=0))
    return torch.cat(anchors)


def _refine(points: Tensor, heatmaps: Tensor) -> Tensor:
    """Landmarks (N, 2) in [0, 1] moved to the mean of the heat map (H, W, N) around them, where it is sure enough."""
    height, width, _ = heatmaps.shape
    half = _REFINING_SIDE // 2
    refined = points.clone()
    for number, (x, y) in enumerate((points * torch.tensor([width, height])).long().tolist()):
        if not (0 <= x < width and 0 <= y < height):
            continue
        left, top = max(x - half, 0), max(y - half, 0)
        window = heatmaps[top : y + half + 1, left : x + half + 1, number]
        if window.max() >= _PRESENT:
            rows = torch.arange(top, top + window.shape[0])
            columns = torch.arange(left, left + window.shape[1])
            mean = torch.stack([(window.sum(dim=0) * columns).sum(), (window.sum(dim=1) * rows).sum()]) / window.sum()
            refined[number] = mean / torch.tensor([width, height])
    return refined
