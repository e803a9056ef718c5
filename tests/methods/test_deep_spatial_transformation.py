"""Deep Spatial Transformation against outputs that the official code produced (CPU, float32), and what it promises."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning import Callback, Trainer, seed_everything
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader

from zoo import methods
from zoo.base import MotionOptions, count_parameters
from zoo.batch import Batch
from zoo.data import VideoDataModule
from zoo.errors import OptionError
from zoo.methods.deep_spatial_transformation import (
    DeepSpatialAnimation,
    DeepSpatialFace,
    DeepSpatialTransformation,
    SkeletonDenoiser,
    losses,
    official,
)
from zoo.methods.deep_spatial_transformation.discriminators import Discriminator, TemporalDiscriminator
from zoo.methods.deep_spatial_transformation.face import fill_missing
from zoo.methods.deep_spatial_transformation.face_structure import fill_polygon
from zoo.methods.deep_spatial_transformation.motion_extraction import MotionExtraction, TrackCleaner
from zoo.methods.deep_spatial_transformation.networks import LocalAttention, Motion
from zoo.methods.deep_spatial_transformation.structure import COCO_LIMBS, HUMAN36M_17, draw_skeleton
from zoo.nn.features import FeatureNetwork
from zoo.pose import SKELETONS, to_units
from zoo.pose.heatmaps import gaussian_heatmaps
from zoo.weights import WeightsError, load_weights, save_weights

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "deep_spatial_transformation"
VERSIONS = {
    "pose_generator": DeepSpatialTransformation,
    "dance_generator": DeepSpatialAnimation,
    "face_generator": DeepSpatialFace,
}
TERMS = {
    "app_gen": "reconstruction",
    "content_gen": "perceptual",
    "style_gen": "style",
    "ad_gen": "adversarial",
    "ad_gen_v": "adversarial_video",
    "correctness_gen": "sampling_correctness",
    "correctness_p": "sampling_correctness_previous",
    "correctness_r": "sampling_correctness_reference",
    "regularization": "affine_regularisation",
    "regularization_p": "affine_regularisation_previous",
    "regularization_r": "affine_regularisation_reference",
}
"""The official code's names of the generator's terms -> ours."""

SMALL = {
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


def close(ours, expected, atol=1e-4, name=""):
    torch.testing.assert_close(ours, expected, atol=atol, rtol=0, msg=lambda message: f"{name}: {message}")


def under(tensors, prefix):
    return {key[len(prefix) + 1 :]: tensor for key, tensor in tensors.items() if key.startswith(prefix + ".")}


def to_range(pictures):
    """Bytes as the recordings turn them into [-1, 1]."""
    return (pictures.float() / 255 - 0.5) / 0.5


class StubFeatures:
    """The small VGG that the losses were recorded with."""

    def __init__(self, plan, tensors):
        layers, channels, taps = [], 3, {}
        for i, (name, width, pool) in enumerate(plan):
            layers += [nn.MaxPool2d(2)] if pool else []
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            layers[-2].load_state_dict(under(tensors, f"vgg.convs.{i}"))
            taps[name], channels = len(layers) - 1, width
        self.taps = taps
        self.network = FeatureNetwork(nn.Sequential(*layers), tuple(taps.values()), normalise=False)

    def __call__(self, pictures):
        return dict(zip(self.taps, self.network(pictures), strict=True))


class Case:
    """One recorded generator: the method with its weights, its inputs, and what is expected."""

    def __init__(self, folder, name):
        self.tensors = load_file(folder / f"{name}.safetensors")
        self.expected = json.loads((folder / f"{name}.json").read_text())
        judges, widths = self.expected["discriminator"], self.expected["flow_widths"]
        self.method = VERSIONS[name](
            **official.constructor_arguments(self.expected["config"]),
            flow_width=widths["ngf"],
            flow_max_width=widths["img_f"],
            flow_layers=widths["encoder_layer"],
            discriminator_width=judges["ndf"],
            discriminator_max_width=judges["img_f"],
            discriminator_layers=judges["layers"],
        )
        self.method.load_official(under(self.tensors, "state"))
        self.method.discriminator.load_state_dict(under(self.tensors, "D.before"))
        if name != "pose_generator":
            video = self.expected["video_discriminator"]
            judge = self.method.build_video_discriminator(video["ndf"], video["img_f"], video["layers"])
            judge.load_state_dict(under(self.tensors, "D_V.before"))
            self.method.video_discriminator = judge
            draws = iter(self.expected["random_draws"])
            self.method.draw_index = lambda count: next(draws)
        self.method.features = StubFeatures(self.expected["vgg_stub"]["plan"], self.tensors)
        self.method.structures = self.structures
        self.read_inputs(name)

    def read_inputs(self, name):
        tensors = self.tensors
        if name == "pose_generator":
            pictures = torch.stack([tensors["P1_u8"], tensors["P2_u8"]], 1)
            self.drawn = torch.stack([tensors["BP1_u8"], tensors["BP2_u8"]], 1).float() / 255
        else:
            pictures = tensors["P_u8"]
            drawn = tensors["skeleton_u8" if name == "dance_generator" else "structure_u8"].float()
            scaled = 17 if name == "dance_generator" else 15
            self.drawn = torch.cat([drawn[:, :, :scaled] / 255, drawn[:, :, scaled:]], 2)
        frames = pictures.shape[1]
        joints = 68 if name == "face_generator" else 18
        numbers = torch.arange(float(frames)).view(1, -1, 1, 1).expand(len(pictures), -1, joints, 3)
        self.batch = Batch(
            source=pictures[:, :1].float() / 255,
            driving=pictures[:, 1:].float() / 255,
            source_pose=numbers[:, :1],
            driving_pose=numbers[:, 1:],  # tell frames apart, whose structures were recorded and aren't drawn
        )

    def structures(self, batch, role, poses=None, skeleton=None):
        return self.drawn[:, batch[f"{role}_pose"][0, :, 0, 0].long()]


def moved_off_kink(side, layer, inputs):
    """A hook on a LeakyReLU: what lies within 1e-6 of zero is moved by twice as much, up or down."""
    (x,) = inputs
    return x + side * 2e-6 * (x.detach().abs() < 1e-6)


@pytest.fixture
def folder(shared):
    return shared / "parity" / "deep_spatial_transformation"


@pytest.mark.shared
@pytest.mark.parametrize("name", VERSIONS)
class TestGeneratorParity:
    @pytest.fixture
    def case(self, folder, name):
        return Case(folder, name)

    def test_losses_and_gradients(self, case, name):
        method, expected = case.method.train(), case.expected["losses"]
        rendered = method.training_forward(case.batch)
        judged = method.losses("discriminator", case.batch, rendered)
        assert float(judged["adversarial"]) == pytest.approx(expected["dis_img_gen"], rel=1e-5)
        if "adversarial_video" in judged:
            assert float(judged["adversarial_video"]) == pytest.approx(expected["dis_img_gen_v"], rel=1e-5)
        sum(judged.values()).backward()
        self.compare(under(case.tensors, "grad_D"), method.discriminator)
        if name != "pose_generator":
            self.compare(under(case.tensors, "grad_D_V"), method.video_discriminator)

        method.zero_grad()
        terms = method.losses("generator", case.batch, rendered)
        official_terms = {TERMS[key]: value for key, value in expected.items() if key in TERMS}
        assert terms.keys() == official_terms.keys()
        for term, value in official_terms.items():
            assert float(terms[term]) == pytest.approx(value, rel=1e-5), term
        sum(terms.values()).backward()
        recorded = under(case.tensors, "grad_G")
        if self.deviations(recorded, method.generator):
            # A pre-activation lies so near to its LeakyReLU's kink that rounding, which depends on the processor,
            # decides the side: the recorded gradient belongs to one of the two.
            sides = [self.deviations(recorded, self.beside_kinks(case, side)) for side in (-1, 1)]
            assert [] in sides, sides

    def compare(self, recorded, network):
        assert not self.deviations(recorded, network)

    def deviations(self, recorded, network):
        """The recorded gradients that the network's differ from by more than 1e-3 of their largest entry.

        That is the tolerance of the recording; most are within 1e-4.
        """
        assert recorded
        found = []
        for key, expected in recorded.items():
            gradient = network.get_parameter(key.replace(".conv1.", ".model.2.")).grad
            error = float((gradient - expected).abs().max() / expected.abs().max())
            found += [f"{key}: {error:.2g}"] if not error <= 1e-3 else []
        return found

    def beside_kinks(self, case, side):
        """The generator with its gradients, where pre-activations within 1e-6 of a kink are moved to one side of it."""
        kinks = [layer for layer in case.method.generator.modules() if isinstance(layer, nn.LeakyReLU)]
        hooks = [layer.register_forward_pre_hook(partial(moved_off_kink, side)) for layer in kinks]
        case.method.zero_grad()
        sum(case.method.losses("generator", case.batch, case.method.training_forward(case.batch)).values()).backward()
        for hook in hooks:
            hook.remove()
        return case.method.generator

    @torch.no_grad()
    def test_pictures_flows_masks_and_attention(self, case, name):
        case.method.eval()
        rendered = case.method.training_forward(case.batch)
        if name == "pose_generator":
            close(rendered["picture"], case.tensors["image"])
            source = case.method.generator.source(rendered["source"])
            for i, level in enumerate((3, 2)):
                close(rendered["motions"][level].flow, case.tensors[f"flow{i}"])
                close(rendered["motions"][level].mask, case.tensors[f"mask{i}"])
                close(source[level - 1], case.tensors[f"source_feature{i}"])
            return
        for i, frame in enumerate(rendered["frames"]):
            close(frame.picture, case.tensors[f"image{i}"], name=f"image{i}")
            order = [(3, 0), (3, 1), (2, 0), (2, 1)]
            for j, (level, branch) in enumerate(order if f"frame{i}.flow0" in case.tensors else []):
                close(frame.motions[branch][level].flow, case.tensors[f"frame{i}.flow{j}"], name=f"flow {i} {j}")
                close(frame.motions[branch][level].mask, case.tensors[f"frame{i}.mask{j}"], name=f"mask {i} {j}")

    @pytest.mark.parametrize("chunk", [1, 2, 6])
    def test_animate_gives_the_recorded_pictures_in_any_chunks(self, case, name, chunk):
        case.method.eval()
        if name == "face_generator":
            case.method.uses_track = lambda options: False  # its landmarks weren't recorded with the pictures
        frames = case.method.animate(case.batch, chunk=chunk)
        names = ["image"] if name == "pose_generator" else [f"image{i}" for i in range(frames.shape[1])]
        for i, recorded in enumerate(names):
            close(2 * frames[:, i] - 1, case.tensors[recorded])


@pytest.mark.parametrize("k", [3, 5])
def test_of_a_flat_source_attention_takes_all_or_its_share(k):
    torch.manual_seed(0)
    source = torch.tensor([2.0, -3.0])[None, :, None, None].expand(1, 2, 16, 16)
    target, flow = torch.randn(1, 2, 16, 16), torch.zeros(1, 2, 16, 16)
    for summed, share in ((True, 1), (False, 1 / k**2)):
        output, _ = LocalAttention(2, k, summed)(source, target, flow)
        torch.testing.assert_close(output[..., k:-k, k:-k], share * source[..., k:-k, k:-k])


@pytest.mark.shared
class TestPartsParity:
    @pytest.mark.parametrize("k", [3, 5])
    def test_attention_block(self, folder, k):
        tensors = load_file(folder / "ops.safetensors")
        case = under(tensors, f"attention_k{k}")
        block = LocalAttention(4, k)
        block.load_state_dict(under(case, "state"))
        inputs = [case[name].requires_grad_() for name in ("source", "target", "flow")]
        output, weights = block(*inputs)
        close(output, case["out"], 1e-5)
        close(weights, case["weights"], 1e-5)
        for name, gradient in zip(
            ("source", "target", "flow"), torch.autograd.grad(output, inputs, case["grad_out"]), strict=True
        ):
            close(gradient, case[f"grad_{name}"], 1e-5, name)

    @pytest.mark.parametrize("name", ["image", "frame_difference", "temporal"])
    def test_discriminators(self, folder, name):
        tensors = under(load_file(folder / "discriminators.safetensors"), name)
        config = json.loads((folder / "discriminators.json").read_text())["nets"][name]
        sizes = config["ndf"], config["img_f"], config["layers"]
        network = TemporalDiscriminator(*sizes) if name == "temporal" else Discriminator(config["input_nc"], *sizes)
        network.load_state_dict(under(tensors, "state"))
        pictures = to_range(tensors["input_u8"])
        close(network.eval()(pictures), tensors["eval_out"], 1e-6)
        close(network.train()(pictures), tensors["train_out"], 1e-6)
        for key, expected in under(tensors, "after").items():
            close(network.state_dict()[key], expected, 1e-6, key)

    def test_motion_extraction(self, folder):
        tensors = load_file(folder / "motion_extraction.safetensors")
        config = json.loads((folder / "motion_extraction.json").read_text())["config"]
        denoiser = SkeletonDenoiser(channels=config["channels"], layers=config["layers"], dropout=0.0)
        denoiser.load_official(under(tensors, "state"))
        network = denoiser.cleaner.network
        for length in ("T104", "T90"):
            close(network(tensors[f"{length}.input"]), tensors[f"{length}.output"], 1e-5)
        loss = nn.functional.mse_loss(network(tensors["T104.input"]), tensors["train.gt"])
        assert float(loss) == pytest.approx(float(tensors["train.loss"]), rel=1e-5)
        loss.backward()
        for key, expected in under(tensors, "train.grad.kp_input").items():
            close(network.get_parameter(key).grad, expected, 1e-5, key)

    def test_losses(self, folder):
        tensors = load_file(folder / "losses.safetensors")
        config = json.loads((folder / "losses.json").read_text())
        features = StubFeatures(config["vgg_stub"]["plan"], tensors)
        source = to_range(tensors["source_u8"]).requires_grad_()
        source_maps, target_maps = features(source), features(to_range(tensors["target_u8"]))
        for name, loss in (("content", losses.perceptual), ("style", losses.style)):
            value = loss(source_maps, target_maps)
            assert float(value) == pytest.approx(float(tensors[f"vgg.{name}"]), rel=1e-5)
            (gradient,) = torch.autograd.grad(value, source, retain_graph=True)
            recorded = tensors[f"vgg.grad_{name}"]
            close(gradient[..., ::4, ::4], recorded, 1e-4 * recorded.abs().max().item(), name)

        flows = {level: tensors[f"flow_layer{level}"].requires_grad_() for level in (2, 3)}
        for name, mask in (("plain", None), ("masked", tensors["mask_u8"].float())):
            terms = [
                losses.sampling_correctness(
                    flow, *(maps[config["feature_of_layer"][str(level)]] for maps in (source_maps, target_maps)), mask
                )
                for level, flow in flows.items()
            ]
            recorded = under(tensors, f"correctness.{name}")
            assert float(sum(terms)) == pytest.approx(float(recorded["loss"]), rel=1e-5)
            for level, gradient in zip(flows, torch.autograd.grad(sum(terms), list(flows.values())), strict=True):
                expected = recorded[f"grad_flow_layer{level}"]
                close(gradient, expected, 1e-4 * expected.abs().max().item(), f"{name} {level}")

        total = 0
        for level, flow in flows.items():
            patch = config["kernel_size"][str(level)]
            exact = losses.affine_regularisation(flow.double(), patch)
            assert float(exact) == pytest.approx(float(tensors[f"affine.loss_layer{level}_float64"]), rel=1e-9)
            total = total + losses.affine_regularisation(flow, patch)
            residual = losses.affine_residual(patch, tensors[f"affine.kernel_k{patch}"])
            close(residual, tensors[f"affine.kernel_k{patch}"].flatten(1), 1e-12)
        assert float(total) == pytest.approx(float(tensors["affine.loss"]), rel=1e-5)
        for level, gradient in zip(flows, torch.autograd.grad(total, list(flows.values())), strict=True):
            expected = tensors[f"affine.grad_flow_layer{level}"]
            close(gradient, expected, 1e-4 * expected.abs().max().item(), f"affine {level}")

        assert float(losses.judged_real(tensors["gan.output"])) == pytest.approx(float(tensors["gan.lsgan_real"]))
        both = losses.discriminator_adversarial(tensors["gan.output"], tensors["gan.output"])
        assert float(both) == pytest.approx(float(tensors["gan.lsgan_real"] + tensors["gan.lsgan_fake"]) / 2)

    @pytest.mark.parametrize("moved", [False, True], ids=["plain", "affine"])
    def test_heatmaps_of_pictures(self, folder, moved):
        tensors = under(load_file(folder / "structure_inputs.safetensors"), "pose18")
        config = json.loads((folder / "structure_inputs.json").read_text())
        yx = tensors["coords_yx"].double()
        scale = [new / old for new, old in zip(config["size"], config["old_size"], strict=True)]
        points = yx.flip(1) * torch.tensor(scale[::-1])
        if moved:
            points = points @ tensors["affine_matrix"][:2, :2].T + tensors["affine_matrix"][:2, 2]
        maps = gaussian_heatmaps(points, (yx >= 0).all(1), *config["size"], truncate=True)
        expected = tensors["map_affine" if moved else "map"]
        close(maps[config["stored_joints"]["pose18"]].float(), expected, 1e-6)

    @pytest.mark.parametrize(("layout", "limbs"), [("coco17", COCO_LIMBS), ("h36m17", HUMAN36M_17.limbs)])
    def test_skeletons(self, folder, layout, limbs):
        tensors = under(load_file(folder / "structure_inputs.safetensors"), "skeleton")
        config = json.loads((folder / "structure_inputs.json").read_text())
        yx = tensors[f"{layout}_yx"].T
        present = (yx != 0).all(1)
        pose = to_units(torch.cat([yx.flip(1), present[:, None]], 1)[None], (64, 64))
        drawing = draw_skeleton(pose, limbs, 64, 64)[0].permute(1, 2, 0)
        close(drawing.float(), tensors[f"{layout}_drawing"].float(), 1.0)  # grey levels of 255
        assert (drawing != tensors[f"{layout}_drawing"]).float().mean() < 0.001
        if layout == "coco17":
            maps = gaussian_heatmaps(yx.flip(1), present, 64, 64)[config["stored_joints"]["coco17"]]
            close(maps.float(), tensors["coco17_map"], 1e-6)

    def test_faces(self, folder):
        pytest.importorskip("skimage")
        tensors = under(load_file(folder / "structure_inputs.safetensors"), "face")
        points = torch.cat([tensors["landmarks_xy"], torch.ones(68, 1)], 1)[None]
        picture = tensors["image_u8"][None].float() / 255
        drawn = DeepSpatialFace(**SMALL).structure(to_units(points, (64, 64)), None, picture)[0]
        expected = tensors["structure_u8"].float()
        expected[:15] /= 255
        assert torch.equal(drawn, expected)


def test_lines_are_those_of_scikit_image():
    skimage_draw = pytest.importorskip("skimage.draw")
    draw = np.random.default_rng(0)
    different = 0
    for _ in range(50):
        ends = draw.integers(2, 38, (2, 2))
        pose = torch.zeros(1, 17, 3)
        pose[0, :2] = torch.cat([torch.from_numpy(ends[:, ::-1].copy()), torch.ones(2, 1)], 1)
        drawing = draw_skeleton(to_units(pose, (40, 40)), ((0, 1),), 40, 40)[0, 0].numpy()
        rows, columns, level = skimage_draw.line_aa(*ends.ravel().tolist())
        expected = np.zeros((40, 40))
        expected[rows, columns] = (255 * level).astype(np.uint8)
        for (row, column), colour in zip(ends, (0, 128), strict=True):  # the ends' own discs
            expected[skimage_draw.disk((row, column), 2, shape=(40, 40))] = colour
        assert np.abs(drawing - expected).max() <= 1
        different += (drawing != expected).sum()
    assert different < 50  # of some 2000 pixels: where a level hangs on double precision's last bit


def test_joints_in_the_first_row_or_column_are_not_drawn():
    """Official: a coordinate that is 0 as a whole number means that a joint is missing."""
    places = torch.tensor([[0.6, 20, 1], [20, 0.6, 1], [1.2, 30, 1], [30, 30, 1]])
    pose = torch.zeros(1, 17, 3)
    pose[0, :4] = places
    drawing = draw_skeleton(to_units(pose, (40, 40)), ((0, 3), (1, 3), (2, 3)), 40, 40)[0]
    pose[0, :2] = 0
    without = draw_skeleton(to_units(pose, (40, 40)), ((0, 3), (1, 3), (2, 3)), 40, 40)[0]
    assert torch.equal(drawing, without)
    assert drawing[:, 30, 1].any()


def test_affine_flows_cost_nothing():
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(7.0), indexing="ij")
    flow = torch.stack([0.3 * rows - 2 * columns + 1, 0.1 * columns + 5])[None]
    assert float(losses.affine_regularisation(flow, 5)) < 1e-8
    flow[0, 0, 4, 3] += 1
    assert float(losses.affine_regularisation(flow, 5)) > 0.1


def test_the_true_flow_is_the_correct_one():
    """Features that were moved by a known flow: it costs least, and the loss's own gradient leads towards it."""
    torch.manual_seed(0)
    coarse = torch.randn(1, 8, 6, 6)
    source = nn.functional.interpolate(coarse, (24, 24), mode="bilinear")
    target = source.roll((0, -3), (2, 3))  # target(x) = source(x + 3)
    flow = torch.zeros(1, 2, 24, 24)
    flow[:, 0] = 3
    still = losses.sampling_correctness(torch.zeros_like(flow), source, target)
    assert losses.sampling_correctness(flow, source, target) < 0.5 * still
    estimate = torch.zeros_like(flow).requires_grad_()
    optimiser = torch.optim.Adam([estimate], lr=0.2)
    for _ in range(60):
        optimiser.zero_grad()
        losses.sampling_correctness(estimate, source, target).backward()
        optimiser.step()
    assert abs(estimate[:, 0, 4:-4, 4:-8].median().item() - 3) < 0.5


