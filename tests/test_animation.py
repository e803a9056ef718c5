import gc
import sys
import types
from fractions import Fraction
from typing import ClassVar

import av
import numpy as np
import pytest
import torch
from jsonargparse import auto_cli

from zoo.animation import animate, animated_frames
from zoo.base import AnimationModule, MotionOptions
from zoo.cli import main
from zoo.errors import ZooError
from zoo.methods.first_order_motion_model import FirstOrderMotionModel
from zoo.video import VideoWriter, probe, read_frames, write_image
from zoo.weights import save_weights

NTSC = Fraction(30000, 1001)
SMALL = {
    "num_keypoints": 3,
    "detector_width": 4,
    "detector_blocks": 2,
    "generator_width": 4,
    "bottleneck_blocks": 1,
    "motion_width": 4,
    "motion_blocks": 2,
}


class Echo(AnimationModule):
    """Shows the driving frames, or the mask that comes with them: what went in can be seen in what comes out."""

    inference_networks: ClassVar[tuple[str, ...]] = ()

    def encode(self, source, options):
        return source

    def render(self, state, driving):
        return driving["driving"], state


class EchoMask(Echo):
    conditions = ("mask",)

    def render(self, state, driving):
        return driving["driving_mask"].expand(-1, -1, 3, -1, -1), state


class Several(Echo):
    """Counts its source frames."""

    takes_several_sources = True
    frames = 0

    def encode(self, source, options):
        Several.frames = source["source"].shape[1]
        return source


class FailsLate(Echo):
    def render(self, state, driving):
        if driving["driving"].shape[1] < 8:
            raise RuntimeError("the last chunk fails")
        return driving["driving"], state


def person(height, width, shift=0.0):
    """A smooth picture with a bright blob."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    blob = torch.exp(-8 * ((x - shift).square() + y.square()))
    return torch.stack([100 + 80 * blob, 90 + 40 * x, 90 + 40 * y]).round().to(torch.uint8)


def write_clip(path, frames=20, height=36, width=64, fps=NTSC, audio_from=None):
    with VideoWriter(path, fps, audio_from) as writer:
        for number in range(frames):
            writer.write(person(height, width, 0.5 * np.sin(number / 4)))
    return path


def write_uneven_clip(path):
    """Ten frames in its first second and thirty in the next."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 36, 64, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 30)
        for number, stamp in enumerate([*range(0, 30, 3), *range(30, 60)]):
            picture = person(36, 64, number / 40).permute(1, 2, 0).contiguous().numpy()
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path, seconds=1.0, tone=440):
    samples = (0.2 * np.sin(2 * np.pi * tone * np.arange(int(44100 * seconds)) / 44100)).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        for start in range(0, len(samples), 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def sound_of(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio) if packet.size]


@pytest.fixture(scope="module")
def method():
    torch.manual_seed(0)
    return FirstOrderMotionModel(**SMALL).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, method):
    folder = tmp_path_factory.mktemp("files")
    save_weights(method, folder / "weights.safetensors", size="32x32")
    write_image(folder / "portrait.png", person(64, 36))
    write_image(folder / "odd.png", person(63, 35))
    sound = write_sound(folder / "sound.m4a")
    write_clip(folder / "driving.mp4", audio_from=sound)
    write_clip(folder / "silent.mp4")
    write_clip(folder / "singer.mp4", height=40, width=40, audio_from=write_sound(folder / "song.m4a", tone=880))
    return folder


@pytest.fixture
def run(folder, tmp_path, capsys):
    """Runs `animate` on files of the folder; the output goes to an own place."""

    def run(output="out.mp4", source="portrait.png", driving="driving.mp4", **options):
        options = {"weights": folder / "weights.safetensors", "device": "cpu"} | options
        path = animate(source=folder / source, driving=folder / driving, output=tmp_path / output, **options)
        assert path == tmp_path / output
        assert str(path) in capsys.readouterr().out
        return path

    return run


def frames_of(method, source, driving, options=None, size=(32, 32), **more):
    clips = probe(source, kind="image"), probe(driving)
    return torch.stack(list(animated_frames(method, [clips[0]], clips[1], options, size, **more)))


