import json

import pytest
import torch

from zoo.errors import FileError
from zoo.pose import (
    BODY_18,
    BODY_25,
    COCO_17,
    SKELETONS,
    WHOLE_23,
    follow_person,
    read_openpose,
    write_openpose,
)

OPENPOSE = [skeleton for name, skeleton in SKELETONS.items() if name.startswith("body_")]


def random_people(skeleton, counts):
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([100 / 3, 100 / 3, 1 / 3]).double()
    return [torch.rand(count, len(skeleton.joints), 3, generator=generator).double() * scale for count in counts]


def moved(poses, x):
    """The same poses elsewhere, pixels."""
    return poses + (poses[..., 2:] > 0) * poses.new_tensor([x, 0.0, 0.0])


@pytest.mark.parametrize("skeleton", OPENPOSE, ids=lambda skeleton: skeleton.name)
def test_round_trip_is_exact(tmp_path, skeleton):
    people = random_people(skeleton, [1, 0, 3])
    write_openpose(tmp_path / "poses", people, skeleton, "clip")
    read = read_openpose(tmp_path / "poses")
    assert read.skeleton is not None
    assert read.skeleton.name == skeleton.name
    assert read.files[0].name == "clip_000000000000_keypoints.json"
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(read.people, people, strict=True))


@pytest.mark.shared
def test_a_real_folder_reads_and_writes_back_the_same_numbers(shared, tmp_path):
    read = read_openpose(shared / "data" / "taichi" / "2_openpose")
    assert read.skeleton is BODY_18
    assert len(read.people) == 153
    write_openpose(tmp_path, read.people, read.skeleton)
    for theirs, ours in zip(read.files, sorted(tmp_path.iterdir()), strict=True):
        theirs, ours = (json.loads(file.read_text())["people"] for file in (theirs, ours))
        assert [person["pose_keypoints_2d"] for person in ours] == [person["pose_keypoints_2d"] for person in theirs]


def test_parts_that_a_file_leaves_out_are_missing(tmp_path):
    people = random_people(WHOLE_23, [1, 1])
    write_openpose(tmp_path, people, WHOLE_23)
    last = sorted(tmp_path.iterdir())[1]
    content = json.loads(last.read_text())
    del content["people"][0]["face_keypoints_2d"]
    content["people"][0]["hand_left_keypoints_2d"] = []
    last.write_text(json.dumps(content))
    read = read_openpose(tmp_path)
    assert read.skeleton.name == WHOLE_23.name
    assert not read.people[1][0, WHOLE_23.part("face")].any()
    assert not read.people[1][0, WHOLE_23.part("left_hand")].any()
    assert torch.equal(read.people[1][0, WHOLE_23.part("right_hand")], people[1][0, WHOLE_23.part("right_hand")])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is no file of OpenPose"),
        ('{"people": null}', "has 'people' that are no list"),
        ('{"people": [null]}', "no list of numbers"),
        (json.dumps({"people": [{"pose_keypoints_2d": [10**400] * 54}]}), "no list of numbers"),
        ('{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}', "has 3 numbers in 'pose_keypoints_2d', expected 54 or 69"),
        ('{"people": [{"pose_keypoints_2d": "abc"}]}', "no list of numbers"),
        (json.dumps({"people": [{"pose_keypoints_2d": [1] * 75}]}), "has body_25 bodies, but frame_0+_keypoints"),
    ],
)
def test_damaged_files_are_named(tmp_path, content, problem):
    write_openpose(tmp_path, random_people(BODY_18, [1]), BODY_18)
    (tmp_path / "frame_1_keypoints.json").write_text(content)
    with pytest.raises(FileError, match=problem) as error:
        read_openpose(tmp_path)
    assert error.value.path.name == "frame_1_keypoints.json"


def test_files_are_ordered_by_the_numbers_in_their_names(tmp_path):
    people = random_people(BODY_18, [1] * 12)
    write_openpose(tmp_path, people, BODY_18, "dance_25fps")
    for number, file in enumerate(sorted(tmp_path.iterdir())):
        file.rename(tmp_path / f"dance_25fps_frame{number}_keypoints.json")
    read = read_openpose(tmp_path)
    assert [file.name for file in read.files] == [f"dance_25fps_frame{number}_keypoints.json" for number in range(12)]
    assert torch.equal(torch.stack(read.people), torch.stack(people))


@pytest.mark.parametrize("low", [0, -1])
def test_coordinates_that_are_no_pixels_are_refused(tmp_path, low):
    """OpenPose's --keypoint_scale 3 and 4; files that show nobody aren't to blame."""
    scaled = [people / 34 for people in random_people(BODY_18, [0, 1, 2])]
    for people in scaled:
        people[..., :2] = low + (1 - low) * people[..., :2]
    write_openpose(tmp_path, scaled, BODY_18)
    with pytest.raises(FileError, match=r"no coordinate above 2.* not pixels; .*--keypoint_scale 0") as error:
        read_openpose(tmp_path)
    assert error.value.path.name == "frame_000000000001_keypoints.json"


