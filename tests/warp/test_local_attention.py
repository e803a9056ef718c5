"""Local attention and resampling against their definitions, written with the patches laid out, and recorded numbers."""

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from zoo.warp.local_attention import attend, convolve_neighbourhoods, convolve_patches, extract_blocks, reassemble
from zoo.warp.resampling import sample_bilinear, sample_gaussian


def naive_blocks(source, flow, k):
    """Patches by grid_sample, which shares no code with the functions under test."""
    height, width = source.shape[-2:]
    rows, columns = (torch.arange(n, dtype=flow.dtype) for n in flow.shape[-2:])
    x, y = flow[:, 0] + columns, flow[:, 1] + rows[:, None]
    parts = []
    for i in range(k):
        for j in range(k):
            grid = torch.stack([(x + j - k // 2) * 2 / (width - 1) - 1, (y + i - k // 2) * 2 / (height - 1) - 1], -1)
            parts.append(F.grid_sample(source, grid, padding_mode="border", align_corners=True))
    return torch.stack(parts, 2)  # B, C, k^2, h, w


def random_case(k, channels=3, size=(7, 5), flow_size=(7, 5), spread=4.0):
    torch.manual_seed(k)
    source = torch.randn(2, channels, *size, dtype=torch.float64, requires_grad=True)
    flow = (spread * torch.randn(2, 2, *flow_size, dtype=torch.float64)).requires_grad_()
    weights = torch.randn(2, k * k, *flow_size, dtype=torch.float64).softmax(1).detach().requires_grad_()
    return source, flow, weights


def gradients(output, *inputs):
    torch.manual_seed(0)
    return torch.autograd.grad(output, inputs, torch.randn(output.shape, dtype=output.dtype))


@pytest.mark.parametrize("flow_size", [(7, 5), (4, 6)])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
class TestAgainstPatches:
    def test_extract_blocks(self, k, flow_size):
        source, flow, _ = random_case(k, flow_size=flow_size)
        ours = extract_blocks(source, flow, k)
        expected = F.pixel_shuffle(naive_blocks(source, flow, k).flatten(1, 2), k)
        torch.testing.assert_close(ours, expected)
        torch.testing.assert_close(gradients(ours, source, flow), gradients(expected, source, flow))

    def test_attend(self, k, flow_size):
        source, flow, weights = random_case(k, flow_size=flow_size)
        ours = attend(source, flow, weights)
        expected = (naive_blocks(source, flow, k) * weights[:, None]).sum(2)
        torch.testing.assert_close(ours, expected)
        inputs = source, flow, weights
        torch.testing.assert_close(gradients(ours, *inputs), gradients(expected, *inputs))

    def test_reassembled_weights_times_blocks_are_what_attend_sums(self, k, flow_size):
        source, flow, weights = random_case(k, flow_size=flow_size)
        product = reassemble(weights, k) * extract_blocks(source, flow, k)
        torch.testing.assert_close(F.avg_pool2d(product, k), attend(source, flow, weights) / k**2)

    def test_convolve_patches(self, k, flow_size):
        source, flow, _ = random_case(k, flow_size=flow_size)
        kernel = torch.randn(4, 3, k, k, dtype=torch.float64, requires_grad=True)
        ours = convolve_patches(source, flow, kernel)
        expected = F.conv2d(extract_blocks(source, flow, k), kernel, stride=k)
        torch.testing.assert_close(ours, expected)
        inputs = source, flow, kernel
        torch.testing.assert_close(gradients(ours, *inputs), gradients(expected, *inputs))

    def test_convolve_neighbourhoods_is_that_of_a_still_flow(self, k, flow_size):
        source, _, _ = random_case(k)
        kernel = torch.randn(4, 3, k, k, dtype=torch.float64)
        still = torch.zeros(2, 2, *source.shape[-2:], dtype=torch.float64)
        expected = F.conv2d(extract_blocks(source, still, k), kernel, stride=k)
        torch.testing.assert_close(convolve_neighbourhoods(source, kernel), expected)


def test_beyond_the_border_its_pixels_go_on():
    source = torch.arange(12.0).view(1, 1, 3, 4)
    far = torch.tensor([-1e6, 1e6]).view(1, 2, 1, 1).expand(1, 2, 3, 4)
    assert (sample_bilinear(source, far) == source[0, 0, 2, 0]).all()
    torch.testing.assert_close(sample_gaussian(source, far, 4, 1, 2.0), torch.full((1, 1, 3, 4), 8.0))
    assert (extract_blocks(source, far, 3) == source[0, 0, 2, 0]).all()


def test_derivative_at_whole_coordinates_is_the_right_hand_one():
    source = torch.tensor([0.0, 1.0, 5.0]).view(1, 1, 1, 3)
    flow = torch.zeros(1, 2, 1, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(sample_bilinear(source, flow).sum(), flow)
    assert gradient[0, 0, 0].tolist() == [1.0, 4.0, 0.0]


@pytest.mark.parametrize(("kernel_size", "dilation", "sigma"), [(2, 1, 5.0), (4, 1, 2.0), (6, 2, 1.5)])
def test_gaussian_sampling_by_its_definition(kernel_size, dilation, sigma):
    source, flow, _ = random_case(3, channels=2)
    ours = sample_gaussian(source, flow, kernel_size, dilation, sigma)
    height, width = source.shape[-2:]
    for b, i, j in [(0, 0, 0), (1, 3, 2), (0, 6, 4), (1, 2, 3)]:
        x, y = j + flow[b, 0, i, j], i + flow[b, 1, i, j]
        total, weights = 0, 0
        for sy in range(kernel_size):
            for sx in range(kernel_size):
                half = kernel_size // 2
                column = int(x.floor()) + (-sx * dilation if sx < half else (sx - half + 1) * dilation)
                row = int(y.floor()) + (-sy * dilation if sy < half else (sy - half + 1) * dilation)
                weight = torch.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * sigma**2))
                total += weight * source[b, :, min(max(row, 0), height - 1), min(max(column, 0), width - 1)]
                weights += weight
        torch.testing.assert_close(ours[b, :, i, j], total / weights)
    torch.autograd.gradcheck(lambda f: sample_gaussian(source.detach(), f, kernel_size, dilation, sigma), flow)


def test_an_odd_gaussian_kernel_is_refused():
    with pytest.raises(ValueError, match="even"):
        sample_gaussian(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, 2), kernel_size=3)


def test_positions_stay_in_single_precision_under_autocast():
    source, flow, weights = (tensor.float() for tensor in random_case(3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(
            attend(source.bfloat16(), flow, weights), attend(source.bfloat16().float(), flow, weights)
        )


@pytest.mark.shared
class TestRecorded:
    """What the official CUDA kernels compute, gradients included (see the recording's own notes on tolerances)."""

    @pytest.fixture(scope="class")
    def recorded(self, shared):
        return load_file(shared / "parity" / "deep_spatial_transformation" / "ops.safetensors")

    @pytest.mark.parametrize("k", [3, 5])
    def test_block_extractor(self, recorded, k):
        source, flow, output, gradient, of_source, of_flow = (
            recorded[f"block_extractor_k{k}.{name}"]
            for name in ("source", "flow", "out", "grad_out", "grad_source", "grad_flow")
        )
        inputs = source.requires_grad_(), flow.requires_grad_()
        ours = extract_blocks(*inputs, k)
        torch.testing.assert_close(ours, output, atol=1e-5, rtol=0)
        ours_source, ours_flow = torch.autograd.grad(ours, inputs, gradient)
        torch.testing.assert_close(ours_source, of_source, atol=1e-4, rtol=0)
        torch.testing.assert_close(ours_flow, of_flow, atol=1e-4, rtol=0)

    @pytest.mark.parametrize("k", [3, 5])
    def test_local_attention_reshape(self, recorded, k):
        weights = recorded[f"local_attn_reshape_k{k}.input"].requires_grad_()
        ours = reassemble(weights, k)
        assert torch.equal(ours, recorded[f"local_attn_reshape_k{k}.out"])
        (gradient,) = torch.autograd.grad(ours, weights, recorded[f"local_attn_reshape_k{k}.grad_out"])
        assert torch.equal(gradient, recorded[f"local_attn_reshape_k{k}.grad_input"])

    @pytest.mark.parametrize(("name", "options"), [("k4_d1_s2", (4, 1, 2.0)), ("k2_d1_s5", (2, 1, 5.0))])
    def test_resample(self, recorded, name, options):
        flow = recorded[f"resample2d_{name}.flow"].requires_grad_()
        ours = sample_gaussian(recorded[f"resample2d_{name}.source"], flow, *options)
        torch.testing.assert_close(ours, recorded[f"resample2d_{name}.out"], atol=1e-5, rtol=0)
        (gradient,) = torch.autograd.grad(ours, flow, recorded[f"resample2d_{name}.grad_out"])
        torch.testing.assert_close(gradient, recorded[f"resample2d_{name}.grad_flow"], atol=1e-5, rtol=0)
