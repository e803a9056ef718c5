"""Everybody Dance Now against outputs that the official code produced (CPU, float32), and its own promises."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from lightning import Callback, Trainer
from rounding import jittered, with_spread
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from zoo.base import MotionOptions, count_parameters, split_driving
from zoo.batch import Batch
from zoo.cli import main
from zoo.data.synthetic import SyntheticPeople
from zoo.errors import OptionError
from zoo.methods.everybody_dance_now import EverybodyDanceNow, official
from zoo.methods.everybody_dance_now.faces import crop, paste
from zoo.methods.everybody_dance_now.losses import PERCEPTUAL_TAP_WEIGHTS, faces_judged_as, judge_faces, stacked
from zoo.methods.everybody_dance_now.networks import UNet
from zoo.methods.everybody_dance_now.subject import CAPACITY, Subject
from zoo.nn.features import FeatureNetwork, vgg19_layers
from zoo.nn.lsgan import distance_to, judged_as
from zoo.nn.patchgan import MultiScalePatchGAN, PatchGAN
from zoo.nn.perceptual import PerceptualLoss
from zoo.pose import BODY_18, to_pixels, to_units
from zoo.stages import read_stages
from zoo.weights import WeightsError, save_weights

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "everybody_dance_now"
VGG19_TAPS = (1, 6, 11, 20, 29)
STAGES = ["global_stage", "local_stage", "face_stage"]
RECORDED_NAMES = {"netG": "G", "netD": "D", "faceGen": "Gface", "netDface": "Dface"}


class Recorded:
    """One recorded case of the fixtures."""

    def __init__(self, folder, name):
        self.tensors = load_file(folder / f"{name}.safetensors")
        self.expected = json.loads((folder / f"{name}.json").read_text())
        self.config = self.expected["config"]

    def __getitem__(self, key):
        return self.tensors[key]

    def under(self, prefix):
        start = len(prefix) + 1
        return {key[start:]: tensor for key, tensor in self.tensors.items() if key.startswith(prefix + ".")}


class Case(Recorded):
    """A recorded iteration: the method with the recorded weights, which is shown the recorded labels and boxes.

    With a seed its labels and pictures are jittered in the last bit.
    """

    def __init__(self, folder, name, seed=None):
        super().__init__(folder, name)
        self.again = partial(Case, folder, name)
        self.seed = seed
        options = self.expected["base_options"] | self.config["opt"]
        arguments = official.constructor_arguments(options)
        if options["face_generator"]:
            arguments |= {"face_width": self.config["face_ngf"], "face_discriminator_width": self.config["face_ndf"]}
            arguments |= {"face_size": 32, "init_from": "the recorded weights"}
        self.method = EverybodyDanceNow(**arguments)
        checkpoint = {ours: self.under(f"state_dict.{theirs}") for theirs, ours in RECORDED_NAMES.items()}
        self.method.load_official({name: tensors for name, tensors in checkpoint.items() if tensors})
        self.method.perceptual_loss = PerceptualLoss(self.vgg(), PERCEPTUAL_TAP_WEIGHTS)
        self.method.draw = lambda poses, size: self.labels[:, : poses.shape[1]]
        self.method.faces = lambda poses, size: self.tensors.get("input.face_coords")
        self.method.take_over = lambda path: None
        self.labels = jittered(self.frames("input.label", "input.next_label"), seed)
        self.batch = Batch(
            source=torch.rand(1, 1, *self.labels.shape[2:]),
            driving=jittered((self.frames("input.image", "input.next_image") + 1) / 2, seed),
            driving_pose=torch.zeros(1, 2, 135, 3),
        )

    def vgg(self):
        state = {f"features.{key.split('.', 1)[1]}": tensor for key, tensor in self.under("state_dict.vgg").items()}
        return FeatureNetwork(vgg19_layers(self.config["vgg_widths"]), VGG19_TAPS, normalise=False).load_features(state)

    def frames(self, *keys):
        return torch.stack([self.tensors[key] for key in keys], dim=1)

    def loss(self, name):
        return self[f"loss.{name}"].item()


def close(ours, expected, atol=1e-4, name=""):
    torch.testing.assert_close(ours, expected, atol=atol, rtol=0, msg=lambda message: f"{name}: {message}")


@pytest.mark.shared
class TestParity:
    @pytest.fixture
    def folder(self, shared):
        return shared / "parity" / "everybody_dance_now"

    @pytest.fixture(params=STAGES)
    def case(self, request, folder):
        return Case(folder, request.param)

    @torch.no_grad()
    def test_frames_and_logits(self, case):
        def compute(seed):
            again = case.again(seed)
            rendered = again.method.training_forward(again.batch)
            inputs = {
                "fake": stacked(rendered["figures"], rendered["generated"]),
                "real": stacked(rendered["figures"], rendered["frames"]),
            }
            found = {f"output.I{moment}": rendered["generated"][:, moment] for moment in range(2)}
            found["output.D_in_crop.fake_detached"] = inputs["fake"][..., 8:24, 8:24]
            found["output.D_in_crop.real"] = inputs["real"][..., 8:24, 8:24]
            for role, stack in inputs.items():
                for number, scale in enumerate(again.method.discriminator(stack)):
                    found[f"output.D_out.{role}.scale_index{number}.logits"] = scale[-1]
                    features = {f"output.D_feat.{role}.scale_index{number}.{i}": f for i, f in enumerate(scale[:-1])}
                    found |= {key: value for key, value in features.items() if key in case.tensors}
            return found

        self.compare(case, compute)

    @torch.no_grad()
    def test_faces(self, folder):
        case = Case(folder, "face_stage")

        def compute(seed):
            again = case.again(seed)
            rendered = again.method.training_forward(again.batch)
            figures, boxes, judge = rendered["figures"], rendered["boxes"], again.method.face_discriminator
            found = {}
            for role, frames in (("fake", rendered["generated"]), ("real", rendered["frames"])):
                for moment, logits in enumerate(judge_faces(judge, figures, frames, boxes)):
                    found[f"output.Dface_out.{role}{moment}"] = logits
            first = again.method.paint(figures[:, 0], torch.zeros_like(figures[:, 0]), boxes=None)  # by the body alone
            found["output.initial_I0"] = first
            found["output.face_residual0"] = crop(rendered["generated"][:, 0], boxes) - crop(first, boxes)
            return found

        self.compare(case, compute)

    def compare(self, case, compute):
        """Within 1e-4 of the recording, and of what rounding leaves open in frames that are painted from frames."""
        found, spread = with_spread(compute)
        for name, ours in found.items():
            close(ours, case[name], 1e-4 + spread[name], name)

    @torch.no_grad()
    def test_losses(self, case):
        found, spread = with_spread(lambda seed: self.terms(case.again(seed)))
        for name, loss in found.items():
            expected = case.loss(name)
            assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-5 * abs(expected) + spread[name]), name

    def terms(self, case):
        method = case.method
        rendered = method.training_forward(case.batch)
        ours = method.losses("generator", case.batch, rendered)
        theirs = method.losses("discriminator", case.batch, rendered)
        none = torch.zeros(())
        generator = {
            "G_GAN": ours["gan"],
            "G_GAN_Feat": ours["feature_matching"],
            "G_VGG": ours["perceptual"] + ours.get("face_perceptual", 0),
            "G_GANface": ours.get("face_gan", none),
            "total_G": torch.stack(list(ours.values())).sum(),
        }
        discriminator = {
            "D_real": 2 * theirs["real"] if "real" in theirs else self.frozen(method, rendered, "frames"),
            "D_fake": 2 * theirs["generated"] if "generated" in theirs else self.frozen(method, rendered, "generated"),
            "D_realface": 2 * theirs.get("face_real", none),
            "D_fakeface": 2 * theirs.get("face_generated", none),
        }
        return generator | discriminator | {"total_D": torch.stack(list(discriminator.values())).sum() / 2}

    def frozen(self, method, rendered, role):
        """The body discriminator's term in the face stage, where it isn't trained and so isn't computed."""
        judged = method.discriminator(stacked(rendered["figures"], rendered[role]))
        return judged_as(judged, real=role == "frames")

    @torch.no_grad()
    def test_perceptual_layers(self, case):
        network = case.vgg()
        for number, name in enumerate(("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")):
            weights = [float(tap == number) for tap in range(5)]
            distance = PerceptualLoss(network, weights)(case["input.image"], case["input.next_image"])
            assert distance.item() == pytest.approx(case[f"vgg.l1_image_vs_next.{name}"].item(), rel=1e-5)

    @pytest.mark.parametrize("chunk", [1, 2, 3])
    def test_roll_out(self, case, chunk):
        def compute(seed):
            again = case.again(seed)
            third = jittered(again.frames("input.label", "input.next_label", "rollout.label2"), seed)
            moments = iter(range(3))
            again.method.draw = lambda poses, size: third[:, [next(moments) for _ in range(poses.shape[1])]]
            batch = again.batch | {
                "driving": torch.rand(1, 3, *third.shape[2:]),
                "driving_pose": torch.zeros(1, 3, 135, 3),
            }
            animated = again.method.eval().animate(batch, chunk=chunk)
            return {f"rollout.output{moment}": animated[:, moment] for moment in (0, 2)}

        found, spread = with_spread(compute)
        for name, frame in found.items():
            close(frame, ((case[name] + 1) / 2).clamp(0, 1), 1e-4 + spread[name], name)

    def test_one_step_of_the_real_loop(self, case, tmp_path):
        before = official.to_official({key: tensor.clone() for key, tensor in case.method.state_dict().items()})
        after = {}

        def compute(seed):
            again, recording = case.again(seed), Recording()
            fit(again.method, again.batch, tmp_path, recording)
            if seed is None:
                after.update(official.to_official(again.method.state_dict()))
            networks = official.to_official(recording.gradients)
            return {f"{name}.{key}": gradient for name, found in networks.items() for key, gradient in found.items()}

        gradients, spread = with_spread(compute)
        trained = {name.partition(".")[0] for name in gradients}
        for theirs, ours in RECORDED_NAMES.items():
            if ours not in trained:
                continue  # gradients of frozen networks were recorded, but nothing uses them
            for key, expected in case.under(f"grad.{theirs}").items():
                name, scale = f"{ours}.{key}", expected.abs().max().item()
                assert spread[name] < 0.1 * scale  # there is something to compare
                torch.testing.assert_close(gradients[name], expected, atol=1e-4 * scale + spread[name], rtol=1e-3)
            for key, norm in case.expected["grad_l2_norm"].get(theirs, {}).items():
                if norm > 1e-3:  # a bias before a normalisation has no gradient but round-off
                    name = f"{ours}.{key}"
                    slack = spread[name] * gradients[name].numel() ** 0.5
                    assert gradients[name].norm().item() == pytest.approx(norm, abs=1e-3 * norm + slack), key
            for key, expected in case.under(f"updated.{theirs}").items():
                assert not torch.equal(before[ours][key], after[ours][key])
                # Adam's first step is lr * sign(gradient): where rounding turned the sign, weights go the other way
                gradient, recorded = gradients[f"{ours}.{key}"], case[f"grad.{theirs}.{key}"]
                clear = (gradient.sign() == recorded.sign()) & (gradient.abs() > 1e-4 * gradient.abs().max())
                assert clear.float().mean() > 0.95
                close(after[ours][key][clear], expected[clear], 1e-6)
        assert trained == ({"G", "D"} if "faceGen" not in case.expected["grad_l2_norm"] else {"Gface", "Dface"})

    @pytest.mark.parametrize("mode", ["eval", "train"])
    def test_face_discriminator(self, folder, mode):
        case = Recorded(folder, "face_discriminator")
        network = PatchGAN(6, case.config["ndf"], case.config["n_layers"]).train(mode == "train")
        state = official.rename({"Dface": case.under("state_dict")})
        network.load_state_dict({key.removeprefix("face_discriminator."): tensor for key, tensor in state.items()})
        logits = network(case["input.x"])
        close(logits, case[f"{mode}.output"])
        close(distance_to(logits, True), case[f"{mode}.loss_all_samples_true"], 1e-6)
        close(distance_to(logits[-1:], True), case[f"{mode}.loss_official_true"], 1e-6)
        close(faces_judged_as([logits[-1:]] * 2, real=False), case[f"{mode}.loss_official_false"], 1e-6)

    @pytest.mark.parametrize("mode", ["eval", "train"])
    def test_unet(self, folder, mode):
        case = Recorded(folder, "face_unet_optional")
        network = UNet(6, 3, case.config["ngf"]).train(mode == "train")
        network.load_state_dict(case.under("state_dict"))
        close(network(case["input.x"]), case[f"{mode}.output"])


