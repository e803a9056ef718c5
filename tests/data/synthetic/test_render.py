from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from zoo.data.synthetic.appearance import HAIR_CUTS, random_appearance
from zoo.data.synthetic.body import BONE, BONES, BodyShape, Motion, pose_bones, random_shape
from zoo.data.synthetic.figure import build_mesh
from zoo.data.synthetic.motion import random_motion
from zoo.data.synthetic.paint import paint_atlas
from zoo.data.synthetic.render import Rendering, render
from zoo.data.synthetic.scene import Camera, paint_backdrop, random_scene
from zoo.pose import SURFACE_PARTS, flip_surface

SIZE = 160
CAMERA = Camera(1.1, 5.0, 0.03, 330.0, (SIZE - 1) / 2, (SIZE - 1) / 2 - 4)


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def draw(motion: Motion, seed: int = 2, frame: int = 0, camera: Camera = CAMERA, cut: int = 2) -> Rendering:
    shape = random_shape(generator(seed))
    looks = replace(random_appearance(generator(seed), shape), cut=HAIR_CUTS[cut])
    scene = random_scene(generator(seed))
    rotations, translations = pose_bones(shape, motion)
    mesh, atlas = build_mesh(shape, looks.outfit, looks.cut), paint_atlas(shape, looks, 0.6)
    backdrop = paint_backdrop(scene, camera, (SIZE, SIZE))
    return render(mesh, atlas, rotations[frame], translations[frame], np.zeros((1, 3)), camera, scene, backdrop)


def standing(**degrees: tuple[float, float, float]) -> Motion:
    """One frame of somebody who stands upright, but for some bones' flexion, abduction and twist."""
    angles = np.zeros((1, len(BONES), 3))
    angles[0, [BONE["left_upper_arm"], BONE["right_upper_arm"]], 1] = np.radians(25)
    for bone, bend in degrees.items():
        angles[0, BONE[bone]] = np.radians(bend)
    return Motion(angles, np.zeros(1), np.zeros((1, 2)), np.zeros(1))


def mirror_image(motion: Motion) -> Motion:
    swap = {"left": "right_", "right": "left_"}
    names = [name.partition("_") for name in BONES]
    order = [BONE[swap[side] + rest] if side in swap else BONE[side] for side, _, rest in names]
    is_trunk = np.array([side not in swap for side, _, _ in names])
    angles = motion.angles[:, order].copy()
    angles[:, is_trunk, 1:] *= -1
    return Motion(angles, -motion.heading, motion.travel * [-1, 1], motion.lift)


@pytest.mark.parametrize("style", ["dance", "walk", "turn_around"])
def test_mirrored_body_gives_the_flipped_surface(style: str) -> None:
    motion = random_motion(style, generator(8), 20, 25.0)
    plain = torch.from_numpy(draw(motion, frame=7).iuv).float()
    mirrored = torch.from_numpy(draw(mirror_image(motion), frame=7).iuv).float()
    scale = torch.tensor([1.0, 255.0, 255.0])[:, None, None]
    flipped = flip_surface(plain / scale) * scale
    covered = (flipped[0] > 0) | (mirrored[0] > 0)
    same_part = flipped[0] == mirrored[0]
    assert same_part[covered].float().mean() > 0.985  # the rest are samples on triangles' diagonals at borders
    difference = (flipped - mirrored)[1:, covered & same_part].abs()
    assert (difference <= 2).float().mean() > 0.98


def test_all_24_parts_are_seen_from_front_or_back() -> None:
    front = standing()
    back = Motion(front.angles, np.array([np.pi]), front.travel, front.lift)
    sideways = [Motion(front.angles, np.array([turn]), front.travel, front.lift) for turn in (1.2, -1.2)]
    seen = {part for motion in (front, back, *sideways) for part in np.unique(draw(motion).iuv[0]).tolist()}
    assert seen == set(range(25))
    parts_in_front = np.unique(draw(front).iuv[0])
    assert SURFACE_PARTS.index("torso_front") in parts_in_front
    assert SURFACE_PARTS.index("torso_back") not in parts_in_front


def centre_of(part: str, iuv: NDArray[np.uint8]) -> NDArray[np.floating]:
    rows, columns = np.nonzero(iuv[0] == SURFACE_PARTS.index(part))
    return np.array([columns.mean(), rows.mean()])


def test_left_and_right_are_the_persons_own() -> None:
    iuv = draw(standing()).iuv
    for limb in ("hand", "foot", "thigh_front", "forearm_outside"):
        assert centre_of(f"left_{limb}", iuv)[0] > centre_of(f"right_{limb}", iuv)[0]  # faces the camera
    assert centre_of("head_left", iuv)[0] > centre_of("head_right", iuv)[0]


def test_charts_run_along_and_across() -> None:
    iuv = draw(standing()).iuv.astype(float)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for part in ("torso_front", "right_thigh_front", "left_shin_front"):
        on_it = iuv[0] == SURFACE_PARTS.index(part)
        assert np.corrcoef(iuv[1][on_it], rows[on_it])[0, 1] > 0.95
        assert np.corrcoef(iuv[2][on_it], columns[on_it])[0, 1] > 0.9


