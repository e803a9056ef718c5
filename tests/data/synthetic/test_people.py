import hashlib
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from zoo.data.synthetic import HELD_OUT_STYLES, STYLES, SyntheticPeople, render_clip
from zoo.pose import SURFACE_PARTS

SMALL = {"train_identities": 3, "val_identities": 1, "test_identities": 3, "clips_per_identity": 4, "frames": 12}


@pytest.fixture(scope="module")
def people() -> SyntheticPeople:
    return SyntheticPeople((96, 96), **SMALL)


def surface_parts(*names: str) -> torch.Tensor:
    return torch.tensor([index for index, part in enumerate(SURFACE_PARTS) if part.startswith(names)])


_DIGEST = """
import hashlib, sys
from zoo.data.synthetic import SyntheticPeople
people = SyntheticPeople((40, 56), 2, 1, 2, clips_per_identity=2, frames=6, seed=3)
digest = hashlib.sha256()
for clip in [*people.clips("train"), *people.clips("test")]:
    for name in ("pose", "iuv", "mask"):
        digest.update(people.condition(clip, name, range(6)).numpy().tobytes())
    digest.update(people.frames(clip, range(6)).numpy().tobytes())
print(digest.hexdigest())
"""


def test_same_bytes_in_another_process_order_and_chunks() -> None:
    people = SyntheticPeople((40, 56), 2, 1, 2, clips_per_identity=2, frames=6, seed=3)
    clips = [*people.clips("train"), *people.clips("test")]
    frames = {}
    for clip in reversed(clips):  # other clips, other order, single frames, before the conditions
        for index in (5, 0, 3, 1, 4, 2):
            frames[clip.name, index] = people.frames(clip, [index])[0]
    digest = hashlib.sha256()
    for clip in clips:
        for name in ("pose", "iuv", "mask"):
            digest.update(people.condition(clip, name, range(6)).numpy().tobytes())
        digest.update(torch.stack([frames[clip.name, index] for index in range(6)]).numpy().tobytes())
    environment = os.environ | {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", _DIGEST]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()
    assert printed == digest.hexdigest()


def test_another_seed_gives_other_people(people: SyntheticPeople) -> None:
    other = SyntheticPeople((96, 96), **SMALL, seed=1)
    clip, other_clip = people.clips("val")[0], other.clips("val")[0]
    assert not torch.equal(people.frames(clip, [0]), other.frames(other_clip, [0]))


def test_a_pickled_copy_renders_the_same(people: SyntheticPeople) -> None:
    clip = people.clips("train")[1]
    copy = pickle.loads(pickle.dumps(people))
    assert torch.equal(copy.frames(clip, [4, 2]), people.frames(clip, [4, 2]))


def test_splits_share_neither_people_nor_motions() -> None:
    people = SyntheticPeople()
    clips = {split: people.clips(split) for split in ("train", "val", "test")}
    names = [clip.name for split in clips.values() for clip in split]
    assert len(set(names)) == len(names)
    shapes = {
        clip.identity: people._shape(*people._places[clip.name][:2]) for split in clips.values() for clip in split
    }
    assert len(set(shapes.values())) == len(shapes) == 64 + 4 + 8
    motions = [people._motion(clip).angles.tobytes() for split in clips.values() for clip in split]
    assert len(set(motions)) == len(motions)
    styles = {split: {clip.name.split("/")[-1].rpartition("-")[0] for clip in clips[split]} for split in clips}
    assert styles["test"] == set(STYLES)
    assert set(HELD_OUT_STYLES).isdisjoint(styles["train"] | styles["val"])
    for clip in clips["test"]:
        assert clip.name.startswith(clip.identity + "/")


def test_shapes_types_and_ranges_of_what_is_handed_out() -> None:
    people = SyntheticPeople((72, 40), **SMALL)
    clip = people.clips("test")[2]
    assert (clip.height, clip.width, clip.frames, clip.fps) == (72, 40, 12, 25.0)
    indices = [7, 0, 7]
    frames = people.frames(clip, indices)
    pose, iuv, mask = (people.condition(clip, name, indices) for name in ("pose", "iuv", "mask"))
    assert frames.shape == (3, 3, 72, 40)
    assert pose.shape == (3, 18, 3)
    assert iuv.shape == (3, 3, 72, 40)
    assert mask.shape == (3, 1, 72, 40)
    assert frames.dtype == iuv.dtype == mask.dtype == torch.uint8
    assert pose.dtype == torch.float32
    assert torch.equal(frames[0], frames[2])
    assert not torch.equal(frames[0], frames[1])
    assert set(mask.unique().tolist()) == {0, 255}
    assert torch.equal(mask[:, 0] > 0, iuv[:, 0] > 0)
    assert int(iuv[:, 0].max()) <= 24
    assert not iuv[:, 1:].permute(1, 0, 2, 3)[:, iuv[:, 0] == 0].any()
    assert set(pose[..., 2].unique().tolist()) <= {0.0, 0.5, 1.0}
    assert people.frames(clip, []).shape == (0, 3, 72, 40)
    assert people.background(clip).shape == (3, 72, 40)
    assert "test: 12 clips of 3 people" in people.summary()


def test_everybody_stays_inside_the_frame_and_fills_it() -> None:
    people = SyntheticPeople()
    heights = []
    for clip in people.clips("test"):
        indices = range(0, clip.frames, 6)
        assert (people.condition(clip, "pose", indices)[..., 2] > 0).all(), clip.name
        mask = people.condition(clip, "mask", indices)[:, 0] > 0
        border = torch.cat([mask[:, 0], mask[:, -1], mask[:, :, 0], mask[:, :, -1]], dim=1)
        assert not border.any(), clip.name
        heights.append(mask.any(dim=2).sum(dim=1).float() / 64)
    tallest_pose = torch.stack([height.max() for height in heights])  # of each clip: upright
    assert 0.65 < tallest_pose.mean() < 0.9  # room to cross the picture is left
    assert tallest_pose.min() > 0.58


# Which surface parts a visible joint lies on, or next to.
_PARTS_OF_JOINT = {
    "nose": ("head",), "neck": ("torso", "head"), "left_eye": ("head",),
    "left_wrist": ("left_hand", "left_forearm"), "right_wrist": ("right_hand", "right_forearm"),
    "left_elbow": ("left_forearm", "left_upper_arm"), "right_elbow": ("right_forearm", "right_upper_arm"),
    "left_knee": ("left_thigh", "left_shin"), "right_knee": ("right_thigh", "right_shin"),
    "left_ankle": ("left_shin", "left_foot"), "right_ankle": ("right_shin", "right_foot"),
    "left_shoulder": ("left_upper_arm", "torso"), "right_hip": ("right_thigh", "torso"),
}  # fmt: skip


def test_visible_joints_lie_on_their_surface_parts(people: SyntheticPeople) -> None:
    near = total = 0
    for clip in people.clips("test"):
        pose, iuv = people.condition(clip, "pose", [0, 5, 9]), people.condition(clip, "iuv", [0, 5, 9])
        for joint, names in _PARTS_OF_JOINT.items():
            parts = surface_parts(*names)
            for (x, y, confidence), part in zip(pose[:, people.skeleton.joints.index(joint)], iuv[:, 0], strict=True):
                if confidence < 1:
                    continue
                column, row = round(float(x)), round(float(y))
                window = part[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
                near += bool(torch.isin(window, parts).any())
                total += 1
    assert total > 250
    assert near / total > 0.98


def test_face_is_hidden_from_behind() -> None:
    people = SyntheticPeople((64, 64), 0, 0, 1, clips_per_identity=len(STYLES), frames=48)
    clip = next(clip for clip in people.clips("test") if "turn_around" in clip.name)
    pose = people.condition(clip, "pose", range(48))
    eyes = [people.skeleton.joints.index(name) for name in ("nose", "left_eye", "right_eye")]
    shoulders = [people.skeleton.joints.index(f"{side}_shoulder") for side in ("left", "right")]
    width = pose[:, shoulders[0], 0] - pose[:, shoulders[1], 0]  # positive when seen from the front
    front, behind = width > 0.7 * width.max(), width < 0.95 * width.min()
    assert front.any()
    assert behind.any()
    assert (pose[front][:, eyes, 2] == 1).float().mean() > 0.9
    assert (pose[behind][:, eyes, 2] == 0.5).all()


def test_target_of_a_clip_with_itself_is_the_clip(people: SyntheticPeople) -> None:
    clip = people.clips("test")[3]
    assert torch.equal(people.target(clip, clip, [0, 6]), people.frames(clip, [0, 6]))


def test_target_is_the_sources_person_and_place_in_the_driving_pose(people: SyntheticPeople) -> None:
    source, driving = people.clips("test")[0], people.clips("test")[6]
    assert source.identity != driving.identity
    target = people.target(source, driving, [0, 8])
    masks = people.target_condition(source, driving, "mask", [0, 8])
    far = torch.nn.functional.max_pool2d(masks.float(), 5, 1, 2) == 0
    far[..., 48:, :] = False  # the lower half has the shadow
    background = people.background(source)[None].expand_as(target)
    assert torch.equal(target[far.expand_as(target)], background[far.expand_as(target)])

    # The skin, hair and clothes are the source's: mean colours per part are much nearer to it than to the driving clip.
    def chest(frames: torch.Tensor, iuv: torch.Tensor) -> torch.Tensor:
        return frames.permute(1, 0, 2, 3).float()[:, iuv[:, 0] == SURFACE_PARTS.index("torso_front")].mean(dim=1)

    indices = list(range(12))
    of_target = chest(people.target(source, driving, indices), people.target_condition(source, driving, "iuv", indices))
    of_source = chest(people.frames(source, indices), people.condition(source, "iuv", indices))
    of_driving = chest(people.frames(driving, indices), people.condition(driving, "iuv", indices))
    assert (of_target - of_source).norm() < 0.7 * (of_target - of_driving).norm()
    # The pose is the driving clip's, up to proportions.
    pose = people.target_condition(source, driving, "pose", indices)
    driven, own = people.condition(driving, "pose", indices), people.condition(source, "pose", indices)
    assert (pose - driven)[..., :2].norm(dim=-1).mean() < 0.5 * (pose - own)[..., :2].norm(dim=-1).mean()


def test_clips_with_cameras_of_their_own_have_no_target(people: SyntheticPeople) -> None:
    first, second = people.clips("train")[:2]
    assert people.target(first, second, [0]) is None
    assert people.target(first, first, [0]) is not None


def test_wrong_use_is_refused(people: SyntheticPeople) -> None:
    with pytest.raises(IndexError, match="frame 12 of 'test/person000/"):
        people.frames(people.clips("test")[0], [12])
    with pytest.raises(ValueError, match="at least 16 x 16"):
        SyntheticPeople((8, 64))
    with pytest.raises(ValueError, match="clips_per_identity"):
        SyntheticPeople(clips_per_identity=0)
    with pytest.raises(ValueError, match="unknown style 'moonwalk'"):
        render_clip("moonwalk")


def test_render_clip_gives_a_moving_person() -> None:
    frames = render_clip("walk", (48, 32), frames=5)
    assert frames.shape == (5, 3, 48, 32)
    assert len(np.unique(frames.reshape(5, -1).numpy(), axis=0)) == 5
