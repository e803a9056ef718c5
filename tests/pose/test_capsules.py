"""Surface maps drawn around skeletons: exact on simple figures, and close to the true ones of generated people."""

import math
from itertools import pairwise

import pytest
import torch

from zoo.data.synthetic import SyntheticPeople
from zoo.pose import (
    BODY_18,
    COCO_17,
    SURFACE_PARTS,
    convert_pose,
    draw_surface,
    flip_pose,
    flip_surface,
    show_surface,
    to_pixels,
    to_units,
)
from zoo.warp import surface_warp, warp

SIZE = (128, 96)
PART = {name: number for number, name in enumerate(SURFACE_PARTS)}


def standing(facing=1.0, height=100.0):
    """The average body upright with hanging arms, seen from the front (1) or from behind (-1)."""
    joints = {"neck": (0, 0.8165), "nose": (0, 0.918)}
    for side, sign in (("left", 1), ("right", -1)):
        joints |= {
            f"{side}_shoulder": (0.103 * sign, 0.8165), f"{side}_elbow": (0.14 * sign, 0.6405),
            f"{side}_wrist": (0.16 * sign, 0.4905), f"{side}_hip": (0.051 * sign, 0.515),
            f"{side}_knee": (0.051 * sign, 0.2843), f"{side}_ankle": (0.051 * sign, 0.047),
            f"{side}_eye": (0.019 * sign, 0.935), f"{side}_ear": (0.043 * sign, 0.927),
        }  # fmt: skip
    pose = torch.tensor([(*joints[name], 1.0) for name in BODY_18.joints])
    pixels = torch.stack([47.5 + facing * height * pose[:, 0], 115 - height * pose[:, 1], pose[:, 2]], 1)
    return pixels[None]


def at(surface, x, y):
    """Part name, U and V at a place of the body (in body heights)."""
    part, u, v = surface[0, :, round(115 - 100 * y), round(47.5 + 100 * x)].tolist()
    return SURFACE_PARTS[part], u / 255, v / 255


class TestStanding:
    def test_from_the_front(self):
        surface = draw_surface(standing(), BODY_18, SIZE)
        assert at(surface, 0.0, 0.7)[0] == "torso_front"
        assert at(surface, 0.051, 0.4)[0] == "left_thigh_front"  # on the picture's right
        assert at(surface, -0.051, 0.15)[0] == "right_shin_front"
        assert at(surface, 0.02, 0.95)[0] == "head_left"
        assert at(surface, -0.02, 0.95)[0] == "head_right"
        assert at(surface, 0.165, 0.42)[0] == "left_hand"

    def test_from_behind(self):
        pose = standing(facing=-1.0)
        pose[:, [BODY_18.index(name) for name in ("nose", "left_eye", "right_eye")]] = 0
        surface = draw_surface(pose, BODY_18, SIZE)
        assert at(surface, 0.0, 0.7)[0] == "torso_back"
        assert at(surface, 0.051, 0.4)[0] == "right_thigh_back"
        assert at(surface, -0.051, 0.15)[0] == "left_shin_back"

    def test_u_runs_down_and_v_across_from_the_right(self):
        surface = draw_surface(standing(), BODY_18, SIZE)
        column = [at(surface, 0.0, 0.80 - 0.04 * step) for step in range(6)]
        assert {name for name, _, _ in column} == {"torso_front"}
        assert all(low[1] < high[1] for low, high in pairwise(column))
        row = [at(surface, -0.06 + 0.02 * step, 0.7)[2] for step in range(7)]
        assert row == sorted(row)
        assert row[3] == pytest.approx(0.5, abs=0.06)

    def test_turned_to_the_side(self):
        """The nose ahead on the picture's right, shoulders and hips in line: the person's right side is seen."""
        pose = standing()
        for name in ("shoulder", "hip", "elbow", "wrist", "knee", "ankle", "ear", "eye"):
            for side in ("left", "right"):
                pose[:, BODY_18.index(f"{side}_{name}"), 0] = 47.5
        pose[:, BODY_18.index("nose"), 0] = 47.5 + 100 * 0.068
        surface = draw_surface(pose, BODY_18, SIZE)
        assert at(surface, 0.0, 0.33)[0] in ("right_thigh_front", "right_thigh_back")
        assert at(surface, 0.03, 0.33)[0] == "right_thigh_front"
        assert at(surface, -0.03, 0.33)[0] == "right_thigh_back"
        assert at(surface, 0.0, 0.95)[0] == "head_right"

    def test_the_mirrored_skeleton_gives_the_mirrored_map(self):
        pose = standing()
        pose[:, BODY_18.index("left_wrist"), :2] += torch.tensor([14.0, -25])
        pose[..., 0] -= 3.3
        mirrored = to_pixels(flip_pose(to_units(pose, SIZE), BODY_18), SIZE)
        scale = torch.tensor([1.0, 255, 255]).view(3, 1, 1)
        ours = draw_surface(mirrored, BODY_18, SIZE).float() / scale
        expected = flip_surface(draw_surface(pose, BODY_18, SIZE).float() / scale)
        same = (ours - expected).abs().amax(1) < 0.02
        assert same.float().mean() > 0.995  # a few pixels lie exactly on a border