def test_flows_are_compared_in_the_pixels_of_the_features():
    """The same displacement at two resolutions costs the same, whatever the size of the loss network's maps."""
    torch.manual_seed(0)
    maps = {"relu1_1": torch.randn(1, 8, 12, 16)}
    moved = {"relu1_1": maps["relu1_1"].roll((-1, -3), (2, 3))}
    costs = []
    for factor in (1, 2):
        method = DeepSpatialTransformation(
            **SMALL | {"attention_levels": [1], "patch_sizes": [3]}, loss_weights={"affine_regularisation": 0}
        )
        flow = torch.tensor([3.0, 1.0]).view(1, 2, 1, 1) * factor
        motion = Motion(flow.expand(1, 2, 12 * factor, 16 * factor), torch.ones(1, 1, 12 * factor, 16 * factor))
        costs.append(method.flow_terms({1: motion}, maps, moved)["sampling_correctness"].item())
    assert costs[0] == pytest.approx(costs[1])


def test_every_loss_network_knows_every_layer():
    for taps in losses.TAPS.values():
        assert taps.keys() == losses.TAPS["vgg19"].keys()
        assert list(taps.values()) == sorted(taps.values())
    assert set(losses.CORRESPONDENCE) == set(losses.TAPS)


def test_published_parameter_counts():
    image, animation, face = DeepSpatialTransformation(), DeepSpatialAnimation(), DeepSpatialFace()
    assert count_parameters(image.generator) == 14_047_395
    assert count_parameters(image.generator.flow_net) == 6_608_212
    market = DeepSpatialTransformation(attention_levels=[2], patch_sizes=[3], discriminator_layers=3)
    assert count_parameters(market.generator) == 12_926_471
    assert count_parameters(animation.generator) == 23_510_195
    assert count_parameters(face.generator) == 16_906_667
    assert count_parameters(image.discriminator) == 664_577
    assert count_parameters(market.discriminator) == 238_209
    assert count_parameters(animation.video_discriminator) == 1_032_961
    assert count_parameters(MotionExtraction()) == 1_834_786