def test_joints_that_are_not_finite_or_without_confidence_are_missing(tmp_path):
    people = random_people(BODY_18, [1])
    people[0][0, 1, 0] = torch.nan
    people[0][0, 2, 1] = torch.inf
    people[0][0, 3, 2] = 0
    people[0][0, 4, 2] = 1.05
    write_openpose(tmp_path, people, BODY_18)
    (read,) = read_openpose(tmp_path).people
    assert not read[0, 1:4].any()
    assert read[0, 4, 2] == 1
    assert torch.equal(read[0, 5:], people[0][0, 5:])


def test_an_empty_folder_and_other_formats_are_refused(tmp_path):
    with pytest.raises(FileError, match=r"holds no keypoints\.json files"):
        read_openpose(tmp_path)
    with pytest.raises(FileError, match="can't hold coco_17"):
        write_openpose(tmp_path, random_people(COCO_17, [1]), COCO_17)


def test_the_largest_person_is_followed_wherever_it_stands_in_the_list(walk):
    other = walk.clone()
    other[..., :2] = walk[..., :2] * 0.5 + 100
    people = [torch.stack([other[k], walk[k]] if k % 2 else [walk[k], other[k]]) for k in range(20)]
    people[5] = people[5][:0]
    people[6] = people[6][:1]
    followed = follow_person(people, BODY_18)
    assert not followed[5].any()
    alone = [k for k in range(20) if k != 5]
    assert torch.equal(followed[alone], walk[alone])


def test_a_bystander_is_never_taken_for_somebody_who_is_gone_for_a_while(walk):
    """The bystander stands on the other side; the subject leaves for three frames, and later walks off for good."""
    bystander = moved(walk[0], 300.0)
    people = [torch.stack([pose, bystander]) for pose in walk[:20]]
    gone = [3, 4, 5, *range(12, 20)]
    for frame in gone:
        people[frame] = bystander[None]
    followed = follow_person(people, BODY_18)
    assert not followed[gone].any()
    back = [frame for frame in range(20) if frame not in gone]
    assert torch.equal(followed[back], walk[back])


def test_somebody_who_walks_on_unseen_is_found_where_that_leads(walk):
    """Nearly a diagonal away after a second of absence, which in the next frame would be somebody else."""
    diagonal = float((walk[0, :, :2].amax(dim=0) - walk[0, :, :2].amin(dim=0)).norm())
    bystander, there = moved(walk[0], -400.0), moved(walk[0], 0.9 * diagonal)
    both, alone = torch.stack([walk[0], bystander]), torch.stack([bystander, there])
    for absent, found in ((0, False), (25, True)):
        people = [both, *[bystander[None]] * absent, alone]
        assert follow_person(people, BODY_18)[-1].any() == found
    assert torch.equal(follow_person([both, alone], BODY_18, numbers=[3, 29])[-1], there)


def test_somebody_alone_is_followed_however_far(walk):
    """A cut, and no other person in the clip."""
    people = [*walk[:5, None], *moved(walk[5:10], 500.0)[:, None]]
    assert torch.equal(follow_person(people, BODY_18), torch.cat(people))


def test_people_without_a_joint_are_nobody(walk):
    """Neither followed, nor where the person was last seen."""
    empty, small = torch.zeros_like(walk[0]), torch.cat([walk[0, :, :2] * 0.5, walk[0, :, 2:]], dim=-1)
    people = [empty[None], torch.stack([empty, small, walk[1]]), torch.stack([empty, small]), walk[3][None]]
    followed = follow_person(people, BODY_18)
    assert not followed[[0, 2]].any()
    assert torch.equal(followed[[1, 3]], walk[[1, 3]])


def test_somebody_who_turns_around_is_followed_though_no_joint_stays(walk):
    """First the right side is seen, then the left."""
    sides = {side: [BODY_18.index(joint) for joint in BODY_18.joints if side in joint] for side in ("right", "left")}
    right, left = torch.zeros_like(walk[0]), torch.zeros_like(walk[0])
    right[sides["right"]], left[sides["left"]] = walk[0, sides["right"]], walk[0, sides["left"]]
    bystander = moved(walk[0], 300.0)
    followed = follow_person([torch.stack([bystander * 0.5, right]), torch.stack([bystander, left])], BODY_18)
    assert torch.equal(followed[1], left)


def test_nobody_at_all_is_an_empty_track():
    assert not follow_person(random_people(BODY_25, [0, 0]), BODY_25).any()
    assert follow_person([], BODY_25).shape == (0, 25, 3)
