"""Pose-Attentive Reassembling against a recorded reference of its formulas, and the properties that they promise."""

import json
import math
from fractions import Fraction
from pathlib import Path

import pytest
import torch
import yaml
from lightning import Trainer, seed_everything
from safetensors.torch import load_file
from torch.nn import functional as F

from zoo.base import MotionOptions, count_parameters
from zoo.batch import Batch
from zoo.cli import main
from zoo.data import VideoDataModule
from zoo.errors import OptionError
from zoo.methods.pose_attentive_reassembling import PoseAttentiveReassembling, losses, networks, retrieval
from zoo.methods.pose_attentive_reassembling.losses import layers, ramp
from zoo.methods.pose_attentive_reassembling.networks import Reassembled, compose, expected_positions
from zoo.methods.pose_attentive_reassembling.retrieval import Attention, Memory, children
from zoo.nn.perceptual import PerceptualLoss
from zoo.video import VideoWriter, read_frames, write_image
from zoo.warp import gaussian_maps
from zoo.weights import save_weights

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "pose_attentive_reassembling"
TINY = yaml.safe_load((CONFIGS / "tiny.yaml").read_text())
WEIGHTS = TINY["model"]["init_args"]["loss_weights"]


def close(ours, expected, atol=1e-5):
    torch.testing.assert_close(ours, expected.to(ours.dtype), atol=atol, rtol=0)


# --- the recorded reference


@pytest.mark.shared
class TestReference:
    """Explicit loops in float64, recorded as tensors."""

    @pytest.fixture
    def folder(self, shared):
        return shared / "parity" / "pose_attentive_reassembling"

    @pytest.fixture
    def recorded(self, folder):
        return load_file(folder / "attention.safetensors")

    @pytest.fixture
    def config(self, folder):
        return json.loads((folder / "config.json").read_text())

    @pytest.fixture
    def raw(self, recorded):
        return [recorded[f"raw.{name}"] for name in ("pose_driving", "pose_source", "appearance_source")]

    def check(self, attention, inputs, expected_weights, expected_output, bias=None, atol=1e-5):
        queries, keys, values = inputs
        close(attention.retrieve(queries[:, None], keys, values, bias)[:, 0], expected_output, atol)
        rows = attention.weights(queries.flatten(2).mT, keys, bias)
        close(rows.flatten(2), expected_weights, atol)

    @pytest.mark.parametrize(("name", "scale"), [("scale_one", 1.0), ("scale_rsqrt", "rsqrt")])
    def test_attention(self, recorded, raw, name, scale):
        expected = recorded[f"raw.{name}.attention"], recorded[f"raw.{name}.output"]
        self.check(Attention(scale), raw, *expected)
        self.check(Attention(scale, max_weights=1), raw, *expected)  # one query at a time

    def test_masked(self, recorded, raw):
        bias = Memory((raw[1],), (raw[2],)).hidden_unless(recorded["masked.valid"]).bias
        expected = recorded["masked.scale_rsqrt.attention"], recorded["masked.scale_rsqrt.output"]
        self.check(Attention(), raw, *expected, bias)

    def test_top_k(self, recorded, config, raw):
        expected = recorded["ext_topk.attention"], recorded["ext_topk.output"]
        self.check(Attention("rsqrt", config["topk"]), raw, *expected)

    def test_large_logits(self, recorded, raw):
        factor = recorded["large_logits.factor"]
        queries, keys, values = raw
        expected = recorded["large_logits.attention"], recorded["large_logits.output"]
        self.check(Attention(1.0), (factor * queries, factor * keys, values), *expected, atol=1e-4)

    @pytest.mark.parametrize(("name", "scale"), [("scale_one", 1.0), ("scale_rsqrt", "rsqrt")])
    def test_projections(self, recorded, name, scale):
        def project(features, network):
            return F.conv2d(features, recorded[f"proj.{network}.weight"], recorded[f"proj.{network}.bias"])

        driving, source = recorded["proj.h_driving"], recorded["proj.h_source"]
        queries = project(driving, "pose")
        keys, values = (project(source.flatten(0, 1), n).unflatten(0, source.shape[:2]) for n in ("pose", "appearance"))
        for ours, key in ((queries, "query"), (keys, "key"), (values, "value")):
            close(ours, recorded[f"proj.{key}"])
        expected = recorded[f"proj.{name}.attention"], recorded[f"proj.{name}.output"]
        self.check(Attention(scale), (queries, keys, values), *expected)

    def test_keypoints(self, recorded, config):
        options = config["keypoints"]
        keypoints = expected_positions(recorded["kp.logits"], options["temperature"])
        close(keypoints, recorded["kp.xy"])
        close(gaussian_maps(keypoints, *options["gaussian_size"], options["variance"]), recorded["kp.gaussian"])

    def test_composition(self, recorded):
        parts = (recorded[f"compose.{name}"] for name in ("mask", "object", "background"))
        close(compose(*parts), recorded["compose.result"])


# --- what the formulas promise


