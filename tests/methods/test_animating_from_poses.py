"""`zoo animate` for methods that are driven by poses: from files of another person to a written video."""

import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from lightning import Trainer

from zoo.animation import animate, animated_frames
from zoo.base import MotionOptions
from zoo.cli import main
from zoo.clip_conditions import find_condition
from zoo.data import VideoDataModule
from zoo.data.cache import ByteCache
from zoo.data.synthetic import SyntheticPeople
from zoo.errors import ZooError
from zoo.methods.deep_spatial_transformation import (
    DeepSpatialAnimation,
    DeepSpatialFace,
    DeepSpatialTransformation,
    SkeletonDenoiser,
)
from zoo.methods.dwnet import DwNet
from zoo.methods.everybody_dance_now import EverybodyDanceNow
from zoo.methods.first_order_motion_model import FirstOrderMotionModel
from zoo.pose import BODY_18, BODY_25, MEDIAPIPE_33, WHOLE_25, convert_pose, to_pixels, to_units, write_openpose
from zoo.video import VideoWriter, probe, read_frames, write_image
from zoo.weights import TrainedOn, networks, save_weights

SIZE = (64, 64)
FRAMES = 10
FPS = Fraction(30000, 1001)
PAINTER = {
    "stage": "face",
    "body": "global",
    "skeleton": "body_18",
    "canvas": None,
    "generator_width": 4,
    "generator_downsamplings": 1,
    "generator_blocks": 1,
    "discriminator_width": 4,
    "discriminator_layers": 2,
    "face_size": 16,
    "face_width": 4,
    "face_downsamplings": 1,
    "face_blocks": 1,
    "face_discriminator_width": 4,
    "perceptual": "alexnet",
    "median_window": 1,
}
TRANSFORMER = {
    "width": 4,
    "max_width": 8,
    "layers": 2,
    "attention_levels": (1, 2),
    "patch_sizes": (3, 2),
    "flow_width": 4,
    "flow_max_width": 8,
    "flow_layers": 3,
    "heatmap_sigma": 1.5,
    "discriminator_width": 4,
    "discriminator_max_width": 8,
    "discriminator_layers": 2,
    "perceptual": "alexnet",
}


@pytest.fixture(scope="module")
def people():
    return SyntheticPeople(
        size=SIZE, train_identities=1, val_identities=0, test_identities=1, clips_per_identity=1, frames=FRAMES
    )


@pytest.fixture(scope="module")
def tracks(people):
    """Poses (T, 18, 3) in pixels of the subject that was learnt, and of somebody else who drives."""
    pairs = [(people.clips(split)[0], range(FRAMES)) for split in ("train", "test")]
    return [people.condition(clip, "pose", numbers) for clip, numbers in pairs]


@pytest.fixture(scope="module")
def painter(tracks):
    torch.manual_seed(0)
    method = EverybodyDanceNow(**PAINTER).eval()
    method.subject.remember(to_units(tracks[0], SIZE), SIZE)
    return method