class TestFiles:
    @pytest.mark.parametrize("suffix", ["mp4", "mov", "webm", "gif"])
    def test_portrait_source_and_landscape_driving(self, run, suffix):
        result = probe(run(f"out.{suffix}", driving="silent.mp4"))
        assert (result.height, result.width, result.frames) == (64, 36, 20)
        if suffix == "gif":
            assert float(result.fps) == pytest.approx(float(NTSC), rel=0.02)
        elif suffix == "webm":
            assert float(result.fps) == pytest.approx(float(NTSC), rel=0.002)  # stamps are in milliseconds
        else:
            assert result.fps == NTSC

    def test_odd_sizes(self, run):
        even = probe(run("out.mp4", source="odd.png"))
        assert (even.height, even.width) == (64, 36)  # H.264 takes even sides only: the last row and column twice
        exact = probe(run("out.webm", source="odd.png", driving="silent.mp4"))
        assert (exact.height, exact.width) == (63, 35)

    def test_spaces_and_letters_of_the_world_in_names(self, run, folder):
        write_image(folder / "mein Fußgänger [1] 你好.png", person(64, 36))
        write_clip(folder / "танец no. 1.mp4", frames=3)
        path = run("ein neuer Ordner/résultat #1.mp4", "mein Fußgänger [1] 你好.png", "танец no. 1.mp4")
        assert probe(path).frames == 3

    def test_a_clip_as_source_gives_its_first_frame(self, method, folder, tmp_path):
        write_image(tmp_path / "first.png", read_frames(folder / "singer.mp4", [0])[0])
        from_clip = frames_of(method, folder / "singer.mp4", folder / "driving.mp4")
        assert torch.equal(from_clip, frames_of(method, tmp_path / "first.png", folder / "driving.mp4"))

    def test_a_wide_picture_as_source_is_no_strip(self, method, tmp_path, folder):
        write_image(tmp_path / "wide.png", person(32, 64))
        assert frames_of(method, tmp_path / "wide.png", folder / "silent.mp4").shape == (20, 3, 32, 64)

    @pytest.mark.parametrize("fit", ["stretch", "crop"])
    def test_weights_of_stretched_pictures_see_stretched_pictures(self, run, folder, tmp_path, monkeypatch, fit):
        monkeypatch.setitem(sys.modules, "watching", types.SimpleNamespace(Several=Several))
        weights = save_weights(Several(), tmp_path / "echo.safetensors", size="32x32", fit=fit)
        written = read_frames(run("out.mkv", driving="silent.mp4", weights=weights, method="watching.Several"), [0])
        driving = read_frames(folder / "silent.mp4", [0]).float()
        stretched = torch.nn.functional.interpolate(driving, (64, 36), mode="bilinear", antialias=True)
        difference = (written - stretched).abs().mean()
        assert (difference < 3) == (fit == "stretch"), difference

    def test_several_sources(self, folder, tmp_path):
        class CountsSources(Echo):
            takes_several_sources = True

            def render(self, state, driving):
                assert state["source"].shape == (1, 2, 3, 32, 32)
                return driving["driving"], state

        clips = [probe(folder / name, kind="image") for name in ("odd.png", "singer.mp4")]
        frames = list(animated_frames(CountsSources(), clips, probe(folder / "silent.mp4"), size=(32, 32)))
        assert frames[0].shape == (3, 63, 35)

    def test_frames_of_source_clips_are_spread_evenly(self, folder, tmp_path):
        seen = []

        class Watches(Echo):
            takes_several_sources = True

            def encode(self, source, options):
                seen.append(source["source"])
                return source

        clips = [probe(folder / name, kind="image") for name in ("singer.mp4", "odd.png")]
        list(animated_frames(Watches(), clips, probe(folder / "silent.mp4"), size=(40, 40), source_frames=3))
        (sources,) = seen
        assert sources.shape == (1, 4, 3, 40, 40)
        expected = read_frames(folder / "singer.mp4", [0, 10, 19]) / 255
        torch.testing.assert_close(sources[0, :3], expected)

    def test_sources_on_the_command_line(self, folder, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "watching", types.SimpleNamespace(Several=Several))
        save_weights(Several(), tmp_path / "several.safetensors")
        sources = [str(folder / name) for name in ("odd.png", "singer.mp4", "portrait.png")]
        command = ["animate", "--weights", str(tmp_path / "several.safetensors"), "--method", "watching.Several"]
        command += ["--source", *sources, "--driving", str(folder / "silent.mp4"), "--source-frames", "5"]
        command += ["--output", str(tmp_path / "out.webm"), "--size", "40"]
        main(command)
        assert (probe(tmp_path / "out.webm").height, probe(tmp_path / "out.webm").width) == (63, 35)
        assert Several.frames == 7

    def test_command_line(self, folder, tmp_path):
        output = tmp_path / "out.mp4"
        arguments = {
            "weights": folder / "weights.safetensors",
            "source": folder / "portrait.png",
            "driving": folder / "silent.mp4",
            "output": output,
            "crop": "[2, 3, 30, 40]",
            "motion": "relative",
            "adapt_scale": "true",
            "size": "40",
            "audio": "none",
            "device": "cpu",
        }
        auto_cli(animate, args=[f"--{name}={value}" for name, value in arguments.items()], as_positional=False)
        assert probe(output).frames == 20