def test_charts_are_continuous_within_a_part() -> None:
    rendering = draw(random_motion("dance", generator(4), 20, 25.0), frame=11, cut=0)
    part, chart = rendering.iuv[0], rendering.iuv[1:].astype(float)
    for axis in (0, 1):
        same = (np.diff(part.astype(int), axis=axis) == 0) & (
            np.minimum(part, np.roll(part, -1, axis)).take(range(SIZE - 1), axis) > 0
        )
        same &= np.abs(np.diff(np.where(np.isinf(rendering.depth), 0, rendering.depth), axis=axis)) < 0.03
        limb = np.isin(
            part.take(range(SIZE - 1), axis),
            [i for i, name in enumerate(SURFACE_PARTS) if not name.endswith(("hand", "foot"))],
        )
        steps = np.abs(np.diff(chart, axis=axis + 1))[:, same & limb]
        assert np.quantile(steps, 0.98) < 45
        assert np.median(steps) < 12


def test_an_arm_in_front_hides_the_trunk() -> None:
    hanging = draw(standing())
    crossed = draw(standing(left_upper_arm=(35, -10, -70), left_forearm=(95, 0, 0)))
    trunk, arm = (
        SURFACE_PARTS.index("torso_front"),
        [SURFACE_PARTS.index(f"left_{p}") for p in ("forearm_inside", "forearm_outside", "hand")],
    )
    hides = (hanging.iuv[0] == trunk) & np.isin(crossed.iuv[0], arm)
    assert hides.sum() > 40
    assert (crossed.depth[hides] < hanging.depth[hides] - 0.02).all()


def test_edges_are_blended_and_nothing_else_changes_the_background() -> None:
    rendering = draw(standing())
    scene = random_scene(generator(2))
    background = paint_backdrop(scene, CAMERA, (SIZE, SIZE)).picture.transpose(2, 0, 1).astype(float)
    difference = np.abs(rendering.frame - background).max(axis=0)[: SIZE // 2]  # above the shadow
    mask = rendering.iuv[0] > 0
    padded = np.pad(mask, 1)
    near = np.any([padded[1 + i : SIZE + 1 + i, 1 + j : SIZE + 1 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0)
    outside, beside = ~near[: SIZE // 2], (near & ~mask)[: SIZE // 2]
    assert difference[outside].max() == 0
    assert (difference[beside] > 3).mean() > 0.3  # partly covered although the centre isn't


def test_frames_at_two_sizes_agree() -> None:
    twice = Camera(
        CAMERA.height,
        CAMERA.distance,
        CAMERA.pitch,
        CAMERA.focal / 2,
        CAMERA.centre_x / 2 - 0.25,
        CAMERA.centre_y / 2 - 0.25,
    )
    large = torch.from_numpy(draw(standing()).frame).float()
    small = torch.from_numpy(draw(standing(), camera=twice).frame).float()[:, : SIZE // 2, : SIZE // 2]
    averaged = torch.nn.functional.avg_pool2d(large[None], 2)[0]
    assert (averaged - small).abs().mean() < 3


def test_somebody_outside_the_picture_leaves_it_empty() -> None:
    motion = standing()
    far = Motion(motion.angles, motion.heading, np.array([[9.0, 0.0]]), motion.lift)
    assert not draw(far).iuv.any()


@pytest.mark.parametrize("seed", range(4))
def test_mesh_is_sound(seed: int) -> None:
    shape = random_shape(generator(seed))
    looks = random_appearance(generator(seed), shape)
    mesh = build_mesh(shape, looks.outfit, HAIR_CUTS[seed])
    np.testing.assert_allclose(mesh.weights.sum(axis=1), 1, atol=1e-6)
    assert mesh.weights.min() >= 0
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-5)
    assert set(np.unique(mesh.parts)) == set(range(1, 25))
    assert mesh.charts.min() >= 0
    assert mesh.charts.max() <= 1
    assert mesh.points[:, 1].min() > -0.01  # stands on the floor
    assert abs(mesh.points[:, 1].max() - shape.height) < 0.09  # hair adds to it
    corners = mesh.points[mesh.triangles]
    faces = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    outward = mesh.normals[mesh.triangles].mean(axis=0)
    clockwise = (faces * outward).sum(axis=1) < 1e-9
    assert clockwise.mean() > 0.99


def test_average_body_has_human_proportions() -> None:
    shape = BodyShape(height=1.75)
    origins = shape.rest_origins()
    assert 7.0 < shape.height / shape.head_height < 8.2
    assert 0.48 < origins[BONE["left_thigh"], 1] / shape.height < 0.54
    span = origins[BONE["left_upper_arm"], 0] * 2 + 2 * (
        origins[BONE["left_upper_arm"], 1] - origins[BONE["left_hand"], 1] + 0.105 * 1.75
    )
    assert 0.93 < span / shape.height < 1.07
