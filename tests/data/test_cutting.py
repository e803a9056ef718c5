import csv
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from PIL import Image

from zoo.cli import main
from zoo.data import DataError, VideoDataModule
from zoo.data.cutting import cut_clips
from zoo.errors import OptionError
from zoo.video import VideoWriter, probe

CONFIGS = Path(__file__).parents[2] / "configs" / "data"
VOX = "video_id,start,end,bbox,fps,width,height,partition,person_id"
TAICHI = "video_id,start,end,bbox,fps,width,height,partition"
FRAMES = 40


def write_raw(path: Path, seed: int, height: int = 96, width: int = 128) -> None:
    """A clip whose every frame and every region looks different."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = torch.randint(0, 256, (FRAMES, 3, height // 16, width // 16), generator=torch.manual_seed(seed))
    with VideoWriter(path, Fraction(25)) as writer:
        writer.write(colours.to(torch.uint8).repeat_interleave(16, dim=2).repeat_interleave(16, dim=3))


def decode(path: Path) -> list[np.ndarray]:
    """All frames (H, W, 3), by PyAV alone."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def pictures(folder: Path) -> list[np.ndarray]:
    return [np.array(Image.open(path)) for path in sorted(folder.iterdir())]


def clip_names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob("t*/*"))


@pytest.fixture(scope="module")
def encoded(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("encoded")
    for seed, name in enumerate(("aaaaaaaaaaa", "bbb-bbb_bbb", "ccccccccccc")):
        write_raw(folder / f"{name}.mp4", seed)
    return folder


@pytest.fixture
def raw(tmp_path: Path, encoded: Path) -> Path:
    return shutil.copytree(encoded, tmp_path / "raw")


@pytest.fixture
def vox(tmp_path: Path, raw: Path) -> Path:
    """Five clips in the list; the raw video of the last is missing."""
    path = tmp_path / "vox-metadata.csv"
    rows = [
        "aaaaaaaaaaa,3,15,32-16-96-80,25,128,96,train,id10001",
        "aaaaaaaaaaa,20,40,0-0-64-64,25,128,96,train,id10001",
        "bbb-bbb_bbb,10,30,64-32-128-96,25,256,192,train,id10002",  # listed at twice the resolution
        "ccccccccccc,8,48,16-16-80-80,50,128,96,test,id10270",  # listed at twice the frame rate
        "ddddddddddd,0,10,0-0-64-64,25,128,96,test,id10271",
    ]
    path.write_text("\n".join([VOX, *rows]) + "\n")
    return path


def test_clips_are_the_listed_frames_of_the_listed_box(tmp_path, raw, vox):
    output = tmp_path / "vox"
    with pytest.raises(DataError, match="1 clips could not be made: 1 because 1 raw videos are missing"):
        cut_clips(videos=str(raw), output=str(output), metadata=str(vox), size=64)
    first, second, third, fourth = (
        "train/id10001#aaaaaaaaaaa#000003#000015.mp4",
        "train/id10001#aaaaaaaaaaa#000020#000040.mp4",
        "train/id10002#bbb-bbb_bbb#000010#000030.mp4",
        "test/id10270#ccccccccccc#000008#000048.mp4",
    )
    assert clip_names(output) == sorted([first, second, third, fourth])
    a, b, c = (decode(raw / f"{name}.mp4") for name in ("aaaaaaaaaaa", "bbb-bbb_bbb", "ccccccccccc"))
    assert np.array_equal(pictures(output / first), [frame[16:80, 32:96] for frame in a[3:15]])
    assert np.array_equal(pictures(output / second), [frame[:64, :64] for frame in a[20:40]])
    assert np.array_equal(pictures(output / fourth), [frame[16:80, 16:80] for frame in c[4:24]])
    enlarged = [Image.fromarray(frame[16:48, 32:64]).resize((64, 64), Image.Resampling.BILINEAR) for frame in b[10:30]]
    difference = np.subtract(pictures(output / third), [np.array(picture) for picture in enlarged], dtype=np.int16)
    assert np.abs(difference).max() <= 1


def test_a_list_that_rounds_the_frame_rate_names_the_same_frames(tmp_path):
    raw = tmp_path / "raw"
    with VideoWriter(raw / "v.mp4", Fraction(30000, 1001)) as writer:
        writer.write(torch.randint(0, 256, (60, 3, 32, 32), dtype=torch.uint8))
    (tmp_path / "list.csv").write_text(f"{TAICHI}\nv,50,60,0-0-32-32,29.97,32,32,train\n")
    cut_clips(videos=str(raw), output=str(tmp_path / "out"), metadata=str(tmp_path / "list.csv"), size=32)
    assert np.array_equal(pictures(tmp_path / "out/train/v#000050#000060.mp4"), decode(raw / "v.mp4")[50:60])


def test_boxes_that_are_no_squares_are_stretched_only_when_asked(tmp_path, raw):
    (tmp_path / "list.csv").write_text(f"{TAICHI}\naaaaaaaaaaa,0,2,0-0-64-96,25,128,96,test\n")
    frame = decode(raw / "aaaaaaaaaaa.mp4")[0][:96, :64]
    expected = {
        "crop": frame[16:80],
        "stretch": np.array(Image.fromarray(frame).resize((64, 64), Image.Resampling.BILINEAR)),
    }
    for fit, picture in expected.items():
        output = tmp_path / fit
        cut_clips(videos=str(raw), output=str(output), metadata=str(tmp_path / "list.csv"), size=64, fit=fit)
        made = pictures(output / "test/aaaaaaaaaaa#000000#000002.mp4")[0]
        assert np.abs(np.subtract(made, picture, dtype=np.int16)).max() <= 1


def test_the_same_command_makes_only_what_is_missing(tmp_path, raw, vox, capsys):
    output = tmp_path / "vox"
    command = ["prepare", "--metadata", str(vox), "--videos", str(raw), "--output", str(output), "--size", "32"]
    with pytest.raises(SystemExit, match="add the videos and run the same command again"):
        main([*command, "--workers", "2"])
    assert f"missing: {raw / 'ddddddddddd.mp4'}" in capsys.readouterr().out
    clips = clip_names(output)
    shutil.rmtree(output / clips[1])
    killed = (output / clips[1]).with_name(f".{Path(clips[1]).name}.partial")  # what a killed run leaves
    killed.mkdir()
    Image.new("RGB", (32, 32)).save(killed / "0000099.png")
    times = {name: (output / name).stat().st_mtime_ns for name in clips if name != clips[1]}
    write_raw(raw / "ddddddddddd.mp4", seed=9)
    main(command)
    assert "5 of 5 clips" in capsys.readouterr().out
    assert clip_names(output) == sorted([*clips, "test/id10271#ddddddddddd#000000#000010.mp4"])
    assert {name: (output / name).stat().st_mtime_ns for name in times} == times
    assert len(pictures(output / clips[1])) == 12
    assert not killed.exists()


def test_damaged_and_short_videos_cost_their_own_clips_only(tmp_path, raw, vox, capsys):
    data = (raw / "aaaaaaaaaaa.mp4").read_bytes()
    (raw / "aaaaaaaaaaa.mp4").write_bytes(data[: len(data) // 2])
    vox.write_text(vox.read_text().replace("ccccccccccc,8,48", "ccccccccccc,8,480"))
    output = tmp_path / "vox"
    with pytest.raises(DataError, match="4 clips could not be made: 1 because 1 raw videos are missing, 3 for"):
        cut_clips(videos=str(raw), output=str(output), metadata=str(vox), size=32)
    assert "ccccccccccc.mp4: has 40 frames, the clip is 4 to 240" in capsys.readouterr().out
    left = [path.name for path in output.rglob("*") if path.suffix != ".png"]
    assert sorted(left) == ["id10002#bbb-bbb_bbb#000010#000030.mp4", "prepared.json", "train"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("../../etc,0,9,0-0-9-9,25,99,99,train", "no file name"),
        ("v,0,9,0-0-9,25,99,99,train", "bbox '0-0-9'"),
        ("v,9,9,0-0-9-9,25,99,99,train", "no range of frames"),
        ("v,0,9,0-0-9-9,fast,99,99,train", "fps 'fast'"),
        ("v,0,9,0-0-9-9,25,99,99,../x", "partition '../x'"),
    ],
)
def test_a_wrong_row_is_named_before_anything_is_written(tmp_path, raw, row, problem):
    (tmp_path / "list.csv").write_text(f"{TAICHI}\n{row}\n")
    with pytest.raises(DataError, match=f"line 2 .*{problem}"):
        cut_clips(videos=str(raw), output=str(tmp_path / "out"), metadata=str(tmp_path / "list.csv"))
    assert not (tmp_path / "out").exists()


def test_numbers_and_files_that_cannot_be_used_are_named_before_anything_is_written(tmp_path, raw):
    for option in ("size", "workers"):
        with pytest.raises(OptionError, match=f"--{option} is 0; it is 1 or more"):
            cut_clips(videos=str(raw), output=str(tmp_path / "out"), **{option: 0})
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").write_text("a file")
    for output in (tmp_path / "out", tmp_path / "out" / "clips"):
        with pytest.raises(DataError, match="out: is a file; name a folder"):
            cut_clips(videos=str(raw), output=str(output))


def test_clips_of_other_settings_are_not_mixed_in(tmp_path, raw):
    cut_clips(videos=str(raw), output=str(tmp_path / "out"), size=16)
    with pytest.raises(DataError, match=r'holds clips made with .*"size": 16'):
        cut_clips(videos=str(raw), output=str(tmp_path / "out"), size=32)
    with pytest.raises(DataError, match="lies inside the raw videos"):
        cut_clips(videos=str(raw), output=str(raw / "out"))


# --- the configs open what was prepared


def open_config(name: str, folder: Path) -> VideoDataModule:
    parser = ArgumentParser()
    parser.add_class_arguments(VideoDataModule, "data")
    parser.add_argument("--config", action="config")
    options = parser.parse_args([f"--config={CONFIGS / name}", f"--data.path={folder}", "--data.workers=0"])
    return VideoDataModule(**options.data.as_dict())


def people(data: VideoDataModule, split: str) -> dict[str, int]:
    """Person -> number of clips."""
    found = [clip.identity for clip in data.source.clips(split)]
    return {identity: found.count(identity) for identity in found}


def test_voxceleb_opens(tmp_path, raw, vox):
    with pytest.raises(DataError):
        cut_clips(videos=str(raw), output=str(tmp_path / "vox"), metadata=str(vox))
    data = open_config("vox-256.yaml", tmp_path / "vox")
    assert people(data, "train") == {"id10001": 2, "id10002": 1}
    assert people(data, "test") == {"id10270": 1}
    assert data.by_identity
    source, driving = (next(iter(data.test_dataloader()))[name] for name in ("source", "driving"))
    assert source.shape == (1, 1, 3, 256, 256)
    assert driving.shape == (1, 20, 3, 256, 256)


def test_tai_chi_opens(tmp_path, raw):
    rows = ["aaaaaaaaaaa,3,15,32-16-96-80,25.0,128,96,train", "aaaaaaaaaaa,20,40,0-0-64-64,25.0,128,96,train"]
    rows += ["ccccccccccc,0,9,0-0-64-64,25.0,128,96,test"]
    (tmp_path / "taichi-metadata.csv").write_text("\n".join([TAICHI, *rows]))
    metadata = str(tmp_path / "taichi-metadata.csv")
    cut_clips(videos=str(raw), output=str(tmp_path / "taichi"), metadata=metadata, format="mp4")
    data = open_config("taichi-256.yaml", tmp_path / "taichi")
    assert people(data, "train") == {"aaaaaaaaaaa": 2}
    assert people(data, "test") == {"ccccccccccc": 1}
    assert [(clip.frames, clip.fps, clip.height) for clip in data.source.clips("train")] == [
        (12, 25, 256),
        (20, 25, 256),
    ]


def test_tai_chi_without_partition_is_divided_by_video(tmp_path, raw):
    header, *rows = list(
        csv.reader([TAICHI, *(f"{path.stem},0,9,0-0-64-64,25.0,128,96,train" for path in raw.iterdir())])
    )
    (tmp_path / "old.csv").write_text("\n".join(",".join(row[:-1]) for row in [header, *rows]))
    cut_clips(videos=str(raw), output=str(tmp_path / "taichi"), metadata=str(tmp_path / "old.csv"), size=32)
    data = open_config("taichi-256.yaml", tmp_path / "taichi")
    assert (len(people(data, "train")), len(people(data, "test"))) == (2, 1)


def test_fashion_opens(tmp_path):
    for number, name in enumerate(("train/91D23ZVV6NS.mp4", "train/A1P+0ZhMAiS.mp4", "test/91hECpvrRSS.mp4")):
        write_raw(tmp_path / "raw" / name, number, height=128, width=96)
    cut_clips(videos=str(tmp_path / "raw"), output=str(tmp_path / "fashion"), fit="stretch", format="mp4")
    data = open_config("fashion-256.yaml", tmp_path / "fashion")
    assert people(data, "train") == {"91D23ZVV6NS": 1, "A1P+0ZhMAiS": 1}
    assert people(data, "test") == {"91hECpvrRSS": 1}
    assert probe(tmp_path / "fashion/test/91hECpvrRSS.mp4").frames == FRAMES
