"""Pose normalisation against the recorded run of the official program, and its properties on synthetic people."""

import json

import pytest
import torch
from recorded_tracks import whole_track
from safetensors.torch import load_file

from zoo.errors import OptionError
from zoo.pose import (
    BODY_18,
    BODY_25,
    WHOLE_18,
    PoseNormalisation,
    PoseStatistics,
    convert_pose,
    face_boxes,
    limb_lengths,
    normalise_pose,
    retarget_limbs,
    smooth_median,
    transfer_limbs,
)
from zoo.pose.statistics import measure_frames

SIZE = (256, 256)
ANKLES = [BODY_18.index("right_ankle"), BODY_18.index("left_ankle")]


def moved(track, scale, shift):
    return torch.cat([track[..., :2] * scale + torch.tensor(shift, dtype=track.dtype), track[..., 2:]], dim=-1)


def other_track(people):
    clip = next(clip for clip in people.clips("test") if "march" in clip.name)
    return people.condition(clip, "pose", range(clip.frames)).double()


# --- the official program


@pytest.mark.shared
@pytest.mark.parametrize("case", ["regular", "small_range"])
def test_released_mode_is_the_official_program(recorded, case):
    tensors = load_file(recorded / f"posenorm_{case}.safetensors")
    settings = json.loads((recorded / f"posenorm_{case}.json").read_text())
    statistics = {}
    for who in ("source", "target"):
        track, skeleton = whole_track(tensors, f"input.{who}")
        drawn = track[tensors[f"input.{who}.sampled_frames"]]
        drawn = drawn[drawn.isfinite().flatten(1).all(dim=1)]  # a frame with two people was drawn and dropped
        statistics[who] = PoseStatistics.fit(drawn, skeleton, (1080, 1920), mode="released")
    normalisation = PoseNormalisation.between(
        statistics["source"], statistics["target"], settings["source_median_frac"], settings["target_median_frac"]
    )
    scales = torch.tensor([normalisation.scale_close, normalisation.scale_far], dtype=torch.float64)
    torch.testing.assert_close(scales, tensors["output.scale_close_far"])
    source, target = normalisation.source, normalisation.target
    ends = torch.tensor([target.close, target.far, source.close, source.far], dtype=torch.float64)
    torch.testing.assert_close(ends, tensors["output.translation_target_maxtoe_horizon_source_maxtoe_horizon"])

    track, skeleton = whole_track(tensors, "input.source")
    transformed = normalisation.apply(track[tensors["output.kept_source_frames"]], skeleton)
    torch.testing.assert_close(transformed, whole_track(tensors, "output.transformed")[0], atol=1e-4, rtol=0)
    median = smooth_median(transformed)[3:-3]
    torch.testing.assert_close(median, whole_track(tensors, "output.median")[0], atol=1e-4, rtol=0)
    assert torch.equal(face_boxes(median, skeleton), tensors["output.face_box_miny_maxy_minx_maxx"])
    assert torch.equal(
        tensors["output.kept_source_frames"][3:-3], tensors["output.source_frame_index_of_output"]
    )  # what is left away at both ends is half a window


@pytest.mark.shared
@pytest.mark.parametrize("who", ["source", "target"])
@pytest.mark.parametrize("case", ["regular", "small_range"])
def test_released_statistics_are_the_official_programs(recorded, case, who):
    tensors = load_file(recorded / f"posenorm_{case}.safetensors")
    fraction = json.loads((recorded / f"posenorm_{case}.json").read_text())[f"{who}_median_frac"]
    track, skeleton = whole_track(tensors, f"input.{who}")
    lower, heights, measured = measure_frames(track, skeleton, "released")
    mean, _, _ = measure_frames(track, skeleton, "paper")
    ours = torch.stack([heights, 2 * mean - lower, lower], dim=1)
    ours[~measured] = torch.nan
    torch.testing.assert_close(ours, tensors[f"stats.{who}.per_frame"], equal_nan=True)

    drawn = track[tensors[f"input.{who}.sampled_frames"]]
    drawn = drawn[drawn.isfinite().flatten(1).all(dim=1)]
    statistics = PoseStatistics.fit(drawn, skeleton, (1080, 1920), mode="released")
    own = PoseNormalisation.between(statistics, statistics, fraction, fraction).source  # a range that nothing cuts
    found = torch.tensor([own.close, own.middle, own.far, statistics.frames[:, 1].max()], dtype=torch.float64)
    torch.testing.assert_close(found, tensors[f"stats.{who}.maxtoe_median_horizon_maxheight"])


# --- properties


@pytest.mark.parametrize("mode", ["paper", "released"])
def test_normalising_to_oneself_changes_nothing(walk, mode):
    target = PoseStatistics.fit(walk, BODY_18, SIZE, mode)
    torch.testing.assert_close(normalise_pose(walk, BODY_18, SIZE, target, limbs=True), walk, atol=1e-9, rtol=0)


