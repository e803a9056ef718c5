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
    return [100 * torch.rand(count, len(skeleton.joints), 3, generator=generator).double() / 3 for count in counts]


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


def test_nobody_at_all_is_an_empty_track():
    assert not follow_person(random_people(BODY_25, [0, 0]), BODY_25).any()
    assert follow_person([], BODY_25).shape == (0, 25, 3)
