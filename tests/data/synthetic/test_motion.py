import numpy as np
import pytest

from zoo.data.synthetic import STYLES
from zoo.data.synthetic.appearance import HAIR_CUTS, random_appearance
from zoo.data.synthetic.body import BONE, PARENT, BodyShape, Motion, carry, pose_bones
from zoo.data.synthetic.figure import build_mesh
from zoo.data.synthetic.motion import random_motion

FPS = 50.0


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def motions(style: str) -> list[Motion]:
    return [random_motion(style, generator(seed), 100, FPS) for seed in range(6)]


def joints(motion: Motion, shape: BodyShape) -> np.ndarray:
    return carry(*shape.keypoint_anchors(), *pose_bones(shape, motion))


@pytest.mark.parametrize("style", STYLES)
def test_motion_is_smooth_and_no_faster_than_people(style: str) -> None:
    for motion in motions(style):
        velocity = np.diff(joints(motion, BodyShape()), axis=0) * FPS
        assert np.linalg.norm(velocity, axis=-1).max() < 9  # m/s
        assert np.linalg.norm(np.diff(velocity, axis=0), axis=-1).max() < 3.2  # m/s from one frame to the next
        assert np.linalg.norm(velocity, axis=-1).max() > 0.2  # it does move


@pytest.mark.parametrize("style", STYLES)
def test_bones_keep_their_lengths(style: str) -> None:
    shape = BodyShape(legs=1.03, arms=0.97)
    origins = shape.rest_origins()
    places = carry(np.arange(len(PARENT)), origins, *pose_bones(shape, motions(style)[0]))
    for bone, parent in enumerate(PARENT):
        if parent >= 0:
            length = np.linalg.norm(places[:, bone] - places[:, parent], axis=-1)
            np.testing.assert_allclose(length, np.linalg.norm(origins[bone] - origins[parent]), atol=1e-9)


@pytest.mark.parametrize("style", STYLES)
def test_joints_bend_only_as_people_can(style: str) -> None:
    for motion in motions(style):
        for side in ("left", "right"):
            knee, elbow = (np.degrees(motion.angles[:, BONE[f"{side}_{bone}"], 0]) for bone in ("shin", "forearm"))
            assert knee.min() >= 0
            assert knee.max() <= 140
            assert elbow.min() >= 0
            assert elbow.max() <= 145


@pytest.mark.parametrize("style", STYLES)
def test_feet_stay_near_the_floor_and_never_under_it(style: str) -> None:
    shape = BodyShape()
    looks = random_appearance(generator(0), shape)
    mesh = build_mesh(shape, looks.outfit, HAIR_CUTS[0])
    foot = np.isin(mesh.bones[:, 0], [BONE["left_foot"], BONE["right_foot"]])
    for motion in motions(style)[:2]:
        places = carry(mesh.bones[foot, 0], mesh.points[foot], *pose_bones(shape, motion))
        lowest = places[..., 1].min(axis=1) - motion.lift * shape.height
        assert lowest.min() > -0.035
        assert lowest.max() < 0.01
        assert motion.lift.min() >= 0
        assert motion.lift.max() < 0.1


def test_walking_moves_opposite_arm_and_leg_together() -> None:
    for motion in motions("walk"):
        leg, arm = (motion.angles[:, BONE[bone], 0] for bone in ("left_thigh", "right_upper_arm"))
        assert np.corrcoef(leg, arm)[0, 1] > 0.6


def test_turn_around_shows_the_back() -> None:
    for motion in motions("turn_around"):
        assert np.cos(motion.heading).max() > 0.8
        assert np.cos(motion.heading).min() < -0.8


def test_a_motion_fits_any_body() -> None:
    motion = motions("squat")[0]
    small, tall = joints(motion, BodyShape(height=1.56)), joints(motion, BodyShape(height=1.86))
    ratio = tall[..., 1].max() / small[..., 1].max()
    assert 1.15 < ratio < 1.25