class TestRetrieval:
    """Attention on random embeddings; queries and sources differ in size."""

    @pytest.fixture
    def inputs(self):
        generator = torch.Generator().manual_seed(0)
        return [
            torch.randn(shape, generator=generator)
            for shape in ((2, 2, 6, 3, 4), (2, 3, 6, 4, 5), (2, 3, 7, 4, 5))  # queries, keys, values
        ]

    def options(self):
        return [Attention(), Attention(0.7), Attention(top_k=5)]

    def test_order_of_frames_changes_nothing(self, inputs):
        queries, keys, values = inputs
        order = [2, 0, 1]
        for attention in self.options():
            expected = attention.retrieve(*inputs)
            torch.testing.assert_close(attention.retrieve(queries, keys[:, order], values[:, order]), expected)

    def test_all_frames_twice_change_nothing(self, inputs):
        queries, keys, values = inputs
        twice = torch.cat([keys] * 2, 1), torch.cat([values] * 2, 1)
        torch.testing.assert_close(Attention().retrieve(queries, *twice), Attention().retrieve(*inputs))

    def test_a_hidden_frame_is_as_good_as_none(self, inputs):
        queries, keys, values = inputs
        memory = Memory((keys,), (values,)).hidden_unless(torch.tensor([[True, False, True]] * 2))
        for attention in self.options():
            hidden = attention.retrieve(queries, keys, values, memory.bias)
            removed = attention.retrieve(queries, keys[:, ::2], values[:, ::2])
            torch.testing.assert_close(hidden, removed)

    def test_weights_sum_to_one_and_make_the_result(self, inputs):
        queries, keys, values = inputs
        for attention in self.options():
            weights = attention.weights(queries.flatten(3).movedim(2, -1).flatten(1, 2), keys)
            torch.testing.assert_close(weights.sum((2, 3, 4)), torch.ones(2, 24))
            assert weights.min() >= 0
            ours = torch.einsum("bqnhw,bnchw->bqc", weights, values)
            expected = attention.retrieve(*inputs).flatten(3).movedim(2, -1).flatten(1, 2)
            torch.testing.assert_close(ours, expected)
        assert (weights > 0).sum((2, 3, 4)).eq(5).all()  # the last of the options keeps 5

    def test_unique_poses_retrieve_their_own_appearance(self):
        """With a large one-hot vector per position and the driving frame as source nothing is left to look for."""
        pose = 50 * torch.eye(12).view(1, 1, 12, 3, 4)
        appearance = torch.rand(1, 1, 5, 3, 4)
        torch.testing.assert_close(Attention().retrieve(pose, pose, appearance), appearance)

    def test_logits_of_hundreds_dont_overflow(self, inputs):
        queries, keys, values = inputs
        big = Attention(1.0).retrieve(100 * queries, 100 * keys, values)
        nearest = torch.einsum("btchw,bnckl->bthwnkl", queries, keys).flatten(4).argmax(-1)
        flat = values.movedim(2, -1).flatten(1, 3)
        expected = torch.stack([flat[clip][nearest[clip]] for clip in range(2)]).movedim(-1, 2)
        torch.testing.assert_close(big, expected)

    @pytest.mark.parametrize("max_weights", [1, 240, 1000])
    def test_chunks_change_neither_results_nor_gradients(self, inputs, max_weights):
        candidates = torch.randint(60, (2, 2, 3, 4, 9), generator=torch.Generator().manual_seed(1))
        for attention in self.options():
            for among in (None, candidates):
                results = []
                for limit in (2**30, max_weights):
                    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
                    chunked = Attention(attention.scale, attention.top_k, limit)
                    result = chunked.retrieve(*leaves, candidates=among)
                    results.append([result, *torch.autograd.grad(result.square().sum(), leaves)])
                for whole, parts in zip(*results, strict=True):
                    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)

    def test_chunks_keep_the_bound(self, inputs):
        held = []

        class Watched(Attention):
            def _attend(self, queries, candidates, keys, values, bias):
                held.append(len(queries) * queries.shape[1] * keys.shape[1])
                return super()._attend(queries, candidates, keys, values, bias)

        Watched(max_weights=500).retrieve(*inputs)
        assert sum(held) == 2 * 24 * 60
        assert max(held) <= 500

    def test_chunks_keep_the_bound_among_candidates(self, inputs, monkeypatch):
        """Each query gathers its candidates' keys, and to retrieve their values, too: both count."""
        queries, keys, _ = inputs
        candidates = torch.randint(60, (2, 2, 3, 4, 9), generator=torch.Generator().manual_seed(1))
        held = []

        def gather(tensor, numbers):
            held.append(numbers.numel() * tensor.shape[-1])
            return gathered(tensor, numbers)

        gathered = retrieval._numbered
        monkeypatch.setattr(retrieval, "_numbered", gather)
        Attention(max_weights=500).retrieve(*inputs, candidates=candidates)
        assert sum(held) == 2 * 24 * 9 * (6 + 7)
        assert max(k + v for k, v in zip(held[::2], held[1::2], strict=True)) <= 500
        held.clear()
        Attention(max_weights=500).strongest(queries, keys, None, candidates, 3)
        assert sum(held) == 2 * 24 * 9 * 6
        assert max(held) <= 500

    def test_chunks_keep_the_bound_where_the_strongest_are_looked_for(self, inputs):
        held = []

        class Watched(Attention):
            def _logits(self, *arguments):
                logits = super()._logits(*arguments)
                held.append(logits.numel())
                return logits

        found = Watched(max_weights=500).strongest(*inputs[:2], None, None, 3)
        assert sum(held) == 2 * 24 * 60
        assert max(held) <= 500
        assert torch.equal(found, Attention().strongest(*inputs[:2], None, None, 3))

    def test_candidates_are_all_that_takes_part(self, inputs):
        queries, keys, _ = inputs
        everything = torch.arange(60).expand(2, 2, 3, 4, -1)
        for attention in self.options():
            expected = attention.retrieve(*inputs)
            torch.testing.assert_close(attention.retrieve(*inputs, candidates=everything), expected)
        strongest = Attention().strongest(queries, keys, None, None, 5)
        restricted = Attention().retrieve(*inputs, candidates=strongest)
        torch.testing.assert_close(restricted, Attention(top_k=5).retrieve(*inputs))
        among = Attention().strongest(queries, keys, None, strongest, 2)
        assert torch.equal(among.sort(-1).values, Attention().strongest(queries, keys, None, None, 2).sort(-1).values)

    def test_children_are_the_four_positions_below(self):
        positions = torch.arange(2 * 3 * 4).view(1, 1, 1, 1, -1)  # N = 2 maps of 3 x 4
        found = children(positions, 3, 4)
        assert found.shape == (1, 1, 2, 2, 96)
        numbers = torch.arange(2 * 6 * 8).view(2, 6, 8)
        expected = F.unfold(numbers[:, None].float(), 2, stride=2).mT.flatten().long()
        for child in found.view(4, -1):
            assert torch.equal(child, expected)


