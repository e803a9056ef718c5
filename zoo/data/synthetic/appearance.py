"""What people wear and look like: clothes, hair, colours."""

from dataclasses import dataclass

import numpy as np

from zoo.data.synthetic.body import Array, BodyShape
from zoo.pose import SURFACE_PARTS

HAIR, SKIRT_FRONT, SKIRT_BACK, SOLE = range(len(SURFACE_PARTS), len(SURFACE_PARTS) + 4)
"""Pages of the texture atlas beyond the surface parts' own."""
PAGES = SOLE + 1

PAGE_SIZE = 128
"""Texels along U and V of an atlas page."""

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Pattern:
    """A cloth.

    Attributes:
        kind: ``plain``, ``stripes`` (around the body), ``pinstripes`` (along it), ``checks``, ``dots``, ``blocks`` or
            ``print``.
        colours: The ground, and what is on it.
        period: Size of one repetition in metres.
        seed: Where an irregular print comes from.
    """

    kind: str
    colours: tuple[Colour, Colour, Colour]
    period: float
    seed: int


@dataclass(frozen=True)
class Outfit:
    """Clothes.

    Attributes:
        top: Cloth of the upper part.
        bottom: Cloth of trousers or skirt.
        sleeve: Where sleeves end: 0 has none, 1 reaches the elbow, 2 the wrist.
        trousers: Where trouser legs end: 1 reaches the knee, 2 the ankle; 0 has none (under a skirt).
        skirt: Length in thigh lengths; 0 is none.
        flare: Metres by which a skirt widens over a thigh's length.
        taper: 1 narrows trouser legs to the ankle, 0 keeps them straight.
        top_hem: Where the upper part ends, as ``BodyShape.trunk_height`` counts.
        top_ease: How loose the upper part sits, in metres.
        bottom_ease: The same for the trousers.
        neckline: Depth of the neckline on the torso's chart.
        v_neck: Whether the neckline is pointed.
        emblem: Whether a large figure is printed on the chest.
        shoe: Colour of the shoes.
        sole: Colour of their soles.
        sock: Colour of the socks.
        sock_length: How far socks reach up, as a share of the shin.
    """

    top: Pattern
    bottom: Pattern
    sleeve: float
    trousers: float
    skirt: float
    flare: float
    taper: float
    top_hem: float
    top_ease: float
    bottom_ease: float
    neckline: float
    v_neck: bool
    emblem: bool
    shoe: Colour
    sole: Colour
    sock: Colour
    sock_length: float


@dataclass(frozen=True)
class HairCut:
    """Hair.

    Attributes:
        name: What a hairdresser would call it.
        line: The hair's border, in head heights down from the crown, at azimuths 0, 0.5, 0.9, 1.25, 1.7 and pi from
            the middle of the face.
        top: Thickness on the crown, in metres.
        sides: Thickness elsewhere, in metres.
        curtain: How far loose hair hangs down, in head heights from the crown; 0 is not at all.
        tail: Length of a pony tail in head heights; 0 is none.
        bun: Whether it is tied up.
    """

    name: str
    line: tuple[float, float, float, float, float, float]
    top: float
    sides: float
    curtain: float = 0.0
    tail: float = 0.0
    bun: bool = False


HAIR_CUTS = (
    HairCut("bald", (-1.0, -1.0, -1.0, -1.0, -1.0, -1.0), 0.0, 0.0),
    HairCut("cropped", (0.20, 0.24, 0.40, 0.52, 0.66, 0.86), 0.004, 0.002),
    HairCut("short", (0.20, 0.25, 0.38, 0.58, 0.70, 0.90), 0.028, 0.006),
    HairCut("fringe", (0.33, 0.33, 0.42, 0.62, 0.74, 0.92), 0.022, 0.012),
    HairCut("curls", (0.22, 0.26, 0.40, 0.62, 0.80, 0.95), 0.050, 0.040),
    HairCut("bob", (0.22, 0.26, 0.46, 0.80, 0.92, 0.98), 0.022, 0.012, curtain=1.0),
    HairCut("long", (0.20, 0.25, 0.46, 0.80, 0.92, 0.98), 0.020, 0.012, curtain=1.75),
    HairCut("pony_tail", (0.20, 0.24, 0.38, 0.56, 0.70, 0.90), 0.014, 0.007, tail=0.85),
    HairCut("bun", (0.20, 0.24, 0.38, 0.56, 0.70, 0.90), 0.014, 0.007, bun=True),
)


