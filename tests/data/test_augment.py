import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from torch.nn import functional as F

from zoo.batch import check_batch
from zoo.data.augment import augment, draw_parameters, to_floats
from zoo.pose import BODY_18, flip_pose, flip_surface

B, S, T, H, W = 6, 1, 3, 20, 28
CONDITIONS = ("pose", "iuv", "mask")


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    made = {}
    for role, frames in (("source", S), ("driving", T)):
        made[role] = torch.rand(B, frames, 3, H, W, generator=generator)
        pose = torch.rand(B, frames, 18, 3, generator=generator) * 1.8 - 0.9
        pose[..., 2] = 0.8
        pose[:, :, 3] = 0
        made[f"{role}_pose"] = pose
        part = torch.randint(0, 25, (B, frames, 1, H, W), generator=generator).float()
        surface = torch.rand(B, frames, 2, H, W, generator=generator) * (part > 0)
        made[f"{role}_iuv"] = torch.cat([part, surface], 2)
        made[f"{role}_mask"] = (part > 0).float()
    made["pose_window"] = made["driving_pose"][:, :, None].repeat(1, 1, 3, 1, 1) * torch.tensor([0.9, 1.0, 0.8]).view(
        3, 1, 1
    )
    made["frame"] = torch.arange(T).expand(B, T).clone()
    made["index"] = torch.arange(B)
    made["source_clip"] = ["clip"] * B
    return made


def varied(batch, augmentation, seed=0):
    return augment(batch, draw_parameters(augmentation, seed, range(B), (H, W)), BODY_18)


def test_parameters_follow_from_seed_and_number():
    everything = {
        "time_flip": True, "horizontal_flip": True, "rotation": 20.0, "scale": (0.8, 1.2),
        "brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.1,
    }  # fmt: skip
    whole = draw_parameters(everything, 5, range(10), (H, W))
    part = draw_parameters(everything, 5, [7, 2], (H, W))
    for key in ("backwards", "mirrored", "transform"):
        assert part[key].equal(whole[key][[7, 2]])
    for name, factors in part["colours"].items():
        assert factors.equal(whole["colours"][name][[7, 2]])
    assert part["order"] == [whole["order"][7], whole["order"][2]]
    assert not draw_parameters(everything, 6, range(10), (H, W))["transform"].equal(whole["transform"])
    # Switching one variation on or off leaves the others alone.
    alone = draw_parameters({"hue": 0.1}, 5, range(10), (H, W))
    assert alone["colours"]["hue"].equal(whole["colours"]["hue"])
    assert alone["order"] == whole["order"]


def test_shares_of_the_flips():
    drawn = draw_parameters({"time_flip": True, "horizontal_flip": True}, 0, range(4000), (H, W))
    assert drawn["backwards"].float().mean() == pytest.approx(0.5, abs=0.03)
    assert drawn["mirrored"].float().mean() == pytest.approx(0.25, abs=0.03)
    assert not (drawn["backwards"] & drawn["mirrored"]).any()
    alone = draw_parameters({"horizontal_flip": True}, 0, range(4000), (H, W))
    assert alone["mirrored"].float().mean() == pytest.approx(0.5, abs=0.03)


def test_nothing_on_changes_nothing(batch):
    unchanged = varied(batch, {})
    assert all(unchanged[key] is value for key, value in batch.items())


def test_mirroring(batch):
    mirrored = draw_parameters({"horizontal_flip": True}, 0, range(B), (H, W))["mirrored"]
    assert 0 < mirrored.sum() < B
    result = varied(batch, {"horizontal_flip": True})
    for role in ("source", "driving"):
        for row in range(B):
            flip = bool(mirrored[row])
            for key, expected in {
                role: batch[role][row].flip(-1),
                f"{role}_mask": batch[f"{role}_mask"][row].flip(-1),
                f"{role}_pose": flip_pose(batch[f"{role}_pose"][row], BODY_18),
                f"{role}_iuv": flip_surface(batch[f"{role}_iuv"][row]),
            }.items():
                assert result[key][row].equal(expected if flip else batch[key][row]), key
    assert result["pose_window"][mirrored].equal(flip_pose(batch["pose_window"], BODY_18)[mirrored])
    assert result["frame"].equal(batch["frame"])
    check_batch(result, CONDITIONS)


