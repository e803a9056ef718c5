"""DwNet against outputs that the official code produced (CPU, float32), and its own promises."""

import json
from pathlib import Path

import pytest
import torch
from lightning import Callback, Trainer
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader

from zoo.base import MotionOptions, select
from zoo.batch import Batch
from zoo.methods.dwnet import DwNet, official
from zoo.methods.dwnet.losses import PERCEPTUAL_TAP_WEIGHTS
from zoo.methods.dwnet.networks import network_surface
from zoo.nn.features import FeatureNetwork
from zoo.nn.perceptual import PerceptualLoss
from zoo.warp import SurfaceWarp, coordinate_grid

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "dwnet"
MOMENTS = ("t0", "t1", "t0")
TOLERANCES = (2e-4, 1e-3, 5e-3)  # the recorded case's own: rounding grows over frames


def close(ours, expected, atol=1e-4):
    torch.testing.assert_close(ours, expected, atol=atol, rtol=0)


def stub_vgg(tensors):
    """The small network that stood in for VGG-19: ReLU outputs, pooled before all convolutions but the first."""
    layers, taps = [], []
    for number in range(5):
        weight = tensors[f"vgg.convs.{number}.weight"]
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
        conv.load_state_dict({"weight": weight, "bias": tensors[f"vgg.convs.{number}.bias"]})
        layers += [*([nn.MaxPool2d(2)] if number else []), conv, nn.ReLU()]
        taps.append(len(layers) - 1)
    return FeatureNetwork(nn.Sequential(*layers), taps, normalise=False)


class Recorded:
    """The recorded clip: weights, maps, grids and pictures; the method loads and sees them."""

    def __init__(self, folder):
        self.generator = load_file(folder / "generator.safetensors")
        self.judged = load_file(folder / "discriminator_and_losses.safetensors")
        self.losses = json.loads((folder / "discriminator_and_losses.json").read_text())["losses"]
        self.trained = load_file(folder / "train_step.safetensors")
        options = json.loads((folder / "generator.json").read_text())["config"]
        options |= json.loads((folder / "discriminator_and_losses.json").read_text())["config"]
        self.method = DwNet(**official.constructor_arguments(options))
        state = {key[6:]: t for f in (self.generator, self.judged) for key, t in f.items() if key.startswith("state.")}
        self.method.load_official(state)
        self.method.perceptual_loss = PerceptualLoss(stub_vgg(self.judged), PERCEPTUAL_TAP_WEIGHTS)
        self.method.coarse_warp = self.warp_between
        self.maps = {name: self.surface(name) for name in ("src", "t0", "t1")}
        surfaces = torch.stack([self.maps[name] for name in MOMENTS], 1)
        target = self.judged["target_u8"].float()[None] / 255
        self.batch = Batch(
            source=self.generator["source_u8"].float()[None] / 255,
            source_iuv=self.maps["src"][:, None],
            driving=torch.cat([target, target[:, :1]], 1),  # no truth was recorded for the third frame
            driving_iuv=surfaces,
        )

    def surface(self, name):
        channels = self.generator[f"iuv.{name}"].permute(2, 0, 1).flip(0).float()
        return torch.stack([channels[0], channels[1] / 255, channels[2] / 255])[None]

    def name_of(self, surface):
        return next(name for name, known in self.maps.items() if torch.equal(known[0], surface))

    def warp_between(self, source, target):
        """The recorded grids, which the k-d tree made; where it and an exact search differ both are right."""
        pairs = zip(source.flatten(0, -4), target.flatten(0, -4), strict=True)
        names = [(self.name_of(ours), self.name_of(theirs)) for ours, theirs in pairs]
        grids = [
            2 * self.generator[f"grid_index.{first}_to_{second}.kdtree"].double() / 255 - 1
            if first != second
            else coordinate_grid(256, 256, torch.empty(0))
            for first, second in names
        ]
        return SurfaceWarp(torch.stack(grids).float(), torch.ones(len(grids), 256, 256, dtype=torch.bool))

    @torch.no_grad()
    def clip(self):
        """The three frames of inference."""
        state = self.method.encode(select(self.batch, "source"), MotionOptions())
        return self.method._render(state, self.batch)[0]

    def turns(self, count=2):
        """Frames of training, without any step."""
        previous = None
        for moment in range(count):
            rendered = self.method.training_forward(self.batch, moment, previous)
            yield rendered
            previous = rendered["rendered"].picture.detach()