@pytest.fixture
def files(people, painter, tmp_path):
    """A clip with sound of a person who isn't the subject, a picture, and weights; no poses yet."""
    samples = (0.2 * np.sin(2 * np.pi * 440 * np.arange(22050) / 44100)).astype(np.float32)
    with av.open(str(tmp_path / "sound.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44100, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    clip = people.clips("test")[0]
    with VideoWriter(tmp_path / "dance.mp4", FPS, tmp_path / "sound.m4a") as writer:
        for frame in people.frames(clip, range(FRAMES)):
            writer.write(frame)
    write_image(tmp_path / "me.png", people.frames(people.clips("train")[0], [0])[0])
    save_weights(painter, tmp_path / "painter.safetensors", size="64x64")
    return tmp_path


def write_poses(path, track, skeleton="body_18"):
    np.savez(path, keypoints=track.float().numpy(), skeleton=np.array(skeleton))


def painted(files, **options):
    return list(
        animated_frames(
            EverybodyDanceNow.from_weights(files / "painter.safetensors"),
            [],
            probe(files / "dance.mp4"),
            size=SIZE,
            **options,
        )
    )


class TestEverybodyDanceNow:
    def test_another_persons_video_becomes_a_video_of_the_subject(self, files, tracks, painter, capsys):
        """Read, moved into the subject's place, drawn, painted, faces refined, written with sound and frame rate."""
        write_poses(files / "dance_pose.npz", tracks[1])
        main(
            [
                "animate",
                "--weights",
                str(files / "painter.safetensors"),
                "--driving",
                str(files / "dance.mp4"),
                "--retarget",
                "--output",
                str(files / "out.mkv"),
                "--device",
                "cpu",
            ]
        )
        assert "10 frames" in capsys.readouterr().out
        written, driving = probe(files / "out.mkv"), probe(files / "dance.mp4")
        assert (written.frames, written.height, written.width) == (FRAMES, *SIZE)
        assert written.fps == driving.fps
        assert written.has_audio
        poses = painter.subject.place(to_units(tracks[1], SIZE), SIZE, "paper", 1)
        assert (poses - to_units(tracks[1], SIZE)).abs().max() > 0.05
        previous, expected = torch.zeros(1, 3, *SIZE), []
        with torch.no_grad():
            for pose in poses:  # by the parts, one frame after another
                boxes = painter.faces(pose[None], SIZE)
                assert boxes is not None
                previous = painter.paint(painter.draw(pose[None, None], SIZE)[0], previous, boxes)
                expected.append(((previous[0] + 1) / 2).clamp(0, 1))
        ours = torch.stack(painted(files, options=MotionOptions(retarget=True))).float() / 255
        torch.testing.assert_close(ours, torch.stack(expected), atol=0.51 / 255 + 1e-3, rtol=0)

    @pytest.mark.parametrize("clips", [None, (480, 640)])
    def test_drivers_of_any_aspect_are_stretched_as_the_clips_of_the_training_were(
        self, tmp_path, tracks, monkeypatch, clips
    ):
        """Somebody of 180 pixels in a wide and in a tall clip is the same figure, at the subject's height."""
        size, drawn = (64, 128), []
        method = EverybodyDanceNow(**PAINTER).eval()
        method.subject.remember(to_units(tracks[0], SIZE), size)
        draw = method.draw
        monkeypatch.setattr(method, "draw", lambda poses, size: drawn.append(poses) or draw(poses, size))
        training = TrainedOn(size, is_stretched=True, has_drawn_surfaces=False, clips=clips)
        figures = []
        for height, width in ((270, 480), (480, 270)):
            drawn.clear()
            with VideoWriter(tmp_path / "dance.mp4", FPS) as writer:
                for _ in range(FRAMES):
                    writer.write(torch.zeros(3, height, width, dtype=torch.uint8))
            place = torch.tensor([width / 2 - 90, height / 2 - 90, 0])
            write_poses(tmp_path / "dance_pose.npz", tracks[1] * torch.tensor([180 / 64, 180 / 64, 1]) + place)
            clip, options = probe(tmp_path / "dance.mp4"), MotionOptions(retarget=True)
            list(animated_frames(method, [], clip, options, size, training=training))
            figure = to_pixels(torch.cat(drawn, dim=1)[0], size)[..., :2]
            feet = figure[:, [10, 13]].mean(dim=1, keepdim=True)
            figures.append(figure - feet * torch.tensor([1, 0]))  # the paper moves nobody sideways
        torch.testing.assert_close(*figures, atol=0.6, rtol=0)  # pixels; a tall clip of 16:9 becomes 40.5 wide, as 40
        (across, along), (wide, high) = (
            (track[:, 2, 0] - track[:, 5, 0], track[:, 1, 1] - track[:, 8, 1]) for track in (figures[0], tracks[1])
        )
        stretched = (across / along) / (wide / high)  # shoulders against the back
        aspect = clips[1] / clips[0] if clips else 16 / 9
        torch.testing.assert_close(stretched, torch.full_like(stretched, 2 / aspect), rtol=0.02, atol=0)

    def test_poses_from_openpose_files_are_those_beside_the_clip(self, files, tracks):
        """In another format, and with a bystander, who is smaller and not followed."""
        write_poses(files / "dance_pose.npz", tracks[1])
        expected = painted(files)
        (files / "dance_pose.npz").unlink()
        whole = convert_pose(tracks[1], BODY_18, BODY_25)
        bystander = torch.cat([whole[..., :2] * 0.3, whole[..., 2:]], dim=-1)
        write_openpose(files / "openpose", torch.stack([bystander, whole], dim=1), BODY_25)
        ours = painted(files, driving_pose=files / "openpose")
        assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))

    def test_a_source_is_not_looked_at_and_needs_no_pose(self, files, tracks):
        write_poses(files / "dance_pose.npz", tracks[1])
        options = {"driving": files / "dance.mp4", "device": "cpu"}
        with_source = animate(files / "painter.safetensors", files / "me.png", output=files / "with.mkv", **options)
        without = animate(files / "painter.safetensors", output=files / "without.mkv", **options)
        frames = [read_frames(probe(path), range(FRAMES)) for path in (with_source, without)]
        assert torch.equal(*frames)

    def test_nobody_in_a_frame_is_a_blank_drawing_and_the_clip_keeps_its_length(self, files, tracks):
        people = [pose[None] for pose in tracks[1]]
        people[4] = torch.zeros(0, 18, 3)
        write_openpose(files / "openpose", people, BODY_18)
        frames = painted(files, driving_pose=files / "openpose", options=MotionOptions(retarget=True))
        assert len(frames) == FRAMES
        hidden = tracks[1].clone()
        hidden[4] = 0
        write_poses(files / "dance_pose.npz", hidden)
        expected = painted(files, options=MotionOptions(retarget=True))
        assert all(torch.equal(a, b) for a, b in zip(frames, expected, strict=True))

    def test_a_person_who_leaves_is_placed_as_when_last_seen(self, files, tracks):
        """Ankles leave the frame: what is still seen is moved as the nearest frame that showed them."""
        leaving = tracks[1].clone()
        leaving[6:, [9, 10, 12, 13]] = 0
        method = EverybodyDanceNow.from_weights(files / "painter.safetensors")
        placed = method.subject.place(to_units(leaving, SIZE).double(), SIZE, "paper", 1)
        assert placed.isfinite().all()
        assert torch.equal(placed[..., 2] > 0, leaving[..., 2] > 0)
        nose = leaving[5:8, 0, :2].double()
        move = (placed[5:8, 0, :2] + 1) * 32 - 0.5 - nose
        scale = (placed[5, 0, :2] - placed[5, 1, :2]).norm() * 32 / (leaving[5, 0, :2] - leaving[5, 1, :2]).norm()
        torch.testing.assert_close(move[1:] - move[0], (scale - 1) * (nose[1:] - nose[0]), atol=1e-3, rtol=0)

    def test_missing_ankles_throughout_are_an_error_that_names_file_and_frame(self, files, tracks):
        without = tracks[1].clone()
        without[:, [10, 13]] = 0
        without[:7, 5:] = 0
        write_poses(files / "dance_pose.npz", without)
        with pytest.raises(ZooError, match=r"dance_pose\.npz: none of 10 frames.*frame [789].*left_ankle, right_ankle"):
            painted(files, options=MotionOptions(retarget=True))
        assert len(painted(files)) == FRAMES  # where they stand isn't asked

    def test_poses_of_another_length_name_the_file(self, files, tracks):
        write_openpose(files / "openpose", [pose[None] for pose in tracks[1][:7]], BODY_18)
        with pytest.raises(ZooError, match=r"openpose: has poses of 7 frames, but dance\.mp4 has 10"):
            painted(files, driving_pose=files / "openpose")
        write_openpose(files / "more", [pose[None] for pose in tracks[1][[*range(10), 0]]], BODY_18)
        with pytest.raises(ZooError, match=r"more: .*11 frames.*frame_000000000010_keypoints\.json.* no frame"):
            painted(files, driving_pose=files / "more")
        write_poses(files / "dance_pose.npz", tracks[1][:9])
        with pytest.raises(ZooError, match=r"dance_pose\.npz: has 9 frames, but the video has 10"):
            painted(files)

    def test_what_needs_a_source_is_refused_without_one(self, files, tracks):
        write_poses(files / "dance_pose.npz", tracks[1])
        for options in ({"audio": "source"}, {"crop": (0, 0, 8, 8)}, {"source_pose": files / "dance_pose.npz"}):
            with pytest.raises(ZooError, match="source"):
                animate(files / "painter.safetensors", driving=files / "dance.mp4", device="cpu", **options)


