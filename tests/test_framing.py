import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import ZooError
from zoo.framing import Framing

sizes = st.tuples(st.integers(1, 400), st.integers(1, 400))
working = st.tuples(st.sampled_from([32, 64, 96, 128]), st.sampled_from([32, 64, 96, 128]))


def noise(height, width, seed=0):
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def ramp(height, width):
    """A picture that resizing can't blur: linear in x, in y, and constant."""
    x = torch.linspace(40, 215, width).expand(height, width)
    y = torch.linspace(40, 215, height)[:, None].expand(height, width)
    return torch.stack([x, y, torch.full((height, width), 90.0)]).round().to(torch.uint8)


@settings(max_examples=60, deadline=None)
@given(st.tuples(st.integers(8, 400), st.integers(8, 400)), working)
def test_there_and_back_is_the_picture_up_to_resampling(stored, size):
    framing = Framing.plan(stored, size)
    framed = framing.enter(ramp(*stored))
    assert framed.shape == (3, *size)
    assert framed.min() >= 0
    assert framed.max() <= 1
    back = framing.leave(framed)
    assert back.shape == (3, *stored)
    for channel, axis in ((0, 1), (1, 0)):
        # at its ends a ramp is flattened by about one of the coarser pixels
        tolerance = 2 + 175 * max(1 / framing.fit.inner[axis], 1 / stored[axis])
        difference = (back[channel].int() - ramp(*stored)[channel].int()).abs()
        assert difference.max() <= tolerance
    assert (back[2] == 90).all()


@settings(max_examples=60, deadline=None)
@given(sizes, working)
def test_aspect_is_kept(stored, size):
    inner = Framing.plan(stored, size).fit.inner
    assert inner[0] == size[0] or inner[1] == size[1]
    scale = min(size[0] / stored[0], size[1] / stored[1])
    for whole, part in zip(stored, inner, strict=True):
        assert part == 1 or abs(part - whole * scale) <= 0.5


@settings(max_examples=30, deadline=None)
@given(st.tuples(st.integers(8, 400), st.integers(8, 400)), working)
def test_stretched_there_and_back(stored, size):
    framing = Framing.plan(stored, size, stretch=True)
    framed = framing.enter(ramp(*stored))
    assert framing.fit.inner == size
    back = framing.leave(framed)
    for channel, axis in ((0, 1), (1, 0)):
        tolerance = 2 + 175 * max(1 / size[axis], 1 / stored[axis])
        assert (back[channel].int() - ramp(*stored)[channel].int()).abs().max() <= tolerance


@pytest.mark.parametrize("stored", [(270, 480), (480, 270), (200, 200)])
def test_a_body_is_stretched_as_in_the_clips_of_the_training(stored):
    framing = Framing.plan(stored, (128, 256), stretch=True, clips=(1080, 1920))
    (inner_height, inner_width), (height, width) = framing.fit.inner, stored
    assert (inner_width / width) / (inner_height / height) == pytest.approx(2 / (16 / 9), rel=0.01)
    assert framing.leave(framing.enter(ramp(*stored))).shape == (3, *stored)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.booleans())
def test_without_resampling_the_way_back_is_exact(less, seed, tall):
    stored = (64, 64 - less) if tall else (64 - less, 64)
    picture = noise(*stored, seed)
    framing = Framing.plan(stored, (64, 64))
    assert torch.equal(framing.leave(framing.enter(picture)), picture)


def test_borders_repeat_the_edge():
    picture = noise(64, 30)
    framed = (Framing.plan((64, 30), (64, 64)).enter(picture) * 255).round().to(torch.uint8)
    assert torch.equal(framed[:, :, 17:47], picture)
    assert torch.equal(framed[:, :, :17], picture[:, :, :1].expand(-1, -1, 17))
    assert torch.equal(framed[:, :, 47:], picture[:, :, -1:].expand(-1, -1, 17))


def test_a_checkerboard_shrinks_to_grey():
    """Without antialiasing every second pixel would be taken, all of one colour."""
    checks = (torch.arange(256)[:, None] + torch.arange(256)) % 2 * 255
    framed = Framing.plan((256, 256), (64, 64)).enter(checks.to(torch.uint8).expand(3, -1, -1))
    assert (framed - 0.5).abs().max() < 0.05


@settings(max_examples=40, deadline=None)
@given(st.data(), working)
def test_outside_the_crop_nothing_changes(data, size):
    height, width = data.draw(sizes)
    box_width, box_height = data.draw(st.integers(1, width)), data.draw(st.integers(1, height))
    x, y = data.draw(st.integers(0, width - box_width)), data.draw(st.integers(0, height - box_height))
    picture = noise(height, width)
    framing = Framing.plan((height, width), size, (x, y, box_width, box_height))
    pasted = framing.paste(picture, torch.ones(3, *size))
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[y : y + box_height, x : x + box_width] = True
    assert torch.equal(pasted[:, ~inside], picture[:, ~inside])
    assert (pasted[:, inside] == 255).all()


def test_conditions_land_on_the_same_pixels():
    """A bright pixel and a joint on it arrive at the same place."""
    picture = torch.zeros(3, 40, 90, dtype=torch.uint8)
    picture[:, 21, 50] = 255
    framing = Framing.plan((40, 90), (160, 160), crop=(30, 10, 40, 20))
    x, y, _ = framing.fit.pose(torch.tensor([[50.0, 21.0, 1.0]]))[0]
    framed = framing.enter(picture)[0]
    rows, columns = torch.meshgrid(torch.arange(160.0), torch.arange(160.0), indexing="ij")
    centre = torch.stack([(framed * columns).sum(), (framed * rows).sum()]) / framed.sum()
    torch.testing.assert_close((2 * centre + 1) / 160 - 1, torch.stack([x, y]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("crop", [(-1, 0, 5, 5), (0, 0, 0, 5), (0, 0, 91, 5), (88, 0, 3, 5), (0, 36, 5, 5)])
def test_a_crop_outside_names_the_size_of_the_picture(crop):
    with pytest.raises(ZooError, match="90 x 40 pixels"):
        Framing.plan((40, 90), (64, 64), crop)
