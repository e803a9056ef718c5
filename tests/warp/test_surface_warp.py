"""The coarse warp against a comparison of all pairs and against one k-d tree per part, and what it promises."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from zoo.data.synthetic import SyntheticPeople
from zoo.warp import coordinate_grid, surface, surface_warp, warp
from zoo.warp.surface import PARTS, nearest_surface


def random_maps(count, height, width, seed, parts=PARTS, values=256):
    """Maps with about a third background; few ``values`` make many equally near pixels."""
    draw = torch.Generator().manual_seed(seed)
    part = torch.randint(-parts // 2, parts + 1, (count, 1, height, width), generator=draw).clamp(min=0)
    places = torch.randint(values, (count, 2, height, width), generator=draw) * (part > 0)
    return torch.cat([part.float(), places / 255], 1)


def all_pairs(source, target):
    """For every target pixel the first of the nearest source pixels of its part, one by one."""
    ours, theirs = ((m * torch.tensor([1.0, 255, 255])[:, None, None]).round().flatten(1) for m in (source, target))
    match = torch.full((theirs.shape[1],), -1)
    for pixel in range(theirs.shape[1]):
        known = (ours[0] == theirs[0, pixel]).nonzero()[:, 0]
        if theirs[0, pixel] and len(known):
            distance = (ours[1:, known] - theirs[1:, pixel, None]).square().sum(0)
            match[pixel] = known[distance == distance.min()].min()
    return match.view(target.shape[1:])


def real_maps(size, count):
    people = SyntheticPeople((size, size), 0, 0, 2, clips_per_identity=2, frames=24)
    maps = torch.cat([people.condition(clip, "iuv", range(0, 24, 4)) for clip in people.clips("test")]).float()
    maps[:, 1:] /= 255
    return maps[:count], maps[count : 2 * count]


@pytest.mark.parametrize("values", [256, 24, 3])
@pytest.mark.parametrize("shape", [(2, 17, 24), (1, 40, 9)])
def test_equals_comparing_all_pairs(shape, values):
    source, target = (random_maps(*shape, seed, values=values) for seed in (values, values + 1))
    expected = torch.stack([all_pairs(*pair) for pair in zip(source, target, strict=True)])
    assert torch.equal(nearest_surface(source, target), expected)


@pytest.mark.parametrize("seed", range(3))
def test_few_parts_that_the_source_may_lack(seed):
    source = random_maps(1, 12, 12, seed, parts=3)
    target = random_maps(1, 12, 12, seed + 9, parts=6)
    assert torch.equal(nearest_surface(source, target)[0], all_pairs(source[0], target[0]))


def test_large_pictures_take_wide_numbers():
    """Beyond 4 million pixels packed positions need 64 bits; the last rows tell."""
    source, target = torch.zeros(1, 3, 2100, 2000), torch.zeros(1, 3, 2100, 2000)
    source[0, :, -1, -40:] = random_maps(1, 1, 40, 0, parts=2)[0, :, 0]
    target[0, :, 0, :40] = random_maps(1, 1, 40, 1, parts=2)[0, :, 0]
    expected = all_pairs(source[0, :, -1:, -40:], target[0, :, :1, :40])[0]
    found = nearest_surface(source, target)[0, 0, :40]
    assert torch.equal(found, torch.where(expected >= 0, expected + 2099 * 2000 + 1960, -1))


def test_as_near_as_a_tree_per_part_finds():
    source, target = real_maps(96, 4)
    match = nearest_surface(source, target)
    for number in range(4):
        ours, theirs = (
            (m[number] * torch.tensor([1.0, 255, 255])[:, None, None]).round().numpy() for m in (source, target)
        )
        for part in range(1, PARTS + 1):
            here = theirs[0] == part
            known = ours[:, ours[0] == part]
            if not here.any():
                continue
            if not known.size:
                assert (match[number][torch.from_numpy(here)] == -1).all()
                continue
            found = ours.reshape(3, -1)[:, match[number][torch.from_numpy(here)].numpy()]
            assert (found[0] == part).all()
            nearest, _ = cKDTree(known[1:].T).query(theirs[1:, here].T)
            np.testing.assert_allclose(np.linalg.norm(found[1:] - theirs[1:, here], axis=0), nearest, atol=1e-9)


def test_samples_are_independent_of_their_batch_and_of_the_chunks(monkeypatch):
    source, target = real_maps(48, 6)
    whole = nearest_surface(source, target)
    for number in range(6):
        assert torch.equal(nearest_surface(source[number, None], target[number, None])[0], whole[number])
    monkeypatch.setattr(surface, "_CANDIDATES", 300)
    monkeypatch.setattr(surface, "_TABLE_ROWS", 1)
    assert torch.equal(nearest_surface(source, target), whole)


def test_a_map_warps_to_itself():
    maps, _ = real_maps(64, 3)
    warped = surface_warp(maps, maps)
    assert warped.valid.all()
    back = warp(maps, warped.grid, align_corners=True)
    person = maps[:, 0] > 0
    torch.testing.assert_close(back.movedim(1, -1)[person], maps.movedim(1, -1)[person], atol=1e-4, rtol=0)
    places = coordinate_grid(64, 64, maps).expand(3, -1, -1, -1)
    torch.testing.assert_close(warped.grid[~person], places[~person], atol=1e-6, rtol=0)


def test_background_and_unknown():
    """Both backgrounds: the own place. Only the source's person: hidden. Only the target's, part unseen: unknown."""
    source, target = torch.zeros(2, 1, 3, 4, 6)
    source[0, 0, 0, :2] = 1
    target[0, 0, :, 0] = torch.tensor([1.0, 2, 0, 0])
    warped = surface_warp(source, target)
    assert torch.equal(warped.grid[0, 0, 1], torch.tensor([-1.0, -1]))  # the source's person hides it
    assert torch.equal(warped.grid[0, 1, 0], torch.tensor([-1.0, -1]))  # nothing is known of part 2
    assert torch.equal(warped.grid[0, 0, 0], torch.tensor([-1.0, -1]))  # part 1 begins in the first pixel
    torch.testing.assert_close(warped.grid[0, 3, 5], torch.tensor([1.0, 1]))
    torch.testing.assert_close(warped.grid[0, 2, 1], torch.tensor([2 / 5 - 1, 2 * 2 / 3 - 1]))
    unknown = torch.zeros(4, 6, dtype=torch.bool)
    unknown[0, 1] = unknown[1, 0] = True
    assert torch.equal(warped.valid[0], ~unknown)


def test_maps_without_anybody():
    person, nobody = random_maps(1, 8, 8, 0), torch.zeros(1, 3, 8, 8)
    places = coordinate_grid(8, 8, nobody)[None]
    from_nobody = surface_warp(nobody, person)
    shown = person[:, 0] > 0
    assert (from_nobody.grid[shown] == -1).all()
    assert torch.equal(from_nobody.valid, ~shown)
    torch.testing.assert_close(from_nobody.grid[~shown], places[~shown])
    to_nobody = surface_warp(person, nobody)
    assert torch.equal(to_nobody.valid, ~shown)
    both = surface_warp(nobody, nobody)
    assert both.valid.all()
    torch.testing.assert_close(both.grid, places)


@pytest.mark.parametrize("part", [25, 255, -1])
def test_parts_beyond_the_chart_are_refused(part):
    maps, wrong = random_maps(1, 8, 8, 0), random_maps(1, 8, 8, 0)
    wrong[0, 0, 3, 3] = part
    for pair in ((maps, wrong), (wrong, maps)):
        with pytest.raises(ValueError, match="not 0 to 24"):
            surface_warp(*pair)


def test_maps_of_different_size_are_refused():
    with pytest.raises(ValueError, match=r"should both be \(N, 3, H, W\)"):
        surface_warp(random_maps(1, 8, 8, 0), random_maps(1, 8, 9, 0))


def test_under_autocast_positions_stay_exact():
    source, target = real_maps(48, 2)
    exact = surface_warp(source, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = surface_warp(source, target)
    assert torch.equal(rounded.grid, exact.grid)
