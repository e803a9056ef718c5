import json

import pytest
import torch
from recorded_tracks import whole_track
from safetensors.torch import load_file

from zoo.errors import OptionError
from zoo.pose import BODY_18, WHOLE_23, convert_pose, face_boxes, letterbox, letterbox_pose
from zoo.pose.boxes import fit_interval


@pytest.mark.shared
def test_letterboxing_is_the_recorded_one(recorded):
    for row in json.loads((recorded / "boxes_and_scaling.json").read_text())["scale_resize"]:
        scale, shift = row["result"] or (1, (0, 0))
        assert letterbox(tuple(row["image_shape"][:2])) == (pytest.approx(scale), pytest.approx(tuple(shift)))


@pytest.mark.shared
def test_intervals_are_the_recorded_ones(recorded):
    rows = torch.tensor(json.loads((recorded / "boxes_and_scaling.json").read_text())["makebox128"]["rows"])
    vertical = fit_interval(rows[:, 0], rows[:, 1], 128, 512)
    horizontal = fit_interval(rows[:, 2], rows[:, 3], 128, 1024)
    assert torch.equal(torch.stack([*vertical, *horizontal], dim=1), rows[:, 4:])


@pytest.mark.shared
@pytest.mark.parametrize("case", range(5))
def test_face_boxes_are_the_recorded_ones(recorded, case):
    settings = json.loads((recorded / "drawing.json").read_text())["cases"][case]
    tensors = load_file(recorded / "drawing.safetensors")
    pose, skeleton = whole_track(tensors, f"case{case}.input")
    if settings.get("map23"):
        pose, skeleton = convert_pose(pose, skeleton, WHOLE_23), WHOLE_23
    pose = letterbox_pose(pose, tuple(settings["image_hw"]))
    drawn = tensors[f"case{case}.output.pose_as_drawn"]
    torch.testing.assert_close(pose[:, skeleton.part("body")].flatten(1), drawn)
    assert torch.equal(face_boxes(pose, skeleton), tensors[f"case{case}.output.face_box_miny_maxy_minx_maxx"])


def test_letterboxed_corners_touch_the_canvas():
    for size in ((480, 640), (640, 480)):
        corners = torch.tensor([[0.0, 0.0, 1.0], [size[1], size[0], 1.0]])
        low, high = letterbox_pose(corners, size, (200, 300))[:, :2].double()
        torch.testing.assert_close(low + high, torch.tensor([300.0, 200.0], dtype=torch.float64))
        assert float(low.min()) == pytest.approx(0)


def test_boxes_of_any_size_hold_the_nose_and_stay_inside(walk):
    boxes = face_boxes(walk, BODY_18, (64, 64), (256, 256), side=16)
    top, bottom, left, right = boxes.t()
    x, y = walk[:, 0, 0] / 4, walk[:, 0, 1] / 4
    assert ((bottom - top == 16) & (right - left == 16) & (boxes >= 0).all(dim=1) & (boxes <= 64).all(dim=1)).all()
    assert ((x - (left + right) / 2).abs() <= 1.5).all()
    assert ((y >= top) & (y < bottom)).all()
    with pytest.raises(OptionError, match="128 pixels doesn't fit into a picture of 64x64"):
        face_boxes(walk, BODY_18, (64, 64), (256, 256))
