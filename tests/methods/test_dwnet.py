"""DwNet against outputs that the official code produced (CPU, float32), and its own promises."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from lightning import Callback, Trainer
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from zoo.base import MotionOptions, count_parameters, select, split_driving
from zoo.batch import Batch
from zoo.errors import OptionError
from zoo.methods.dwnet import DwNet, official
from zoo.methods.dwnet.losses import PERCEPTUAL_TAP_WEIGHTS, PUBLISHED
from zoo.methods.dwnet.networks import Rendered, network_surface, shrink
from zoo.nn.features import PERCEPTUAL_TAPS, FeatureNetwork, alexnet_layers, vgg16_layers, vgg19_layers
from zoo.nn.patchgan import MultiScalePatchGAN
from zoo.nn.perceptual import PerceptualLoss
from zoo.warp import SurfaceWarp, coordinate_grid
from zoo.weights import WeightsError, load_weights, save_weights

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
            assert 0 < differs.sum() < tied.sum()
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


# ---------------------------------------------------------------------- promises


def random_surfaces(*shape, seed=0):
    """(..., 3, H, W) maps in blocks, so that neighbours belong together."""
    draw = torch.Generator().manual_seed(seed)
    *lead, height, width = shape
    part = torch.randint(-6, 25, (*lead, 1, height // 4, width // 4), generator=draw).clamp(min=0)
    part = part.repeat_interleave(4, -1).repeat_interleave(4, -2)
    places = torch.randint(256, (*lead, 2, height, width), generator=draw) / 255 * (part > 0)
    return torch.cat([part.float(), places], -3)


def clip_batch(frames=5, size=(16, 24), count=2):
    draw = torch.Generator().manual_seed(1)
    return Batch(
        source=torch.rand(count, 1, 3, *size, generator=draw),
        source_iuv=random_surfaces(count, 1, *size),
        driving=torch.rand(count, frames, 3, *size, generator=draw),
        driving_iuv=random_surfaces(count, frames, *size, seed=2),
    )


def small(**arguments):
    torch.manual_seed(0)
    defaults = {"width": 4, "downsamplings": 1, "blocks": 1, "discriminator_width": 4, "discriminator_layers": 2}
    method = DwNet(**defaults | {"perceptual": "alexnet"} | arguments)
    for parameter in method.generator.parameters():  # nothing hides behind an initial zero
        nn.init.normal_(parameter, std=0.1)
    return method.eval()


def test_published_size():
    method = DwNet()
    assert count_parameters(method.generator) == 14_708_549
    assert count_parameters(method.discriminator) == 5_535_618


def test_training_starts_from_the_coarse_warp():
    method, batch = DwNet(width=4, blocks=1, discriminator_width=4), clip_batch()
    rendered = method.training_forward(batch)["rendered"]
    assert torch.equal(rendered.source.residual, torch.zeros_like(rendered.source.residual))


def test_what_the_networks_see_of_a_map():
    """V, U and I in this order, as bytes of a picture scaled to [-1, 1]."""
    iuv = torch.tensor([24.0, 1.0, 0.2]).view(3, 1, 1)
    torch.testing.assert_close(network_surface(iuv).flatten(), torch.tensor([-0.6, 1.0, 48 / 255 - 1]))
    assert network_surface(torch.zeros(3, 1, 1)).flatten().tolist() == [-1, -1, -1]


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_instance_norm_forgets_how_bright_the_source_is(norm):
    """The refined warp may still see it; what is decoded doesn't."""
    encoder, pictures = small(norm=norm).generator.frame_encoder, clip_batch()["source"][:, 0]
    change = (encoder(2 * pictures - 1) - encoder(0.6 * pictures - 1)).abs().mean() / encoder(2 * pictures - 1).std()
    assert change < 1e-4 if norm == "instance" else change > 1e-3


