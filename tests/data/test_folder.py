import csv
import json
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_folders import numbered_frames, write_clips, write_frames, write_pose, write_strip

from zoo.data import DataError, FolderSource
from zoo.data.index import NAME
from zoo.data.sidecar import sidecar_path
from zoo.data.walk import find_clips
from zoo.video import VideoError, VideoWriter


def names(source: FolderSource, split: str) -> list[str]:
    return [clip.name for clip in source.clips(split)]


def identities(source: FolderSource, split: str) -> set[str]:
    return {clip.identity for clip in source.clips(split)}


def write_list(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


# --- layouts


def test_split_folders(tmp_path):
    write_clips(tmp_path, ["train/anna#1#0#6.png", "train/anna#2#0#6.png", "train/ben/x.png", "test/c.png"])
    source = FolderSource(tmp_path)
    assert names(source, "train") == ["train/anna#1#0#6.png", "train/anna#2#0#6.png", "train/ben/x.png"]
    assert identities(source, "train") == {"anna", "ben"}
    assert names(source, "val") == names(source, "test") == ["test/c.png"]
    assert "no val clips: the test clips are used" in source.summary()
    clip = source.clips("train")[1]
    assert source.frames(clip, [4, 0]).equal(numbered_frames(1, 6)[[4, 0]])


def test_three_split_folders(tmp_path):
    write_clips(tmp_path, ["train/a.png", "val/b.png", "test/c.png"])
    source = FolderSource(tmp_path)
    assert [names(source, split) for split in ("train", "val", "test")] == [
        ["train/a.png"],
        ["val/b.png"],
        ["test/c.png"],
    ]


def test_a_training_folder_alone_is_divided(tmp_path):
    write_clips(tmp_path, ["train/a.png", "train/b.png", "train/c.png"])
    source = FolderSource(tmp_path)
    assert (len(names(source, "train")), len(names(source, "test"))) == (2, 1)
    assert source.find("a").name == "train/a.png"


def test_an_automatic_split_keeps_people_apart(tmp_path):
    write_clips(tmp_path, [f"id{person}#{clip}.png" for person in range(10) for clip in range(3)])
    source = FolderSource(tmp_path, test_fraction=0.3)
    assert len(identities(source, "test")) == 3
    assert identities(source, "train").isdisjoint(identities(source, "test"))
    assert len(names(source, "train")) + len(names(source, "test")) == 30
    assert names(source, "test") == names(FolderSource(tmp_path, test_fraction=0.3), "test")
    write_clips(tmp_path, ["someone else#1.png"])  # who comes along later doesn't turn everything over
    assert len(identities(FolderSource(tmp_path, test_fraction=0.3), "test") ^ identities(source, "test")) <= 2


def test_people_are_sub_folders(tmp_path):
    write_clips(tmp_path, ["clips/anna/1.png", "clips/anna/2.png", "clips/ben/1.png", "clips/ben/more/2.png"])
    source = FolderSource(tmp_path)
    assert identities(source, "train") | identities(source, "test") == {"anna", "ben"}


def test_without_people_each_clip_is_someone(tmp_path):
    write_clips(tmp_path, ["inner/a.png", "inner/b.png", "inner/c.png"])
    source = FolderSource(tmp_path)
    assert identities(source, "train") | identities(source, "test") == {"a", "b", "c"}


def test_a_listed_part_is_split_in_time_from_where_it_starts(tmp_path):
    write_clips(tmp_path, ["film.png"], 14)
    (tmp_path / "parts.csv").write_text("video,identity,start,end\nfilm.png,anna,2,12\n")
    source = FolderSource(tmp_path, split_list="parts.csv")
    (train,), (test,) = source.clips("train"), source.clips("test")
    assert (train.start, train.frames, test.start, test.frames) == (2, 8, 10, 2)
    assert source.frames(train, [0]).equal(numbered_frames(0, 14)[[2]])
    assert source.frames(test, [0, 1]).equal(numbered_frames(0, 14)[10:12])


def test_one_person_is_split_in_time(tmp_path):
    write_clips(tmp_path, ["anna#1.png", "anna#2.png"], frames=10)
    source = FolderSource(tmp_path, test_fraction=0.3)
    assert names(source, "train") == ["anna#1.png[0:7]", "anna#2.png[0:7]"]
    assert names(source, "test") == ["anna#1.png[7:10]", "anna#2.png[7:10]"]
    assert source.frames(source.clips("test")[1], [0, 2]).equal(numbered_frames(1, 10)[[7, 9]])


def test_csv_with_ranges(tmp_path):
    write_clips(tmp_path, ["deep/1.png", "deep/2.png"], frames=10)
    write_list(
        tmp_path / "index.csv",
        [
            {"video": "1", "person": "p", "split": "train", "start": 0, "end": 8},  # an integer-looking name
            {"video": "1", "person": "p", "split": "test", "start": 8, "end": ""},
            {"video": "deep/2.png", "person": "q", "split": "train", "start": "", "end": ""},
            {"video": "", "person": "q", "split": "train", "start": "", "end": ""},
        ],
    )
    source = FolderSource(tmp_path)
    assert names(source, "train") == ["deep/1.png[0:8]", "deep/2.png"]
    assert source.frames(source.clips("test")[0], [1]).equal(numbered_frames(0, 10)[[9]])


def test_csv_that_is_named_wins_over_split_folders(tmp_path):
    write_clips(tmp_path, ["train/a.png", "test/b.png"])
    write_list(tmp_path / "mine.csv", [{"video": "train/a.png", "split": "test"}, {"video": "b", "split": "train"}])
    source = FolderSource(tmp_path, split_list="mine.csv")
    assert (names(source, "train"), names(source, "test")) == (["test/b.png"], ["train/a.png"])


def test_csv_without_splits_divides_people(tmp_path):
    write_clips(tmp_path, [f"{number}.png" for number in range(8)])
    write_list(tmp_path / "index.csv", [{"video": f"{number}.png", "subject": number // 2} for number in range(8)])
    source = FolderSource(tmp_path)
    assert len(names(source, "test")) == 2
    assert len(identities(source, "train")) == 3


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"video": "a.png"}, {"video": "gone.mp4"}, {"video": "gone2.mp4"}], "names 2 clips .*: gone.mp4, gone2.mp4"),
        ([{"video": "../outside.png"}], "leaves the data folder"),
        ([{"video": "/etc/passwd"}], "leaves the data folder"),
        ([{"video": "a.png"}, {"video": "a"}], "lists a clip twice"),
    ],
)
def test_lists_that_do_not_fit_the_folder(tmp_path, rows, said):
    folder = tmp_path / "data"
    write_clips(folder, ["a.png"])
    write_strip(tmp_path / "outside.png", numbered_frames(0, 6))
    write_list(folder / "index.csv", rows)
    with pytest.raises(DataError, match=said) as caught:
        FolderSource(folder)
    assert str(caught.value).startswith(str(folder / "index.csv"))


