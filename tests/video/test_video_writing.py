import os
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
import torch
from coded_clips import coded_frames, codes, encode

from zoo.video import VideoError, VideoWriter, grid, iter_frames, probe, read_frames, side_by_side, write_image


def packets(path: Path, kind: str) -> list[tuple[bytes, Fraction]]:
    """Content and start in seconds of each packet of a file's video or audio."""
    with av.open(str(path)) as container:
        stream = container.streams.best(kind)
        return [(bytes(packet), packet.pts * packet.time_base) for packet in container.demux(stream) if packet.size]


def psnr(left: torch.Tensor, right: torch.Tensor) -> float:
    return float(10 * torch.log10(255**2 / (left.float() - right.float()).square().mean()))


@pytest.mark.parametrize(
    ("ending", "reader"),
    [("mp4", "decord"), ("mov", "decord"), ("mkv", "decord"), ("avi", None), ("webm", "decord"), ("gif", "decord")],
)
def test_written_clips_come_back_frame_by_frame(tmp_path: Path, ending: str, reader: str | None):
    frames = coded_frames(60)
    with VideoWriter(tmp_path / f"clip.{ending}", Fraction(25)) as writer:
        writer.write(frames[0])
        writer.write(frames[1:40])
        writer.write(frames[40:])
    info = probe(tmp_path / f"clip.{ending}")
    assert (info.frames, info.height, info.width, info.fps) == (60, 64, 112, 25)
    assert info.reader == (reader or info.reader)
    assert codes(torch.stack(list(iter_frames(info)))) == list(range(60))
    assert codes(read_frames(info, [59, 3, 24, 25, 26])) == [59, 3, 24, 25, 26]
    assert psnr(read_frames(info, range(60)), frames) > 30
    assert os.listdir(tmp_path) == [f"clip.{ending}"]


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), Fraction(241, 16), Fraction(1), Fraction(240), Fraction(25, 2)])
def test_frame_rate_is_exact(tmp_path: Path, fps: Fraction):
    with VideoWriter(tmp_path / "clip.mp4", fps) as writer:
        writer.write(coded_frames(13))
    assert probe(tmp_path / "clip.mp4").fps == fps
    times = sorted(start for _, start in packets(tmp_path / "clip.mp4", "video"))
    assert times == [number / fps for number in range(13)]


@pytest.mark.parametrize(
    ("fps", "mean"), [(Fraction(30), 30), (Fraction(24), 24), (Fraction(8), 8), (Fraction(120), 50)]
)
def test_gif_keeps_the_mean_rate_up_to_50(tmp_path: Path, fps: Fraction, mean: int):
    with VideoWriter(tmp_path / "clip.gif", fps) as writer:
        writer.write(coded_frames(101))
    times = [start for _, start in packets(tmp_path / "clip.gif", "video")]
    assert abs(times[-1] - Fraction(100, mean)) <= Fraction(1, 200)
    assert min(later - earlier for earlier, later in pairwise(times)) >= Fraction(2, 100)


@pytest.mark.parametrize(("ending", "size"), [("mp4", (66, 114)), ("webm", (65, 113)), ("gif", (65, 113))])
def test_odd_sides(tmp_path: Path, ending: str, size: tuple[int, int]):
    """H.264 gets the last row and column twice; the picture itself stays at its place."""
    frames = coded_frames(20, 65, 113)
    with VideoWriter(tmp_path / f"clip.{ending}", Fraction(25)) as writer:
        writer.write(frames)
    info = probe(tmp_path / f"clip.{ending}")
    assert (info.height, info.width) == size
    back = read_frames(info, range(20))
    assert codes(back[..., :65, :113]) == list(range(20))
    assert psnr(back[..., :65, :113], frames) > 30
    repeated = frames[..., -1:, :].expand(-1, -1, size[0] - 65, -1)
    assert torch.allclose(back[..., 65:, :113].float(), repeated.float(), atol=60)


