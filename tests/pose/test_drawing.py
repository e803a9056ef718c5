"""Drawings against the recorded ones of the official program, OpenCV and Pillow."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from recorded_tracks import whole_track
from safetensors.torch import load_file

from zoo.errors import OptionError
from zoo.pose import (
    BODY_18,
    BODY_25,
    COCO_17,
    FACE_68,
    MEDIAPIPE_33,
    PUBLISHED_CANVAS,
    WHOLE_18,
    WHOLE_23,
    convert_pose,
    draw_figure,
    draw_pixels,
    letterbox_pose,
    to_units,
)
from zoo.pose.raster import Canvas, resize_lanczos

pytestmark = pytest.mark.filterwarnings("error")


def picture(path):
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


def bytes_of(drawing):
    return (drawing * 255).round().to(torch.uint8)


@pytest.mark.shared
@pytest.mark.parametrize("case", range(3))
def test_canvas_is_the_recorded_one(recorded, case):
    expected = json.loads((recorded / "drawing.json").read_text())["full"][case]
    pose, skeleton = whole_track(load_file(recorded / "drawing.safetensors"), f"full{case}.input")
    drawn = draw_pixels(pose, skeleton, face_points=expected["num_face_keypoints"])
    assert torch.equal(drawn[0], picture(recorded / expected["png"]))


@pytest.mark.shared
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", range(5))
def test_labels_are_the_recorded_ones(recorded, case, dtype):
    settings = json.loads((recorded / "drawing.json").read_text())["cases"][case]
    pose, skeleton = whole_track(load_file(recorded / "drawing.safetensors"), f"case{case}.input")
    if settings.get("map23"):
        pose, skeleton = convert_pose(pose, skeleton, WHOLE_23), WHOLE_23
    pose = to_units(letterbox_pose(pose, tuple(settings["image_hw"])), PUBLISHED_CANVAS).to(dtype)
    labels = draw_figure(pose, skeleton, (512, 1024), PUBLISHED_CANVAS, settings.get("nface", 8))
    for frame in settings["save_labels"]:
        assert torch.equal(bytes_of(labels[frame]), picture(recorded / f"drawing_case{case}_label_{frame}.png"))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("case", "output", "frame", "label"),
    [
        ("posenorm_regular", "median", 0, "00"),
        ("posenorm_regular", "median", 7, "07"),
        ("posenorm_small_range", "median", 3, "03"),
        ("smoothing", "average", 0, "0"),
    ],
)
def test_labels_of_normalised_and_smoothed_poses_are_the_recorded_ones(recorded, case, output, frame, label):
    pose, skeleton = whole_track(load_file(recorded / f"{case}.safetensors"), f"output.{output}")
    drawn = draw_figure(to_units(pose[frame, None], PUBLISHED_CANVAS), skeleton, (512, 1024), PUBLISHED_CANVAS)
    assert torch.equal(bytes_of(drawn[0]), picture(recorded / f"{case}_label_{label}.png"))


def test_limbs_are_opencvs_also_where_they_leave_the_picture():
    cv2 = pytest.importorskip("cv2")
    generator = np.random.default_rng(0)
    height, width = 90, 160
    colour = torch.tensor([[10, 200, 30]], dtype=torch.uint8)
    for _ in range(300):
        start, end = generator.uniform([-60, -60], [width + 60, height + 60], (2, 2))
        half_width = int(generator.choice([1, 2, 4]))
        canvas = Canvas(1, (height, width), torch.device("cpu"))
        ends = [torch.from_numpy(point)[None, None] for point in (start, end)]
        canvas.blend_limbs(*ends, torch.ones(1, 1, dtype=torch.bool), half_width, colour)
        centre, axes = ((start + end) / 2).astype(int).tolist(), (int(math.dist(start, end) / 2), half_width)
        angle = int(math.degrees(math.atan2(start[1] - end[1], start[0] - end[0])))
        white = np.full((height, width, 3), 255, np.uint8)
        filled = cv2.fillConvexPoly(white.copy(), cv2.ellipse2Poly(centre, axes, angle, 0, 360, 1), (10, 200, 30))
        assert np.array_equal(canvas.pictures()[0].numpy(), cv2.addWeighted(white, 0.4, filled, 0.6, 0))


@pytest.mark.parametrize("radius", [1, 2, 3, 4, 8])
def test_discs_are_opencvs(radius):
    cv2 = pytest.importorskip("cv2")
    colour = torch.tensor([[1, 2, 3]], dtype=torch.uint8)
    for centre in ((20, 15), (1, 29), (-2, 5)):
        canvas = Canvas(1, (30, 40), torch.device("cpu"))
        canvas.draw_discs(torch.tensor([[centre]]), torch.ones(1, 1, dtype=torch.bool), radius, colour)
        expected = cv2.circle(np.full((30, 40, 3), 255, np.uint8), centre, radius, (1, 2, 3), -1)
        assert np.array_equal(canvas.pictures()[0].numpy(), expected)


@pytest.mark.parametrize("size", [(31, 64), (70, 40), (50, 90)])
def test_resizing_is_pillows(size):
    noise = torch.randint(0, 256, (2, 50, 75, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = Image.fromarray(noise[1].numpy()).resize(size[::-1], Image.Resampling.LANCZOS)
    assert torch.equal(resize_lanczos(noise, size)[1], torch.from_numpy(np.array(expected)))


def test_a_batch_is_drawn_as_its_frames_are(walk):
    pose = to_units(walk[::6], (256, 256)).float()
    together = draw_figure(pose, BODY_18, (64, 96))
    assert together.shape == (10, 3, 64, 96)
    assert torch.equal(together, torch.cat([draw_figure(frame[None], BODY_18, (64, 96)) for frame in pose]))
    assert (together < 1).any(dim=1).flatten(1).sum(dim=1).min() > 50


def test_nobody_is_a_white_picture():
    assert (draw_figure(torch.zeros(2, 18, 3), BODY_18, (32, 32)) == 1).all()


def test_far_outside_is_a_white_picture():
    pose = torch.cat([torch.rand(1, 18, 2) + 5, torch.ones(1, 18, 1)], dim=2)
    assert (draw_figure(pose, BODY_18, (32, 32)) == 1).all()


@pytest.mark.parametrize(("detector", "drawn"), [(COCO_17, BODY_18), (MEDIAPIPE_33, BODY_25), (FACE_68, WHOLE_18)])
def test_other_formats_are_drawn_as_openposes(detector, drawn):
    pixels = torch.randint(64, (3, len(detector.joints), 3), generator=torch.Generator().manual_seed(1))
    pose = to_units(pixels.clamp(min=1).float(), (64, 64))  # sums of a few 64ths: no rounding anywhere
    expected = draw_figure(convert_pose(pose, detector, drawn), drawn, (64, 64))
    assert torch.equal(draw_figure(pose, detector, (64, 64)), expected)


def test_errors_name_the_numbers():
    with pytest.raises(OptionError, match=r"body_18 are \(N, 18, 3\), not \(1, 25, 3\)"):
        draw_figure(torch.zeros(1, 25, 3), BODY_18, (32, 32))
    with pytest.raises(OptionError, match="face_points is 70"):
        draw_figure(torch.zeros(1, 18, 3), BODY_18, (32, 32), face_points=70)
