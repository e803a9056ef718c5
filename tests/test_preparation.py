"""``zoo prepare --pose`` and ``--iuv`` with a back end of the user's own, as a user meets them."""

import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

from zoo.cli import main
from zoo.conditions import encode_surface
from zoo.data.cache import ByteCache
from zoo.data.errors import DataError
from zoo.data.sidecar import SideCar
from zoo.errors import OptionError, ZooError
from zoo.pose import BODY_18, draw_surface
from zoo.preparation import prepare
from zoo.video import VideoWriter, iter_frames, probe, write_image

FRAMES, HEIGHT, WIDTH = 12, 48, 64
BACK_END = '''
import torch
from zoo.pose import COCO_17


class Blobs:
    """Everything white is a person; the left half of the picture is one, the right half another."""

    skeleton = COCO_17

    def __call__(self, frame):
        people = []
        for start in (0, frame.shape[2] // 2):
            rows, columns = (frame[0, :, start : start + frame.shape[2] // 2] > 128).nonzero(as_tuple=True)
            if len(rows):
                box = torch.stack([columns.min() + start, rows.min(), columns.max() + start, rows.max()]).float()
                person = torch.ones(17, 3)
                person[:, :2] = torch.lerp(box[:2], box[2:], torch.linspace(0, 1, 17)[:, None])
                people.append(person)
        return torch.stack(people) if people else torch.zeros(0, 17, 3)
'''


@pytest.fixture
def back_end(tmp_path, monkeypatch):
    (tmp_path / "my_back_end.py").write_text(BACK_END)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_back_end", raising=False)
    return "my_back_end:Blobs"


def write_clip(path, hidden=(), second=False):
    """A white block that moves down by a pixel a frame, and a smaller one on the right."""
    with VideoWriter(path, Fraction(25)) as writer:
        for frame in range(FRAMES):
            picture = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
            if frame not in hidden:
                picture[:, 8 + frame : 28 + frame, 8:20] = 255
            if second:
                picture[:, 4:12, 48:56] = 255
            writer.write(picture)


def track(clip):
    with np.load(clip.with_name(f"{clip.stem}_pose.npz")) as stored:
        assert str(stored["skeleton"]) == "body_18"
        return torch.from_numpy(stored["keypoints"])


def test_poses_are_written_where_the_data_module_reads_them(tmp_path, back_end, capsys):
    clips = tmp_path / "clips"
    write_clip(clips / "a.mp4")
    write_clip(clips / "deep" / "b.mp4")
    main(["prepare", str(clips), "--pose", "--estimator", back_end])
    printed = capsys.readouterr().out
    assert "a.mp4: 12 frames, 0 without anybody; missing joints: none" in printed
    for clip in (clips / "a.mp4", clips / "deep" / "b.mp4"):
        SideCar(clip.with_name(f"{clip.stem}_pose.npz"), "pose", FRAMES, HEIGHT, WIDTH).check()
        nose = track(clip)[:, 0]
        torch.testing.assert_close(nose[:, 1], torch.arange(FRAMES) + 8.0, atol=0.5, rtol=0)
    overlay = probe(tmp_path / "pose_overlays" / "deep" / "b.mp4")
    assert (overlay.frames, overlay.height, overlay.width) == (FRAMES, HEIGHT, WIDTH)
    assert not [path for path in clips.rglob("*") if path.name.startswith(".")]