def test_running_backwards(batch):
    backwards = draw_parameters({"time_flip": True}, 0, range(B), (H, W))["backwards"]
    result = varied(batch, {"time_flip": True})
    for row in range(B):
        order = [2, 1, 0] if backwards[row] else [0, 1, 2]
        for key in ("driving", "driving_pose", "driving_iuv", "driving_mask", "frame"):
            assert result[key][row].equal(batch[key][row][order]), key
        assert result["pose_window"][row].equal(batch["pose_window"][row][order][:, order])
        assert result["source"][row].equal(batch["source"][row])


@pytest.mark.parametrize("augmentation", [{"rotation": 30.0}, {"scale": (1.2, 1.6)}, {"scale": (0.6, 0.9)},
                                          {"rotation": 15.0, "scale": (0.7, 1.5)}])  # fmt: skip
def test_joints_move_with_the_pictures(batch, augmentation):
    """Smooth pictures: what was at a joint is at the moved joint, in every frame of the sample alike."""
    ramp = torch.stack(torch.meshgrid(torch.linspace(0, 1, H), torch.linspace(0, 1, W), indexing="ij"))
    picture = torch.cat([ramp, ramp.mean(0, keepdim=True)])
    for role, frames in (("source", S), ("driving", T)):
        batch[role] = picture.expand(B, frames, 3, H, W).clone()
        batch[f"{role}_pose"][..., :2] *= 0.4
        batch[f"{role}_mask"] = (batch[role][:, :, :1] > 0.5).float()
    result = varied(batch, augmentation)
    seen = 0
    for role in ("source", "driving"):
        before, after = batch[f"{role}_pose"], result[f"{role}_pose"]
        there = after[..., 2] > 0
        values = [
            F.grid_sample(pictures.flatten(0, 1), pose[..., :2].flatten(0, 1)[:, None], align_corners=False)
            for pictures, pose in ((batch[role], before), (result[role], after))
        ]
        difference = (values[0] - values[1]).abs().amax(1)[:, 0].unflatten(0, (B, -1))
        inside = there & (after[..., :2].abs().amax(-1) < 0.9)  # beyond, `grid_sample` mixes in its border
        assert difference[inside].max() < 1e-5
        assert after[~there].eq(0).all()
        seen += int(there.sum())
        # Maps take the nearest pixel: they agree with the picture except along the edge.
        assert (result[f"{role}_mask"] != (result[role][:, :, :1] > 0.5)).float().mean() < 0.1
    assert seen > 300
    for frame in range(1, T):
        assert result["driving"][:, frame].equal(result["driving"][:, 0])
    assert set(result["driving_mask"].unique().tolist()) <= {0.0, 1.0}
    assert set(result["driving_iuv"][:, :, 0].unique().tolist()) <= set(range(25))
    check_batch(result, CONDITIONS)


def test_transform_is_what_it_says():
    numbers = range(200)
    turned = draw_parameters({"rotation": 30.0}, 0, numbers, (H, W))["transform"]
    angle = torch.atan2(turned[:, 1, 0], turned[:, 0, 0])
    assert angle.abs().max() <= math.radians(30)
    assert angle.abs().max() > math.radians(25)
    centre = torch.tensor([(W - 1) / 2, (H - 1) / 2, 1])
    torch.testing.assert_close(turned @ centre, centre[:2].expand(200, 2))

    larger = draw_parameters({"scale": (1.5, 1.5)}, 0, numbers, (H, W))["transform"]
    edges = larger[:, :, :2] @ torch.tensor([[-0.5, W - 0.5], [-0.5, H - 0.5]]) + larger[:, :, 2:]
    assert (edges[..., 0] <= -0.5 + 1e-4).all()  # the window lies inside the enlarged picture
    assert (edges[:, 0, 1] >= W - 0.5 - 1e-4).all()
    assert edges[:, 0, 0].min() < -0.45 * W  # and reaches both of its ends
    assert edges[:, 0, 0].max() > -1.5

    smaller = draw_parameters({"scale": (0.5, 0.5)}, 0, numbers, (H, W))["transform"]
    torch.testing.assert_close(smaller @ centre, centre[:2].expand(200, 2))