# --- the whole network


def small(**options):
    seed_everything(0)
    method = PoseAttentiveReassembling(**TINY["model"]["init_args"] | options)
    for module in method.modules():  # as after some training: statistics aren't 0 and 1, nothing hides behind a zero
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return method.eval()


def frames(*shape, seed=0):
    """Smooth random pictures (*shape, 3, 32, 48)."""
    colours = torch.rand(math.prod(shape), 3, 4, 6, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(colours, size=(32, 48), mode="bilinear").view(*shape, 3, 32, 48)


EXTENSIONS = {
    "published": {},
    "two levels": {"attention_strides": (8, 4)},
    "three levels, restricted": {"attention_strides": (8, 4, 2), "attention_parents": 3},
    "top k": {"top_k": 7},
    "coordinates": {"pose_coordinates": True},
    "by distance, with colours": {"similarity": "distance", "loss_weights": WEIGHTS | {"retrieval": 1}},
    "generated frames": {"generated_frames": 2},
    "first background": {"background": "first"},
    "seen background": {"background": "seen"},
    "no background": {"background": "none"},
}


# Far from all keypoints positions are exactly alike; where only some are taken, which of them is arbitrary.
SOME_OF_MANY_ALIKE = ("three levels, restricted", "top k")


def all_but(*names):
    return pytest.mark.parametrize("method", [name for name in EXTENSIONS if name not in names], indirect=True)


def shaken(method):
    """With random injections, so that finer levels have a say, and with frames that differ in what they hold."""
    for injection in method.generator.decoder.injections.values():
        torch.nn.init.normal_(injection.weight, std=0.1)
    with torch.no_grad():
        for embedding in [*method.generator.appearance_embeddings, *(e.last for e in method.generator.pose_embeddings)]:
            embedding.weight *= 10
    return method


@torch.no_grad()
def reassembled(method, sources, driving, valid=None):
    generator = method.generator
    result, _ = generator.reassemble(generator.encode_sources(sources, valid), generator.pose(driving))
    return result.prediction


class TestSources:
    @pytest.fixture(params=EXTENSIONS)
    def method(self, request):
        return shaken(small(**EXTENSIONS[request.param]))

    @all_but("first background", *SOME_OF_MANY_ALIKE)
    def test_order_doesnt_matter(self, method):
        sources, driving = frames(1, 3), frames(1, 2, seed=1)
        close(reassembled(method, sources[:, [1, 2, 0]], driving), reassembled(method, sources, driving))

    @all_but("generated frames", *SOME_OF_MANY_ALIKE)  # the former compete with the sources, not twice as many
    def test_duplicates_dont_matter(self, method):
        sources, driving = frames(1, 2), frames(1, 2, seed=1)
        close(reassembled(method, torch.cat([sources] * 2, 1), driving), reassembled(method, sources, driving))

    @pytest.mark.parametrize("method", ["published", "no background"], indirect=True)
    def test_a_single_duplicate_counts_twice(self, method):
        sources, driving = frames(1, 2), frames(1, 2, seed=1)
        twice = reassembled(method, sources[:, [0, 1, 1]], driving)
        assert (twice - reassembled(method, sources, driving)).abs().max() > 3e-5

    @all_but(*SOME_OF_MANY_ALIKE)
    def test_padding_is_as_good_as_nothing(self, method):
        sources, driving = frames(2, 3), frames(2, 2, seed=1)
        valid = torch.tensor([[True, True, False], [False, False, True]])
        padded = reassembled(method, sources, driving, valid)
        for clip in range(2):
            alone = reassembled(method, sources[[clip]][:, valid[clip]], driving[[clip]])
            close(padded[[clip]], alone)

    def test_every_source_counts(self, method):
        sources, driving = frames(1, 3), frames(1, 1, seed=1)
        whole = reassembled(method, sources, driving)
        for left_out in ([1, 2], [0, 2], [0, 1]):
            assert (reassembled(method, sources[:, left_out], driving) - whole).abs().max() > 3e-5

    def test_sources_are_encoded_a_few_at_a_time(self, method, monkeypatch):
        """Outside training neither encoder nor background network sees more pictures at once where there are more."""
        sources, valid = frames(2, 5), torch.tensor([[True] * 5, [False, True, True, False, True]])
        generator = method.generator
        whole = generator.encode_sources(sources, valid)
        batches = []
        for network in filter(None, (generator.encoder, generator.background_network)):
            network.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
        monkeypatch.setattr(networks, "MAX_PIXELS", 2 * 2 * 32 * 48)  # two sources of either clip
        few = generator.encode_sources(sources, valid)
        assert max(batches) == 4
        close(few.keypoints, whole.keypoints)
        for ours, expected in zip(
            few.memory.keys + few.memory.values, whole.memory.keys + whole.memory.values, strict=True
        ):
            close(ours, expected, atol=1e-4)  # values of up to 40
        assert torch.equal(few.memory.bias, whole.memory.bias)
        if whole.background is not None:
            close(few.background, whole.background)

    def test_training_encodes_all_sources_at_once(self, method, monkeypatch):
        """Batch norm's statistics are those of all of them."""
        monkeypatch.setattr(networks, "MAX_PIXELS", 1)
        batches = []
        method.generator.encoder.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
        method.generator.train().encode_sources(frames(2, 5))
        assert batches == [10]

    def test_no_source(self, method):
        with pytest.raises(ValueError, match="no source frame"):
            method.generator.encode_sources(frames(2, 0))
        with pytest.raises(ValueError, match="no source frame"):
            method.generator.encode_sources(frames(2, 1), torch.tensor([[True], [False]]))

    @all_but(*SOME_OF_MANY_ALIKE)
    def test_chunked_equals_whole(self, method):
        batch = Batch(source=frames(2, 3), driving=frames(2, 5, seed=1))
        whole = method.animate(batch, chunk=5)
        for chunk in (1, 2):
            close(method.animate(batch, chunk=chunk), whole)

    @all_but(*SOME_OF_MANY_ALIKE)
    def test_more_sources_than_are_held_at_once(self, method):
        batch = Batch(source=frames(1, 40), driving=frames(1, 2, seed=1))
        whole = method.animate(batch)
        generator = method.generator
        generator.attention = Attention(generator.attention.scale, generator.attention.top_k, max_weights=5000)
        close(method.animate(batch), whole)


class TestExtensions:
    def test_all_are_off_by_default(self):
        defaults = PoseAttentiveReassembling().hparams
        off = {
            "attention_strides": (4,),
            "attention_parents": None,
            "top_k": None,
            "pose_coordinates": False,
            "generated_frames": 0,
            "similarity": "dot",
        }
        assert {name: defaults[name] for name in off} == off

    def test_finer_levels_start_without_a_say(self):
        method = small(attention_strides=(8, 4, 2))
        sources, driving = frames(1, 2), frames(1, 1, seed=1)
        before = reassembled(method, sources, driving)
        for embedding in method.generator.appearance_embeddings[1:]:
            torch.nn.init.normal_(embedding.weight)
        assert torch.equal(reassembled(method, sources, driving), before)
        shaken(method)
        assert (reassembled(method, sources, driving) - before).abs().max() > 1e-4

    def test_by_distance_the_nearest_pose_is_looked_at_most(self):
        """Against distances that are computed one by one."""
        method = shaken(small(similarity="distance"))
        generator = method.generator
        sources, driving = generator.encode_sources(frames(1, 2)), generator.pose(frames(1, 1, seed=1))
        point = torch.tensor([[0.2, -0.3]]).expand(1, 1, -1, -1)
        maps = generator.looked_at(sources.memory, driving, point)[0, 0, 0]  # N, h, w
        keys, queries = sources.memory.keys[0][0, :, :-1], driving.queries[0][0, 0, :-1]
        height, width = queries.shape[-2:]
        query = queries[:, round(0.35 * (height - 1)), round(0.6 * (width - 1))]
        distances = (keys - query[:, None, None]).square().sum(1)
        factor = 1 / math.sqrt(len(query) + 1)
        close(maps.flatten(), (-factor / 2 * distances.flatten()).softmax(0))
        assert maps.argmax() == distances.argmin()

    def test_colours_of_the_source_itself(self):
        """Poses that are told apart sharply find their own place, and with it its colour."""
        method = shaken(
            small(
                similarity="distance",
                attention_scale=1e4,
                pose_coordinates=True,
                loss_weights=WEIGHTS | {"retrieval": 1},
            )
        )
        generator, pictures = method.generator, frames(1, 1)
        own, _ = generator.reassemble(generator.encode_sources(pictures), generator.pose(pictures))
        small_picture = F.avg_pool2d(pictures[0], 4)
        assert own.colours.shape == (1, 1, 3, 8, 12)
        close(own.colours[0], small_picture, atol=0.02)
        retrieved = losses.retrieval(own, None, pictures)
        close(retrieved, (own.colours[0] - small_picture).abs().mean())

    def test_parents_that_are_all_positions_restrict_nothing(self):
        sources, driving = frames(2, 2), frames(2, 2, seed=1)
        free, restricted = (
            shaken(small(attention_strides=(8, 4, 2), attention_parents=parents)) for parents in (None, 10_000)
        )
        restricted.load_state_dict(free.state_dict())
        close(reassembled(restricted, sources, driving), reassembled(free, sources, driving))

    def test_generated_frames_enter_from_the_second_frame_on_and_leave_again(self):
        method, without = shaken(small(generated_frames=2)), small()
        without.load_state_dict(method.state_dict(), strict=False)
        method.generator.generated_bias.data.fill_(3.0)
        sources, driving = frames(1, 2), frames(1, 6, seed=1)
        remembered, plain = reassembled(method, sources, driving), reassembled(without, sources, driving)
        close(remembered[:, 0], plain[:, 0])
        assert (remembered[:, 1:] - plain[:, 1:]).abs().amax((0, 2, 3, 4)).min() > 3e-5
        generator = method.generator
        _, generated = generator.reassemble(generator.encode_sources(sources), generator.pose(driving))
        assert generated.keys[0].shape[1] == generated.values[0].shape[1] == 2

    def test_generated_frames_with_a_bias_of_minus_infinity_are_not_looked_at(self):
        method, without = small(generated_frames=2), small()
        without.load_state_dict(method.state_dict(), strict=False)
        method.generator.generated_bias.data.fill_(-math.inf)
        sources, driving = frames(1, 2), frames(1, 4, seed=1)
        close(reassembled(method, sources, driving), reassembled(without, sources, driving))

    def test_the_bias_of_generated_frames_learns(self):
        method = small(generated_frames=2)
        generator = method.generator
        sources = generator.encode_sources(frames(1, 2))
        result, _ = generator.reassemble(sources, generator.pose(frames(1, 3, seed=1)))
        result.prediction.square().sum().backward()
        assert generator.generated_bias.grad.abs() > 0

    @pytest.mark.parametrize("strides", [(), (1,), (6,), (8, 2), (4, 8), (4, 4)])
    def test_levels_that_dont_halve_are_refused(self, strides):
        with pytest.raises(OptionError, match="attention_strides"):
            small(attention_strides=strides)

    def test_levels_finer_and_coarser_than_the_encoder(self):
        assert small(attention_strides=(2,)).size_multiple == 16
        assert small(attention_strides=(32, 16), heatmap_blocks=1).size_multiple == 32


class TestBackground:
    def test_background_shows_where_the_mask_is_off(self):
        method = small()
        generator = method.generator
        torch.nn.init.constant_(generator.decoder.mask.bias, -100.0)
        sources = generator.encode_sources(frames(1, 3))
        close(reassembled(method, frames(1, 3), frames(1, 1, seed=1))[:, 0], sources.background)
        alone = torch.stack([generator.background_network(frames(1, 3)[:, number])[0] for number in range(3)])
        close(sources.background, alone.mean(0))

    def test_the_first_that_counts(self):
        generator = small(background="first").generator
        sources = frames(2, 3)
        valid = torch.tensor([[False, True, True], [True, False, True]])
        background = generator.encode_sources(sources, valid).background
        expected, _ = generator.background_network(torch.stack([sources[0, 1], sources[1, 0]]))
        close(background, expected)

    def test_what_a_source_shows_is_taken_as_it_is(self):
        """Each place from the source that shows it; where none does, the mean of what is completed."""
        generator = small(background="seen").generator
        sources, network = frames(1, 2), generator.background_network
        seen = torch.zeros(2, 1, 32, 48)  # by the first at the left, by the second in the middle, by none at the right
        seen[0, ..., :16], seen[1, ..., 16:32] = 1, 1
        network.visibility.forward = lambda features: (seen * 2 - 1) * 100
        background = generator.encode_sources(sources).background
        completed = network.last(network.hourglass(network.first(sources[0]))[:, : network.width]).sigmoid()
        rest = network.UNSEEN / (1 + 2 * network.UNSEEN)  # what the source that doesn't show a place has to say
        close(background[..., :16], (sources[:, 0] + rest * (completed[1] - sources[:, 0]))[..., :16])
        close(background[..., 16:32], (sources[:, 1] + rest * (completed[0] - sources[:, 1]))[..., 16:32])
        close(background[..., 32:], completed.mean(0, keepdim=True)[..., 32:])

    def test_without_background_all_is_object(self):
        method = small(background="none")
        generator = method.generator
        result, _ = generator.reassemble(generator.encode_sources(frames(1, 2)), generator.pose(frames(1, 1, seed=1)))
        assert torch.equal(result.prediction, result.object)


def test_nothing_of_the_driving_frame_but_its_keypoints_is_used():
    """Two pictures with the same keypoints drive alike: no appearance passes the keypoints."""
    method = small()
    generator = method.generator
    keypoints = torch.rand(1, 1, 5, 2) * 2 - 1
    sources = generator.encode_sources(frames(1, 2))
    generator.keypoint_head.forward = lambda features: keypoints[0]
    one, other = (generator.reassemble(sources, generator.pose(frames(1, 1, seed=s)))[0].prediction for s in (1, 2))
    assert torch.equal(one, other)


# --- training


def data(**options):
    return VideoDataModule(**TINY["data"] | options)


def fit(method, folder, steps=2, **options):
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        default_root_dir=folder,
    )
    trainer.fit(method.train(), data(**options))
    return trainer.logged_metrics