class TestOfficialFile:
    @pytest.mark.parametrize("method", [DeepSpatialTransformation, DeepSpatialAnimation, DeepSpatialFace])
    @pytest.mark.parametrize("prefix", ["", "module."])
    def test_round_trip(self, method, prefix, tmp_path):
        module = method(**SMALL)
        files = official.to_official(module.state_dict())
        assert any(".conv1." in name for name in files["G"])
        assert "encoder0.shortcut.1.weight_orig" in files["D"]
        for network, content in files.items():
            named = {prefix + name: tensor for name, tensor in content.items()}
            torch.save(named, tmp_path / f"latest_net_{network}.pth")
        torch.manual_seed(1)
        loaded = method.from_official(tmp_path / "latest_net_G.pth", **SMALL)
        for name, tensor in module.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], tensor), name
        assert {name: content.keys() for name, content in official.to_official(loaded.state_dict()).items()} == {
            name: content.keys() for name, content in files.items()
        }

    def test_the_generator_alone_is_enough(self, tmp_path):
        module = DeepSpatialTransformation(**SMALL)
        torch.save(official.to_official(module.state_dict())["G"], tmp_path / "renamed.pth")
        loaded = DeepSpatialTransformation.from_official(tmp_path / "renamed.pth", **SMALL)
        assert all(torch.equal(loaded.inference_state()[name], t) for name, t in module.inference_state().items())

    def test_what_the_first_stage_leaves(self, tmp_path):
        """Its program writes the flow estimator alone; the second stage starts from that."""
        module = DeepSpatialTransformation(**SMALL)
        content = official.to_official(module.state_dict())["G"]
        flow = {name: tensor for name, tensor in content.items() if name.startswith("flow_net.")}
        assert 0 < len(flow) < len(content)
        torch.save(flow, tmp_path / "latest_net_G.pth")
        torch.manual_seed(1)
        loaded = DeepSpatialTransformation.from_official(tmp_path / "latest_net_G.pth", stage="flow", **SMALL)
        state = loaded.generator.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in flow.items() if ".conv1." not in name)
        path = save_weights(loaded, tmp_path / "flow.safetensors")
        second = DeepSpatialTransformation(**SMALL, init_from=str(path))
        second.setup("fit")
        assert all(torch.equal(tensor, second.generator.state_dict()[name]) for name, tensor in state.items())
        with pytest.raises(WeightsError, match=r"latest_net_G\.pth.*lacks"):
            DeepSpatialTransformation.from_official(tmp_path / "latest_net_G.pth", **SMALL)
        for part in (dict(list(flow.items())[:3]), {}, {"epoch": 3}):
            torch.save(part, tmp_path / "latest_net_G.pth")
            with pytest.raises(WeightsError, match=r"latest_net_G\.pth.*lacks"):
                DeepSpatialTransformation.from_official(tmp_path / "latest_net_G.pth", stage="flow", **SMALL)

    @pytest.mark.parametrize("other", [{"activation": "ReLU"}, {"use_spect": True}, {"use_coord": True}])
    def test_options_of_other_networks_are_refused(self, other):
        config = {"ngf": 8, "img_f": 8, "layers": 2, "num_blocks": 1, "attn_layer": [1], "extractor_kz": {"1": 3}}
        assert official.constructor_arguments(config | {"activation": "LeakyReLU"})["patch_sizes"] == [3]
        (name,) = other
        with pytest.raises(OptionError, match=f"{name} is {other[name]!r}"):
            official.constructor_arguments(config | other)

    def test_denoiser_round_trip(self, tmp_path):
        denoiser = SkeletonDenoiser(channels=8)
        content = official.to_official_denoiser(denoiser.state_dict())
        assert all(name.startswith("kp_input.") for name in content)
        torch.save(content, tmp_path / "latest_net_G.pth")
        loaded = SkeletonDenoiser.from_official(tmp_path / "latest_net_G.pth", channels=8)
        assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in denoiser.state_dict().items())

    def test_another_version_is_named(self, tmp_path):
        content = official.to_official(DeepSpatialAnimation(**SMALL).state_dict())["G"]
        torch.save(content, tmp_path / "latest_net_G.pth")
        with pytest.raises(WeightsError, match=r"latest_net_G\.pth.*lacks.*constructor arguments"):
            DeepSpatialTransformation.from_official(tmp_path / "latest_net_G.pth", **SMALL)

    def test_published_shapes(self):
        names = official.to_official(DeepSpatialTransformation().state_dict())["G"]
        assert names["flow_net.block0.model.0.weight"].shape == (39,)
        assert names["flow_net.output1.weight"].shape == (2, 128, 3, 3)
        assert names["flow_net.output2.weight"].shape == (2, 64, 3, 3)
        assert names["target.attn0.fully_connect_layer.0.weight"].shape == (128, 512, 3, 3)
        assert names["target.attn1.fully_connect_layer.0.weight"].shape == (128, 256, 5, 5)
        assert names["target.attn1.fully_connect_layer.2.weight"].shape == (25, 128, 1, 1)