def test_colours_are_kept(tmp_path: Path):
    """A wrong matrix or range would shift saturated patches by tens of levels."""
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [128, 128, 128]])
    picture = colours.T.reshape(3, 1, 6, 1).expand(3, 64, 6, 32).reshape(3, 64, 192).to(torch.uint8)
    for ending in ("mp4", "webm", "gif"):
        with VideoWriter(tmp_path / f"clip.{ending}", Fraction(25)) as writer:
            writer.write(picture)
        back = read_frames(tmp_path / f"clip.{ending}", [0])[0]
        assert (back[:, 32, 16::32].int() - colours.T).abs().max() <= 4


@pytest.mark.parametrize(
    ("codec", "source", "ending"),
    [("aac", "mp4", "mp4"), ("aac", "mp4", "mkv"), ("pcm_s16le", "mov", "mov"), ("libopus", "webm", "webm")],
)
def test_sound_is_copied_bit_by_bit(tmp_path: Path, codec: str, source: str, ending: str):
    video_codec = "libvpx-vp9" if source == "webm" else "libx264"
    origin = encode(tmp_path / f"in.{source}", coded_frames(50), codec=video_codec, sound=codec)
    with VideoWriter(tmp_path / f"out.{ending}", Fraction(25), audio_from=origin) as writer:
        writer.write(coded_frames(50))
    before, after = packets(origin, "audio"), packets(tmp_path / f"out.{ending}", "audio")
    assert len(before) >= len(after) > 0.9 * len(before)
    assert [content for content, _ in after] == [content for content, _ in before[: len(after)]]
    distance = after[0][1] - before[0][1]  # Matroska moves everything by the coder's delay
    for (_, copied), (_, original) in zip(after, before, strict=False):  # the last of them may be cut off
        assert abs(copied - original - distance) <= Fraction(2, 1000)
    first_picture = packets(tmp_path / f"out.{ending}", "video")[0][1] - packets(origin, "video")[0][1]
    assert abs(distance - first_picture) <= Fraction(2, 1000)


@pytest.mark.parametrize("frames", [1, 10, 37])
def test_sound_ends_with_the_pictures(tmp_path: Path, frames: int):
    origin = encode(tmp_path / "in.mp4", coded_frames(60), sound="aac")
    with VideoWriter(tmp_path / "out.mp4", Fraction(25), audio_from=origin) as writer:
        writer.write(coded_frames(frames))
    with av.open(str(tmp_path / "out.mp4")) as container:
        sound = [packet for packet in container.demux(audio=0) if packet.size]
        end = (sound[-1].pts + sound[-1].duration) * sound[-1].time_base
    assert abs(end - Fraction(frames, 25)) <= Fraction(1, 25)


def test_sound_that_does_not_fit_is_named(tmp_path: Path):
    origin = encode(tmp_path / "in.mp4", coded_frames(10), sound="aac")
    with (
        pytest.warns(UserWarning, match=r"out\.webm: webm cannot hold the sound of .*in\.mp4 \(aac\)"),
        VideoWriter(tmp_path / "out.webm", Fraction(25), audio_from=origin) as writer,
    ):
        writer.write(coded_frames(3))
    assert not probe(tmp_path / "out.webm").has_audio


def test_silent_driver_gives_a_silent_clip(clip: Path, tmp_path: Path):
    write_image(tmp_path / "frames" / "0.png", coded_frames(1)[0])
    for origin in (clip, tmp_path / "frames"):
        with VideoWriter(tmp_path / "out.mp4", Fraction(25), audio_from=origin) as writer:
            writer.write(coded_frames(3))
        assert not probe(tmp_path / "out.mp4").has_audio


@pytest.mark.parametrize("written", [0, 5])
def test_an_error_inside_leaves_nothing_behind(tmp_path: Path, written: int):
    (tmp_path / "clip.mp4").write_text("an older file")

    def fail() -> None:
        with VideoWriter(tmp_path / "clip.mp4", Fraction(25)) as writer:
            for frame in coded_frames(written):
                writer.write(frame)
            raise OSError("mine")

    with pytest.raises(OSError, match="mine"):
        fail()
    assert os.listdir(tmp_path) == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").read_text() == "an older file"