def test_ranges_beyond_the_file_are_dropped(tmp_path):
    write_clips(tmp_path, ["a.png", "b.png"])
    write_list(
        tmp_path / "index.csv", [{"video": "a", "end": 9, "split": "train"}, {"video": "b", "end": 5, "split": "train"}]
    )
    source = FolderSource(tmp_path)
    assert names(source, "train") == ["b.png[0:5]"]
    assert "frames 0 to 9 are listed, but it has 6" in source.summary()


# --- what is a clip


def test_kinds_of_clips(tmp_path):
    write_strip(tmp_path / "strips/a.png", numbered_frames(0, 4))
    write_strip(tmp_path / "strips/b.png", numbered_frames(1, 4))
    write_frames(tmp_path / "folders" / "c.mp4", numbered_frames(2, 12)[..., :6])  # of frames, as FOMM names them
    write_frames(tmp_path / ".hidden" / "d", numbered_frames(3, 4))
    (tmp_path / "._a.mp4").write_bytes(b"")
    (tmp_path / "README.txt").write_text("not a clip")
    with VideoWriter(tmp_path / "ünder the tree.gif", Fraction(10)) as writer:
        writer.write(torch.cat([numbered_frames(4, 5, 32), torch.zeros(5, 3, 32, 8, dtype=torch.uint8)], -1))
    found = [path.relative_to(tmp_path).as_posix() for path in find_clips(tmp_path)]
    assert found == ["folders/c.mp4", "strips/a.png", "strips/b.png", "ünder the tree.gif"]
    source = FolderSource(tmp_path, test_fraction=0.01)
    clips = {clip.name: clip for split in ("train", "test") for clip in source.clips(split)}
    sizes = {name: (clip.frames, clip.height, clip.width) for name, clip in clips.items()}
    assert sizes == {
        "folders/c.mp4": (12, 8, 6), "strips/a.png": (4, 8, 8), "strips/b.png": (4, 8, 8),
        "ünder the tree.gif": (5, 32, 40),
    }  # fmt: skip
    frames = source.frames(clips["folders/c.mp4"], [11, 2, 10])  # numbered without zeros
    assert frames.equal(numbered_frames(2, 12)[[11, 2, 10]][..., :6])