def test_a_folder_of_frames_is_one_clip_and_a_folder_of_pictures_is_not(tmp_path, back_end, capsys):
    write_clip(tmp_path / "a.mp4")
    for number, frame in enumerate(iter_frames(probe(tmp_path / "a.mp4"))):
        write_image(tmp_path / "walk.1" / f"{number:04d}.png", frame)
        write_image(tmp_path / "people" / f"{'abcdefghijklmnopqrst'[number]}.png", frame)
    prepare([str(tmp_path / "walk.1")], pose=True, estimator=back_end, overlay=None)
    assert "walk.1: 12 frames" in capsys.readouterr().out
    prepare([str(tmp_path / "a.mp4")], pose=True, estimator=back_end, overlay=None)
    torch.testing.assert_close(track(tmp_path / "walk.1.mp4"), track(tmp_path / "a.mp4"))
    prepare([str(tmp_path / "people")], pose=True, estimator=back_end, overlay=None)
    assert len(list((tmp_path / "people").glob("*_pose.npz"))) == FRAMES


def test_joints_that_the_estimator_never_finds_are_refused_at_once(tmp_path, back_end):
    write_clip(tmp_path / "a.mp4")
    with pytest.raises(OptionError, match=r"Blobs finds coco_17, .* no joint of face_68; choose --estimator rtmlib"):
        prepare(str(tmp_path / "a.mp4"), pose=True, estimator=back_end, skeleton="face_68")


def test_a_face_and_hands_that_are_missing_throughout_are_named_as_such(tmp_path, back_end, capsys):
    write_clip(tmp_path / "a.mp4")
    prepare(str(tmp_path / "a.mp4"), pose=True, estimator=back_end, skeleton="body_23_whole", overlay=None)
    printed = capsys.readouterr().out
    assert "missing joints: face, left_hand, right_hand, " in printed
    assert "; only rtmlib (`--estimator rtmlib`) finds faces and hands" in printed
    assert "left_thumb" not in printed


def test_several_videos_on_the_command_line_and_a_second_run(tmp_path, back_end, capsys):
    paths = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for path in paths:
        write_clip(path)
    command = ["prepare", *map(str, paths), "--pose", "--estimator", back_end, "--overlay", "null"]
    main(command)
    write_clip(tmp_path / "a.mov")
    with pytest.raises(DataError, match=r"a\.mov: would share its poses and maps with a\.mp4"):
        prepare([str(paths[0]), str(tmp_path / "a.mov")], pose=True, estimator=back_end)
    paths[0].with_name("a_pose.npz").unlink()
    command = ["prepare", "--pose", *map(str, paths), "--estimator", back_end, "--overlay", "null"]
    written = paths[1].with_name("b_pose.npz").stat().st_mtime_ns
    capsys.readouterr()
    main(command)
    printed = capsys.readouterr().out
    assert "a.mp4: 12 frames" in printed
    assert "b.mp4: has poses already" in printed
    assert paths[1].with_name("b_pose.npz").stat().st_mtime_ns == written
    assert not (tmp_path / "pose_overlays").exists()


def test_clips_are_cut_and_given_poses_in_one_run(tmp_path, back_end):
    write_clip(tmp_path / "raw" / "a.mp4")
    prepare(str(tmp_path / "raw"), str(tmp_path / "out"), size=32, format="mp4", pose=True, estimator=back_end)
    SideCar(tmp_path / "out" / "a_pose.npz", "pose", FRAMES, 32, 32).check()


def test_a_person_who_is_gone_for_long_is_missing_and_for_a_moment_interpolated(tmp_path, back_end, capsys):
    write_clip(tmp_path / "a.mp4", hidden=(2, 3, 7, 8, 9))
    prepare([str(tmp_path / "a.mp4")], pose=True, estimator=back_end, longest_gap=2, smoothing="none", overlay=None)
    poses = track(tmp_path / "a.mp4")
    assert (poses[..., 2] > 0).all(dim=1).tolist() == [frame not in (7, 8, 9) for frame in range(FRAMES)]
    torch.testing.assert_close(poses[2:4, 0, 1], torch.tensor([10.0, 11.0]), atol=0.5, rtol=0)
    assert "12 frames, 5 without anybody" in capsys.readouterr().out