class TestAnimation:
    @pytest.mark.parametrize("chunk", [1, 2, 3])
    @pytest.mark.parametrize("arguments", [{}, {"previous_frame": False}, {"warping": "none"}, {"warping": "coarse"}])
    def test_chunks_equal_the_whole(self, arguments, chunk):
        method, batch = small(**arguments), clip_batch()
        assert torch.equal(method.animate(batch, chunk=chunk), method.animate(batch, chunk=5))

    def test_training_renders_the_same_frames(self):
        method, batch = small(), clip_batch(frames=3)
        previous, frames = None, []
        with torch.no_grad():
            for moment in range(3):
                previous = method.training_forward(batch, moment, previous)["rendered"].picture
                frames.append((previous + 1) / 2)
        torch.testing.assert_close(method.animate(batch), torch.stack(frames, 1), atol=1e-5, rtol=0)

    def test_the_frame_before_matters_unless_it_is_left_out(self):
        batch = clip_batch(frames=2)
        other = Batch(**batch)
        other["driving_iuv"] = batch["driving_iuv"].clone()
        other["driving_iuv"][:, 0] = random_surfaces(2, 16, 24, seed=7)
        for previous_frame in (True, False):
            method = small(previous_frame=previous_frame)
            second, changed = (method.animate(b)[:, 1] for b in (batch, other))
            assert torch.equal(second, changed) != previous_frame

    @pytest.mark.parametrize("padding", ["reflection", "border", "zeros"])
    def test_what_lies_outside_of_a_picture(self, padding):
        method, batch = small(grid_padding=padding), clip_batch(frames=1)
        frame = method.generator.encode(batch["source"][:, 0] * 2 - 1)
        grid = 1.7 * coordinate_grid(16, 24, frame.picture).expand(2, -1, -1, -1)
        taken = method.generator.take(frame, grid, network_surface(batch["driving_iuv"][:, 0]))

        def look_up(picture, grid):
            return F.grid_sample(picture, grid, mode="bilinear", padding_mode=padding, align_corners=True)

        torch.testing.assert_close(taken.picture, look_up(frame.picture, grid))
        torch.testing.assert_close(taken.features, look_up(frame.features, taken.grid))
        method.perceptual_loss = lambda ours, truth: (ours - truth).abs().mean()
        rendered = method.training_forward(batch) | {"rendered": Rendered(frame.picture, taken, taken)}
        warped = look_up(shrink(frame.picture, taken.grid), taken.grid)
        distance = (warped - shrink(rendered["target"], taken.grid)).abs().mean()
        torch.testing.assert_close(method.losses("generator", batch, rendered)["warp"], 2 * distance)

    def test_nothing_is_warped_from_the_frame_before_where_it_is_left_out(self):
        """The coarse warp takes most of the time of small pictures."""
        method, batch, calls = small(previous_frame=False), clip_batch(frames=2), []
        warp_between = method.coarse_warp
        method.coarse_warp = lambda source, target: calls.append(source) or warp_between(source, target)
        method.animate(batch)
        (sources,) = calls
        assert torch.equal(sources, batch["source_iuv"].expand(-1, 2, -1, -1, -1))

    def test_maps_without_anybody(self):
        """Source, driving clip or both may show nobody: frames are still pictures."""
        for key in ("source_iuv", "driving_iuv"):
            batch = clip_batch()
            batch[key] = torch.zeros_like(batch[key])
            frames = small().animate(batch)
            assert frames.isfinite().all()
            assert 0 <= frames.min() <= frames.max() <= 1

    def test_parts_beyond_the_chart_are_refused(self):
        batch = clip_batch()
        batch["driving_iuv"][0, 1, 0, 3, 3] = 25
        with pytest.raises(ValueError, match="not 0 to 24"):
            small().animate(batch)

    @pytest.mark.parametrize("size", [(15, 24), (2, 24)])
    def test_sizes_that_networks_cannot_take(self, size):
        with pytest.raises(OptionError, match="DwNet needs"):
            small()._check_size(torch.rand(1, 1, 3, *size))

    def test_explained(self):
        method, batch = small(), clip_batch()
        state = method.encode(select(batch, "source"), MotionOptions())
        shown = []
        for chunk in split_driving(batch, 3):
            frames, state = method.render(state, chunk)
            views = method.explain(state, chunk)
            assert list(views) == ["driving", "surface", "coarse_warp", "refined_warp", "result"]
            assert torch.equal(views["result"], frames)
            shown.append(views)
        whole = method.explain(method.render(method.encode(select(batch, "source"), MotionOptions()), batch)[1], batch)
        for name, view in whole.items():
            assert view.shape == batch["driving"].shape
            assert 0 <= view.min() <= view.max() <= 1
            torch.testing.assert_close(torch.cat([views[name] for views in shown], 1), view)

    def test_the_coarse_warp_is_shown_where_something_is_known(self):
        """A clip that shows the source's own map: the source itself, without any grey."""
        batch = clip_batch(frames=1)
        batch["driving_iuv"] = batch["source_iuv"]
        state = small().encode(select(batch, "source"), MotionOptions())
        views = small().explain(small().render(state, batch)[1], batch)
        same_place = (views["coarse_warp"] - batch["source"]).abs().amax(2) < 1e-5
        assert same_place.float().mean() > 0.95  # the rest has the map's value twice