@pytest.mark.shared
class TestParity:
    @pytest.fixture
    def recorded(self, shared):
        return Recorded(shared / "parity" / "dwnet")

    def test_frames(self, recorded):
        middle = (..., slice(64, 192), slice(64, 192))
        first, *later = recorded.clip()
        close(first.picture, recorded.generator["frame0.output"], TOLERANCES[0])
        for moment, frame in enumerate(later, start=1):
            close(frame.picture[middle], recorded.generator[f"frame{moment}.output"], TOLERANCES[moment])

    def test_first_frame_within_the_common_tolerance(self, recorded):
        close(recorded.clip()[0].picture, recorded.generator["frame0.output"], 1e-4)

    def test_warps(self, recorded):
        for moment, frame in enumerate(recorded.clip()[:2]):
            for name, taken in (("source", frame.source), ("prev", frame.previous)):
                prefix = f"frame{moment}"
                close(taken.grid, recorded.generator[f"{prefix}.final_grid.{name}"])
                close(taken.residual.permute(0, 3, 1, 2), recorded.generator[f"{prefix}.refine_residual.{name}"])
                coarse = (taken.grid - taken.residual).permute(0, 3, 1, 2)
                close(coarse, recorded.generator[f"{prefix}.coarse_grid_64.{name}"], 1e-6)
                shown = taken.picture[..., 40:104:2, 40:104:2]
                close(shown, recorded.generator[f"{prefix}.warped_image_crop.{name}"], TOLERANCES[moment])
                features = taken.features[..., 24:40, 24:40]
                close(features, recorded.generator[f"{prefix}.warped_feature_crop.{name}"], 5 * TOLERANCES[moment])

    @torch.no_grad()
    def test_features_and_relative_positions(self, recorded):
        generator = recorded.method.generator
        features = generator.encode(recorded.batch["source"][:, 0] * 2 - 1).features
        close(features[..., 24:40, 24:40], recorded.generator["frame0.feature_crop.source"])
        pose = generator.pose_encoder(network_surface(recorded.maps["t0"]))
        close(pose[..., 24:40, 24:40], recorded.generator["frame0.pose_feature_crop"])
        grid = recorded.warp_between(recorded.maps["src"], recorded.maps["t0"]).grid
        relative = (grid - coordinate_grid(256, 256, grid)).permute(0, 3, 1, 2)
        close(relative[..., 40:104:2, 40:104:2], recorded.generator["frame0.rel_coord_crop.source"], 1e-6)

    @torch.no_grad()
    def test_logits(self, recorded):
        surface, target = network_surface(recorded.maps["t0"]), recorded.batch["driving"][:, 0] * 2 - 1
        for number, scale in enumerate(recorded.method.discriminator(torch.cat([surface, target], 1))):
            prefix = f"D_real_frame0.result{number}"
            close(scale[-1], recorded.judged[f"{prefix}.logits"])
            close(scale[1].mean((2, 3)), recorded.judged[f"{prefix}.feat1_mean"])
            for layer, features in enumerate(scale):
                assert list(features.shape) == recorded.judged[f"{prefix}.shape{layer}"].tolist()

    @torch.no_grad()
    def test_losses(self, recorded):
        method = recorded.method
        for expected, rendered in zip(recorded.losses, recorded.turns(), strict=True):
            ours = method.losses("generator", recorded.batch, rendered)
            ours |= method.losses("discriminator", recorded.batch, rendered)
            names = {"gan": "G_GAN", "feature_matching": "G_GAN_Feat", "perceptual": "G_VGG", "warp": "G_Warp"}
            for name, theirs in names.items():
                assert ours[name].item() == pytest.approx(expected[theirs], rel=1e-5), name
            assert 2 * ours["real"].item() == pytest.approx(expected["D_real"], rel=1e-5)
            assert 2 * ours["generated"].item() == pytest.approx(expected["D_fake"], rel=1e-5)

    def test_gradients(self, recorded):
        method, (_, rendered) = recorded.method, list(recorded.turns())
        terms = method.losses("generator", recorded.batch, rendered)
        with method._only(("generator",)):
            torch.stack(list(terms.values())).sum().backward()
        last = max(int(key.split(".")[0]) for key, _ in method.generator.decoder.named_parameters())
        expected = {
            method.generator.fusion.weight: "down_pair.weight",
            method.generator.decoder[last].weight: "last_conv.weight",
            method.generator.frame_encoder[1].weight: "model_downsample_previous.1.weight",
        }
        for parameter, name in expected.items():
            recorded_gradient = recorded.judged[f"frame1.grad_G.{name}"]
            # In single and double precision the same gradients differ by up to 1 % of the largest entry.
            close(parameter.grad, recorded_gradient, 0.02 * recorded_gradient.abs().max().item())
        # Instance norm takes a bias out again: what is left of its gradient is rounding.
        for network, name in ((method.generator.pose_encoder, "model_downsample.1.bias"),
                              (method.generator.warp_refiner, "model_downsample_grid_set.1.bias")):  # fmt: skip
            assert network[1].bias.grad.abs().max() < 1e-4
            assert recorded.judged[f"frame1.grad_G.{name}"].abs().max() < 1e-4
        terms = method.losses("discriminator", recorded.batch, rendered)
        torch.stack(list(terms.values())).sum().backward()
        gradient = method.discriminator.get_parameter("scale0_layer0.0.weight").grad
        expected_gradient = recorded.judged["frame1.grad_D.scale0_layer0.0.weight"]
        close(gradient, expected_gradient, 1e-3 * expected_gradient.abs().max().item())

    def test_training_sample(self, recorded):
        """One sample of two frames through the real trainer, against losses and weights of the official step."""
        method, watch = recorded.method, _Losses()
        batch = {key: value[0] for key, value in recorded.batch.items()}
        batch |= {key: batch[key][:2] for key in ("driving", "driving_iuv")}
        trainer = Trainer(
            accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[watch],
        )  # fmt: skip
        trainer.fit(method, DataLoader([batch], batch_size=1))
        trained = recorded.trained
        for step in range(2):
            generator, discriminator = watch.totals[2 * step : 2 * step + 2]
            tolerance = 1e-5 if step == 0 else 1e-3  # Adam amplifies tiny differences of the gradients
            assert generator == pytest.approx(trained[f"step{step}.loss_G"].item(), rel=tolerance)
            assert discriminator == pytest.approx(trained[f"step{step}.loss_D"].item(), rel=tolerance)
        ours = official.to_official(method.state_dict())
        before = recorded.generator | recorded.judged
        for key, expected in trained.items():
            if not key.startswith("after."):
                continue
            _, network, name = key.split(".", 2)
            if name.endswith("conv_block.1.bias"):
                continue  # in front of an instance norm: Adam scales the rounding of a zero gradient up to whole steps
            moved = (ours[network][name] - expected).abs()
            step = (expected - before[f"state.{name}"]).abs().mean()
            # As in the gradients, rounding grows; small entries are scaled up to whole steps by Adam.
            assert moved.mean() < 0.3 * step, name

    def test_coarse_warp_of_real_maps(self, shared):
        recorded = load_file(shared / "parity" / "dwnet" / "coarse_warp.safetensors")

        def surface(name):
            channels = recorded[f"iuv.{name}"].permute(2, 0, 1).flip(0).float()
            return torch.stack([channels[0], channels[1] / 255, channels[2] / 255])

        method = DwNet(width=2, blocks=1, discriminator_width=2)
        pairs = [("src", "t0"), ("t0", "t1")]
        warp = method.coarse_warp(*(torch.stack([surface(pair[i]) for pair in pairs]) for i in range(2)))
        for number, pair in enumerate(pairs):
            name = f"{pair[0]}_to_{pair[1]}"
            tied = recorded[f"tie.{name}"] > 0
            ours = warp.grid[number]
            brute, tree = (
                (2 * recorded[f"grid_index.{name}.{way}"].double() / 255 - 1).float() for way in ("naive", "kdtree")
            )
            assert torch.equal(ours, brute)  # the first of several nearest pixels, as comparing all pairs finds it
            assert torch.equal(ours[~tied], tree[~tied])
            differs = (ours != tree).any(-1)
            assert 0 < differs.sum() < 0.1 * tied.sum() * 10
            self.equally_near(surface(pair[0]), surface(pair[1]), ours[differs], tree[differs], differs)

    def equally_near(self, source, target, ours, theirs, where):
        places = [((grid.double() + 1) / 2 * 255).round().long() for grid in (ours, theirs)]
        wanted = (target[:, where] * torch.tensor([[1.0], [255], [255]])).round()
        found = [
            (source[:, place[:, 1], place[:, 0]] * torch.tensor([[1.0], [255], [255]])).round() for place in places
        ]
        for values in found:
            assert torch.equal(values[0], wanted[0])  # the same part
        distances = [(values[1:] - wanted[1:]).square().sum(0) for values in found]
        assert torch.equal(distances[0], distances[1])


class _Losses(Callback):
    """The total of every phase of every turn, as it is when its optimiser is about to step."""

    def __init__(self):
        self.totals = []

    def setup(self, trainer, module, stage):
        terms_of = module.losses

        def watched(*arguments):
            terms = terms_of(*arguments)
            self.totals.append(sum(terms.values()).item())
            return terms

        module.losses = watched