class Recorder(PoseAttentiveReassembling):
    """Keeps what each step rendered."""

    def training_forward(self, batch):
        rendered = super().training_forward(batch)
        vars(self).setdefault("steps", []).append((batch, rendered))
        return rendered


def recorder(**options):
    seed_everything(0)
    return Recorder(**TINY["model"]["init_args"] | options)


class TestTraining:
    def test_both_passes_are_logged_apart(self, tmp_path):
        logged = fit(small(), tmp_path)
        own = {"perceptual", "gen_gan", "feature_matching", "equivariance"}
        crossed = {"cross_perceptual", "cross_gen_gan", "cross_equivariance"}
        assert {name for name in logged if "/generator/" in name} == {f"train/generator/{n}" for n in own | crossed}
        assert {n for n in logged if "/discriminator/" in n} == {
            "train/discriminator/disc_gan",
            "train/discriminator/cross_disc_gan",
        }
        assert all(value.isfinite() for value in logged.values())

    def test_warm_up_and_ramp(self, tmp_path):
        """40 samples an epoch, 10 batches; from epoch 0.3 on the weight rises for 0.5 epochs."""
        method = recorder(cross_start=0.3, cross_ramp=0.5)
        fit(method, tmp_path, steps=9)
        weights = [rendered["cross"].weight if "cross" in rendered else 0 for _, rendered in method.steps]
        assert weights == pytest.approx([0, 0, 0, 0, 0.2, 0.4, 0.6, 0.8, 1])

    def test_ramp(self):
        assert [ramp(epoch, 10, 10) for epoch in (0, 9.9, 10, 15, 20, 99)] == [0, 0, 0, 0.5, 1, 1]
        assert [ramp(epoch, 3, 0) for epoch in (2.9, 3, 4)] == [0, 1, 1]

    def test_self_reconstruction_alone(self, tmp_path):
        logged = fit(small(loss_weights={"cross": 0, "feature_matching": [10, 10]}), tmp_path, other_frames=0)
        assert logged
        assert not any("cross" in name for name in logged)

    def test_cross_terms_carry_their_weight(self, tmp_path):
        off_by_default = {"reconstruction": 3, "mask": 2, "layers": 4, "retrieval": 5}
        method = recorder(loss_weights=WEIGHTS | off_by_default)
        fit(method, tmp_path, steps=1)
        method.eval()  # spectral norms stand still
        batch, rendered = method.steps[0]
        whole = method.losses("generator", batch, rendered)
        rendered["cross"] = type(rendered["cross"])(**vars(rendered["cross"]) | {"weight": 0.25})
        part = method.losses("generator", batch, rendered)
        for name, term in whole.items():
            factor = 0.25 if name in ("cross_perceptual", "cross_reconstruction", "cross_gen_gan") else 1
            torch.testing.assert_close(part[name], factor * term)

    def test_the_terms_are_those_of_the_specification(self, tmp_path):
        """Written out once more, from the pictures that were rendered."""
        off_by_default = {"reconstruction": 3, "mask": 2, "layers": 4, "retrieval": 5}
        method = recorder(loss_weights=WEIGHTS | off_by_default)
        fit(method, tmp_path, steps=1)
        method.eval()  # spectral norms stand still
        batch, rendered = method.steps[0]
        crossed = rendered["cross"]
        perceptual = PerceptualLoss("alexnet", [10] * 5)
        fake, truth = rendered["own"].prediction[:, 0], batch["driving"][:, 0]
        fake_features, fake_verdict = method.discriminator(fake)
        true_features, true_verdict = method.discriminator(truth)
        transform, deformed = rendered["deformed"]
        moved_back = transform.positions(deformed)
        pairs = zip(fake_features, true_features, strict=True)
        foreground, background = rendered["own"].object[:, 0], rendered["background"]
        missing = (background - truth).abs().mean(1, keepdim=True)
        of_object = ((foreground - truth).abs() * missing / missing.mean()).mean()
        colours, there = rendered["own"].colours[:, 0], F.avg_pool2d(missing / missing.mean(), 4)
        expected = {
            "mask": 2 * rendered["own"].mask.mean(),
            "layers": 4 * (of_object + missing.mean()),
            "retrieval": 5 * (there * (colours - F.avg_pool2d(truth, 4)).abs()).mean(),
            "perceptual": perceptual(fake, truth),
            "reconstruction": 3 * (fake - truth).abs().mean(),
            "gen_gan": ((fake_verdict - 1) ** 2).mean(),
            "feature_matching": 10 * sum((f - t).abs().mean() for f, t in pairs),
            "equivariance": 10 * (rendered["keypoints"][:, 0] - moved_back).abs().mean(),
            "cross_perceptual": perceptual(crossed.returned[:, 0], truth),
            "cross_reconstruction": 3 * (crossed.returned[:, 0] - truth).abs().mean(),
            "cross_gen_gan": ((method.discriminator(crossed.pseudo[:, 0])[1] - 1) ** 2).mean(),
        }
        terms = method.losses("generator", batch, rendered)
        for name, value in expected.items():
            torch.testing.assert_close(terms[name], value, rtol=1e-5, atol=1e-6)
        judged = method.losses("discriminator", batch, rendered)
        torch.testing.assert_close(
            judged["disc_gan"], ((true_verdict - 1) ** 2).mean() + (fake_verdict**2).mean(), rtol=1e-5, atol=1e-6
        )
        other = method.discriminator(crossed.other.flatten(0, 1))[1]
        pseudo = method.discriminator(crossed.pseudo[:, 0])[1]
        torch.testing.assert_close(
            judged["cross_disc_gan"], ((other - 1) ** 2).mean() + (pseudo**2).mean(), rtol=1e-5, atol=1e-6
        )

    def test_layers_are_judged_apart(self):
        """The mask has no part, and the background isn't told to fail where the object is right."""
        own = Reassembled(*(torch.rand(2, 1, c, 32, 48, requires_grad=True) for c in (3, 3, 1)))
        driving, background = frames(2, 1), torch.rand(2, 3, 32, 48, requires_grad=True)
        wanted = own.mask, own.object, background
        terms = layers(own, background, driving)
        of_mask, of_object, of_background = torch.autograd.grad(terms, wanted, allow_unused=True)
        assert of_mask is None
        close(of_background.abs(), torch.full_like(background, 1 / background.numel()))
        missing = (background[:, None] - driving).abs().mean(2, keepdim=True)
        weight = missing / missing.mean()
        close(of_object.abs() * driving.numel(), weight.expand_as(of_object))

    def test_without_background_the_object_is_judged_everywhere(self):
        own = Reassembled(*(torch.rand(2, 1, c, 32, 48) for c in (3, 3, 1)))
        close(layers(own, None, frames(2, 1)), (own.object - frames(2, 1)).abs().mean())

    @pytest.mark.parametrize("detach", [True, False])
    def test_the_way_back_leaves_pseudo_frames_alone(self, detach):
        method = small(cross_detach=detach)
        generator = method.generator
        pose = generator.pose(frames(1, 1, seed=1))
        crossed = method.cross(generator.encode_sources(frames(1, 2)), pose, frames(1, 2, seed=2), 1.0)
        (gradient,) = torch.autograd.grad(crossed.returned.sum(), crossed.pseudo, allow_unused=True)
        assert (gradient is None) == detach

    def test_pseudo_frames_show_the_other_person(self, tmp_path):
        """With the mask off, all that is left of a pseudo driving frame is B's background, and of its return A's."""
        method = recorder()
        torch.nn.init.constant_(method.generator.decoder.mask.bias, -100.0)
        fit(method, tmp_path, steps=1)
        batch, rendered = method.steps[0]
        crossed = rendered["cross"]
        assert batch["other_identity"] != batch["source_identity"]
        close(crossed.returned, rendered["own"].prediction)
        count = crossed.other.shape[1]
        assert torch.equal(crossed.other, batch["other"][:, :count])
        assert (crossed.pseudo - crossed.returned).abs().mean() > 1e-3

    def test_the_number_of_sources_varies(self, tmp_path):
        method = recorder()
        fit(method, tmp_path, steps=8, source_frames=3, other_frames=3)
        counts = {rendered["cross"].other.shape[1] for _, rendered in method.steps}
        assert counts == {1, 2, 3}

    def test_clips_with_generated_frames(self, tmp_path):
        method = recorder(generated_frames=2)
        logged = fit(method, tmp_path, driving_frames=4, steps=2)
        assert all(value.isfinite() for value in logged.values())
        assert method.steps[0][1]["own"].prediction.shape[:2] == (4, 4)

    @pytest.mark.parametrize(("steps", "learns"), [(2, False), (3, True)])
    def test_generated_frames_are_looked_into_from_their_start_on(self, tmp_path, steps, learns):
        method = small(generated_frames=2, generated_start=0.2)  # an epoch has 10 batches
        fit(method, tmp_path, driving_frames=2, steps=steps)
        assert (method.generator.generated_bias != -2) == learns

    @pytest.mark.parametrize("name", ["three levels, restricted", "generated frames"])
    def test_bfloat16_with_extensions(self, name):
        method = shaken(small(**EXTENSIONS[name]))
        with torch.autocast("cpu", torch.bfloat16):
            result = method.animate(Batch(source=frames(1, 2), driving=frames(1, 3, seed=1)))
        assert result.isfinite().all()

    def test_cross_identity_needs_other_people(self, tmp_path):
        with pytest.raises(OptionError, match=r"set `data.other_frames`.*loss_weights.cross: 0"):
            fit(small(), tmp_path, other_frames=0)

    def test_weights_for_every_block(self):
        with pytest.raises(OptionError, match="each of 2 blocks"):
            small(loss_weights={"feature_matching": [10]})