def test_pictures_twice_as_wide_as_high_are_frames_where_there_are_several(tmp_path):
    wide = torch.cat([numbered_frames(0, 5), numbered_frames(1, 5)], dim=-1)
    write_frames(tmp_path / "frames", wide)
    write_strip(tmp_path / "alone" / "a.png", numbered_frames(0, 2))
    write_strip(tmp_path / "strips" / "a.png", numbered_frames(0, 2))
    write_strip(tmp_path / "strips" / "b.png", numbered_frames(1, 2, side=12))
    found = [path.relative_to(tmp_path).as_posix() for path in find_clips(tmp_path)]
    assert found == ["alone/a.png", "frames", "strips/a.png", "strips/b.png"]
    source = FolderSource(tmp_path, test_fraction=0.01)
    clip = next(clip for split in ("train", "test") for clip in source.clips(split) if clip.name == "frames")
    assert (clip.frames, clip.height, clip.width) == (5, 8, 16)
    assert source.frames(clip, [3]).equal(wide[[3]])


def test_dots_in_the_names_of_folders_are_part_of_them(tmp_path):
    for number in (1, 2):
        write_frames(tmp_path / f"walk.{number}", numbered_frames(number, 4)[..., :6])
    assert {sidecar_path(clip, "pose").name for clip in find_clips(tmp_path)} == {"walk.1_pose.npz", "walk.2_pose.npz"}
    assert sidecar_path(tmp_path / "dance.v2.MP4", "iuv") == tmp_path / "dance.v2_iuv.npz"


def test_link_loops_end(tmp_path):
    write_clips(tmp_path / "tree", ["a/ok.png"])
    (tmp_path / "tree/a/loop").symlink_to("..")
    (tmp_path / "tree/a/self").symlink_to(".")
    assert find_clips(tmp_path / "tree") == [tmp_path / "tree/a/ok.png"]


def test_linked_folders_are_read(tmp_path):
    write_clips(tmp_path / "disk", ["a.png", "b.png"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train").symlink_to(tmp_path / "disk")
    write_clips(tmp_path / "data", ["test/c.png"])
    assert names(FolderSource(tmp_path / "data"), "train") == ["train/a.png", "train/b.png"]


# --- bad input


def test_bad_files_are_dropped_and_listed(tmp_path):
    write_clips(tmp_path, ["good.png", "also good.png"])
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "page.mp4").write_text("<html>not found</html>")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    source = FolderSource(tmp_path)
    summary = source.summary()
    assert len(names(source, "train")) + len(names(source, "test")) == 2
    assert "dropped 4 clips" in summary
    for name in ("empty.mp4", "page.mp4", "gone.mp4", "pipe.mp4"):
        (line,) = [line for line in summary.splitlines() if name in line]
        assert line.count("; ") >= 1  # problem; remedy
    with pytest.raises(VideoError, match=r"empty\.mp4"):
        FolderSource(tmp_path, strict=True)


@pytest.mark.parametrize("content", ["nothing", "only broken", "no folder"])
def test_nothing_to_read_shows_the_layout(tmp_path, content):
    folder = tmp_path / "data"
    if content != "no folder":
        folder.mkdir()
    if content == "only broken":
        (folder / "a.mp4").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"is not a folder" if content == "no folder" else r"train/ and test/"
    ) as caught:
        FolderSource(folder)
    assert str(caught.value).startswith(f"{folder}: ")