def hairline(cut: HairCut, azimuth: Array) -> Array:
    """How far down the hair reaches, in head heights from the crown, at angles from the middle of the face."""
    return np.interp(azimuth, [0.0, 0.5, 0.9, 1.25, 1.7, np.pi], cut.line)


@dataclass(frozen=True)
class Appearance:
    """Everything about a person's looks that isn't shape.

    Attributes:
        skin: Colour of the skin.
        hair: Colour of hair and eyebrows.
        eyes: Colour of the irises.
        lips: Colour of the lips.
        beard: How dense a beard is, 0 to 1.
        glasses: Whether they wear glasses.
        cut: How the hair is cut.
        outfit: The clothes.
        seed: Where folds and strands come from.
    """

    skin: Colour
    hair: Colour
    eyes: Colour
    lips: Colour
    beard: float
    glasses: bool
    cut: HairCut
    outfit: Outfit
    seed: int


_SKINS = np.array([
    (0.97, 0.84, 0.75), (0.93, 0.76, 0.64), (0.86, 0.66, 0.51), (0.72, 0.51, 0.37),
    (0.55, 0.37, 0.26), (0.40, 0.27, 0.20),
])  # fmt: skip
_HAIRS = np.array([
    (0.08, 0.07, 0.07), (0.20, 0.12, 0.08), (0.36, 0.22, 0.13), (0.62, 0.43, 0.22),
    (0.85, 0.70, 0.42), (0.55, 0.23, 0.12), (0.62, 0.61, 0.60),
])  # fmt: skip
_EYES = ((0.25, 0.15, 0.09), (0.30, 0.20, 0.10), (0.24, 0.40, 0.55), (0.28, 0.42, 0.28), (0.12, 0.09, 0.08))
_TROUSERS = np.array([
    (0.17, 0.23, 0.38), (0.30, 0.40, 0.56), (0.14, 0.14, 0.16), (0.34, 0.34, 0.36),
    (0.60, 0.52, 0.40), (0.33, 0.36, 0.26), (0.40, 0.26, 0.20), (0.78, 0.76, 0.72),
])  # fmt: skip