class TestFrames:
    def test_what_goes_in_comes_out(self, folder):
        """Every driving frame, once, in order and unchanged where nothing has to be resized."""
        echoed = frames_of(Echo(), folder / "singer.mp4", folder / "singer.mp4", size=(40, 40))
        assert torch.equal(echoed, read_frames(folder / "singer.mp4", range(20)))

    def test_driving_of_another_aspect_is_not_stretched(self, folder, tmp_path):
        """A circle in a wide clip is a circle in the working frame, and so in a tall result."""
        y, x = torch.meshgrid(torch.arange(60.0) - 29.5, torch.arange(120.0) - 59.5, indexing="ij")
        disc = ((x.square() + y.square()) < 20**2).to(torch.uint8).expand(3, -1, -1) * 255
        with VideoWriter(tmp_path / "disc.mkv", NTSC) as writer:
            writer.write(disc)
        write_image(tmp_path / "tall.png", person(200, 100))
        shown = frames_of(Echo(), tmp_path / "tall.png", tmp_path / "disc.mkv", size=(96, 96))[0, 0] > 127
        height, width = shown.any(1).sum(), shown.any(0).sum()
        assert abs(int(height) - int(width)) <= 2
        assert int(height) == pytest.approx(40 * 200 / 120, abs=3)

    @pytest.mark.parametrize("options", [MotionOptions(), MotionOptions("relative", True, True)], ids=["abs", "rel"])
    def test_chunks_dont_matter(self, method, folder, options):
        whole, *others = (
            frames_of(method, folder / "odd.png", folder / "driving.mp4", options, chunk=chunk) for chunk in (20, 1, 7)
        )
        for other in others:  # one grey level: convolutions over another number of frames round differently
            assert (whole.int() - other.int()).abs().max() <= 1

    def test_crop_changes_the_box_only(self, method, folder, tmp_path):
        x, y, width, height = crop = (3, 11, 29, 40)
        picture = person(64, 36)
        frames = frames_of(method, folder / "portrait.png", folder / "driving.mp4", crop=crop)
        inside = torch.zeros(64, 36, dtype=torch.bool)
        inside[y : y + height, x : x + width] = True
        assert torch.equal(frames[:, :, ~inside], picture[:, ~inside].expand(20, -1, -1))
        write_image(tmp_path / "box.png", picture[:, y : y + height, x : x + width])
        alone = frames_of(method, tmp_path / "box.png", folder / "driving.mp4")
        assert torch.equal(frames[:, :, y : y + height, x : x + width], alone)
        assert not torch.equal(alone[0], picture[:, y : y + height, x : x + width])

    def test_memory_doesnt_grow_with_the_clip(self, method, folder, tmp_path):
        def held_near_the_end(frames):
            clip = write_clip(tmp_path / f"{frames}.mp4", frames)
            options = MotionOptions("relative", best_frame=True)
            clips = probe(folder / "portrait.png", kind="image"), probe(clip)
            stream = animated_frames(method, [clips[0]], clips[1], options, (32, 32))
            return next(live_bytes() for number, _ in enumerate(stream) if number == frames - 3)

        assert held_near_the_end(160) <= 1.02 * held_near_the_end(16)

    def test_panels_end_with_the_result(self, method, tmp_path, folder):
        write_image(tmp_path / "square.png", person(32, 32))
        options = MotionOptions("relative")
        plain = frames_of(method, tmp_path / "square.png", folder / "driving.mp4", options)
        panels = frames_of(method, tmp_path / "square.png", folder / "driving.mp4", options, visualize=True)
        panels = panels[..., -192:, :]  # below the titles; small pictures are shown six times as large
        assert torch.equal(panels[..., ::6, -192::6], plain)
        source, driving = panels[..., :192].float(), panels[..., 194:386].float()
        assert len(source) == 20
        assert source.std(0).max() == 0  # the same source with the same keypoints throughout
        assert driving.std(0).max() > 10

    def test_panels_of_a_method_without_pictures(self, folder):
        panels = frames_of(Echo(), folder / "singer.mp4", folder / "singer.mp4", size=(40, 40), visualize=True)
        assert panels.shape[-1] == 2 * 200 + 2  # small pictures are shown five times as large
        frames = read_frames(folder / "singer.mp4", range(20))
        assert torch.equal(panels[..., -200::5, :200:5], frames)
        assert torch.equal(panels[..., -200::5, -200::5], frames)