def test_the_largest_of_several_people_is_followed(tmp_path, back_end):
    write_clip(tmp_path / "a.mp4", second=True)
    prepare([str(tmp_path / "a.mp4")], pose=True, estimator=back_end, overlay=None)
    assert (track(tmp_path / "a.mp4")[..., 0] < WIDTH / 2).all()


def test_a_clip_without_anybody_costs_itself_only(tmp_path, back_end, capsys):
    write_clip(tmp_path / "a.mp4", hidden=range(FRAMES))
    write_clip(tmp_path / "b.mp4")
    (tmp_path / "c.mp4").write_bytes(b"no video")
    with pytest.raises(ZooError, match="2 of 3 clips got no poses"):
        prepare([str(tmp_path / f"{name}.mp4") for name in "abc"], pose=True, estimator=back_end)
    printed = capsys.readouterr().out
    assert f"failed: {tmp_path / 'a.mp4'}: shows nobody in any of 12 frames" in printed
    assert "failed: " + str(tmp_path / "c.mp4") in printed
    assert not (tmp_path / "a_pose.npz").exists()
    assert track(tmp_path / "b.mp4").shape == (FRAMES, 18, 3)


def test_poses_of_another_length_are_an_error_that_names_the_file(tmp_path, back_end, capsys):
    write_clip(tmp_path / "a.mp4")
    np.savez(tmp_path / "a_pose.npz", keypoints=np.full((5, 18, 3), 10, np.float32))
    with pytest.raises(ZooError, match="1 of 1 clips"):
        prepare([str(tmp_path / "a.mp4")], pose=True, estimator=back_end)
    assert "a_pose.npz: has 5 frames, but the video has 12" in capsys.readouterr().out


def test_an_interrupted_clip_leaves_nothing_and_is_done_again(tmp_path, back_end, monkeypatch):
    write_clip(tmp_path / "a.mp4")
    (tmp_path / "stops.py").write_text(
        "import my_back_end\n\n\nclass Stops(my_back_end.Blobs):\n    def __call__(self, frame):\n"
        "        raise KeyboardInterrupt\n"
    )
    monkeypatch.delitem(sys.modules, "stops", raising=False)
    with pytest.raises(KeyboardInterrupt):
        prepare([str(tmp_path / "a.mp4")], pose=True, estimator="stops:Stops")
    assert not (tmp_path / "a_pose.npz").exists()
    prepare([str(tmp_path / "a.mp4")], pose=True, estimator=back_end)
    assert track(tmp_path / "a.mp4").shape == (FRAMES, 18, 3)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "nothing to do"),
        ({"iuv": True, "surface": "densepose"}, "there are no surfaces 'densepose'"),
        ({"pose": True, "skeleton": "body_19"}, "no skeleton 'body_19'; choose body_18"),
        ({"output": "out", "videos": ["a", "b"]}, "takes one folder"),
    ],
)
def test_mistaken_options_are_explained(tmp_path, options, problem):
    write_clip(tmp_path / "a.mp4")
    with pytest.raises(OptionError, match=problem):
        prepare(**{"videos": str(tmp_path)} | options)


def test_a_missing_video_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.mp4: doesn't exist"):
        prepare([str(tmp_path / "gone.mp4")], pose=True)


SURFACES = """
import torch


class Surfaces:
    def __init__(self):
        self.frames = 0

    def __call__(self, frame):
        surface = torch.zeros_like(frame)
        white = frame[0] > 128
        surface[0][white], surface[1][white], surface[2][white] = PART, self.frames, 255
        self.frames += 1
        return surface
"""


def surface_back_end(folder, monkeypatch, part=2):
    name = f"my_surfaces_{part}"
    (folder / f"{name}.py").write_text(SURFACES.replace("PART", str(part)))
    monkeypatch.syspath_prepend(folder)
    return f"{name}:Surfaces"


def surfaces(clip):
    path = clip.with_name(f"{clip.stem}_iuv.npz")
    car = SideCar(path, "iuv", FRAMES, HEIGHT, WIDTH)
    car.check()
    return car.read(range(FRAMES), ByteCache(0))