def test_a_smaller_driver_elsewhere_lands_on_the_targets_range(walk):
    target = PoseStatistics.fit(walk, BODY_18, SIZE)
    driver = moved(walk, 0.7, [20.0, 70.0])
    placed = normalise_pose(driver, BODY_18, SIZE, target)
    ankles, expected = placed[:, ANKLES, 1].mean(dim=1), walk[:, ANKLES, 1].mean(dim=1)
    span = expected.max() - expected.min()
    assert (ankles.max() - expected.max()).abs() < 0.02 * span
    assert (ankles.min() - expected.min()).abs() < 0.02 * span
    torch.testing.assert_close(heights(placed), heights(walk), rtol=0.02, atol=0)
    torch.testing.assert_close(placed[..., 1], walk[..., 1], rtol=0, atol=0.02 * float(heights(walk).max()))


def test_another_person_lands_on_the_targets_range(walk, people):
    target = PoseStatistics.fit(walk, BODY_18, SIZE)
    placed = normalise_pose(moved(other_track(people), 0.7, [20.0, 70.0]), BODY_18, SIZE, target)
    body = float(heights(walk).max())
    assert abs(float(heights(placed).max()) - body) < 0.02 * body
    assert abs(float(placed[:, ANKLES, 1].max() - walk[:, ANKLES, 1].max())) < 0.02 * body


def heights(track):
    return (track[:, BODY_18.index("nose"), :2] - track[:, ANKLES, :2].mean(dim=1)).norm(dim=-1)


def test_a_driver_of_another_resolution_is_letterboxed(walk):
    target = PoseStatistics.fit(walk, BODY_18, SIZE)
    placed = normalise_pose(moved(walk, 2, [100.0, 0.0]), BODY_18, (512, 712), target)
    torch.testing.assert_close(placed[..., 1], walk[..., 1], atol=1e-6, rtol=0)


def test_a_driver_who_stands_still_stands_in_the_targets_place(walk):
    target = PoseStatistics.fit(walk, BODY_18, SIZE)
    standing = walk[:1].repeat(20, 1, 1)
    standing[:, :, :2] += torch.rand(20, 1, 2, generator=torch.Generator().manual_seed(0)).double()  # camera tremble
    placed = normalise_pose(moved(standing, 0.5, [0.0, 10.0]), BODY_18, SIZE, target)
    ankles = placed[:, ANKLES, 1].mean(dim=1)
    assert float(ankles.max() - ankles.min()) < 4
    assert abs(float(ankles.median() - target.frames[:, 0].median())) < 1
    released = PoseStatistics.fit(walk[:1].repeat(5, 1, 1), BODY_18, SIZE, "released")
    with pytest.raises(OptionError, match="nothing tells near from far"):
        PoseNormalisation.between(released, released)


def test_frames_without_ankles_are_placed_between_their_neighbours(walk):
    target = PoseStatistics.fit(moved(walk, 0.8, [0.0, 20.0]), BODY_18, SIZE)
    whole = normalise_pose(walk, BODY_18, SIZE, target)
    hidden = walk.clone()
    hidden[20:23, ANKLES] = 0
    hidden[0, ANKLES] = 0
    placed = normalise_pose(hidden, BODY_18, SIZE, target)
    seen = placed[..., 2] > 0
    assert float((placed - whole)[seen].abs().max()) < 3  # pixels
    assert not placed[20:23, ANKLES].any()


def test_frames_without_anybody_stay_empty(walk):
    target = PoseStatistics.fit(walk, BODY_18, SIZE)
    driver = moved(walk, 0.7, [20.0, 70.0])
    driver[10:14] = 0
    placed = normalise_pose(driver, BODY_18, SIZE, target)
    assert not placed[10:14].any()
    assert placed[14:].any(dim=(1, 2)).all()


def test_missing_ankles_throughout_are_an_error(walk):
    walk = walk.clone()
    walk[:, ANKLES[0]] = 0
    with pytest.raises(OptionError, match="none of 60 frames shows both the head and the ankles"):
        PoseStatistics.fit(walk, BODY_18, SIZE)


@pytest.mark.parametrize(
    ("mode", "hidden", "problem"),
    [
        (
            "released",
            ["left_ear"],
            r"the head, the right ankle and the left ear, .*lacks left_ear\).*mode 'paper'",
        ),
        ("released", ["left_ankle", "right_ankle"], r"lacks right_ankle\)"),
        ("paper", ["nose", "left_ankle"], r"lacks left_ankle\)"),
        ("paper", ["nose", "left_ear"], r"lacks nose\)"),
    ],
)
def test_the_error_names_the_joints_that_are_really_needed_and_missing(walk, mode, hidden, problem):
    walk = walk.clone()
    walk[:, [BODY_18.index(joint) for joint in hidden]] = 0
    with pytest.raises(OptionError, match=problem):
        PoseStatistics.fit(walk, BODY_18, SIZE, mode)