def live_bytes():
    """Of all tensors there are."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor):
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


class TestSound:
    def test_frames_that_leave_their_time_are_told_of(self, folder, tmp_path, capsys):
        """The frame of second 1.0 is the eleventh: at an even 20 a second it is shown half a second too early."""
        for driving, told in ((folder / "driving.mp4", False), (write_uneven_clip(tmp_path / "uneven.mp4"), True)):
            files = {"source": folder / "portrait.png", "driving": driving, "output": tmp_path / "out.mp4"}
            animate(folder / "weights.safetensors", device="cpu", **files)
            assert ("a second: up to 0.5 s from their time" in capsys.readouterr().out) == told

    def test_the_driving_clips_packets_are_copied(self, run, folder):
        assert len(sound_of(folder / "driving.mp4")) > 10
        assert sound_of(run()) == sound_of(folder / "driving.mp4")

    def test_the_source_clips(self, run, folder):
        copied = sound_of(run(source="singer.mp4", audio="source"))
        assert copied == sound_of(folder / "singer.mp4")
        assert copied != sound_of(folder / "driving.mp4")

    def test_gifs_are_silent_without_a_word(self, run, recwarn):
        assert not probe(run("out.gif")).has_audio
        assert not recwarn.list

    def test_none(self, run):
        assert not probe(run(audio="none")).has_audio
        assert not probe(run(driving="silent.mp4")).has_audio

    def test_a_source_without_sound(self, run):
        with pytest.raises(ZooError, match=r"portrait\.png: has no sound"):
            run(audio="source")


class TestConditions:
    @pytest.fixture
    def files(self, tmp_path):
        write_image(tmp_path / "me.png", person(64, 36))
        write_clip(tmp_path / "dance.mp4", frames=10, height=64, width=36)
        save_weights(EchoMask(), tmp_path / "echo.safetensors")
        return tmp_path

    def run(self, files):
        return animate(
            files / "echo.safetensors",
            files / "me.png",
            driving=files / "dance.mp4",
            output=files / "out.mp4",
            method=f"{__name__}.EchoMask",
        )

    def test_side_cars_follow_the_frames(self, files):
        masks = torch.zeros(10, 1, 64, 36, dtype=torch.uint8)
        for number, mask in enumerate(masks):
            mask[:, 5 * number : 5 * number + 10, 8:20] = 255
        np.savez(files / "dance_mask.npz", mask=masks.numpy())
        np.savez(files / "me_mask.npz", mask=masks[:1].numpy())
        frames = frames_of(EchoMask(), files / "me.png", files / "dance.mp4", size=(64, 64), chunk=3)
        assert torch.equal(frames, masks.expand(-1, 3, -1, -1))
        assert probe(self.run(files)).frames == 10

    def test_missing_side_cars_are_named(self, files):
        with pytest.raises(ZooError, match=r"me\.png: EchoMask needs its mask, but there is no me_mask\.npz"):
            self.run(files)

    def test_side_cars_of_another_clip(self, files):
        np.savez(files / "me_mask.npz", mask=np.zeros((1, 1, 64, 36), np.uint8))
        np.savez(files / "dance_mask.npz", mask=np.zeros((9, 1, 64, 36), np.uint8))
        with pytest.raises(ZooError, match=r"dance_mask\.npz: has 9 frames, but the video has 10"):
            self.run(files)


class TestMistakes:
    """Each is one line that names the file or the option, and what was there before stays."""

    @pytest.fixture
    def fails(self, run, tmp_path):
        def fails(match, output="out.mp4", **options):
            (tmp_path / output).write_bytes(b"precious")
            with pytest.raises(ZooError, match=match) as caught:
                run(output, **options)
            assert "\n" not in str(caught.value)
            assert (tmp_path / output).read_bytes() == b"precious"
            assert [path.name for path in tmp_path.iterdir()] == [output]

        return fails

    def test_missing_files(self, fails):
        fails(r"nobody\.png", source="nobody.png")
        fails(r"nothing\.mp4", driving="nothing.mp4")
        fails("no weights 'a/b'", weights="a/b")

    def test_driving_that_is_no_clip(self, fails, folder):
        (folder / "text.mp4").write_text("not a video, but long enough to look at")
        fails(r"text\.mp4", driving="text.mp4")
        fails(r"portrait\.png: is a single picture", driving="portrait.png")
        fails(r"song\.m4a", driving="song.m4a")

    @pytest.mark.parametrize("part", [0.3, 0.9])
    def test_truncated_driving(self, fails, folder, part):
        whole = (folder / "silent.mp4").read_bytes()
        (folder / "cut short.mp4").write_bytes(whole[: int(part * len(whole))])
        fails(r"cut short\.mp4", driving="cut short.mp4")

    def test_crop_outside(self, fails):
        fails("36 x 64 pixels", crop=(0, 0, 37, 10))

    def test_options(self, fails, folder):
        echo = {"method": f"{__name__}.Echo", "weights": save_weights(Echo(), folder / "echo.safetensors")}
        fails(
            "Echo doesn't know --best-frame, --motion relative; it takes over",
            motion="relative",
            best_frame=True,
            **echo,
        )
        fails("change relative motion only", motion="absolute", adapt_scale=True)
        fails("'cuda:77'", device="cuda:77")
        fails("'gpu'", device="gpu")
        fails("size 0 is too small", size=0)

    def test_more_sources_than_the_method_looks_at(self, method, folder):
        clips = [probe(folder / name, kind="image") for name in ("odd.png", "portrait.png")]
        with pytest.raises(ZooError, match="FirstOrderMotionModel looks at one source only, not at 2"):
            animated_frames(method, clips, probe(folder / "silent.mp4"))
        with pytest.raises(ZooError, match="no source"):
            animated_frames(method, [], probe(folder / "silent.mp4"))
        with pytest.raises(ZooError, match="source_frames is 0"):
            animated_frames(method, clips[:1], probe(folder / "silent.mp4"), source_frames=0)

    def test_endings(self, fails):
        fails(r"out\.xyz", output="out.xyz")

    def test_output_that_is_an_input(self, folder, tmp_path):
        before = (folder / "driving.mp4").read_bytes()
        for output in (folder / "driving.mp4", folder / ".." / folder.name / "driving.mp4"):
            with pytest.raises(ZooError, match=r"driving\.mp4: is read and can't be written"):
                animate(
                    folder / "weights.safetensors",
                    folder / "portrait.png",
                    driving=folder / "driving.mp4",
                    output=output,
                )
        assert (folder / "driving.mp4").read_bytes() == before

    def test_failure_in_the_middle_leaves_nothing_behind(self, folder, tmp_path):
        save_weights(FailsLate(), tmp_path / "late.safetensors")
        (tmp_path / "out.mp4").write_bytes(b"precious")
        with pytest.raises(RuntimeError, match="last chunk"):
            animate(
                tmp_path / "late.safetensors",
                folder / "portrait.png",
                driving=folder / "driving.mp4",
                output=tmp_path / "out.mp4",
                method=f"{__name__}.FailsLate",
            )
        assert (tmp_path / "out.mp4").read_bytes() == b"precious"
        assert {path.name for path in tmp_path.iterdir()} == {"late.safetensors", "out.mp4"}


def test_motion_is_relative_where_the_method_knows_it(run, method, folder):
    """The default is the best that the method knows, and the weights' own size."""
    default, relative = run("default.mkv"), run("relative.mkv", motion="relative", size=32)
    assert torch.equal(read_frames(default, range(20)), read_frames(relative, range(20)))
    assert not torch.equal(read_frames(default, [5]), read_frames(run("absolute.mkv", motion="absolute"), [5]))
