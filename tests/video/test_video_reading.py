import json
import os
import random
import shutil
import struct
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from coded_clips import code, coded_frames, codes, encode
from PIL import Image

from zoo.video import VideoError, VideoInfo, iter_frames, probe, read_frames, read_image, write_image


def save_picture(path: Path, frame: torch.Tensor) -> None:
    Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()).save(path)


def check_numbering(info: VideoInfo, expected: list[int]) -> None:
    assert info.frames == len(expected)
    assert [code(frame) for frame in iter_frames(info)] == expected
    order = random.Random(0).sample(range(info.frames), info.frames)
    found = [code(read_frames(info, [index])[0]) for index in order]
    assert found == [expected[index] for index in order]


def test_ordinary_video(clip: Path):
    info = probe(clip)
    assert (info.kind, info.frames, info.height, info.width) == ("video", 60, 64, 112)
    assert (info.fps, info.has_audio, info.reader, info.seekable) == (Fraction(25), False, "decord", True)
    check_numbering(info, list(range(60)))


def test_any_order_and_duplicates(clip: Path):
    info = probe(clip)
    wanted = [59, 0, 31, 31, 2, 59]
    frames = read_frames(info, wanted)
    assert frames.dtype == torch.uint8
    assert frames.shape == (6, 3, 64, 112)
    assert codes(frames) == wanted
    assert read_frames(info, []).shape == (0, 3, 64, 112)


def test_both_readers_give_the_same_pixels_as_streaming(clip: Path):
    quick, thorough = probe(clip), probe(clip, reader="pyav")
    assert (quick.reader, thorough.reader) == ("decord", "pyav")
    streamed = torch.stack(list(iter_frames(clip)))
    order = random.Random(1).sample(range(60), 60)
    assert torch.equal(read_frames(quick, order), streamed[order])
    assert torch.equal(read_frames(thorough, order), streamed[order])


def test_part_of_a_stream(clip: Path):
    assert [code(frame) for frame in iter_frames(clip, 25, 31)] == [25, 26, 27, 28, 29, 30]
    assert list(iter_frames(clip, 7, 7)) == []
    with pytest.raises(IndexError, match="of a clip of 60"):
        iter_frames(clip, 10, 61)


@pytest.mark.parametrize("index", [-1, 60])
def test_numbers_outside_the_clip(clip: Path, index: int):
    with pytest.raises(IndexError, match=f"no frame {index}, the clip has 60"):
        read_frames(clip, [0, index])