class TestTraining:
    @pytest.mark.parametrize("warping", ["coarse", "none"])
    def test_ablations_have_no_warp_loss(self, warping):
        method, batch = small(warping=warping), clip_batch(frames=1)
        assert method.generator.warp_refiner is None
        method.perceptual_loss = lambda ours, truth: (ours - truth).abs().mean()
        terms = method.losses("generator", batch, method.training_forward(batch))
        assert set(terms) == {"gan", "feature_matching", "perceptual"}
        with pytest.raises(OptionError, match=r"loss_weights\.warp teaches the refiner"):
            small(warping=warping, loss_weights={"warp": 1})

    @pytest.mark.parametrize(("network", "least"), [("alexnet", 31), ("vgg16", 16), ("vgg19", 16)])
    def test_warps_too_small_for_the_loss_network(self, network, least):
        method = small(perceptual=network)
        batch = Batch(source=torch.rand(1, 1, 3, 2 * (least - 1), 64))
        with pytest.raises(OptionError, match=f"{network} needs {least}"):
            method.on_train_batch_start(batch, 0)
        layers = {"alexnet": alexnet_layers, "vgg16": vgg16_layers, "vgg19": vgg19_layers}[network]([2] * 5)
        features = FeatureNetwork(layers, PERCEPTUAL_TAPS[network])
        assert features(torch.rand(1, 3, least, least))[-1].numel()
        with pytest.raises(RuntimeError):
            features(torch.rand(1, 3, least - 1, least - 1))

    def test_no_gradient_flows_through_time(self):
        method, batch = small(), clip_batch(frames=2)
        previous = method.training_forward(batch, 0)["rendered"].picture
        seen = []
        method.play = lambda phase, optimizer, batch, rendered: seen.append(rendered["pictures"][1])
        method._phase_optimizers = lambda: [None, None]
        method.training_step(batch, 0)
        assert len(seen) == 4  # two phases for each of two frames
        assert not seen[2].requires_grad
        torch.testing.assert_close(seen[2], previous.detach())

    def test_weights_that_are_switched_off(self):
        method, batch = small(loss_weights={"gan": 0, "warp": 0, "feature_matching": 0}), clip_batch(frames=1)
        method.perceptual_loss = lambda ours, truth: (ours - truth).abs().mean()
        rendered = method.training_forward(batch)
        terms = method.losses("generator", batch, rendered)
        expected = (rendered["rendered"].picture - rendered["target"]).abs().mean()
        assert list(terms) == ["perceptual"]
        torch.testing.assert_close(terms["perceptual"], 10 * expected)