class TestEstimation:
    def test_without_a_back_end_one_line_says_what_to_do(self, files, monkeypatch, tmp_path):
        monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "empty"))
        monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
        with pytest.raises(ZooError, match=r"dance\.mp4: .*zoo weights install pose.*zoo prepare --pose") as caught:
            painted(files)
        assert "\n" not in str(caught.value)

    def test_poses_are_estimated_where_there_are_none(self, files, people):
        pytest.importorskip("ai_edge_litert", reason="needs the extra `pose`")
        if not all(row.present for row in networks.status() if row.name.startswith("pose")):
            pytest.skip("needs `zoo weights install pose`")
        large = SyntheticPeople(size=(256, 256), train_identities=0, val_identities=0, test_identities=1, frames=4)
        clip = next(clip for clip in large.clips("test") if "jumping_jack" in clip.name)
        with VideoWriter(files / "dance.mp4", FPS) as writer:
            for frame in large.frames(clip, range(4)):
                writer.write(frame)
        assert len(painted(files, options=MotionOptions(retarget=True))) == 4
        with VideoWriter(files / "dance.mp4", FPS) as writer:
            for _ in range(3):
                writer.write(torch.zeros(3, 128, 128, dtype=torch.uint8))
        with pytest.raises(ZooError, match=r"dance\.mp4: shows nobody in any of the 3 frames"):
            painted(files)


