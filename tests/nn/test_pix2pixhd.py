"""pix2pixHD's networks against outputs that the official code produced (CPU, float32)."""

import json

import pytest
import torch
from safetensors.torch import load_file

from zoo.base import count_parameters
from zoo.nn import lsgan
from zoo.nn.features import feature_network
from zoo.nn.init import init_normal
from zoo.nn.norm import norm_layer
from zoo.nn.patchgan import MultiScalePatchGAN, PatchGAN
from zoo.nn.pix2pixhd import GlobalGenerator, HalvingPool, LocalEnhancer

ATOL = 1e-5


class Recorded:
    """One recorded case of the fixtures."""

    def __init__(self, folder, name):
        self.tensors = load_file(folder / f"{name}.safetensors")
        self.config = json.loads((folder / f"{name}.json").read_text())["config"]

    def __getitem__(self, key):
        return self.tensors[key]

    def under(self, prefix):
        start = len(prefix) + 1
        return {key[start:]: tensor for key, tensor in self.tensors.items() if key.startswith(prefix + ".")}


def close(ours, expected):
    torch.testing.assert_close(ours, expected, atol=ATOL, rtol=0)


def global_generator(config):
    return GlobalGenerator(
        config["input_nc"],
        config["output_nc"],
        config["ngf"],
        config["n_downsampling"],
        config["n_blocks"],
        config["norm"],
        config["padding_type"],
    )


@pytest.mark.shared
class TestParity:
    @pytest.fixture
    def folder(self, shared):
        return shared / "parity" / "pix2pixhd"

    @pytest.mark.parametrize("name", ["global_generator", "global_generator_batchnorm"])
    @pytest.mark.parametrize("mode", ["eval", "train"])
    def test_global_generator(self, folder, name, mode):
        recorded = Recorded(folder, name)
        network = global_generator(recorded.config).train(mode == "train")
        network.load_state_dict(recorded.under("state_dict"))
        pictures = recorded["input.x"].clone().requires_grad_()
        output = network(pictures)
        # instance norm does the same in both modes, so that only one was recorded
        close(output, recorded.under(mode).get("output", recorded["eval.output"]))
        if mode == "train":
            (output * recorded["grad.output"]).sum().backward()
            torch.testing.assert_close(pictures.grad, recorded["grad.input"], atol=1e-4, rtol=1e-3)
            after = network.state_dict()
            for key, expected in recorded.under("train.state_dict_after").items():
                torch.testing.assert_close(after[key], expected)

    def test_local_enhancer(self, folder):
        recorded = Recorded(folder, "local_enhancer")
        config = recorded.config
        network = LocalEnhancer(
            config["input_nc"],
            config["output_nc"],
            config["ngf"],
            config["n_downsample_global"],
            config["n_blocks_global"],
            config["n_local_enhancers"],
            config["n_blocks_local"],
            config["norm"],
            config["padding_type"],
        )
        network.load_state_dict(recorded.under("state_dict"))
        pictures = recorded["input.x"].clone().requires_grad_()
        small = network.halve(pictures)
        close(small, recorded["output.pyramid1"])
        close(network.model(small), recorded["output.global_features"])
        close(network.model1_1(pictures), recorded["output.local1_down"])
        output = network(pictures)
        close(output, recorded["output.image"])
        (output * recorded["grad.output"]).sum().backward()
        torch.testing.assert_close(pictures.grad, recorded["grad.input"], atol=1e-4, rtol=1e-3)

    @pytest.mark.parametrize("name", ["multiscale_discriminator", "multiscale_discriminator_nofeat_bn"])
    @pytest.mark.parametrize("mode", ["eval", "train"])
    def test_discriminator(self, folder, name, mode):
        recorded = Recorded(folder, name)
        config = recorded.config
        network = MultiScalePatchGAN(
            config["input_nc"],
            config["ndf"],
            config["n_layers"],
            config["num_D"],
            config["norm"],
            config["getIntermFeat"],
        ).train(mode == "train")
        network.load_state_dict(recorded.under("state_dict"))
        expected = recorded.under(mode) or recorded.under("eval")
        generated = recorded["input.fake"].clone().requires_grad_()
        judged = {"fake": network(generated), "real": network(recorded["input.real"])}
        compared = 0
        for role, scales in judged.items():
            for number, scale in enumerate(scales):
                for layer, output in enumerate(scale):
                    key = f"{role}.result{number}.{layer}"
                    if key in expected:
                        close(output, expected[key])
                        compared += 1
        assert compared >= 4
        losses = {
            "D_fake": lsgan.judged_as(judged["fake"], real=False),
            "D_real": lsgan.judged_as(judged["real"], real=True),
            "G_GAN": lsgan.judged_as(judged["fake"], real=True),
        }
        total = losses["G_GAN"]
        if config["getIntermFeat"]:
            losses["G_GAN_Feat_lambda10"] = 10 * lsgan.feature_matching(judged["real"], judged["fake"])
            total = total + losses["G_GAN_Feat_lambda10"]
        for key, loss in losses.items():
            torch.testing.assert_close(loss, expected[f"loss.{key}"], atol=0, rtol=1e-5)
        total.backward()
        torch.testing.assert_close(generated.grad, expected["grad.input.fake"], atol=1e-6, rtol=1e-3)


