import copy
import json
import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from zoo.nn.features import (
    PERCEPTUAL_TAPS,
    FeatureNetwork,
    FeatureNetworkName,
    Frozen,
    alexnet_layers,
    feature_network,
    vgg16_layers,
    vgg19_layers,
)
from zoo.nn.perceptual import PerceptualLoss
from zoo.weights.networks import MissingWeightsError


def narrow_vgg19(seed: int = 0) -> FeatureNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return FeatureNetwork(vgg19_layers((4, 6, 8, 10, 10)), PERCEPTUAL_TAPS["vgg19"])


@pytest.mark.parametrize(("name", "layers"), [("alexnet", alexnet_layers), ("vgg16", vgg16_layers)])
def test_equals_torchvision(name: FeatureNetworkName, layers) -> None:
    torch.manual_seed(0)
    reference = getattr(torchvision.models, name)(weights=None).features.eval()
    network = FeatureNetwork(layers(), PERCEPTUAL_TAPS[name])
    network.load_features({f"features.{key}": value for key, value in reference.state_dict().items()})
    pictures = torch.rand(2, 3, 64, 80)
    normalise = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for tap, found in zip(PERCEPTUAL_TAPS[name], network(pictures), strict=True):
        expected = reference[: tap + 1](normalise(pictures))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_vgg19_has_the_layers_of_torchvision() -> None:
    with torch.device("meta"):
        reference = torchvision.models.vgg19(weights=None).features
        ours = vgg19_layers()
    assert [type(layer) for layer in ours] == [type(layer) for layer in reference]
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in reference.state_dict().items()}


@pytest.mark.shared
@pytest.mark.parametrize("case", ["vox_like", "taichi_adv_like", "mgif_like", "zero_order"])
def test_pyramid_of_losses_equals_the_official_code(shared: Path, case: str) -> None:
    folder = shared / "parity" / "first_order_motion_model"
    record = json.loads((folder / f"{case}.json").read_text())
    tensors = load_file(folder / f"{case}.safetensors")
    network = FeatureNetwork(vgg19_layers(record["config"]["vgg_widths"]), PERCEPTUAL_TAPS["vgg19"])
    network.load_features({k.removeprefix("state.vgg."): v for k, v in tensors.items() if k.startswith("state.vgg.")})
    loss = PerceptualLoss(network, record["config"]["train_params"]["loss_weights"]["perceptual"])
    total = sum(
        loss(blurred(tensors["train.prediction"], scale), blurred(tensors["input.driving"], scale))
        for scale in record["config"]["train_params"]["scales"]
    )
    assert float(total) == pytest.approx(record["losses"]["train"]["perceptual"], rel=1e-5)


def blurred(pictures: Tensor, scale: float) -> Tensor:
    """The official pyramid: Gaussian blur with zero padding, then every (1/scale)-th pixel."""
    if scale == 1:
        return pictures
    sigma = (1 / scale - 1) / 2
    radius = round(4 * sigma)
    kernel = torch.exp(-(torch.arange(-radius, radius + 1.0) ** 2) / (2 * sigma**2))
    kernel = torch.outer(kernel, kernel) / kernel.sum() ** 2
    smooth = functional.conv2d(pictures, kernel.expand(3, 1, -1, -1), padding=radius, groups=3)
    return smooth[:, :, :: int(1 / scale), :: int(1 / scale)]


def test_only_the_prediction_takes_a_gradient() -> None:
    loss = PerceptualLoss(narrow_vgg19(), (1, 2, 3, 4, 5))
    prediction, target = torch.rand(2, 1, 3, 32, 32, requires_grad=True)
    value = loss(prediction, target)
    gradients = torch.autograd.grad(value, (prediction, target), allow_unused=True)
    assert gradients[0].abs().sum() > 0
    assert gradients[1] is None
    assert loss(target, target).item() == 0


def test_weights_must_fit_the_taps() -> None:
    with pytest.raises(ValueError, match="5 taps, but there are 2 weights"):
        PerceptualLoss("alexnet", (1, 1))


def test_layers_that_no_weight_needs_are_not_computed() -> None:
    torch.manual_seed(0)
    prediction, target = torch.rand(2, 2, 3, 32, 32)
    whole = feature_network("vgg16")
    weights = (10.0, 0.0, 5.0, 0.0, 0.0)
    loss = PerceptualLoss("vgg16", weights)
    torch.testing.assert_close(loss(prediction, target), PerceptualLoss(whole, weights)(prediction, target))
    network = loss._network.on(prediction.device)
    assert len(network.features) == PERCEPTUAL_TAPS["vgg16"][2] + 1 < len(whole.features)


def test_loss_leaves_no_trace_in_its_owner() -> None:
    class Owner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.perceptual = PerceptualLoss(narrow_vgg19())

    owner = Owner()
    pictures = torch.rand(1, 3, 32, 32)
    value = owner.perceptual(pictures, pictures.flip(-1))
    assert not list(owner.parameters())
    assert not owner.state_dict()
    assert not list(owner.modules())[1:]
    for other in (copy.deepcopy(owner), pickle.loads(pickle.dumps(owner.perceptual))):
        again = other.perceptual if isinstance(other, nn.Module) else other
        assert torch.equal(again(pictures, pictures.flip(-1)), value)


def test_frozen_network_built_in_inference_mode_still_gives_gradients() -> None:
    frozen = Frozen(narrow_vgg19)
    pictures = torch.rand(1, 3, 32, 32, requires_grad=True)
    with torch.inference_mode():
        frozen(pictures)
    frozen(pictures)[-1].sum().backward()
    assert pictures.grad.abs().sum() > 0


def test_building_draws_no_random_numbers() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    Frozen(lambda: FeatureNetwork(alexnet_layers((2, 2, 2, 2, 2)), (1,)))(torch.zeros(1, 3, 32, 32))
    assert torch.equal(torch.rand(4), expected)


def test_layers_behind_the_last_tap_are_dropped() -> None:
    assert len(FeatureNetwork(vgg16_layers(), (1, 6)).features) == 7


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_missing_weights_name_the_command(name: FeatureNetworkName, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    loss = PerceptualLoss(name)
    with pytest.raises(MissingWeightsError, match="zoo weights install lpips"):
        loss(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))


def test_torchvision_layout_needs_every_layer() -> None:
    network = narrow_vgg19()
    tensors = {k: v for k, v in network.state_dict().items() if not k.startswith("features.5.")}
    with pytest.raises(RuntimeError, match=r"features\.5\.weight"):
        narrow_vgg19().load_features(tensors)


def test_published_network_is_frozen_and_on_the_cpu() -> None:
    network = feature_network("alexnet")
    assert all(not p.requires_grad and p.device.type == "cpu" for p in network.parameters())
    assert [f.shape[1] for f in network(torch.rand(1, 3, 64, 64))] == [64, 192, 384, 256, 256]