@pytest.fixture
def posed(files, tracks):
    write_poses(files / "dance_pose.npz", tracks[1])
    write_poses(files / "me_pose.npz", tracks[0][:1])
    return files


class TestDwNet:
    def run(self, files, **options):
        torch.manual_seed(0)
        method = DwNet(width=4, downsamplings=1, blocks=1, discriminator_width=4, perceptual="alexnet").eval()
        clips = [probe(files / "me.png", kind="image")], probe(files / "dance.mp4")
        return torch.stack(list(animated_frames(method, *clips, size=SIZE, **options)))

    def test_without_surface_maps_a_body_is_drawn_around_the_poses(self, posed):
        drawn = self.run(posed)
        main(["prepare", str(posed / "dance.mp4"), str(posed / "me.png"), "--iuv", "--overlay", "null"])
        assert (posed / "dance_iuv.npz").is_file()
        assert (posed / "me_iuv.npz").is_file()
        assert torch.equal(self.run(posed), drawn)
        with np.load(posed / "dance_iuv.npz") as stored:
            np.savez(posed / "dance_iuv.npz", iuv=np.zeros_like(stored["iuv"]))
        assert not torch.equal(self.run(posed), drawn)
        learnt_from_drawn = TrainedOn(None, is_stretched=False, has_drawn_surfaces=True)
        assert torch.equal(self.run(posed, training=learnt_from_drawn), drawn)

    @pytest.mark.parametrize(("read", "drawn"), [("me.png", "dance.mp4"), ("dance.mp4", "me.png")])
    def test_maps_of_different_origin_are_refused(self, posed, read, drawn):
        main(["prepare", str(posed / read), "--iuv", "--overlay", "null"])
        with pytest.raises(ZooError) as caught:
            self.run(posed)
        problem = f"{posed / drawn}: has its surface map drawn around poses, while that of {posed / read} is read from "
        assert str(caught.value).startswith(problem + str(posed / f"{read.partition('.')[0]}_iuv.npz"))
        assert f"`zoo prepare {posed / drawn} --iuv`" in str(caught.value)
        learnt_from_drawn = TrainedOn(None, is_stretched=False, has_drawn_surfaces=True)
        assert len(self.run(posed, training=learnt_from_drawn)) == FRAMES  # draws both

    def test_drawn_maps_are_told_of_unless_the_weights_know_them(self, posed, capsys):
        for known in ({"has_drawn_surfaces": True}, {"has_drawn_surfaces": False, "is_synthetic": True}):
            self.run(posed, training=TrainedOn(None, is_stretched=False, **known))
            assert "warning" not in capsys.readouterr().out
        self.run(posed)
        assert "warning: surface maps of me.png, dance.mp4 are drawn around poses" in capsys.readouterr().out
        main(["prepare", str(posed / "dance.mp4"), str(posed / "me.png"), "--iuv", "--overlay", "null"])
        capsys.readouterr()
        self.run(posed)
        assert "warning" not in capsys.readouterr().out

    def test_given_poses_are_drawn_even_beside_surface_maps(self, posed, tracks):
        drawn = self.run(posed)
        write_poses(posed / "other.npz", tracks[1].flip(0))
        main(["prepare", str(posed / "dance.mp4"), "--iuv", "--overlay", "null"])
        assert not torch.equal(self.run(posed, driving_pose=posed / "other.npz"), drawn)