def test_published_parameter_counts():
    with torch.device("meta"):
        assert count_parameters(GlobalGenerator(6, downsamplings=4)) == 182_452_675
        assert count_parameters(LocalEnhancer(6, downsamplings=4)) == 182_715_939
        assert count_parameters(GlobalGenerator(6, blocks=5)) == 26_724_291
        assert count_parameters(MultiScalePatchGAN(12, scales=2)) == 5_547_906
        assert count_parameters(MultiScalePatchGAN(12)) == 8_321_859
        assert count_parameters(PatchGAN(6)) == 2_769_601


def test_two_enhancers_work_at_four_times_the_global_resolution():
    network = LocalEnhancer(3, 3, width=2, downsamplings=1, blocks=1, enhancers=2, enhancer_blocks=1)
    sizes = []
    network.model.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape))
    assert network(torch.rand(1, 3, 32, 48)).shape == (1, 3, 32, 48)
    assert sizes == [(1, 8, 8, 12)]


def test_the_global_branch_reflects_whatever_its_enhancers_do():
    network = LocalEnhancer(3, 3, width=2, downsamplings=1, blocks=1, enhancer_blocks=1, padding="zero")
    assert "model1_2.0.conv_block.0.weight" in network.state_dict()  # no layer pads before it
    reflecting = [key for key in network.state_dict() if key.endswith("conv_block.1.weight")]
    assert reflecting == ["model.7.conv_block.1.weight"]


def test_pool_ignores_what_is_outside():
    pictures = torch.ones(1, 1, 5, 4)
    assert torch.equal(HalvingPool()(pictures), torch.ones(1, 1, 3, 2))


def test_feature_matching_ignores_logits_and_real_gradients():
    torch.manual_seed(0)
    real = [[torch.rand(1, 2, 4, 4, requires_grad=True), torch.rand(1, 1, 4, 4)] for _ in range(2)]
    generated = [[scale[0].detach() + 1, scale[1] + 5] for scale in real]
    loss = lsgan.feature_matching(real, generated)
    assert loss.item() == pytest.approx(4)  # 4 over one block, averaged over two scales, sum of two distances of 1
    assert not loss.requires_grad


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_instance_norm_whatever_the_layout(batch, layout):
    torch.manual_seed(0)
    features = torch.randn(batch, 3, 4, 6, requires_grad=True)
    gradient = torch.randn(batch, 3, 4, 6)
    mean, variance = features.mean((2, 3), keepdim=True), features.var((2, 3), unbiased=False, keepdim=True)
    expected = (features - mean) / (variance + 1e-5).sqrt()
    ours = norm_layer("instance", 3)(features.to(memory_format=layout))
    torch.testing.assert_close(ours, expected)
    results = [
        torch.autograd.grad(output, features, gradient.to(memory_format=layout), retain_graph=True)[0]
        for output in (ours, expected)
    ]
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-4)


def test_perceptual_features_without_normalisation():
    """pix2pixHD and its successors show pictures to the perceptual network as they are."""
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    pictures = torch.rand(1, 3, 64, 64)
    expected = feature_network("alexnet")(pictures)
    ours = feature_network("alexnet", normalise=False)((pictures - mean[:, None, None]) / std[:, None, None])
    for ours_tap, expected_tap in zip(ours, expected, strict=True):
        torch.testing.assert_close(ours_tap, expected_tap)


def test_initialisation():
    torch.manual_seed(0)
    network = global_generator(
        {"input_nc": 3, "output_nc": 3, "ngf": 32, "n_downsampling": 2, "n_blocks": 1}
        | {"norm": "batch", "padding_type": "zero"}
    )
    network.apply(init_normal)
    convolution, norm = network.model[4], network.model[5]
    assert convolution.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert norm.weight.mean().item() == pytest.approx(1, abs=0.02)
    assert 0 < norm.weight.std().item() < 0.04
    assert convolution.bias.abs().max() > 0
    assert norm.bias.abs().max() == 0