# --- what it shows


class TestAttentionMaps:
    @pytest.fixture
    def shown(self):
        method = small()
        batch = Batch(source=frames(2, 3), driving=frames(2, 2, seed=1))
        with torch.no_grad():
            state = method.encode(Batch(source=batch["source"]), MotionOptions())
            _, state = method.render(state, Batch(driving=batch["driving"]))
        return method, state, batch

    def test_maps_are_the_rows_of_the_attention(self, shown):
        method, state, _ = shown
        points = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.1, -0.4]])
        maps = method.attention_maps(state, points)
        assert maps.shape == (2, 2, 3, 3, 8, 12)
        torch.testing.assert_close(maps.sum((3, 4, 5)), torch.ones(2, 2, 3))
        queries = state.pose.queries[0]
        # x = 0.1 of 12 columns is column 6.05, y = -0.4 of 8 rows is row 2.1
        for number, (row, column) in enumerate([(0, 0), (7, 11), (2, 6)]):
            query = queries[..., row, column]  # B, T, C
            memory = state.sources.memory
            logits = torch.einsum("btc,bnchw->btnhw", query, memory.keys[0]) / math.sqrt(query.shape[-1])
            expected = logits.flatten(2).softmax(-1).view_as(logits)
            torch.testing.assert_close(maps[:, :, number], expected)

    def test_pictures_of_every_source(self, shown):
        method, state, batch = shown
        views = method.explain(state, batch)
        assert {f"source_{n}" for n in (1, 2, 3)} | {"driving_points", "object", "mask", "background"} == views.keys()
        for view in views.values():
            assert view.shape == (2, 2, 3, 32, 48)
            assert view.min() >= 0
            assert view.max() <= 1

    def test_a_query_lights_up_where_it_looked(self, shown):
        """A query that finds itself in the second of three sources leaves the other two dark."""
        method, state, batch = shown
        point = torch.tensor([[0.1, -0.4]])
        maps = torch.zeros(2, 2, 1, 3, 8, 12)
        maps[:, :, 0, 1, 2, 6] = 1
        method.attention_maps = lambda *arguments: maps
        views = method.explain(state, batch, point)
        for number in (1, 3):
            expected = 0.4 * batch["source"][:, number - 1, None].expand(-1, 2, -1, -1, -1)
            close(views[f"source_{number}"], expected)
        lit = (views["source_2"] - 0.4 * batch["source"][:, 1, None]).abs().sum(2)
        assert lit[:, :, 8:12, 24:28].min() > 0.05
        assert lit[:, :, 20:].max() == 0