def test_side_cars_are_required_only_where_asked_for(tmp_path):
    write_clips(tmp_path, ["train/a.png", "train/b.png", "train/c.png", "test/d.png"])
    pose = np.full((6, 18, 3), 4.0)
    for name in ("train/a", "test/d"):
        write_pose(tmp_path / f"{name}_pose.npz", pose)
    write_pose(tmp_path / "train/b_pose.npz", pose[:4])
    assert len(FolderSource(tmp_path).clips("train")) == 3
    assert FolderSource(tmp_path).conditions == frozenset()

    source = FolderSource(tmp_path, required=("pose",))
    assert names(source, "train") == ["train/a.png"]
    assert source.conditions == {"pose"}
    assert "b_pose.npz: has 4 frames, but the video has 6" in source.summary()
    assert "c.png: has no c_pose.npz beside it" in source.summary()
    with pytest.raises(DataError, match=r"b_pose\.npz: has 4 frames"):
        FolderSource(tmp_path, required=("pose",), strict=True)


def test_conditions_follow_the_range(tmp_path):
    write_clips(tmp_path, ["anna.png"], frames=10)
    pose = np.full((10, 18, 3), 4.0)
    pose[:, :, 0] = np.arange(10)[:, None]
    write_pose(tmp_path / "anna_pose.npz", pose)
    source = FolderSource(tmp_path, required=("pose",))
    assert source.condition(source.clips("test")[0], "pose", [1, 0])[:, 0, 0].tolist() == [9, 8]


# --- the index


def test_files_are_looked_at_once(tmp_path, capfd):
    write_clips(tmp_path, ["a.png", "b.png"])
    (tmp_path / "bad.mp4").write_bytes(b"")
    first = FolderSource(tmp_path).summary()
    assert "checking" in capfd.readouterr().err
    assert FolderSource(tmp_path).summary() == first
    assert "checking" not in capfd.readouterr().err

    write_strip(tmp_path / "b.png", numbered_frames(1, 9))
    os.utime(tmp_path / "b.png", ns=(1, 1))
    source = FolderSource(tmp_path)
    assert {clip.frames for split in ("train", "test") for clip in source.clips(split)} == {6, 9}
    assert [path.name for path in tmp_path.iterdir() if "index" in path.name] == [NAME]


