"""The texture atlas: skin, faces, hair and cloth as pages of texels."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.data.synthetic.appearance import (
    HAIR,
    PAGE_SIZE,
    PAGES,
    SKIRT_BACK,
    SKIRT_FRONT,
    SOLE,
    Appearance,
    Pattern,
    hairline,
)
from zoo.data.synthetic.body import Array, BodyShape
from zoo.pose import SURFACE_PARTS
from zoo.pose.body_form import NECK_END


def smooth_noise(generator: np.random.Generator, rows: int, columns: int, cells: tuple[int, int]) -> Array:
    """Noise in about [-1, 1] (rows, columns) that varies over that many cells along each side, and tiles."""
    lattice = np.pad(generator.uniform(-1, 1, cells), ((0, 1), (0, 1)), mode="wrap")

    def steps(count: int, along: int) -> tuple[NDArray[np.int64], Array]:
        position = (np.arange(count) + 0.5) / count * along
        cell = np.minimum(position.astype(np.int64), along - 1)
        share = position - cell
        return cell, share * share * (3 - 2 * share)

    (y, share_y), (x, share_x) = steps(rows, cells[0]), steps(columns, cells[1])
    upper = lattice[y][:, x] * (1 - share_x) + lattice[y][:, x + 1] * share_x
    lower = lattice[y + 1][:, x] * (1 - share_x) + lattice[y + 1][:, x + 1] * share_x
    return upper * (1 - share_y[:, None]) + lower * share_y[:, None]


def paint_cloth(pattern: Pattern, along: Array, around: Array) -> Array:
    """Colours (..., 3) of a cloth at places given in metres along and around the body."""
    along, around = np.broadcast_arrays(along, around)
    a, b = along / pattern.period, around / pattern.period
    ground, figure, accent = (np.array(colour) for colour in pattern.colours)
    first: Array = np.zeros(a.shape)
    second: Array = np.zeros(a.shape)
    if pattern.kind == "stripes":
        first = (a % 1.0 < 0.45).astype(float)
    elif pattern.kind == "pinstripes":
        first = (b % 1.0 < 0.4).astype(float)
    elif pattern.kind == "checks":
        first = 0.5 * ((a % 1.0 < 0.5).astype(float) + (b % 1.0 < 0.5))
        second = 0.6 * ((a % 1.0 > 0.90) | (b % 1.0 > 0.90))
    elif pattern.kind == "dots":
        first = ((a % 1.0 - 0.5) ** 2 + ((b + 0.5 * (np.floor(a) % 2)) % 1.0 - 0.5) ** 2 < 0.085).astype(float)
    elif pattern.kind == "blocks":
        first = ((along > 0.22) & (along < 0.36)).astype(float)
        second = (along >= 0.36).astype(float)
    elif pattern.kind == "print":
        phase = np.random.Generator(np.random.PCG64(pattern.seed)).uniform(0, 2 * np.pi, 6)
        waves = np.sin(3.1 * a + 1.7 * np.sin(2.3 * b + phase[0]) + phase[1])
        waves = waves + np.sin(2.9 * b + 1.9 * np.sin(2.1 * a + phase[2]) + phase[3])
        first = (waves > 0.45).astype(float)
        second = (waves < -0.95).astype(float)
    colour = ground + first[..., None] * (figure - ground)
    return colour + second[..., None] * (accent - colour)


@dataclass(frozen=True)
class _Page:
    """Coordinates of an atlas page: U (N, 1), V (1, N), and metres along and around."""

    u: Array
    v: Array
    along: Array
    around: Array


def _page(length: float, breadth: float, start: float = 0.0) -> _Page:
    texel = (np.arange(PAGE_SIZE) + 0.5) / PAGE_SIZE
    u, v = texel[:, None], texel[None]
    return _Page(u, v, start + length * u, breadth * v)


def paint_atlas(shape: BodyShape, appearance: Appearance, waist_u: float) -> NDArray[np.uint8]:
    """The texture atlas of a person.

    Args:
        shape: Gives the parts' sizes, so that patterns keep their scale.
        appearance: What to paint.
        waist_u: U on the torso where the upper clothes end.

    Returns:
        (PAGES, PAGE_SIZE, PAGE_SIZE, 3) RGB: rows are U, columns V.
    """
    generator = np.random.Generator(np.random.PCG64(appearance.seed))
    outfit = appearance.outfit
    atlas = np.zeros((PAGES, PAGE_SIZE, PAGE_SIZE, 3))
    skin = np.array(appearance.skin)
    height = shape.height
    arm_length, leg_length = 0.163 * height, 0.24 * height
    for index, name in enumerate(SURFACE_PARTS[1:], start=1):
        atlas[index] = skin
        if name.startswith("torso"):
            page = _page(0.40 * height, 0.30 * height)
            atlas[index] = _paint_torso(page, appearance, waist_u, is_front=name == "torso_front")
        elif "upper_arm" in name or "forearm" in name:
            number = 1 if "forearm" in name else 0
            page = _page(arm_length, 0.09 * height, start=number * arm_length + 0.05)
            _cover(atlas[index], page.u < outfit.sleeve - number, paint_cloth(outfit.top, page.along, page.around))
        elif "thigh" in name or "shin" in name:
            number = 1 if "shin" in name else 0
            page = _page(leg_length, 0.12 * height, start=number * leg_length)
            if number == 1:
                _cover(atlas[index], page.u > 1 - outfit.sock_length, np.array(outfit.sock))
            worn = outfit.trousers if outfit.trousers else 0.25
            _cover(atlas[index], page.u < worn - number, paint_cloth(outfit.bottom, page.along, page.around))
        elif name.endswith("foot"):
            page = _page(0.15 * height, 0.2)
            atlas[index] = outfit.shoe
            v = 1 - page.v if name == "right_foot" else page.v  # 0.25 is the instep, 0.75 the sole
            opening = (page.u > 0.14) & (page.u < 0.34) & (np.abs(v - 0.25) < 0.11)
            _cover(atlas[index], opening, np.array(outfit.sock if outfit.sock_length > 0.1 else outfit.shoe))
            laces = (page.u > 0.36) & (page.u < 0.62) & (np.abs(v - 0.25) < 0.07) & ((page.u * 22) % 1 < 0.45)
            _cover(atlas[index], laces, np.array(outfit.sole))
            _cover(atlas[index], (np.abs(v - 0.75) < 0.215) & (page.u >= 0), np.array(outfit.sole))
        elif name.startswith("head"):
            atlas[index] = _paint_head(appearance, generator, is_left=name == "head_left")
        elif name.endswith("hand"):
            page = _page(1.0, 1.0)
            fingers = (page.u > 0.55) & ((page.v * 16) % 1 < 0.16)
            _cover(atlas[index], fingers, skin * 0.82)
        folds = smooth_noise(generator, PAGE_SIZE, PAGE_SIZE, (7, 4))
        folds = 1 + (0.05 if not name.startswith(("head", "left_hand", "right_hand")) else 0.015) * folds
        atlas[index] *= folds[..., None]
    strands = 1 + 0.16 * smooth_noise(generator, PAGE_SIZE, PAGE_SIZE, (2, 40))
    atlas[HAIR] = np.array(appearance.hair) * strands[..., None]
    skirt = _page(max(outfit.skirt, 0.1) * leg_length + 0.08 * height, 0.28 * height, start=0.45)
    for page_index in (SKIRT_FRONT, SKIRT_BACK):
        pleats = 1 + 0.07 * np.cos(10 * np.pi * skirt.v) * skirt.u
        atlas[page_index] = paint_cloth(outfit.bottom, skirt.along, skirt.around) * pleats[..., None]
    atlas[SOLE] = outfit.sole
    return np.rint(np.clip(atlas, 0, 1) * 255).astype(np.uint8)


def _cover(page: Array, where: NDArray[np.bool_], colours: Array) -> None:
    """Paints over the part of a page (N, N, 3) where the mask, which broadcasts, is True."""
    where = np.broadcast_to(where, page.shape[:2])
    page[where] = np.broadcast_to(colours, page.shape)[where]


def _paint_torso(page: _Page, appearance: Appearance, waist_u: float, is_front: bool) -> Array:
    outfit = appearance.outfit
    colours = paint_cloth(outfit.top, page.along, page.around).copy()
    below = page.u > waist_u
    _cover(colours, below, paint_cloth(outfit.bottom, page.along, page.around))
    if not outfit.skirt:
        _cover(colours, below & (page.u < waist_u + 0.035), np.array(outfit.bottom.colours[0]) * 0.45)
    across = np.abs(page.v - 0.5) * 2
    if outfit.emblem and is_front:
        _cover(colours, _emblem(outfit.top.seed, page), np.array(outfit.top.colours[1]))
    if outfit.sleeve == 0:  # arm holes of a sleeveless top
        _cover(
            colours, (page.u < 0.32) & (across > 0.80 - 0.25 * np.clip(0.25 - page.u, 0, 1)), np.array(appearance.skin)
        )
    depth = outfit.neckline + 0.05 if is_front else 0.045
    opening = depth * (
        1 - across / 0.62 if outfit.v_neck and is_front else np.sqrt(np.clip(1 - (across / 0.62) ** 2, 0, 1))
    )
    collar = page.u < 0.02 + np.maximum(opening, 0) + 0.018
    _cover(colours, collar, np.array(outfit.top.colours[1 if outfit.top.kind in ("plain", "blocks") else 0]) * 0.85)
    _cover(colours, page.u < 0.02 + np.maximum(opening, 0), np.array(appearance.skin))
    return colours


def _emblem(seed: int, page: _Page) -> NDArray[np.bool_]:
    """A large figure on the chest: disc, ring, bar, cross, triangle or star."""
    x, y = (page.v - 0.5) / 0.22, (page.u - 0.36) / 0.16
    radius, angle = np.hypot(x, y), np.arctan2(x, -y)
    figures: tuple[Callable[[], NDArray[np.bool_]], ...] = (
        lambda: radius < 1,
        lambda: (radius < 1) & (radius > 0.55),
        lambda: (np.abs(y) < 0.45) & (np.abs(x) < 1.6),
        lambda: (np.minimum(np.abs(x), np.abs(y)) < 0.3) & (radius < 1.1),
        lambda: (y < 0.7) & (y > 2 * np.abs(x) - 1.1),
        lambda: radius < 0.55 + 0.5 * np.abs(((angle / (2 * np.pi) * 5) % 1) - 0.5) * 2 - 0.1,
    )
    return figures[seed % len(figures)]()


def _paint_head(appearance: Appearance, generator: np.random.Generator, is_left: bool) -> Array:
    """Half a head: face in front, ear at the side, hair."""
    page = _page(1.0, 1.0)
    azimuth = np.pi * (1 - page.v if is_left else page.v)  # from the middle of the face
    position = page.u * NECK_END  # head heights from the crown
    across = 0.325 * np.sin(np.minimum(azimuth, np.pi / 2)) + 0.6 * np.clip(azimuth - np.pi / 2, 0, None)
    colours = np.empty((PAGE_SIZE, PAGE_SIZE, 3))
    colours[:] = appearance.skin
    skin, hair = np.array(appearance.skin), np.array(appearance.hair)

    def blend(amount: Array, colour: Array) -> None:
        amount = np.broadcast_to(amount, colours.shape[:2])[..., None]
        colours[:] = colours + amount * (colour - colours)

    def disc(x: float, y: float, half_width: float, half_height: float, softness: float = 0.25) -> Array:
        distance = np.hypot((across - x) / half_width, (position - y) / half_height)
        return np.clip((1 + softness / 2 - distance) / softness, 0, 1)

    under_chin = np.clip((position - 0.99) / 0.05, 0, 1) * np.clip((1.28 - position) / 0.15, 0, 1)
    blend(0.30 * under_chin * np.clip(2.2 - azimuth, 0, 1), skin * 0.45)
    blend(0.35 * disc(0.20, 0.70, 0.10, 0.08, 1.6), skin * (1.0, 0.72, 0.70))  # cheek
    blend(0.25 * disc(0.145, 0.485, 0.095, 0.065, 1.0), skin * 0.7)  # socket
    blend(0.55 * disc(0.045, 0.685, 0.028, 0.016, 0.8), skin * 0.45)  # nostril
    blend(disc(0.145, 0.50, 0.066, 0.034), np.array([0.96, 0.95, 0.94]))
    blend(disc(0.145, 0.50, 0.033, 0.036), np.array(appearance.eyes))
    blend(disc(0.145, 0.50, 0.015, 0.017), np.array([0.03, 0.03, 0.03]))
    lid = (np.abs(position - (0.463 + 1.6 * (across - 0.145) ** 2)) < 0.009) & (np.abs(across - 0.145) < 0.075)
    blend(0.85 * lid, skin * 0.25)
    brow = np.abs(position - (0.408 + 2.2 * (across - 0.135) ** 2)) < 0.014
    blend(0.85 * (brow & (across > 0.06) & (across < 0.225)), hair * 0.9)
    blend(disc(0.0, 0.805, 0.115, 0.032), np.array(appearance.lips))
    blend(0.7 * ((np.abs(position - 0.803) < 0.006) & (across < 0.105)), np.array(appearance.lips) * 0.35)
    if appearance.beard:
        jaw = (position > 0.66 + 0.5 * np.clip(0.28 - across, 0, 1)) & (position < 1.06) & (azimuth < 1.35)
        moustache = (np.abs(position - 0.748) < 0.028) & (across < 0.13)
        mouth = disc(0.0, 0.805, 0.115, 0.034) > 0.5
        blend(appearance.beard * ((jaw | moustache) & ~mouth), hair)
    if appearance.glasses:
        rim = np.hypot((across - 0.15) / 0.105, (position - 0.50) / 0.078)
        bridge = (np.abs(position - 0.485) < 0.010) & (across < 0.05)
        arm = (np.abs(position - 0.485) < 0.011) & (across > 0.25) & (azimuth < 1.7)
        blend(0.9 * ((np.abs(rim - 1) < 0.14) | bridge | arm), np.array([0.08, 0.07, 0.07]))
    strands = 1 + 0.16 * smooth_noise(generator, PAGE_SIZE, PAGE_SIZE, (3, 28))
    border = 0.012 * smooth_noise(generator, PAGE_SIZE, PAGE_SIZE, (2, 24))
    covered = np.clip((hairline(appearance.cut, azimuth) + border - position) / 0.02, 0, 1)
    blend(covered, hair * strands[..., None])
    return colours