class TestSurfaces:
    @pytest.fixture
    def clip(self, tmp_path):
        write_clip(tmp_path / "a.mp4")
        return tmp_path / "a.mp4"

    def test_drawn_around_the_poses_of_the_same_run(self, clip, back_end, capsys):
        main(["prepare", str(clip), "--pose", "--iuv", "--estimator", back_end, "--overlay", "null"])
        assert "a.mp4: 12 surface maps, 0 without anybody" in capsys.readouterr().out
        expected = draw_surface(track(clip), BODY_18, (HEIGHT, WIDTH))
        assert torch.equal(surfaces(clip), expected)
        assert expected[:, 0].flatten(1).any(1).all()

    def test_without_poses_the_next_step_is_named(self, clip, capsys):
        with pytest.raises(ZooError, match="1 of 1 clips got no surface maps"):
            prepare([str(clip)], iuv=True)
        assert "has no a_pose.npz to draw a surface around; add --pose" in capsys.readouterr().out

    def test_by_a_back_end_of_ones_own_and_a_second_run(self, clip, tmp_path, monkeypatch, capsys):
        command = ["prepare", str(clip), "--iuv", "--surface", surface_back_end(tmp_path, monkeypatch)]
        main(command)
        maps = surfaces(clip)
        assert (maps[:, 0].flatten(1).amax(1) == 2).all()
        assert maps[:, 1].flatten(1).amax(1).tolist() == list(range(FRAMES))
        capsys.readouterr()
        main(command)
        assert "a.mp4: has surface maps already" in capsys.readouterr().out

    def test_parts_beyond_the_last_are_refused(self, clip, tmp_path, monkeypatch):
        with pytest.raises(OptionError, match="gives part 30, but 24 is the last"):
            prepare([str(clip)], iuv=True, surface=surface_back_end(tmp_path, monkeypatch, part=30))
        assert not clip.with_name("a_iuv.npz").exists()

    def test_of_pictures(self, clip, tmp_path):
        maps = torch.randint(0, 25, (FRAMES, 3, HEIGHT, WIDTH)).byte()
        maps[:, 1:] *= maps[:, :1] > 0
        for number, picture in enumerate(encode_surface(maps, "vui")):
            write_image(tmp_path / "maps" / f"frame{number}_IUV.png", picture)
        prepare([str(clip)], iuv=True, surface=str(tmp_path / "maps"))
        assert torch.equal(surfaces(clip), maps)

    def test_each_clip_has_its_folder_of_pictures(self, clip, tmp_path, capsys):
        write_clip(tmp_path / "b.mp4")
        picture = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
        picture[2, 5, 5] = 7
        for number in range(FRAMES - 1):
            write_image(tmp_path / "maps" / "a" / f"{number}.png", picture)
        with pytest.raises(ZooError, match="2 of 2 clips got no surface maps"):
            prepare([str(clip), str(tmp_path / "b.mp4")], iuv=True, surface=str(tmp_path / "maps"))
        printed = capsys.readouterr().out
        assert "has 11 surface maps, but the video has 12 frames" in printed
        assert "has no sub-folder b" in printed

    def test_a_clip_without_anybody_gets_no_maps(self, tmp_path, monkeypatch, capsys):
        write_clip(tmp_path / "a.mp4", hidden=range(FRAMES))
        write_clip(tmp_path / "b.mp4", hidden=range(5))
        clips = [str(tmp_path / f"{name}.mp4") for name in "ab"]
        with pytest.raises(ZooError, match="1 of 2 clips got no surface maps"):
            prepare(clips, iuv=True, surface=surface_back_end(tmp_path, monkeypatch))
        printed = capsys.readouterr().out
        assert "shows nobody in any of 12 maps" in printed
        assert "b.mp4: 12 surface maps, 5 without anybody" in printed