class TestOfficialCheckpoints:
    def test_round_trip(self, tmp_path):
        method = small()
        files = official.to_official(method.state_dict())
        assert set(files["D"]) == {f"scale{s}_layer{j}.0.{kind}" for s in (0, 1) for j in range(4)
                                   for kind in ("weight", "bias")}  # fmt: skip
        assert {"model_downsample.1.weight", "model_downsample_previous.4.bias", "model_downsample_grid_set.9.weight",
                "down_pair.bias", "model.0.conv_block.5.weight"} <= set(files["G"])  # fmt: skip
        torch.save({f"module.{key}": tensor for key, tensor in files["G"].items()}, tmp_path / "latest_net_G.pth")
        arguments = {name: method.hparams[name] for name in ("width", "downsamplings", "blocks", "discriminator_width")}
        loaded = DwNet.from_official(tmp_path / "latest_net_G.pth", **arguments)
        batch = clip_batch()
        assert torch.equal(loaded.animate(batch), method.animate(batch))
        torch.save(files["D"], tmp_path / "latest_net_D.pth")
        loaded = DwNet.from_official(tmp_path / "latest_net_G.pth", **method.hparams)
        assert all(torch.equal(tensor, loaded.state_dict()[key]) for key, tensor in method.state_dict().items())

    def test_default_options_are_the_published_configuration(self):
        with torch.device("meta"):
            assert DwNet(**official.constructor_arguments({})).hparams == DwNet().hparams

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"grid_padding": "border"}, {"grid_padding": "border"}),
            ({"no_refining_warp": True}, {"warping": "coarse"}),
            ({"no_coarse_warp": True, "no_refining_warp": True}, {"warping": "none"}),
            ({"prev_frame_num": 0}, {"previous_frame": False}),
            ({"prev_frame_num": 3}, {"previous_frame": True}),
            ({"ngf": 8, "num_D": 3, "lr": 1e-3}, {"width": 8, "discriminator_scales": 3, "learning_rate": 1e-3}),
        ],
    )
    def test_options(self, options, expected):
        arguments = official.constructor_arguments(options)
        assert {name: arguments[name] for name in expected} == expected
        with torch.device("meta"):
            DwNet(**arguments)

    @pytest.mark.parametrize(
        ("options", "weights"),
        [
            ({"lambda_feat": 4.0}, {"feature_matching": 4, "perceptual": 4}),
            ({"no_ganFeat_loss": True}, {"feature_matching": 0}),
            ({"no_vgg_loss": True}, {"perceptual": 0}),
            ({"no_warp_loss": True}, {"warp": 0}),
            ({"no_refining_warp": True}, {"warp": 0}),
        ],
    )
    def test_options_of_the_losses(self, options, weights):
        assert official.constructor_arguments(options)["loss_weights"] == PUBLISHED | weights

    @pytest.mark.parametrize("norm", ["instance", "batch"])
    def test_a_discriminator_whose_features_nobody_compares(self, norm):
        """Official: it is built without them, so that its tensors have other names."""
        torch.manual_seed(1)
        plain = MultiScalePatchGAN(6, 4, layers=2, scales=2, norm=norm, features=False)
        files = official.to_official(small(norm=norm).state_dict())
        loaded = small(norm=norm)
        loaded.load_official(files | {"D": plain.state_dict()})
        pictures = torch.rand(2, 6, 32, 32)
        for ours, (theirs,) in zip(loaded.eval().discriminator(pictures), plain.eval()(pictures), strict=True):
            assert torch.equal(ours[-1], theirs)

    @pytest.mark.parametrize("other", [{"no_lsgan": True}, {"beta1": 0.9}, {"pool_size": 50}])
    def test_options_of_another_training_are_refused(self, other):
        (name,) = other
        with pytest.raises(OptionError, match=f"{name} is {other[name]}"):
            official.constructor_arguments(other)

    def test_another_norm_is_refused(self):
        with pytest.raises(OptionError, match="never by layer; take over weights"):
            official.constructor_arguments({"norm": "layer"})

    def test_normalised_by_batch(self):
        """The official option: norms have parameters then, at the places where instance norm has none."""
        files = official.to_official(DwNet(**official.constructor_arguments({"norm": "batch"})).state_dict())
        assert files["G"]["model_downsample.2.running_mean"].shape == (64,)
        assert files["G"]["model_downsample_grid_set.10.conv_block.2.weight"].shape == (256,)
        assert files["D"]["scale0_layer1.1.weight"].shape == (128,)

    def test_published_keys(self):
        """Names and shapes of the released files, as the official code builds them."""
        files = official.to_official(DwNet().state_dict())
        shapes = {key: tuple(tensor.shape) for part in files.values() for key, tensor in part.items()}
        expected = {
            "model_downsample.1.weight": (64, 3, 7, 7), "model_downsample_previous.7.weight": (256, 128, 3, 3),
            "model_downsample_grid_set.1.weight": (64, 8, 7, 7), "model_downsample_grid_set.12.weight": (2, 256, 1, 1),
            "model_downsample_grid_set.11.conv_block.5.weight": (256, 256, 3, 3), "down_pair.weight": (256, 768, 1, 1),
            "model.8.conv_block.1.weight": (256, 256, 3, 3), "model.9.weight": (256, 128, 3, 3),
            "model.12.weight": (128, 64, 3, 3), "model.16.weight": (3, 64, 7, 7),
            "scale1_layer4.0.weight": (1, 512, 4, 4),
        }  # fmt: skip
        assert {key: shapes[key] for key in expected} == expected

    def test_ablations_leave_the_refiner_out(self):
        files = official.to_official(small().state_dict())
        loaded = small(warping="coarse")
        loaded.load_official(files["G"])
        assert torch.equal(loaded.generator.fusion.weight, files["G"]["down_pair.weight"])

    def test_other_files_are_named(self, tmp_path):
        torch.save({"model.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
        with pytest.raises(WeightsError, match=r"other\.pth"):
            DwNet.from_official(tmp_path / "other.pth", width=4, blocks=1)

    def test_weights_do_not_follow_defaults(self, tmp_path):
        method = small(loss_weights={"warp": 3.0})
        loaded = load_weights(save_weights(method, tmp_path / "weights.safetensors"), DwNet)
        assert loaded.hparams["loss_weights"] == {"gan": 1, "feature_matching": 10, "perceptual": 10, "warp": 3.0}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes(path):
    """Every recipe builds; those for synthetic people stay below two million parameters."""
    content = yaml.safe_load(path.read_text())
    method = DwNet(**content["model"].get("init_args", {}))
    assert content["data"]["driving_frames"] == 2
    size = count_parameters(method.generator)
    assert size == 14_708_549 if path.stem.endswith("256") else size <= 2_000_000