class Recording(Callback):
    """Keeps the gradients that the optimisers saw."""

    def __init__(self):
        self.gradients = {}

    def on_before_optimizer_step(self, trainer, module, optimizer):
        ours = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for name, parameter in module.named_parameters():
            if id(parameter) in ours:
                self.gradients[name] = parameter.grad.clone()


SMALL = {
    "skeleton": "body_18",
    "canvas": None,
    "generator_width": 4,
    "generator_downsamplings": 1,
    "generator_blocks": 1,
    "enhancer_blocks": 1,
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
SIZE = (32, 48)


def small(**arguments):
    torch.manual_seed(0)
    return EverybodyDanceNow(**SMALL | arguments).eval()


@pytest.fixture(scope="module")
def walker():
    """Poses (T, 18, 3) of a person who walks towards the camera and back, in units of a picture of 32 x 48."""
    people = SyntheticPeople(size=SIZE, train_identities=1, val_identities=0, test_identities=0, frames=40)
    clip = people.clips("train")[0]
    standing = people.condition(clip, "pose", [0])[0]
    standing[:, 2] = 1
    nearness = torch.linspace(0, 2 * torch.pi, 40).cos()[:, None]  # 1 near, -1 far
    track = standing.repeat(40, 1, 1)
    ankles = standing[[10, 13], :2].mean(dim=0)
    track[..., :2] = ankles + (standing[:, :2] - ankles) * (1 + 0.1 * nearness)[..., None]
    track[..., 1] += nearness - 2
    return to_units(track, SIZE)


def batch_of(poses):
    """A batch of one clip with these poses (T, K, 3) and noise for pictures."""
    frames = torch.rand(1, len(poses), 3, *SIZE, generator=torch.Generator().manual_seed(0))
    return Batch(source=frames[:, :1], driving=frames, driving_pose=poses[None], source_pose=poses[None, :1])


def test_published_parameter_counts():
    with torch.device("meta"):
        stages = {stage: EverybodyDanceNow(stage=stage) for stage in ("global", "local", "face")}
    assert count_parameters(stages["global"].generator) == 182_452_675
    assert count_parameters(stages["global"].discriminator) == 5_547_906
    for stage in ("local", "face"):
        assert count_parameters(stages[stage].generator) == 182_715_939
        assert count_parameters(stages[stage].discriminator) == 8_321_859
    assert count_parameters(stages["face"].face_generator) == 26_724_291
    assert count_parameters(stages["face"].face_discriminator) == 2_769_601


class TestStages:
    def test_each_stage_takes_over_what_it_shares(self, tmp_path):
        first, second = small(), small(stage="local")
        first.subject.remember(torch.rand(3, 18, 3), SIZE)
        second.take_over(checkpoint(first, tmp_path / "global.ckpt"))
        ours, theirs = second.state_dict(), first.state_dict()
        assert all(torch.equal(ours[key], tensor) for key, tensor in theirs.items() if key in ours)
        assert {key for key in theirs if key not in ours} == {"generator.model.12.weight", "generator.model.12.bias"}
        assert "discriminator.scale1_layer0.0.weight" in theirs
        assert "discriminator.scale2_layer0.0.weight" in ours.keys() - theirs.keys()
        third = small(stage="face")
        third.take_over(checkpoint(second, tmp_path / "local.ckpt"))
        assert all(torch.equal(third.state_dict()[key], tensor) for key, tensor in second.state_dict().items())

    def test_the_face_stage_keeps_a_trained_discriminator_or_needs_none(self, tmp_path):
        body = small()
        weights = save_weights(body, tmp_path / "weights.safetensors")
        with pytest.raises(WeightsError, match=r"weights\.safetensors: doesn't hold the body's whole discriminator"):
            small(stage="face", body="global").take_over(weights)
        small(stage="face", body="global", loss_weights={"gan": 0, "feature_matching": 0}).take_over(weights)
        refined = small(stage="face", body="global")
        refined.take_over(checkpoint(body, tmp_path / "global.ckpt"))
        assert {key for key in body.state_dict() if key not in refined.state_dict()} == set()
        assert all(torch.equal(refined.state_dict()[key], tensor) for key, tensor in body.state_dict().items())

    def test_another_width_is_named(self, tmp_path):
        file = checkpoint(small(), tmp_path / "global.ckpt")
        with pytest.raises(WeightsError, match=r"global\.ckpt.*this stage has"):
            small(stage="local", generator_width=8).take_over(file)

    def test_the_face_needs_a_body(self):
        with pytest.raises(OptionError, match="init_from"):
            small(stage="face").setup("fit")

    def test_the_face_changes_nothing_but_its_square(self, walker):
        method = small(stage="face")
        figure, previous = method.draw(walker[:1], SIZE), torch.zeros(1, 3, *SIZE)
        boxes = method.faces(walker[:1], SIZE)
        refined = method.paint(figure, previous, boxes)
        body = method.paint(figure, previous, boxes=None)
        assert (crop(refined, boxes) - crop(body, boxes)).abs().min() > 0
        assert torch.equal(paste(refined, boxes, crop(body, boxes)), body)

    def test_the_body_is_frozen_while_the_face_learns(self, walker, tmp_path):
        body = small(stage="local")
        torch.nn.init.constant_(body.generator.model1_2[-2].bias, 0.25)
        method = small(stage="face", face_size=32, init_from=str(checkpoint(body, tmp_path / "local.ckpt")))
        start = {key: tensor.clone() for key, tensor in method.state_dict().items()} | body.state_dict()
        fit(method, batch_of(walker[:2]), tmp_path)
        after = method.state_dict()
        changed = {key.split(".")[0] for key in after if not torch.equal(after[key], start[key])}
        assert changed == {"face_generator", "face_discriminator", "subject"}

    def test_recipes_name_the_stage_before(self):
        for folder in ("published", "synthetic-256", "tiny-stages"):
            stages = read_stages(CONFIGS / folder, Path("runs"))
            names = list(stages)
            assert [stage.init_from for stage in stages.values()] == [None, *names[:-1]]

    @pytest.mark.parametrize(
        "recipe", sorted(CONFIGS.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}-{path.stem}"
    )
    def test_every_recipe_is_understood(self, recipe, capsys):
        with pytest.raises(SystemExit) as stop:
            main(["fit", "--config", str(recipe), "--print_config"])
        assert stop.value.code == 0
        printed = yaml.safe_load(capsys.readouterr().out)
        written = yaml.safe_load(recipe.read_text())
        for name, value in written["model"]["init_args"].items():
            assert printed["model"]["init_args"][name] == value, name

    def test_learning_rate_stays_then_falls(self):
        optimizers, schedulers = small(learning_rate=1.0, constant_epochs=2, decay_epochs=2).configure_optimizers()
        rates = []
        for _ in range(6):
            rates.append(optimizers[0].param_groups[0]["lr"])
            for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
                optimizer.step()
                scheduler.step()
        assert rates == [1, 1, 1, 0.5, 0, 0]


class TestModules:
    """The three modules of the paper: temporal smoothing, pose normalisation, faces."""

    def test_a_frame_depends_on_the_one_before(self, walker):
        method = small()
        alone, after = method.animate(batch_of(walker[5:6])), method.animate(batch_of(walker[[20, 5]]))
        assert not torch.allclose(alone[:, 0], after[:, 1], atol=1e-3)

    def test_without_temporal_smoothing_it_does_not(self, walker):
        method = small(temporal_smoothing=False)
        alone, after = method.animate(batch_of(walker[5:6])), method.animate(batch_of(walker[[20, 5]]))
        torch.testing.assert_close(alone[:, 0], after[:, 1])
        rendered = method.training_forward(batch_of(walker[:3]))
        assert rendered["generated"].shape == (3, 1, 3, *SIZE)
        assert method.losses("discriminator", batch_of(walker[:3]), rendered)["real"].isfinite()

    def test_pairs_are_asked_for(self, walker):
        with pytest.raises(OptionError, match=r"driving_frames: 2"):
            small().training_forward(batch_of(walker[:3]))

    def test_the_source_is_not_looked_at(self, walker):
        method, batch = small(), batch_of(walker[:3])
        assert torch.equal(method.animate(batch), method.animate(batch | {"source": 1 - batch["source"]}))

    def test_retargeting_to_oneself_is_the_identity(self, walker):
        method = small()
        method.subject.remember(walker, SIZE)
        placed = method.subject.place(walker, SIZE, "paper", window=1)
        torch.testing.assert_close(placed, walker, atol=1e-5, rtol=0)

    def test_a_smaller_driver_elsewhere_lands_where_the_subject_stands(self, walker):
        method = small()
        method.subject.remember(walker, SIZE)
        driver = to_pixels(walker, SIZE)
        driver[..., :2] = 0.7 * driver[..., :2] + torch.tensor([9.0, 2.0])
        state = method.encode(batch_of(walker), MotionOptions(retarget=True))
        state = method.adapt(state, {"pose": to_units(driver, SIZE)[None]})
        ankles = [to_pixels(poses, SIZE)[:, [10, 13], 1].mean(dim=1) for poses in (state.poses[0], walker)]
        extent = ankles[1].max() - ankles[1].min()
        for ours, subject in zip(ankles[0].aminmax(), ankles[1].aminmax(), strict=True):
            assert abs(ours - subject) < 0.02 * extent

    def test_retargeted_frames_do_not_depend_on_chunks_and_survive_the_weights_file(self, walker, tmp_path):
        method = small(median_window=7)
        method.subject.remember(walker, SIZE)
        options, batch = MotionOptions(retarget=True), batch_of(walker.flip(0)[:9])
        whole = method.animate(batch, options, chunk=9)
        assert not torch.allclose(whole, method.animate(batch), atol=1e-3)
        torch.testing.assert_close(method.animate(batch, options, chunk=2), whole)
        loaded = EverybodyDanceNow.from_weights(save_weights(method, tmp_path / "weights.safetensors"))
        torch.testing.assert_close(loaded.animate(batch, options), whole)

    def test_explained_figures_are_those_of_the_chunk(self, walker):
        poses = walker[::8]
        method, batch, options = small(), batch_of(poses), MotionOptions(retarget=True)
        method.subject.remember(poses, SIZE)  # so that the driver is the subject
        source, chunks = Batch(source=batch["source"]), list(split_driving(batch, 2))
        views = [views["figure"] for _, views in method.stream_explained(source, lambda: chunks, options)]
        figures, expected = torch.cat(views, dim=1), method.draw(poses[None], SIZE)
        assert (figures != expected).float().mean() < 0.01  # rounding may move a stroke by a pixel
        assert (expected[:, 1:] != expected[:, :-1]).float().mean() > 0.02

    def test_retargeting_needs_a_subject(self, walker):
        with pytest.raises(OptionError, match="no poses of their subject"):
            small().animate(batch_of(walker[:2]), MotionOptions(retarget=True))

    def test_the_oldest_poses_make_room(self):
        subject = Subject(BODY_18)
        for start in range(0, CAPACITY + 4, 2):
            subject.remember(torch.full((2, 18, 3), float(start)), SIZE)
        assert subject.poses[:4, 0, 0].tolist() == [CAPACITY, CAPACITY, CAPACITY + 2, CAPACITY + 2]
        assert subject.poses[4, 0, 0] == 4

    def test_faces_of_a_batch_have_their_own_squares(self):
        pictures = torch.rand(2, 3, 8, 8)
        boxes = torch.tensor([[0, 4, 0, 4], [3, 7, 4, 8]])
        squares = crop(pictures, boxes)
        assert torch.equal(squares[1], pictures[1, :, 3:7, 4:8])
        assert torch.equal(paste(pictures, boxes, squares), pictures)


class TestOptions:
    def test_pictures_that_are_too_small(self, walker):
        batch = Batch(
            source=torch.rand(1, 1, 3, 16, 16), driving=torch.rand(1, 1, 3, 16, 16), driving_pose=walker[None, :1]
        )
        with pytest.raises(OptionError, match="at least 32 x 32"):
            small(generator_downsamplings=4).animate(batch)
        with pytest.raises(OptionError, match="at least 32 x 32"):
            small(stage="face", face_size=32).animate(batch)

    def test_poses_of_another_format(self, walker, tmp_path):
        with pytest.raises(OptionError, match=r"body_25.*25, 3"):
            fit(small(skeleton="body_25"), batch_of(walker[:2]), tmp_path)

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            ({"skeleton": "body_19"}, "body_18"),
            ({"stage": "face", "face_size": 17}, "multiple of 2"),
            ({"stage": "face", "face_network": "unet"}, "multiple of 32"),
            ({"stage": "local", "generator_width": 5}, "odd"),
        ],
    )
    def test_mistakes_are_explained(self, arguments, problem):
        with pytest.raises(OptionError, match=problem):
            small(**arguments)