# ---------------------------------------------------------------------- variants


def random_batch(joints=18, frames=6, side=32, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pose = 1.6 * torch.rand(batch, frames + 1, joints, 3, generator=generator) - 0.8
    pose[..., 2] = 1
    return Batch(
        source=torch.rand(batch, 1, 3, side, side, generator=generator),
        driving=torch.rand(batch, frames, 3, side, side, generator=generator),
        source_pose=pose[:, :1],
        driving_pose=pose[:, 1:],
    )


def face_batch(**options):
    """Random pictures, and landmarks that look a little like a face."""
    batch = random_batch(joints=68, **options)
    angle = torch.linspace(0, 2 * torch.pi, 68)
    face = torch.stack([0.6 * angle.cos(), 0.6 * angle.sin(), torch.ones(68)], -1)
    for role in ("source_pose", "driving_pose"):
        jitter = 0.05 * batch[role][..., :1]
        batch[role] = face + torch.cat([jitter, jitter, torch.zeros_like(jitter)], -1)
    return batch


def fit(module, batches, folder, **options):
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )
    trainer.fit(module, DataLoader(batches, batch_size=None))
    return trainer


class Touched(Callback):
    """Which parameters had a gradient when an optimiser stepped, per optimiser."""

    def __init__(self):
        self.steps = []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
        named = [(name, p) for name, p in module.named_parameters() if id(p) in mine]
        self.steps.append({name for name, p in named if p.grad is not None and p.grad.abs().max() > 0})