class TestDeepSpatialTransformation:
    def run(self, method, files, source="me.png", **options):
        clips = [probe(files / source, kind="image")], probe(files / "dance.mp4")
        return torch.stack(list(animated_frames(method, *clips, size=SIZE, **options)))

    def method(self, version=DeepSpatialTransformation):
        torch.manual_seed(0)
        return version(**TRANSFORMER).eval()

    @pytest.mark.parametrize("version", [DeepSpatialTransformation, DeepSpatialAnimation])
    def test_retargeting_changes_another_body_and_not_ones_own(self, posed, tracks, version):
        method = self.method(version)
        other, fitted = (self.run(method, posed, options=MotionOptions(retarget=wanted)) for wanted in (False, True))
        assert (other != fitted).any()
        write_image(posed / "own.png", read_frames(probe(posed / "dance.mp4"), [6])[0])
        write_poses(posed / "own_pose.npz", tracks[1][6:7])
        plain, fitted = (
            self.run(method, posed, "own.png", options=MotionOptions(retarget=wanted)) for wanted in (False, True)
        )
        assert (plain.int() - fitted.int()).abs().max() <= 1

    def test_denoising_from_the_command_line_on_and_off(self, posed):
        torch.manual_seed(0)
        save_weights(self.method(), posed / "method.safetensors", size="64x64")
        save_weights(SkeletonDenoiser("body_18", channels=8).eval(), posed / "denoiser.safetensors")
        command = [
            "animate",
            "--weights",
            str(posed / "method.safetensors"),
            "--source",
            str(posed / "me.png"),
            "--driving",
            str(posed / "dance.mp4"),
            "--device",
            "cpu",
            "--output",
        ]
        main([*command, str(posed / "off.mkv")])
        main([*command, str(posed / "on.mkv"), "--denoiser", str(posed / "denoiser.safetensors"), "--retarget"])
        off, on = (read_frames(probe(posed / name), range(FRAMES)) for name in ("off.mkv", "on.mkv"))
        assert (off != on).any()
        with pytest.raises(SystemExit, match="no denoiser in these weights; give one with `--denoiser FILE`"):
            main([*command, str(posed / "out.mkv"), "--denoise"])
        method = self.method()
        method.attach_denoiser(posed / "denoiser.safetensors")
        save_weights(method, posed / "method.safetensors", size="64x64")
        main([*command, str(posed / "held.mkv"), "--denoise", "--retarget"])
        assert torch.equal(read_frames(probe(posed / "held.mkv"), range(FRAMES)), on)

    def test_a_denoiser_given_as_weights_is_refused_before_poses_are_estimated(self, files):
        weights = save_weights(SkeletonDenoiser("body_18", channels=8).eval(), files / "denoiser.safetensors")
        with pytest.raises(ZooError, match="animates nothing; give its weights as `--denoiser`"):
            animate(weights, files / "me.png", driving=files / "dance.mp4", output=files / "out.mkv", device="cpu")

    @pytest.mark.parametrize("shown", [[], [0], [0, 3]])
    def test_a_source_without_limbs_is_rendered_but_nothing_is_fitted_to_it(self, posed, tracks, shown):
        """The source's file is to blame, also where the driver shows nobody either."""
        source = torch.zeros_like(tracks[0][:1])
        source[:, shown] = tracks[0][:1, shown]
        write_poses(posed / "me_pose.npz", source)
        write_poses(posed / "dance_pose.npz", torch.zeros_like(tracks[1]))
        assert len(self.run(self.method(), posed)) == FRAMES
        for visualize in (False, True):
            with pytest.raises(ZooError, match=r"me_pose\.npz: shows no limb .*leave out `--retarget`"):
                self.run(self.method(), posed, options=MotionOptions(retarget=True), visualize=visualize)

    def test_a_method_without_poses_takes_no_denoiser(self):
        with pytest.raises(ZooError, match="leave out `--denoiser`"):
            FirstOrderMotionModel.attach_denoiser(torch.nn.Module(), "denoiser.safetensors")

    @pytest.mark.parametrize("missing", [[0], [2, 3, 4], list(range(18))])
    def test_missing_joints_up_to_all_of_them_are_rendered(self, posed, tracks, missing):
        hidden = tracks[1].clone()
        hidden[3:5, missing] = 0
        write_poses(posed / "dance_pose.npz", hidden)
        for retarget in (False, True):
            assert len(self.run(self.method(), posed, options=MotionOptions(retarget=retarget))) == FRAMES

    def test_a_track_without_anybody_is_rendered_but_not_retargeted(self, posed, tracks):
        write_poses(posed / "dance_pose.npz", torch.zeros_like(tracks[1]))
        assert len(self.run(self.method(), posed)) == FRAMES
        with pytest.raises(ZooError, match=r"dance_pose\.npz: no limb .* in any of 10 frames"):
            self.run(self.method(), posed, options=MotionOptions(retarget=True))

    def test_a_track_of_another_length_is_refused(self, posed, tracks):
        write_poses(posed / "dance_pose.npz", tracks[1][:4])
        with pytest.raises(ZooError, match=r"dance_pose\.npz: has 4 frames, but the video has 10"):
            self.run(self.method(), posed)