@pytest.mark.parametrize(("both", "expected"), [(False, 3 * 0.7), (True, 3 * 0.45)])
def test_reconstruction_is_of_the_second_frame_or_of_both(both, expected):
    weights = {"reconstruction": 3, "gan": 0, "feature_matching": 0, "perceptual": 0}
    method = small(loss_weights=weights, reconstruct_first=both)
    frames = torch.zeros(2, 2, 3, *SIZE)
    generated = torch.tensor([0.2, 0.7])[:, None, None, None].expand_as(frames)
    rendered = {"figures": frames, "frames": frames, "generated": generated, "boxes": None}
    terms = method.losses("generator", {}, rendered)
    assert terms.keys() == {"reconstruction"}
    assert terms["reconstruction"].item() == pytest.approx(expected)


def test_the_ablation_recipe_switches_off_one_module_and_nothing_else():
    full, ablated = (
        yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()) for name in ("synthetic-64", "synthetic-64-no-smoothing")
    )
    assert ablated["model"]["init_args"].pop("temporal_smoothing") is False
    assert ablated == full


def test_other_networks_than_the_published_ones_paint(walker):
    method = small(stage="face", face_network="unet", face_size=32, temporal_smoothing=False, face_points=22)
    assert method.animate(batch_of(walker[:2])).shape == (1, 2, 3, *SIZE)
    assert method.weights["perceptual"] == 10
    assert small(stage="local").weights["perceptual"] == 20