class TestStages:
    def test_the_first_trains_the_flow_estimator_alone(self, tmp_path):
        seed_everything(0)
        method = DeepSpatialTransformation("flow", **SMALL)
        before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
        trainer = fit(method, [random_batch(frames=1, batch=2)], tmp_path, max_steps=1)
        assert set(trainer.logged_metrics) == {"train/flow/sampling_correctness", "train/flow/affine_regularisation"}
        for name, tensor in method.state_dict().items():
            is_flow = name.startswith("generator.flow_net.")
            if not is_flow:
                assert torch.equal(tensor, before[name]), name
        assert any(not torch.equal(method.state_dict()[n], t) for n, t in before.items() if "flow_net.output" in n)

    @pytest.mark.slow
    def test_the_firsts_tiny_recipe_trains(self):
        content = yaml.safe_load((CONFIGS / "tiny-flow.yaml").read_text())
        seed_everything(0)
        method = DeepSpatialTransformation(**content["model"]["init_args"])
        data = VideoDataModule(**content["data"] | {"conditions": method.training_conditions, "evaluation_frames": 4})
        trainer = Trainer(accelerator="cpu", max_steps=2, logger=False, enable_checkpointing=False, limit_val_batches=1)
        trainer.fit(method, data)
        assert all(value.isfinite() for value in trainer.callback_metrics.values())

    def test_the_second_starts_from_the_firsts_weights(self, tmp_path):
        first = DeepSpatialTransformation("flow", **SMALL)
        weights = save_weights(first, tmp_path / "flow.safetensors")
        second = DeepSpatialTransformation(**SMALL, init_from=str(weights))
        second.setup("fit")
        for name, tensor in first.generator.flow_net.state_dict().items():
            assert torch.equal(second.generator.flow_net.state_dict()[name], tensor)

    def test_picture_terms_mean_nothing_in_the_first(self):
        with pytest.raises(OptionError, match="style"):
            DeepSpatialTransformation("flow", **SMALL, loss_weights={"style": 1})

    @pytest.mark.parametrize("name", losses.PUBLISHED["all"])
    def test_every_term_can_be_switched_off(self, name):
        method = DeepSpatialTransformation(**SMALL, loss_weights={name: 0})
        batch = random_batch(frames=1)
        terms = method.losses("generator", batch, method.training_forward(batch))
        assert terms.keys() == losses.PUBLISHED["all"].keys() - {name}
        assert ("discriminator" in [phase.name for phase in method.phases]) == (name != "adversarial")

    @pytest.mark.parametrize("version", [DeepSpatialTransformation, DeepSpatialAnimation])
    def test_initial_weights_are_orthogonal(self, version):
        """The generator's with the gain asked for, the discriminator's always with the published one."""
        method = version(**SMALL, init_gain=0.5)
        for network, gain in ((method.generator, 0.5), (method.discriminator, 0.02)):
            assert_orthogonal(network, gain)
        assert_orthogonal(version(**SMALL).generator, 0.02)

    def test_rates_fall_after_milestones(self):
        method = DeepSpatialTransformation(**SMALL, milestones=[1, 3])
        optimizers, schedulers = method.configure_optimizers()
        rates = []
        for _ in range(4):
            rates.append([optimizer.param_groups[0]["lr"] for optimizer in optimizers])
            for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
                optimizer.step()
                scheduler.step()
        published = torch.tensor([1e-5, 1e-4])  # discriminator, generator
        expected = published * torch.tensor([1, 0.1, 0.1, 0.01])[:, None]
        torch.testing.assert_close(torch.tensor(rates), expected)