@pytest.fixture
def landmarks():
    """68 points (T, 68, 3) in pixels, one after another around an ellipse that moves to the right."""
    angle = torch.linspace(0, 2 * torch.pi, 68)
    face = torch.stack([28 + 16 * angle.cos(), 32 + 20 * angle.sin(), torch.ones(68)], -1)
    return face + torch.tensor([1.0, 0, 0]) * torch.arange(FRAMES).view(-1, 1, 1)


@pytest.fixture
def faces(files, landmarks):
    """Landmarks beside the clip and the picture."""
    pytest.importorskip("skimage", reason="needs scikit-image")
    write_poses(files / "dance_pose.npz", landmarks, "face_68")
    write_poses(files / "me_pose.npz", landmarks[:1], "face_68")
    return files


class Statue:
    """An estimator that finds the same person in every frame; of formats without a face it must not be asked."""

    def __init__(self, skeleton):
        self.skeleton = skeleton
        self.person = torch.arange(len(skeleton.joints))[:, None] + torch.tensor([1.0, 2.0, 1.0])
        self.person[:, 2] = 1

    def __call__(self, frame):
        assert self.skeleton is not MEDIAPIPE_33
        return self.person[None]


class TestDeepSpatialFace:
    def run(self, files, **options):
        torch.manual_seed(0)
        clips = [probe(files / "me.png", kind="image")], probe(files / "dance.mp4")
        method = DeepSpatialFace(**TRANSFORMER, init_gain=1.0).eval()
        return torch.stack(list(animated_frames(method, *clips, size=SIZE, **options)))

    def test_landmarks_drive_a_face_from_the_command_line(self, faces):
        torch.manual_seed(0)
        weights = save_weights(DeepSpatialFace(**TRANSFORMER).eval(), faces / "face.safetensors", size="64x64")
        files = ["--source", str(faces / "me.png"), "--driving", str(faces / "dance.mp4")]
        main(["animate", "--weights", str(weights), *files, "--output", str(faces / "out.mkv"), "--device", "cpu"])
        assert probe(faces / "out.mkv").frames == FRAMES

    def test_landmarks_without_a_name_and_in_whole_bodies_are_the_same(self, faces, landmarks):
        def found(given=None):
            condition = find_condition(DeepSpatialFace(**TRANSFORMER), "pose", probe(faces / "dance.mp4"), given)
            return condition.read(range(FRAMES), ByteCache(0))

        assert torch.equal(found(), landmarks)
        np.savez(faces / "dance_pose.npz", keypoints=landmarks.numpy())
        assert torch.equal(found(), landmarks)
        whole = torch.zeros(FRAMES, len(WHOLE_25.joints), 3)
        whole[:, 25:93] = landmarks
        write_poses(faces / "dance_pose.npz", whole, "body_25_whole")
        assert torch.equal(found(), landmarks)
        write_openpose(faces / "openpose", whole[:, None], WHOLE_25)
        assert torch.equal(found(faces / "openpose"), landmarks)

    def test_bodies_are_refused_by_the_name_of_their_file(self, faces, tracks):
        write_poses(faces / "dance_pose.npz", tracks[1])
        with pytest.raises(ZooError, match=r"dance_pose\.npz: holds poses of skeleton body_18, .* needs face_68"):
            self.run(faces)
        write_openpose(faces / "openpose", tracks[1][:, None], BODY_18)
        with pytest.raises(ZooError, match=r"openpose: holds poses of skeleton body_18, .* needs face_68"):
            self.run(faces, driving_pose=faces / "openpose")

    @pytest.mark.parametrize("skeleton", [MEDIAPIPE_33, WHOLE_25])
    def test_estimators_of_bodies_are_refused_before_they_look_at_a_frame(self, files, monkeypatch, skeleton):
        monkeypatch.setattr("zoo.clip_conditions.load_estimator", lambda name: Statue(skeleton))
        expected = Statue(skeleton).person
        if skeleton is WHOLE_25:  # as rtmlib's
            found = find_condition(DeepSpatialFace(**TRANSFORMER), "pose", probe(files / "dance.mp4"))
            assert torch.equal(found.read([3], ByteCache(0))[0], expected[WHOLE_25.part("face")][:68])
            return
        with pytest.raises(
            ZooError, match=r"me\.png: .* no me_pose\.npz.*no joint of face_68.*prepare --pose --skeleton"
        ):
            self.run(files)

    def test_landmarks_beside_clips_train_it(self, faces, landmarks):
        """Mirrored ones, too: sides are exchanged by the format's names."""
        (faces / "clips" / "train").mkdir(parents=True)
        for name in ("dance.mp4", "dance_pose.npz"):
            (faces / name).rename(faces / "clips" / "train" / name)
        method = DeepSpatialFace(**TRANSFORMER)
        options = {"size": 32, "driving_frames": 6, "augmentation": {"horizontal_flip": True}, "workers": 0}
        data = VideoDataModule(str(faces / "clips"), **options, batch_size=1, conditions=method.training_conditions)
        trainer = Trainer(
            accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False, default_root_dir=faces
        )
        trainer.fit(method, data)
        assert trainer.global_step == 1
        assert all(value.isfinite() for value in trainer.callback_metrics.values())