def _vivid(generator: np.random.Generator, lowest: float = 0.2, highest: float = 0.95) -> Colour:
    """A random colour of the wardrobe: any hue, from muted to strong."""
    hue, saturation, value = generator.random(), generator.uniform(0.15, 0.85), generator.uniform(lowest, highest)
    wheel = np.clip(np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    red, green, blue = value * (1 - saturation * (1 - wheel))
    return (float(red), float(green), float(blue))


def _near(generator: np.random.Generator, colour: Array, spread: float) -> Colour:
    red, green, blue = np.clip(
        np.asarray(colour) * generator.uniform(1 - spread, 1 + spread) + generator.uniform(-0.02, 0.02, 3), 0, 1
    )
    return (float(red), float(green), float(blue))


def _random_pattern(generator: np.random.Generator, kinds: tuple[str, ...], ground: Colour) -> Pattern:
    on_top = _vivid(generator)
    if abs(sum(on_top) - sum(ground)) < 0.75:  # a pattern has to be seen
        on_top = (0.95, 0.94, 0.90) if sum(ground) < 1.4 else (0.10, 0.11, 0.16)
    kind = str(generator.choice(kinds))
    return Pattern(
        kind=kind,
        colours=(ground, on_top, _vivid(generator)),
        period=float(generator.uniform(0.05, 0.08) if kind == "pinstripes" else generator.uniform(0.075, 0.15)),
        seed=int(generator.integers(2**31)),
    )


def random_appearance(generator: np.random.Generator, shape: BodyShape) -> Appearance:
    """The looks of a person; skirts and long hair are likelier on some shapes, beards on others."""
    feminine = shape.bust > 0.3
    skin_tone = generator.uniform(0, len(_SKINS) - 1)
    low = int(skin_tone)
    skin = _SKINS[low] + (skin_tone - low) * (_SKINS[min(low + 1, len(_SKINS) - 1)] - _SKINS[low])
    hair = _HAIRS[generator.integers(3 if skin_tone > 3 else len(_HAIRS))]
    short, long = (1, 2, 3, 4), (3, 5, 6, 7, 8)
    choice = int(generator.choice(long if generator.random() < (0.85 if feminine else 0.08) else short))
    bald = not feminine and generator.random() < 0.08
    wears_skirt = feminine and generator.random() < 0.5
    dress = wears_skirt and generator.random() < 0.5
    top = _random_pattern(
        generator, ("plain", "plain", "stripes", "pinstripes", "checks", "dots", "blocks", "print"), _vivid(generator)
    )
    if wears_skirt:
        bottom = (
            top
            if dress
            else _random_pattern(generator, ("plain", "checks", "stripes", "dots", "print"), _vivid(generator))
        )
    else:
        ground = _near(generator, _TROUSERS[generator.integers(len(_TROUSERS))], 0.15)
        bottom = _random_pattern(generator, ("plain", "plain", "plain", "pinstripes", "checks"), ground)
    shorts = generator.random() < 0.35
    outfit = Outfit(
        top=top,
        bottom=bottom,
        sleeve=float(generator.choice([0.0, 0.5, 0.7, 0.85, 1.35, 1.97, 1.97])),
        trousers=0.0
        if wears_skirt
        else float(generator.uniform(0.72, 1.15) if shorts else generator.uniform(1.88, 1.99)),
        skirt=float(generator.uniform(0.62, 1.3)) if wears_skirt else 0.0,
        flare=float(generator.uniform(0.02, 0.10)),
        taper=float(generator.uniform(0.2, 1.0)),
        top_hem=0.60 if wears_skirt else float(generator.choice([0.575, 0.535, 0.525])),
        top_ease=float(generator.uniform(0.004, 0.014)),
        bottom_ease=float(generator.uniform(0.003, 0.009)),
        neckline=float(generator.uniform(0.04, 0.13)),
        v_neck=bool(generator.random() < 0.35),
        emblem=bool(top.kind == "plain" and generator.random() < 0.6),
        shoe=_near(generator, np.array(_vivid(generator, 0.1, 0.9)), 0.2)
        if generator.random() < 0.5
        else _near(generator, np.array((0.13, 0.12, 0.12)), 0.3),
        sole=_near(generator, np.array((0.9, 0.9, 0.88)), 0.1) if generator.random() < 0.7 else (0.2, 0.18, 0.17),
        sock=(0.93, 0.93, 0.92) if generator.random() < 0.6 else _vivid(generator),
        sock_length=float(generator.uniform(0.06, 0.35)),
    )
    return Appearance(
        skin=_near(generator, skin, 0.04),
        hair=_near(generator, hair, 0.15),
        eyes=_EYES[generator.integers(5) if skin_tone < 3 else 0],
        lips=tuple(np.clip(skin * (0.80, 0.52, 0.52) + (0.08, 0.0, 0.02), 0, 1))
        if feminine
        else tuple(skin * (0.82, 0.64, 0.62)),
        beard=float(generator.uniform(0.5, 0.95)) if not feminine and generator.random() < 0.35 else 0.0,
        glasses=bool(generator.random() < 0.18),
        cut=HAIR_CUTS[0 if bald else choice],
        outfit=outfit,
        seed=int(generator.integers(2**31)),
    )