class TestOfficialFiles:
    @pytest.fixture
    def files(self, tmp_path):
        """What the official code writes for the face stage, and the method that it is."""
        method = small(stage="face")
        for name, tensors in official.to_official(method.state_dict()).items():
            torch.save(tensors, tmp_path / f"latest_net_{name}.pth")
        return method, tmp_path / "latest_net_G.pth"

    def test_round_trip(self, files):
        method, path = files
        assert {file.name for file in path.parent.iterdir()} == {f"latest_net_{name}.pth" for name in official.NETWORKS}
        torch.manual_seed(1)
        loaded = EverybodyDanceNow.from_official(path, **SMALL, stage="face")
        assert all(torch.equal(tensor, method.state_dict()[key]) for key, tensor in loaded.state_dict().items())

    def test_layout_is_the_official_one(self, files):
        tensors = torch.load(files[1].with_name("latest_net_Dface.pth"), weights_only=True)
        assert "facemodel.0.weight" in tensors
        assert "model1_2.0.conv_block.1.weight" in torch.load(files[1], weights_only=True)

    def test_networks_of_other_stages_are_left_alone(self, files):
        method, path = files
        loaded = EverybodyDanceNow.from_official(path, **SMALL, stage="local")
        assert loaded.face_generator is None
        assert torch.equal(loaded.generator.model[1].weight, method.generator.model[1].weight)

    def test_a_missing_face_generator_is_named(self, files):
        files[1].with_name("latest_net_Gface.pth").unlink()
        with pytest.raises(WeightsError, match="face_generator"):
            EverybodyDanceNow.from_official(files[1], **SMALL, stage="face")

    def test_a_discriminator_of_another_make_is_left_out(self, files):
        with pytest.warns(UserWarning, match="the file's discriminator isn't of the make"):
            loaded = EverybodyDanceNow.from_official(files[1], **SMALL | {"discriminator_width": 3}, stage="face")
        assert torch.equal(loaded.generator.model[1].weight, files[0].generator.model[1].weight)
        with pytest.warns(UserWarning, match="the file's discriminator isn't of the make"):  # it lacks a scale
            EverybodyDanceNow.from_official(files[1], **SMALL | {"discriminator_scales": 4}, stage="face")

    def test_options_that_change_the_losses(self):
        depths = {"n_downsample_global": 2, "n_blocks_global": 1, "n_blocks_local": 1, "n_layers_D": 2, "num_D": 2}
        options = depths | {"netG": "global", "ngf": 8, "ndf": 8, "lr": 1e-4, "niter_decay": 0}
        method = EverybodyDanceNow(**official.constructor_arguments(options | {"lambda_feat": 5, "no_vgg_loss": True}))
        assert method.weights["feature_matching"] == 5
        assert method.weights["perceptual"] == method.weights["face_perceptual"] == 0
        assert method.weights["reconstruction"] == 0
        assert official.constructor_arguments(options | {"use_l1": True})["loss_weights"]["reconstruction"] == 10
        assert method.configure_optimizers()[1][0].lr_lambdas[0](150) == 1  # without a decay the rate stays
        assert official.constructor_arguments(options)["face_network"] == "unet"
        face = options | {"face_generator": True, "n_layers_D": 3, "niter_fix_main": 10}
        assert official.constructor_arguments(face)["stage"] == "face"

    @pytest.mark.parametrize(
        ("others", "said"),
        [
            ({"n_local_enhancers": 2}, "n_local_enhancers is 2"),
            ({"niter_fix_global": 10}, "niter_fix_global is 10"),
            ({"face_generator": True, "niter_fix_main": 0}, "niter_fix_main is 0"),
            ({"face_generator": True, "n_layers_D": 2}, "n_layers_D is 2"),
        ],
    )
    def test_options_of_another_training_are_refused(self, others, said):
        depths = {"n_downsample_global": 2, "n_blocks_global": 1, "n_blocks_local": 1, "n_layers_D": 3, "num_D": 2}
        options = depths | {"netG": "global", "ngf": 8, "ndf": 8, "lr": 1e-4, "niter_decay": 0}
        official.constructor_arguments(options)
        with pytest.raises(OptionError, match=said):
            official.constructor_arguments(options | others)

    def test_a_discriminator_whose_features_nobody_compares(self, files):
        """Official: it is built without them, so that its tensors have other names."""
        method, path = files
        torch.manual_seed(1)
        layers, scales = method.hparams["discriminator_layers"], method.discriminator.scales
        plain = MultiScalePatchGAN(12, SMALL["discriminator_width"], layers, scales, features=False)
        torch.save(plain.state_dict(), path.with_name("latest_net_D.pth"))
        loaded = EverybodyDanceNow.from_official(path, **SMALL, stage="face")
        pictures = torch.rand(1, 12, 32, 64)
        for ours, (theirs,) in zip(loaded.discriminator(pictures), plain(pictures), strict=True):
            assert torch.equal(ours[-1], theirs)

    def test_another_file_is_named(self, files):
        with pytest.raises(WeightsError, match=r"latest_net_D.*latest_net_G"):
            EverybodyDanceNow.from_official(files[1].with_name("latest_net_D.pth"), **SMALL)

    def test_statistics_of_old_instance_norms_are_dropped(self):
        tensors = {"model.1.weight": torch.ones(1), "model.2.running_mean": torch.ones(1)}
        assert official.rename({"G": tensors}).keys() == {"generator.model.1.weight"}


def checkpoint(method, path):
    """A Lightning checkpoint of an untrained method."""
    torch.save({"state_dict": method.state_dict(), "hyper_parameters": dict(method.hparams)}, path)
    return path


def fit(method, batch, folder, *callbacks):
    """One step of the real loop on one batch."""
    method.train()
    trainer = Trainer(
        max_steps=1,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(method, DataLoader([batch], batch_size=None))