def assert_orthogonal(network, gain):
    weights = {name.removesuffix("_orig"): parameter for name, parameter in network.named_parameters()}
    filters = [weight.flatten(1) for name, weight in weights.items() if name.endswith("weight") and weight.ndim == 4]
    assert filters
    for rows in filters:
        product = rows @ rows.mT if len(rows) <= rows.shape[1] else rows.mT @ rows
        torch.testing.assert_close(product, gain**2 * torch.eye(len(product)), rtol=0, atol=1e-5)


ANIMATIONS = {
    "animation": (DeepSpatialAnimation, random_batch),
    "face": (DeepSpatialFace, face_batch),
}


@pytest.mark.parametrize("version", ANIMATIONS)
class TestRecurrentVersions:
    @pytest.fixture
    def method(self, version):
        if version == "face":
            pytest.importorskip("skimage")
        seed_everything(0)
        method = ANIMATIONS[version][0](**SMALL)
        for parameter in method.generator.parameters():  # the initial gain of 0.02 would hide everything
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.2)
        return method

    @pytest.fixture
    def batch(self, version):
        return ANIMATIONS[version][1](frames=6, side=32)

    @pytest.mark.parametrize("chunk", [1, 4])
    def test_chunked_equals_whole(self, method, batch, chunk):
        method.eval()
        whole = method.animate(batch, chunk=6)
        assert whole.std() > 0.01
        close(method.animate(batch, chunk=chunk), whole, 1e-5)

    def test_frames_depend_on_those_before(self, method, batch):
        method.eval()
        alone = Batch(**batch | {key: batch[key][:, -1:] for key in ("driving", "driving_pose")})
        difference = method.animate(batch)[:, -1] - method.animate(alone)[:, 0]
        assert difference.abs().max() > 1e-3

    def test_each_chunk_trains_every_network(self, method, batch, tmp_path):
        batch = Batch(**{key: torch.cat([value] * 2, 1) if "driving" in key else value for key, value in batch.items()})
        touched = Touched()
        trainer = fit(method, [batch], tmp_path, max_steps=1, callbacks=[touched])
        assert trainer.global_step == 1  # one batch, although there are two chunks and two phases
        judges = {n for n, _ in method.named_parameters() if "discriminator" in n}
        generator = {n for n, _ in method.named_parameters() if n.startswith("generator.")}
        assert touched.steps == [judges, generator, judges, generator]

    def test_published_weights_give_equal_output(self, method, batch, tmp_path):
        method.eval()
        loaded = load_weights(save_weights(method, tmp_path / "weights.safetensors"), type(method))
        assert torch.equal(loaded.animate(batch), method.animate(batch))

    def test_explain_shows_both_branches(self, method, batch):
        method.eval()
        views = {}
        for frames, chunk_views in method.stream_explained(
            Batch(source=batch["source"], source_pose=batch["source_pose"]),
            lambda: [Batch(driving=batch["driving"], driving_pose=batch["driving_pose"])],
        ):
            views = chunk_views
            assert all(view.shape == frames.shape for view in views.values())
        kinds = {
            f"{kind}_{name}" for kind in ("warped", "flow", "occlusion", "attention") for name in ("previous", "source")
        }
        assert views.keys() == {"driving", "structure"} | kinds
        assert all(view.min() >= 0 and view.max() <= 1 for view in views.values())

    def test_structures_are_shown_as_they_are_meant(self, method, batch):
        """Joints and edges, neither drawings in 0 ... 255 nor distances and labels."""
        shown = method.eval().pictures(batch)["structure"]
        structure = method.structures(batch, "driving")[0, -1]
        meant = structure[0] if isinstance(method, DeepSpatialFace) else structure[:17].amax(0)
        assert torch.equal(shown, meant.expand(3, -1, -1))
        assert (shown == 1).float().mean() < 0.5

    def test_a_clip_that_is_no_whole_chunks_is_refused(self, method, version, tmp_path):
        with pytest.raises(OptionError, match=r"data\.driving_frames"):
            fit(method, [ANIMATIONS[version][1](frames=7)], tmp_path, max_steps=1)

    def test_a_track_of_another_length_is_refused(self, method, batch):
        batch["driving_pose"] = batch["driving_pose"][:, :4]
        with pytest.raises(OptionError, match="4 frames, but driving has 6"):
            method.eval().animate(batch)

    @pytest.mark.parametrize("missing", [("source",), ("driving",), ("source", "driving")], ids="+".join)
    def test_all_joints_may_be_missing(self, method, batch, missing):
        method.eval()
        for role in missing:
            batch[f"{role}_pose"] = torch.zeros_like(batch[f"{role}_pose"])
            assert not method.structures(batch, role).any()
        frames = method.animate(batch)
        assert frames.isfinite().all()
        assert frames.shape == batch["driving"].shape

    def test_other_joints_are_refused(self, method, batch):
        batch["source_pose"] = batch["source_pose"][:, :, :11]
        with pytest.raises(OptionError, match="11"):
            method.eval().animate(batch)