def test_a_read_only_folder_has_its_index_elsewhere(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    write_clips(tmp_path / "data", ["a.png", "b.png"])
    (tmp_path / "data").chmod(0o555)
    FolderSource(tmp_path / "data")
    capfd.readouterr()
    FolderSource(tmp_path / "data")
    (tmp_path / "data").chmod(0o755)
    assert "checking" not in capfd.readouterr().err
    assert not (tmp_path / "data" / NAME).exists()
    assert len(list((tmp_path / "cache" / "index").iterdir())) == 1


def test_a_moved_folder_keeps_its_index(tmp_path, capfd):
    write_clips(tmp_path / "before", ["a.png", "b.png"])
    FolderSource(tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")
    capfd.readouterr()
    source = FolderSource(tmp_path / "after")
    assert "checking" not in capfd.readouterr().err
    assert source.frames(source.clips("train")[0], [0]).shape == (1, 3, 8, 8)


@pytest.mark.parametrize("content", ["", "[]", '{"readers": {}}', "{"])
def test_a_damaged_index_is_made_anew(tmp_path, content):
    write_clips(tmp_path, ["a.png", "b.png"])
    (tmp_path / NAME).write_text(content)
    assert len(names(FolderSource(tmp_path), "train")) == 1
    assert len(json.loads((tmp_path / NAME).read_text())["files"]) == 2


@pytest.mark.parametrize("entry", [{}, [], None, {"stamp": None, "problem": "none"}])
def test_an_entry_that_is_none_is_made_anew(tmp_path, entry):
    write_clips(tmp_path, ["a.png", "b.png"])
    FolderSource(tmp_path)
    stored = json.loads((tmp_path / NAME).read_text())
    if entry:
        entry["stamp"] = stored["files"]["a.png"]["stamp"]
    stored["files"]["a.png"] = entry
    (tmp_path / NAME).write_text(json.dumps(stored))
    assert len(names(FolderSource(tmp_path), "train")) == 1


def test_clips_that_would_share_their_poses_are_named(tmp_path):
    write_clips(tmp_path, ["a.jpg", "a.png"])
    assert FolderSource(tmp_path).clips("train")  # without poses nothing is shared
    write_pose(tmp_path / "a_pose.npz", np.full((6, 18, 3), 4.0))
    with pytest.raises(DataError, match=r"a\.png: would share its poses and maps with a\.jpg; rename"):
        FolderSource(tmp_path, required=("pose",))


def test_a_thumbnail_beside_a_clip_costs_itself_only(tmp_path):
    write_clips(tmp_path, ["a.png"])
    write_strip(tmp_path / "a.jpg", numbered_frames(1, 1, 8))
    write_pose(tmp_path / "a_pose.npz", np.full((6, 18, 3), 4.0))
    source = FolderSource(tmp_path, required=("pose",))
    assert {clip.name.partition("[")[0] for clip in source.clips("train")} == {"a.png"}


def test_a_name_that_is_not_utf8_is_a_name(tmp_path):
    write_clips(tmp_path, ["b.png"])
    with VideoWriter(tmp_path / "a.mp4", Fraction(25)) as writer:
        writer.write(torch.zeros(3, 3, 16, 16, dtype=torch.uint8))
    (tmp_path / "a.mp4").rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    source = FolderSource(tmp_path)
    (clip,) = [clip for split in ("train", "test") for clip in source.clips(split) if clip.name.startswith("caf")]
    assert source.frames(clip, [1, 0]).shape[0] == 2


def test_an_index_of_another_version_is_made_anew(tmp_path):
    write_clips(tmp_path, ["a.png", "b.png"])
    FolderSource(tmp_path)
    stored = json.loads((tmp_path / NAME).read_text())
    del stored["files"]["a.png"]["info"]["reader"]
    (tmp_path / NAME).write_text(json.dumps(stored))
    assert len(names(FolderSource(tmp_path), "train")) == 1


# --- pair lists' names


def test_finding_clips_by_name(tmp_path):
    write_clips(tmp_path, ["train/a.png", "test/a.png", "test/1.png", "test/deep/b.png", "train/deep/c.png"])
    source = FolderSource(tmp_path)
    for name, clip in {
        "a.png": "test/a.png", "a": "test/a.png", "1": "test/1.png", "train/a.png": "train/a.png",
        "deep/b.png": "test/deep/b.png", "b": "test/deep/b.png", "c": "train/deep/c.png",
    }.items():  # fmt: skip
        assert source.find(name).name == clip
    assert source.find("../test/a.png") is None
    assert source.find("../../../../etc/passwd") is None


def test_names_of_several_clips(tmp_path):
    write_clips(tmp_path, ["test/x/a.png", "test/y/a.png"])
    with pytest.raises(DataError, match="several clips"):
        FolderSource(tmp_path).find("a")


# --- real data


@pytest.mark.shared
def test_actions(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))  # that folder is read-only
    source = FolderSource(shared / "data/actions")
    assert (len(source.clips("train")), len(source.clips("test"))) == (28, 8)
    assert identities(source, "test") == {"4", "7"}


@pytest.mark.shared
def test_real_conditions(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    source = FolderSource(shared / "data/taichi", required=("pose", "iuv"), test_fraction=0.5)
    clip = next(clip for split in ("train", "test") for clip in source.clips(split) if clip.name == "2.mp4")
    with np.load(shared / "data/taichi/2_iuv.npz") as stored:
        assert source.condition(clip, "iuv", [100, 7]).equal(torch.from_numpy(stored["iuv"][[100, 7]]))
    with np.load(shared / "data/taichi/2_pose.npz") as stored:
        assert source.condition(clip, "pose", [9]).equal(torch.from_numpy(stored["keypoints"][[9]]))


def test_a_relative_folder_may_lead_upwards(tmp_path, monkeypatch):
    write_clips(tmp_path / "clips", ["a.png"])
    write_list(tmp_path / "clips" / "index.csv", [{"video": "a.png", "identity": "anna", "split": "test"}])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert names(FolderSource(Path("../clips")), "test") == ["a.png"]