def test_open_groups_of_pictures(tmp_path: Path):
    options = {"g": "24", "x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}
    info = probe(encode(tmp_path / "open.mp4", coded_frames(120), options))
    assert info.reader == "pyav"
    check_numbering(info, list(range(120)))


@pytest.mark.parametrize("options", ["intra-refresh=1:keyint=30:scenecut=0", "intra-refresh=1:keyint=30:bframes=0"])
def test_periodic_intra_refresh(tmp_path: Path, options: str):
    info = probe(encode(tmp_path / "refresh.mp4", coded_frames(120), {"x264-params": options}))
    assert info.reader == "pyav"
    streamed = torch.stack(list(iter_frames(info)))
    order = random.Random(2).sample(range(120), 40)
    assert torch.equal(torch.cat([read_frames(info, [index]) for index in order]), streamed[order])


def test_transport_stream(tmp_path: Path):
    info = probe(encode(tmp_path / "clip.ts", coded_frames(60), {"g": "12"}))
    assert info.reader == "pyav"
    check_numbering(info, list(range(60)))


def test_edit_list_hides_frames(clip: Path, tmp_path: Path):
    """What cutting inside a group of pictures without encoding again leaves behind."""
    path = tmp_path / "cut.mp4"
    with av.open(str(clip)) as whole, av.open(str(path), "w") as cut:
        video = whole.streams.video[0]
        copied = cut.add_stream_from_template(video)
        for packet in whole.demux(video):
            if packet.dts is not None:
                packet.pts -= round(10 / 25 / video.time_base)
                packet.dts -= round(10 / 25 / video.time_base)
                packet.stream = copied
                cut.mux(packet)
    info = probe(path)
    assert info.reader == "pyav"
    check_numbering(info, list(range(10, 60)))


def test_stream_without_time_stamps(tmp_path: Path):
    info = probe(encode(tmp_path / "clip.h264", coded_frames(30), {"g": "12"}))
    assert (info.reader, info.seekable) == ("pyav", False)
    check_numbering(info, list(range(30)))


def test_long_file_is_compared_behind_its_beginning_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With a small bound on what is decoded, an ordinary file is still found exact and an open one is not."""
    monkeypatch.setattr("zoo.video.exactness._PIXELS_CHECKED", 40 * 112 * 64)
    closed = probe(encode(tmp_path / "closed.mp4", coded_frames(300), {"g": "12"}))
    assert (closed.frames, closed.reader) == (300, "decord")
    refreshed = encode(
        tmp_path / "refresh.mp4", coded_frames(300), {"x264-params": "intra-refresh=1:keyint=30:bframes=0"}
    )
    assert (probe(refreshed).frames, probe(refreshed).reader) == (300, "pyav")


@pytest.mark.parametrize("width", [16, 24, 48, 72, 96])
def test_narrow_videos(tmp_path: Path, width: int):
    frames = coded_frames(8, 64, width)
    info = probe(encode(tmp_path / "narrow.mp4", frames))
    read = read_frames(info, range(8))
    assert read.shape == (8, 3, 64, width)
    assert (read.float() - frames.float()).abs().mean() < 8


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_rotation_tag_turns_the_frames_of_both_readers(clip: Path, tmp_path: Path, quarter_turns: int):
    path = turn(clip, tmp_path / "turned.mp4", quarter_turns)
    upright = read_frames(clip, range(60))
    for reader in ("pyav", None):
        info = probe(path, reader=reader)
        assert info.reader == (reader or "decord")
        assert (info.height, info.width) == ((64, 112) if quarter_turns == 2 else (112, 64))
        turned = read_frames(info, range(60))
        assert torch.equal(turned, upright.rot90(-quarter_turns, dims=(2, 3)))
        assert torch.equal(next(iter_frames(info)), turned[0])


def turn(source: Path, target: Path, quarter_turns: int) -> Path:
    """Copies an MP4 with a display matrix of so many clockwise quarter turns in its track header (ISO 14496-12)."""
    content = bytearray(source.read_bytes())
    header = content.find(b"tkhd") + 4
    width, height = (value >> 16 for value in struct.unpack(">II", content[header + 76 : header + 84]))
    one = 1 << 16
    matrix = {
        1: (0, one, 0, -one, 0, 0, height * one, 0),
        2: (-one, 0, 0, 0, -one, 0, width * one, height * one),
        3: (0, -one, 0, one, 0, 0, 0, width * one),
    }[quarter_turns]
    content[header + 40 : header + 76] = struct.pack(">9i", *matrix, 1 << 30)
    target.write_bytes(content)
    return target


def test_folder_of_frames_in_numerical_order(tmp_path: Path):
    frames = coded_frames(12)
    for number, frame in enumerate(frames):
        save_picture(tmp_path / f"frame{number}.png", frame)
    save_picture(tmp_path / ".frame3.png", frames[0])
    save_picture(tmp_path / "cover.png", frames[0][:, :20])
    (tmp_path / "notes7.txt").write_text("not a frame")
    info = probe(tmp_path)
    assert (info.kind, info.reader, info.frames) == ("frames", "pillow", 12)
    assert torch.equal(read_frames(info, [10, 2]), frames[[10, 2]])
    assert torch.equal(torch.stack(list(iter_frames(info, 5))), frames[5:])


def test_folder_with_two_sizes_names_the_picture(tmp_path: Path):
    for number, frame in enumerate(coded_frames(4)):
        save_picture(tmp_path / f"{number}.png", frame[:, : 60 if number == 2 else 64])
    with pytest.raises(VideoError, match=r"2\.png: is 112x60, the first frame is 112x64"):
        probe(tmp_path)


def test_folder_with_a_cut_picture_names_it(tmp_path: Path):
    for number, frame in enumerate(coded_frames(4)):
        save_picture(tmp_path / f"{number}.jpg", frame)
    whole = (tmp_path / "3.jpg").read_bytes()
    (tmp_path / "3.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError, match=r"3\.jpg: is not a complete picture"):
        probe(tmp_path)


def test_folder_with_one_number_twice(tmp_path: Path):
    for name in ("1.png", "2.png", "02.jpg"):
        save_picture(tmp_path / name, coded_frames(1)[0])
    with pytest.raises(VideoError, match=r"02\.jpg and 2\.png have the same number"):
        probe(tmp_path)


def test_strip_is_known_by_its_content(tmp_path: Path):
    frames = coded_frames(9, 64, 64)
    opaque = torch.full((9, 1, 64, 64), 255, dtype=torch.uint8)
    strip = torch.cat([frames, opaque], dim=1).permute(2, 0, 3, 1).reshape(64, 9 * 64, 4)
    path = tmp_path / "strip.jpg"
    Image.fromarray(strip.contiguous().numpy()).save(path, format="png")
    info = probe(path)
    assert (info.kind, info.frames, info.height, info.width) == ("strip", 9, 64, 64)
    assert torch.equal(read_frames(info, [8, 0, 3]), frames[[8, 0, 3]])
    assert torch.equal(torch.stack(list(iter_frames(info))), frames)


def test_a_wide_picture_is_a_strip_unless_told_otherwise(tmp_path: Path):
    picture = coded_frames(1, 64, 128)[0]
    path = tmp_path / "wide.png"
    write_image(path, picture)
    assert (probe(path).kind, probe(path).frames) == ("strip", 2)
    info = probe(path, kind="image")
    assert (info.kind, info.frames, info.width) == ("image", 1, 128)
    assert torch.equal(read_frames(info, [0])[0], picture)
    assert torch.equal(read_image(path), picture)


def test_one_picture_is_a_clip_of_one_frame(tmp_path: Path):
    picture = coded_frames(1)[0]
    write_image(tmp_path / "new folder" / "picture.png", picture)
    info = probe(tmp_path / "new folder" / "picture.png")
    assert (info.kind, info.frames) == ("image", 1)
    assert torch.equal(read_frames(info, [0, 0]), torch.stack([picture, picture]))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_pictures_of_any_mode_become_rgb(tmp_path: Path, mode: str):
    grey = torch.arange(256, dtype=torch.uint8).reshape(16, 16)
    if mode == "I;16":
        picture = Image.fromarray((grey.to(torch.int32) * 257).numpy().astype("uint16"))
    else:
        picture = Image.fromarray(grey.numpy()).convert(mode if mode == "P" else "RGB").convert(mode)
        if mode in ("LA", "RGBA"):
            picture.putalpha(77)
    path = tmp_path / "picture.any"
    picture.save(path, format="jpeg" if mode == "CMYK" else "png", **({"quality": 100} if mode == "CMYK" else {}))
    read = read_image(path)
    assert read.shape == (3, 16, 16)
    assert (read.int() - grey.int()).abs().max() <= (3 if mode == "CMYK" else 0)


def test_camera_orientation_is_applied(tmp_path: Path):
    picture = coded_frames(1, 64, 112)[0]
    upright = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a clockwise quarter turn
    upright.save(tmp_path / "turned.png", exif=exif)
    info = probe(tmp_path / "turned.png")
    assert (info.height, info.width) == (112, 64)
    assert torch.equal(read_frames(info, [0])[0], picture.rot90(-1, dims=(1, 2)))


@pytest.mark.parametrize(
    "name", ["a:b.mp4", "-clip.mp4", "frame%03d.mp4", "with #.mp4", "видео é.mp4", "clip", "clip.PNG"]
)
def test_awkward_names(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    shutil.copy(clip, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    info = probe(name)  # relative, as typed on a command line
    assert info.path == tmp_path / name
    assert codes(read_frames(info, [40, 3])) == [40, 3]


BROKEN = {
    "empty": b"",
    "text": b"this is no video\n" * 100,
    "page": b"<!DOCTYPE html><html><body>404</body></html>",
    "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nclip.ts\n#EXT-X-ENDLIST\n",
    "noise": random.Random(0).randbytes(50_000),
    "half a PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_video(tmp_path: Path, content: bytes):
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError) as caught:
        probe(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_text_files_are_not_drawn_as_videos(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("FFmpeg can play this as a film of letters\n" * 30)
    with pytest.raises(VideoError, match="no video stream"):
        probe(tmp_path / "notes.txt")


@pytest.mark.timeout(60, func_only=True)
@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in folders there")
def test_pipes_links_and_folders_do_not_hang(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "broken.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "link.mp4").symlink_to("pipe.mp4")
    for name, problem in {
        "pipe.mp4": "is a pipe",
        "link.mp4": "is a pipe",
        "folder.mp4": "is a folder without",
        "broken.mp4": "is a link to a file that does not exist",
        "loop.mp4": "cannot be opened",
        "absent.mp4": "does not exist",
        "x" * 300: "cannot be opened",
    }.items():
        with pytest.raises(VideoError, match=problem):
            probe(tmp_path / name)


def test_sound_alone_is_no_video(tmp_path: Path):
    path = encode(tmp_path / "clip.mp4", coded_frames(10), sound="aac")
    with av.open(str(path)) as source, av.open(str(tmp_path / "sound.mp4"), "w") as target:
        audio = source.streams.audio[0]
        copied = target.add_stream_from_template(audio)
        for packet in source.demux(audio):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    with pytest.raises(VideoError, match="has sound but no video stream"):
        probe(tmp_path / "sound.mp4")


def test_cut_file_with_its_index(clip: Path, tmp_path: Path):
    with (
        av.open(str(clip)) as source,
        av.open(str(tmp_path / "w.mp4"), "w", options={"movflags": "faststart"}) as target,
    ):
        video = source.streams.video[0]
        copied = target.add_stream_from_template(video)
        for packet in source.demux(video):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    content = (tmp_path / "w.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(VideoError, match="cut short"):
        probe(tmp_path / "cut.mp4")


def test_damage_in_the_middle_is_found_when_probed(clip: Path, tmp_path: Path):
    content = bytearray(clip.read_bytes())
    start = content.find(b"mdat") + 4
    middle = (start + content.find(b"moov")) // 2
    content[middle : middle + 4000] = bytes(4000)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match="cannot be decoded: the file is damaged"):
        probe(path)


def test_damage_after_probing_is_an_error_and_spares_other_frames(clip: Path, tmp_path: Path):
    path = tmp_path / "clip.mp4"
    shutil.copy(clip, path)
    info = probe(path)
    with av.open(str(path)) as container:
        second = [packet for packet in container.demux(video=0) if packet.size][1]
        content = bytearray(path.read_bytes())
        content[second.pos : second.pos + second.size] = bytes(second.size)
    path.write_bytes(content)
    assert info.is_stale()
    for reader in ("decord", "pyav"):
        with pytest.raises(VideoError, match="cannot"):
            read_frames(replace(info, reader=reader), range(12))
        assert codes(read_frames(replace(info, reader=reader), [50, 20])) == [50, 20]


def test_replaced_file_is_noticed(clip: Path, tmp_path: Path):
    path = tmp_path / "clip.mp4"
    shutil.copy(clip, path)
    info = probe(path)
    assert not info.is_stale()
    encode(path, coded_frames(20))
    assert info.is_stale()
    for reader in ("decord", "pyav"):
        with pytest.raises(VideoError, match="now has 20 frames instead of 60"):
            read_frames(replace(info, reader=reader), [0])
    path.unlink()
    assert info.is_stale()


def test_description_survives_json(tmp_path: Path):
    info = probe(encode(tmp_path / "clip.mp4", coded_frames(5), fps=30, sound="aac"))
    assert info.has_audio
    assert VideoInfo.from_json(json.loads(json.dumps(info.to_json()))) == info


def test_broken_stamps_of_sound_and_second_stream_do_not_matter(tmp_path: Path):
    info = probe(encode(tmp_path / "clip.mkv", coded_frames(30), {"g": "12"}, sound="aac"))
    assert info.has_audio
    check_numbering(info, list(range(30)))