class TestAnimation:
    def test_masks_are_needed_while_training_only(self):
        method = DeepSpatialAnimation(**SMALL, foreground=True)
        assert method.training_conditions == ("pose", "mask")
        assert method.conditions == ("pose",)

    def test_correctness_counts_on_the_subject_only(self):
        seed_everything(0)
        method = DeepSpatialAnimation(**SMALL, foreground=True)
        batch = random_batch(frames=6)
        terms = []
        for mask in (torch.ones(1, 6, 1, 32, 32), torch.zeros(1, 6, 1, 32, 32)):
            batch["driving_mask"] = mask
            terms.append(method.losses("generator", batch, method.training_forward(batch)))
        assert terms[0]["sampling_correctness_reference"] > 0
        assert terms[1]["sampling_correctness_reference"] == 0

    def test_a_chunk_shorter_than_what_is_judged_is_refused(self):
        with pytest.raises(OptionError, match="6 frames"):
            DeepSpatialAnimation(**SMALL, chunk=4)


class TestFaces:
    def test_missing_faces_take_the_last_landmarks(self):
        landmarks = torch.arange(5.0).view(1, 5, 1, 1).expand(1, 5, 68, 3) + 1
        landmarks = landmarks.clone()
        landmarks[:, 0, :, 2] = 0
        landmarks[:, 3, 7, 2] = 0
        assert fill_missing(landmarks)[0, :, 0, 0].tolist() == [2, 2, 3, 3, 5]

    def test_no_face_at_all_is_drawn_empty(self):
        pytest.importorskip("skimage")
        method = DeepSpatialFace(**SMALL).eval()
        batch = face_batch(frames=2)
        batch["driving_pose"] = torch.zeros_like(batch["driving_pose"])
        assert not method.structures(batch, "driving").any()
        assert method.animate(batch).isfinite().all()

    def test_later_chunks_of_training_take_the_last_landmarks_too(self):
        pytest.importorskip("skimage")
        seed_everything(0)
        method = DeepSpatialFace(**SMALL)
        batch = face_batch(frames=12)
        batch["driving_pose"][:, 6, :, 2] = 0  # the first frame of the second chunk
        held = Batch(**batch | {"driving_pose": batch["driving_pose"].clone()})
        held["driving_pose"][:, 6] = held["driving_pose"][:, 5]
        ours, expected = (method.training_forward(each, start=6)["pictures"] for each in (batch, held))
        assert torch.equal(ours, expected)

    def test_whole_body_formats_hold_the_landmarks(self):
        whole = torch.rand(1, 2, 130, 3) + 0.1
        method = DeepSpatialFace(**SMALL)
        assert torch.equal(method.joints(whole), whole[:, :, 18:86])
        assert SKELETONS["body_18_whole"] in method.pose_formats  # what training may be given


class TestImage:
    @pytest.fixture
    def method(self):
        seed_everything(0)
        return DeepSpatialTransformation(**SMALL).eval()

    @pytest.mark.parametrize("norm", ["instance", "batch"])
    def test_instance_norm_forgets_how_bright_the_source_is(self, norm):
        seed_everything(0)
        encoder = DeepSpatialTransformation(**SMALL, norm=norm).generator.source.eval()
        for layer in encoder.modules():
            if isinstance(layer, nn.Conv2d):  # as large as after training
                nn.init.normal_(layer.weight, std=0.1)
        pictures = torch.rand(2, 3, 32, 32)
        for bright, dark in zip(encoder(2 * pictures - 1), encoder(0.6 * pictures - 1), strict=True):
            change = (bright - dark).abs().mean() / bright.std()
            assert change < 1e-4 if norm == "instance" else change > 1e-3

    @pytest.mark.parametrize("missing", ["driving_pose", "source_pose"])
    def test_all_joints_may_be_missing(self, method, missing):
        batch = random_batch(frames=2)
        batch[missing] = torch.zeros_like(batch[missing])
        assert not method.structures(batch, missing.removesuffix("_pose")).any()
        assert method.animate(batch).isfinite().all()

    def test_explain(self, method):
        views = method.pictures(random_batch(frames=2))
        assert views.keys() == {
            "driving",
            "structure",
            "warped_source",
            "flow_source",
            "occlusion_source",
            "attention_source",
        }
        assert all(view.shape == (3, 32, 32) for view in views.values())

    def test_sizes_that_leave_one_value_are_refused(self, method):
        with pytest.raises(OptionError, match="flow_layers"):
            method.animate(random_batch(frames=1, side=8))

    def test_patches_larger_than_a_level_are_refused(self, tmp_path):
        method = DeepSpatialTransformation(**SMALL | {"patch_sizes": (3, 5)})
        with pytest.raises(OptionError, match="level 2"):
            fit(method, [random_batch(frames=1, side=16)], tmp_path, max_steps=1)

    @pytest.mark.parametrize(
        ("options", "words"), [({"patch_sizes": (3,)}, "patch_sizes"), ({"attention_levels": (1, 4)}, r"\[4\]")]
    )
    def test_levels_must_exist(self, options, words):
        with pytest.raises(OptionError, match=words):
            DeepSpatialTransformation(**SMALL | options)


def test_faces_that_leave_the_picture_are_filled_as_by_opencv():
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV: pip install opencv-python-headless")
    draw = np.random.default_rng(0)
    for _ in range(100):
        angles = np.linspace(0, 2 * np.pi, draw.integers(3, 30), endpoint=False) + draw.uniform(0, 6)
        centre, radius = draw.uniform(10, 54, 2), draw.uniform(15, 200)
        corners = (centre + radius * draw.uniform(0.8, 1.2) * np.stack([np.cos(angles), np.sin(angles)], 1)).astype(int)
        ours, theirs = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
        fill_polygon(ours, corners, 1)
        cv2.fillPoly(theirs, [corners.astype(np.int32)], 1)
        assert np.array_equal(ours, theirs)


# ---------------------------------------------------------------------- denoiser


def swinging(count, frames, seed):
    """Tracks (count, frames, 18, 3) of joints that swing around their places."""
    draw = torch.Generator().manual_seed(seed)
    centre = 1.2 * torch.rand(1, 1, 18, 2, generator=torch.Generator().manual_seed(0)) - 0.6
    phase = 6 * torch.rand(count, 1, 1, 2, generator=draw)
    speed = 0.1 + 0.1 * torch.rand(count, 1, 1, 1, generator=draw)
    place = centre + 0.2 * torch.sin(torch.arange(float(frames)).view(1, -1, 1, 1) * speed + phase)
    return torch.cat([place, torch.ones(count, frames, 18, 1)], -1)


def windowed(track, reach=40):
    """A training batch of the denoiser: 24 frames with the poses around each."""
    window = torch.stack([track[:, t : t + 2 * reach + 1] for t in range(24)], 1)
    pictures = torch.zeros(len(track), 24, 3, 4, 4)
    return Batch(source=pictures[:, :1], driving=pictures, driving_pose=window[:, :, reach], pose_window=window)