# --- files


class TestAnimating:
    """The command, with sources of several sizes."""

    @pytest.fixture
    def files(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        save_weights(shaken(small()), "weights.safetensors", size="32x32")
        pictures = (255 * frames(8)).to(torch.uint8)
        write_image("tall.png", pictures[0, :, :, :22])
        write_image("wide.png", pictures[1, :, :20])
        with VideoWriter("clip.mkv", Fraction(25)) as writer:
            for picture in pictures:
                writer.write(picture)

    def animated(self, *sources):
        options = ["--driving", "clip.mkv", "--source-frames", "3", "--output", "out.mkv", "--device", "cpu"]
        main(["animate", "--weights", "weights.safetensors", "--source", *sources, *options])
        return read_frames("out.mkv", range(8)).float()

    def test_sources_of_several_sizes(self, files, monkeypatch):
        shapes = []
        encode = networks.Reassembler.encode_sources
        monkeypatch.setattr(
            networks.Reassembler,
            "encode_sources",
            lambda self, frames, valid=None: shapes.append(frames.shape) or encode(self, frames, valid),
        )
        assert self.animated("tall.png", "wide.png", "clip.mkv").shape == (8, 3, 32, 22)
        assert self.animated("wide.png", "tall.png").shape == (8, 3, 20, 48)
        assert shapes == [(1, 5, 3, 32, 32), (1, 2, 3, 32, 32)]

    def test_all_sources_twice_change_nothing(self, files):
        sources = ["tall.png", "wide.png", "clip.mkv"]
        once = self.animated(*sources)
        assert (self.animated(*sources, *sources) - once).abs().mean() < 0.1  # grey levels
        assert (self.animated("tall.png") - once).abs().mean() > 0.2


# --- recipes


def test_parameters_of_the_default_design():
    method = PoseAttentiveReassembling()
    generator = method.generator
    counts = {
        generator.encoder: 2_741_760,
        generator.keypoint_head.hourglass: 9_443_712,
        generator.keypoint_head.logits: 376_340,
        generator.pose_embeddings: 171_008,
        generator.appearance_embeddings: 590_080,
        generator.decoder.object: 9_411,
        generator.decoder.mask: 3_137,
        generator.background_network: 9_435_651,
        generator: 30_227_419,
        method.discriminator: 2_758_849,
    }
    assert {network: count_parameters(network) for network in counts} == counts


def test_synthetic_recipe_is_small():
    options = yaml.safe_load((CONFIGS / "synthetic-64.yaml").read_text())
    method = PoseAttentiveReassembling(**options["model"]["init_args"])
    assert count_parameters(method.generator) <= 2_000_000
    assert options["data"]["size"] % method.size_multiple == 0