@pytest.mark.parametrize(
    ("name", "enhance"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)],
)
def test_colours_change_as_in_pillow(batch, name, enhance):
    """First Order Motion's official code changes colours with Pillow."""
    factors = draw_parameters({name: 0.4}, 0, range(B), (H, W))["colours"][name]
    assert ((factors >= 0.6) & (factors <= 1.4)).all()
    result = varied(batch, {name: 0.4})
    for row in range(B):
        for key, frame in (("source", 0), ("driving", T - 1)):
            picture = (batch[key][row, frame].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
            expected = np.asarray(enhance(Image.fromarray(picture)).enhance(factors[row].item())) / 255.0
            found = result[key][row, frame].permute(1, 2, 0).numpy()
            assert np.abs(found - expected).max() < 2.5 / 255


def test_hue_turns_the_colour_circle(batch):
    factors = draw_parameters({"hue": 0.5}, 0, range(B), (H, W))["colours"]["hue"]
    assert factors.abs().max() <= math.pi
    result = varied(batch, {"hue": 0.5})
    for row in range(B):
        picture = (batch["source"][row, 0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        hue, saturation, value = Image.fromarray(picture).convert("HSV").split()
        shift = round(factors[row].item() / (2 * math.pi) * 256)
        hue = Image.fromarray(((np.asarray(hue).astype(int) + shift) % 256).astype(np.uint8))
        expected = np.asarray(Image.merge("HSV", (hue, saturation, value)).convert("RGB")) / 255.0
        found = result["source"][row, 0].permute(1, 2, 0).numpy()
        assert np.abs(found - expected).mean() < 3 / 255


def test_several_colour_changes_in_the_order_drawn(batch):
    options = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.1}
    parameters = draw_parameters(options, 0, range(B), (H, W))
    assert len({tuple(order) for order in parameters["order"]}) > 2
    result = augment(batch, parameters, BODY_18)
    single = {}
    for row in range(B):  # one sample alone comes out the same
        for key, value in batch.items():
            single[key] = value[row : row + 1]
        alone = augment(single, draw_parameters(options, 0, [row], (H, W)), BODY_18)
        torch.testing.assert_close(alone["driving"][0], result["driving"][row])
    assert result["source"].min() >= 0
    assert result["source"].max() <= 1


def test_bytes_become_the_ranges_of_the_batch():
    batch = {
        "source": torch.full((1, 1, 3, 4, 4), 51, dtype=torch.uint8),
        "driving": torch.full((1, 2, 3, 4, 4), 255, dtype=torch.uint8),
        "target": torch.zeros(1, 2, 3, 4, 4, dtype=torch.uint8),
        "source_iuv": torch.tensor([24, 255, 51], dtype=torch.uint8).view(1, 1, 3, 1, 1).expand(1, 1, 3, 4, 4),
        "source_mask": torch.full((1, 1, 1, 4, 4), 255, dtype=torch.uint8),
        "frame": torch.arange(2),
        "valid": torch.tensor([True]),
    }
    floats = to_floats(batch)
    assert floats["source"].unique().item() == pytest.approx(0.2)
    assert floats["driving"].dtype == torch.float32
    assert floats["target"].dtype == torch.float32
    assert floats["source_iuv"][0, 0, :, 0, 0].tolist() == pytest.approx([24, 1, 0.2])
    assert floats["source_mask"].unique().tolist() == [1]
    assert floats["frame"].dtype == torch.int64
    assert floats["valid"].dtype == torch.bool
    assert batch["source_iuv"][0, 0, 1, 0, 0] == 255


def test_another_person_is_varied_on_their_own(batch):
    options = {"horizontal_flip": True, "time_flip": True, "rotation": 20.0, "brightness": 0.3}
    own, other = (draw_parameters(options, 0, range(B), (H, W), other=other) for other in (False, True))
    assert not own["transform"].equal(other["transform"])
    renamed = {f"other{key.removeprefix('source')}": value for key, value in batch.items() if key.startswith("source")}
    ours = augment(renamed, other, BODY_18)
    sources = {key: value for key, value in batch.items() if key.startswith("source")}
    expected = augment(sources, other, BODY_18)
    assert len(ours) == 5
    for key, value in expected.items():
        found = ours[f"other{key.removeprefix('source')}"]
        assert found.equal(value) if isinstance(value, torch.Tensor) else found == value