class TestDenoiser:
    @pytest.mark.parametrize("frames", [1, 23, 24, 25, 60])
    @pytest.mark.parametrize("layout", ["body_18", "human36m_17"])
    def test_tracks_of_any_length(self, frames, layout):
        cleaner = TrackCleaner(layout, channels=4).eval()
        cleaned = cleaner(swinging(2, frames, 1))
        assert cleaned.shape == (2, frames, len(cleaner.skeleton.joints), 3)
        assert cleaned.isfinite().all()

    def test_a_person_elsewhere_and_of_another_size_is_cleaned_alike(self):
        cleaner = TrackCleaner("body_18", channels=8).eval()
        track = swinging(1, 104, 3)
        track[0, 50:55, 3] = 0
        moved = torch.cat([0.4 * track[..., :2] + torch.tensor([0.3, -0.2]), track[..., 2:]], -1) * (track[..., 2:] > 0)
        close(cleaner.positions(moved), 0.4 * cleaner.positions(track) + torch.tensor([0.3, -0.2]), 1e-5)

    def test_windows_are_those_of_the_network(self):
        """Frames 30 to 53 of a clip of 54: the last window, whose end is repeated."""
        cleaner = TrackCleaner("body_18", channels=4).eval()
        track = swinging(1, 54, 2)
        padded = torch.cat([track, track[:, -1:].expand(-1, 40, -1, -1)], 1)
        expected = cleaner.positions(torch.cat([track[:, :1].expand(-1, 10, -1, -1), padded], 1))
        close(cleaner(track)[:, 30:, :, :2], expected[:, -24:] * (expected[:, -24:].abs() <= 1).all(-1, True), 1e-5)

    def test_an_empty_track_stays_empty_and_lost_joints_are_restored(self):
        cleaner = TrackCleaner("body_18", channels=4).eval()
        nn.init.zeros_(cleaner.network.shrink.weight)
        track = swinging(2, 30, 1)
        track[0] = 0
        track[1, 3:9, :5] = 0
        cleaned = cleaner(track)
        assert not cleaned[0].any()
        assert (cleaned[1, ..., 2] == 1).all()

    @pytest.mark.slow
    def test_training_restores_noisy_tracks(self, tmp_path):
        seed_everything(0)
        denoiser = SkeletonDenoiser("body_18", channels=32, dropout=0.0, jitter=0.1, learning_rate=6e-3)
        batches = [windowed(swinging(16, 104, seed)) for seed in range(400)]
        fit(denoiser, batches, tmp_path, max_epochs=1)
        unseen = swinging(8, 104, 1000)
        noisy = denoiser.corrupt(unseen)
        with torch.no_grad():
            cleaned = denoiser.eval().clean(noisy)
        error = (cleaned - unseen)[:, 40:64, :, :2].norm(dim=-1).mean()
        kept = noisy[:, 40:64, :, 2] > 0
        assert error < 0.6 * (noisy - unseen)[:, 40:64, :, :2].norm(dim=-1)[kept].mean()

    def test_data_that_is_not_windowed_is_refused(self, tmp_path):
        with pytest.raises(OptionError, match="pose_window: 40"):
            fit(SkeletonDenoiser("body_18", channels=4), [random_batch(frames=24, side=4)], tmp_path, max_steps=1)

    def test_the_published_layout_is_not_trained(self, tmp_path):
        with pytest.raises(OptionError, match="body_18"):
            fit(SkeletonDenoiser(channels=4), [windowed(swinging(1, 104, 0))], tmp_path, max_steps=1)

    def test_it_animates_nothing(self):
        with pytest.raises(OptionError, match="attach_denoiser"):
            SkeletonDenoiser(channels=4).animate(random_batch())

    @pytest.mark.parametrize("method", [DeepSpatialTransformation, DeepSpatialAnimation])
    def test_attached_it_cleans_what_is_animated_in_any_chunks(self, method, tmp_path):
        seed_everything(0)
        weights = save_weights(SkeletonDenoiser("body_18", channels=8).eval(), tmp_path / "denoiser.safetensors")
        module = method(**SMALL).eval()
        assert "denoise" not in module.motion_options
        with pytest.raises(OptionError, match="denoise"):
            module.animate(random_batch(), MotionOptions(denoise=True))
        module.attach_denoiser(weights)
        assert module.motion_options == {"denoise", "retarget"}
        batch = random_batch(frames=7)
        whole = module.animate(batch, MotionOptions(denoise=True), chunk=7)
        close(module.animate(batch, MotionOptions(denoise=True), chunk=3), whole, 1e-5)
        cleaned = Batch(**batch | {"driving_pose": module.denoiser(batch["driving_pose"])})
        close(module.animate(cleaned), whole, 1e-5)
        loaded = load_weights(save_weights(module, tmp_path / "both.safetensors"), method)
        assert torch.equal(
            loaded.animate(batch, MotionOptions(denoise=True)), module.animate(batch, MotionOptions(denoise=True))
        )

    def test_the_published_layout_drives_the_animation_version_only(self, tmp_path):
        weights = save_weights(SkeletonDenoiser(channels=8).eval(), tmp_path / "denoiser.safetensors")
        with pytest.raises(OptionError, match="body_18"):
            DeepSpatialTransformation(**SMALL).attach_denoiser(weights)
        animation = DeepSpatialAnimation(**SMALL).eval()
        animation.attach_denoiser(weights)
        frames = animation.animate(random_batch(frames=3), MotionOptions(denoise=True))
        assert frames.isfinite().all()


def test_every_variant_is_discovered():
    found = methods.discover()
    assert found["deep_spatial_transformation"] is DeepSpatialTransformation
    assert {name for name, method in found.items() if method.__module__.startswith("zoo.methods.deep_spatial")} == {
        "deep_spatial_transformation", "DeepSpatialAnimation", "DeepSpatialFace", "SkeletonDenoiser"
    }  # fmt: skip


def test_widths_of_neighbouring_levels_fit():
    """Even patches, one residual block less, a width that stops growing: constructor options that no recipe uses."""
    method = DeepSpatialTransformation(
        **SMALL | {"layers": 3, "attention_levels": (1, 2), "patch_sizes": (4, 2), "blocks": 1}
    )
    assert method.eval().animate(random_batch(frames=1)).shape == (1, 1, 3, 32, 32)
    names = official.to_official(method.state_dict())["G"]
    assert "target.decoder0.0.model.0.weight" in names
    assert not any("decoder0.1." in name for name in names if name.startswith("target"))