def test_nothing_written_is_an_error(tmp_path: Path):
    with pytest.raises(VideoError, match="no frame was written"), VideoWriter(tmp_path / "clip.mp4", Fraction(25)):
        pass
    assert os.listdir(tmp_path) == []


def test_missing_sound_file_leaves_nothing_behind(tmp_path: Path):
    writer = VideoWriter(tmp_path / "clip.mp4", Fraction(25), audio_from=tmp_path / "absent.mp3")
    with pytest.raises(VideoError, match=r"absent\.mp3: does not exist"), writer:
        pass
    assert os.listdir(tmp_path) == []


def test_folders_are_created_and_unusable_ones_named(tmp_path: Path):
    with VideoWriter(tmp_path / "a" / "b" / "clip.mp4", Fraction(25)) as writer:
        writer.write(coded_frames(2))
    assert probe(tmp_path / "a" / "b" / "clip.mp4").frames == 2
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(VideoError, match="cannot be written"),
        VideoWriter(tmp_path / "file" / "clip.mp4", Fraction(25)) as writer,
    ):
        writer.write(coded_frames(2))
    with pytest.raises(VideoError, match=r"\.xyz is unknown"):
        VideoWriter(tmp_path / "clip.xyz", Fraction(25))


@pytest.mark.parametrize("frames", [coded_frames(1).float(), coded_frames(1)[:, :1], coded_frames(1)[0, 0]])
def test_wrong_frames_are_refused(tmp_path: Path, frames: torch.Tensor):
    with pytest.raises(ValueError, match="uint8"), VideoWriter(tmp_path / "clip.mp4", Fraction(25)) as writer:
        writer.write(frames)


def test_all_frames_have_one_size(tmp_path: Path):
    with VideoWriter(tmp_path / "clip.mp4", Fraction(25)) as writer:
        writer.write(coded_frames(2))
        with pytest.raises(ValueError, match=r"should be \(64, 112\)"):
            writer.write(coded_frames(2, 32, 32))
    assert probe(tmp_path / "clip.mp4").frames == 2


def test_side_by_side_keeps_every_picture(tmp_path: Path):
    left, middle, right = coded_frames(3)
    row = side_by_side([left, middle, right])
    assert row.shape == (3, 64, 3 * 112 + 2 * 2)
    assert torch.equal(row[:, :, 114:226], middle)
    titled = side_by_side([left, middle, right], ["source", "driving", "a title that is far too long to fit"])
    line = titled.shape[1] - 64 - 2
    assert 9 <= line <= 30
    assert torch.equal(titled[:, line + 2 :], row)
    for place in range(3):
        assert titled[:, :line, place * 114 : place * 114 + 112].min() < 128  # there is ink above each picture


def test_lower_pictures_are_enlarged(tmp_path: Path):
    small, large = torch.full((3, 32, 32), 7, dtype=torch.uint8), coded_frames(1)[0]
    row = side_by_side([small, large])
    assert row.shape == (3, 64, 64 + 2 + 112)
    assert (row[:, :, :64] == 7).all()


def test_grid(tmp_path: Path):
    frames = coded_frames(4)
    table = grid([[frames[0], frames[1]], [frames[2], frames[3]]])
    assert table.shape == (3, 2 * 64 + 2, 2 * 112 + 2)
    assert torch.equal(table[:, 66:, 114:], frames[3])
    with pytest.raises(ValueError, match="differ in width"):
        grid([[frames[0], frames[1]], [frames[2]]])
    with pytest.raises(ValueError, match="3 titles for 2 pictures"):
        side_by_side([frames[0], frames[1]], ["a", "b", "c"])
    with pytest.raises(ValueError, match="no picture"):
        side_by_side([])
