import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from zoo.data.fitting import Fit

POLICIES = ("crop", "pad", "stretch")
sides = st.integers(9, 70)


@settings(max_examples=60, deadline=None)
@given(
    stored=st.tuples(sides, sides),
    size=st.tuples(sides, sides),
    policy=st.sampled_from(POLICIES),
    place=st.tuples(st.floats(0.4, 0.6), st.floats(0.4, 0.6)),
)
def test_a_joint_stays_on_its_spot(stored, size, policy, place):
    """Where the joint is in the fitted picture, that shows what the stored frame showed where the joint was."""
    fit = Fit.plan(stored, size, policy)
    assume(min(*fit.box[2:], *fit.inner) >= 9)  # else the joint is so near an edge that a filter bends the ramps
    slope_y, slope_x = 250 // stored[0], 250 // stored[1]
    frame = torch.zeros(1, 3, *stored, dtype=torch.uint8)
    frame[:, 0] = slope_x * torch.arange(stored[1])  # red says the column, green the row
    frame[:, 1] = slope_y * torch.arange(stored[0])[:, None]
    top, left, height, width = fit.box
    row, column = top + place[0] * (height - 1), left + place[1] * (width - 1)
    joint = fit.pose(torch.tensor([[column, row, 0.7]]))

    picture = fit.pictures(frame).float()
    red, green, _ = F.grid_sample(picture, joint[None, None, :, :2], align_corners=False)[0, :, 0, 0]
    assert joint[0, 2] == pytest.approx(0.7)
    # Within 0.15 of a stored pixel, which filters may bend a ramp by, and the rounding to bytes.
    assert red.item() == pytest.approx(slope_x * column, abs=0.15 * slope_x + 1)
    assert green.item() == pytest.approx(slope_y * row, abs=0.15 * slope_y + 1)


@settings(max_examples=40, deadline=None)
@given(stored=st.tuples(sides, sides), size=st.tuples(sides, sides), policy=st.sampled_from(POLICIES))
def test_labels_land_where_pictures_do(stored, size, policy):
    """A map that says for each pixel which quarter of the frame it is from agrees with the picture of it."""
    fit = Fit.plan(stored, size, policy)
    frame = torch.zeros(1, 3, *stored, dtype=torch.uint8)
    frame[..., : stored[0] // 2, :] = 200
    labels, picture = fit.labels(frame)[0, 0], fit.pictures(frame)[0, 0]
    assert set(labels.unique().tolist()) <= {0, 200}
    unclear = (picture.int() - labels.int()).abs() > 110
    assert unclear.float().mean() <= 1.5 / min(size)  # at most about one row, along the edge


@pytest.mark.parametrize(
    ("stored", "size", "policy", "box", "inner", "offset"),
    [
        ((360, 640), (64, 64), "crop", (0, 140, 360, 360), (64, 64), (0, 0)),
        ((640, 360), (64, 64), "crop", (140, 0, 360, 360), (64, 64), (0, 0)),
        ((360, 640), (64, 64), "pad", (0, 0, 360, 640), (36, 64), (14, 0)),
        ((360, 640), (64, 64), "stretch", (0, 0, 360, 640), (64, 64), (0, 0)),
        ((64, 64), (64, 64), "crop", (0, 0, 64, 64), (64, 64), (0, 0)),
        ((100, 100), (48, 96), "crop", (25, 0, 50, 100), (48, 96), (0, 0)),
    ],
)
def test_plan(stored, size, policy, box, inner, offset):
    assert Fit.plan(stored, size, policy) == Fit(box, inner, offset, size)


@pytest.mark.parametrize(
    ("stored", "inner", "offset"),
    [((270, 480), (64, 128), (0, 0)), ((480, 270), (64, 40), (0, 44)), ((90, 320), (32, 128), (16, 0))],
)
def test_plan_of_pictures_that_are_bordered_before_they_are_stretched(stored, inner, offset):
    fit = Fit.plan(stored, (64, 128), "pad", canvas=(1080, 1920))
    assert fit == Fit((0, 0, *stored), inner, offset, (64, 128))


def test_padding_is_black_and_background():
    fit = Fit.plan((4, 8), (8, 8), "pad")
    frames = torch.full((2, 3, 4, 8), 90, dtype=torch.uint8)
    for fitted in (fit.pictures(frames), fit.labels(frames)):
        assert fitted.dtype == torch.uint8
        assert (fitted[..., 2:6, :] == 90).all()
        assert (fitted[..., :2, :] == 0).all()
        assert (fitted[..., 6:, :] == 0).all()


def test_joints_outside_the_picture_are_missing():
    fit = Fit.plan((10, 20), (10, 10), "crop")  # keeps columns 5 to 14
    pose = fit.pose(torch.tensor([[4.0, 5.0, 0.9], [5.0, 0.0, 0.8], [14.0, 9.0, 0.7], [15.0, 5.0, 0.6], [0, 0, 0]]))
    torch.testing.assert_close(
        pose, torch.tensor([[0.0, 0, 0], [-0.9, -0.9, 0.8], [0.9, 0.9, 0.7], [0, 0, 0], [0, 0, 0]])
    )


def test_shrinking_does_not_alias():
    stripes = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    stripes[..., ::2] = 255
    small = Fit.plan((64, 64), (16, 16), "crop").pictures(stripes)
    assert (small.int() - 128).abs().max() <= 40  # sampled without a filter these would be 0 or 255