class TestMissing:
    def test_nobody(self):
        assert not draw_surface(torch.zeros(2, 18, 3), BODY_18, SIZE).any()
        assert draw_surface(torch.zeros(0, 18, 3), BODY_18, SIZE).shape == (0, 3, *SIZE)

    def test_limbs_without_their_joints_are_left_out(self):
        pose = standing()
        pose[:, BODY_18.index("left_wrist")] = 0
        parts = set(draw_surface(pose, BODY_18, SIZE)[0, 0].unique().tolist())
        assert not parts & {PART["left_hand"], PART["left_forearm_outside"], PART["left_forearm_inside"]}
        assert {PART["right_hand"], PART["torso_front"], PART["left_thigh_front"]} <= parts

    def test_a_limb_that_is_hidden_lies_behind(self):
        pose = standing()
        for name, place in (("left_elbow", (60.0, 48.0)), ("left_wrist", (46.0, 46.0))):
            pose[:, BODY_18.index(name), :2] = torch.tensor(place)
        forearms = [PART["left_forearm_outside"], PART["left_forearm_inside"]]
        in_front = torch.isin(draw_surface(pose, BODY_18, SIZE)[:, 0], torch.tensor(forearms)).sum()
        pose[:, [BODY_18.index("left_elbow"), BODY_18.index("left_wrist")], 2] = 0.5
        behind = torch.isin(draw_surface(pose, BODY_18, SIZE)[:, 0], torch.tensor(forearms)).sum()
        assert behind < 0.5 * in_front

    def test_other_skeletons(self):
        pose = convert_pose(standing(), BODY_18, COCO_17)
        surface = draw_surface(pose, COCO_17, SIZE)
        assert torch.equal(surface, draw_surface(convert_pose(pose, COCO_17, BODY_18), BODY_18, SIZE))
        assert at(surface, 0.0, 0.7)[0] == "torso_front"

    def test_background_is_zero_and_parts_are_charted(self):
        surface = draw_surface(standing(), BODY_18, SIZE)
        assert surface.dtype == torch.uint8
        assert surface[:, 0].max() <= 24
        assert not (surface[:, 1:] * (surface[:, :1] == 0)).any()

    def test_drawn_in_any_grouping(self, monkeypatch):
        poses = torch.cat([standing(height=height) for height in (60.0, 80.0, 100.0)])
        whole = draw_surface(poses, BODY_18, SIZE)
        monkeypatch.setattr("zoo.pose.capsules._CELLS", 1)
        assert torch.equal(draw_surface(poses, BODY_18, SIZE), whole)


def test_shown_maps_are_pictures():
    maps = draw_surface(standing(), BODY_18, SIZE).float() / torch.tensor([1.0, 255, 255]).view(3, 1, 1)
    shown = show_surface(maps)
    assert shown.shape == maps.shape
    assert 0 <= shown.min() <= shown.max() <= 1
    assert torch.equal(shown.sum(1) > 0, maps[:, 0] > 0)


class TestGain:
    """Warping the source by surface maps brings it closer to the true frame; the figures stand in DwNet's page."""

    @pytest.fixture(scope="class")
    def psnr(self):
        """Over the person's pixels whose surface point the source shows too, by the exact maps: in decibel."""
        people = SyntheticPeople((64, 64), 0, 0, 8, clips_per_identity=2, frames=48)
        moments = [0, 12, 24, 36, 47]
        errors = {name: [] for name in ("unwarped", "exact", "skeleton")}
        for clip in people.clips("test"):
            frames = people.frames(clip, moments).float() / 255
            exact = self.scaled(people.condition(clip, "iuv", moments))
            drawn = self.scaled(draw_surface(people.condition(clip, "pose", moments), BODY_18, (64, 64)))
            source = frames[:1].expand(4, -1, -1, -1)
            warps = {name: self.between(maps) for name, maps in (("exact", exact), ("skeleton", drawn))}
            counted = warps["exact"].valid & (exact[1:, 0] > 0)
            results = {name: warp(source, w.grid, True, "reflection") for name, w in warps.items()}
            for name, result in ({"unwarped": source} | results).items():
                errors[name].append((result - frames[1:]).square().mean(1)[counted])
        return {name: -10 * math.log10(torch.cat(parts).mean()) for name, parts in errors.items()}

    def scaled(self, maps):
        return maps.float() / torch.tensor([1.0, 255, 255]).view(3, 1, 1)

    def between(self, maps):
        return surface_warp(maps[:1].expand(len(maps) - 1, -1, -1, -1), maps[1:])

    def test_exact_maps(self, psnr):
        assert psnr["exact"] - psnr["unwarped"] > 8

    def test_drawn_maps_reach_more_than_half_of_it(self, psnr):
        assert psnr["skeleton"] - psnr["unwarped"] > 0.6 * (psnr["exact"] - psnr["unwarped"])