def test_statistics_of_different_modes_are_not_compared(walk):
    released, paper = (PoseStatistics.fit(walk, BODY_18, SIZE, mode) for mode in ("released", "paper"))
    with pytest.raises(OptionError, match="mode 'paper', the subject in 'released'"):
        PoseNormalisation.between(paper, released)


# --- proportions


def longer_legs(track, factor):
    """The same motion with longer shins and thighs, ankles in the same place."""
    stretched = track.clone()
    hips, knees, ankles = ([8, 11], [9, 12], [10, 13])
    thigh, shin = track[:, knees] - track[:, hips], track[:, ankles] - track[:, knees]
    stretched[:, knees, :2] = (track[:, hips] + factor * thigh)[..., :2]
    stretched[:, ankles, :2] = (track[:, hips] + factor * (thigh + shin))[..., :2]
    rise = (stretched - track)[:, ankles, :2].mean(dim=1, keepdim=True)
    stretched[..., :2] -= rise
    return stretched


def test_transfer_to_own_lengths_changes_nothing(walk):
    torch.testing.assert_close(transfer_limbs(walk, BODY_18, limb_lengths(walk, BODY_18)), walk, atol=1e-9, rtol=0)


def test_transfer_makes_the_other_body(walk):
    tall = longer_legs(walk, 1.3)
    torch.testing.assert_close(transfer_limbs(walk, BODY_18, limb_lengths(tall, BODY_18)), tall, atol=1e-6, rtol=0)


def test_transfer_around_a_missing_joint_moves_what_hangs_on_it(walk):
    tall = longer_legs(walk, 1.3)
    lengths = limb_lengths(tall, BODY_18)
    knee, ankle = BODY_18.index("right_knee"), BODY_18.index("right_ankle")
    hidden = walk.clone()
    hidden[:, knee] = 0
    transferred = transfer_limbs(hidden, BODY_18, lengths)
    assert not transferred[:, knee].any()
    seen = torch.ones(18, dtype=torch.bool)
    seen[[knee, ankle]] = False
    offset = (transferred - tall)[:, seen, :2]
    torch.testing.assert_close(offset, offset[:, :1].expand_as(offset), atol=1e-6, rtol=0)


def test_hands_and_face_move_with_the_body(walk):
    whole = convert_pose(walk, BODY_18, WHOLE_18)
    wrist, nose = WHOLE_18.index("left_wrist"), WHOLE_18.index("nose")
    for part, root in (("left_hand", wrist), ("face", nose)):
        whole[:, WHOLE_18.part(part)] = whole[:, root, None] + torch.tensor([3.0, 1.0, 0.0], dtype=whole.dtype)
    transferred = transfer_limbs(whole, WHOLE_18, 2 * limb_lengths(whole, WHOLE_18))
    hand = (transferred[:, WHOLE_18.part("left_hand")] - transferred[:, wrist, None])[..., :2]
    torch.testing.assert_close(hand, torch.tensor([6.0, 2.0], dtype=hand.dtype).expand_as(hand))
    assert not transferred[:, WHOLE_18.part("right_hand")].any()


def test_lengths_of_another_skeleton_are_refused(walk):
    with pytest.raises(OptionError, match="body_25 has 24 limbs, but there are 17 lengths"):
        transfer_limbs(convert_pose(walk, BODY_18, BODY_25), BODY_25, limb_lengths(walk, BODY_18))
    with pytest.raises(OptionError, match="no limb that the other body shows is seen in any"):
        transfer_limbs(torch.zeros_like(walk), BODY_18, limb_lengths(walk, BODY_18))


def test_retargeting_to_one_picture_makes_the_other_body(walk):
    """Exactly, where the same pose is the most alike; else as nearly as the view in the one that is tells lengths."""
    tall = longer_legs(walk, 1.3)
    torch.testing.assert_close(retarget_limbs(walk, BODY_18, tall[30]), tall, atol=1e-6, rtol=0)
    for frame in range(0, len(walk), 5):
        lengths = limb_lengths(retarget_limbs(walk, BODY_18, tall[frame]), BODY_18)
        torch.testing.assert_close(lengths, limb_lengths(tall, BODY_18), rtol=0.1, atol=0)


def test_retargeting_to_oneself_is_the_identity_at_any_place_and_moment(walk):
    for frame in range(0, len(walk), 5):
        body = moved(walk[frame : frame + 1], 1.0, [30.0, -12.0])[0]
        torch.testing.assert_close(retarget_limbs(walk, BODY_18, body), walk, atol=1e-9, rtol=0)
