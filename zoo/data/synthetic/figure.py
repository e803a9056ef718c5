"""The figure of a dressed person, built from tubes around the bones."""

import numpy as np
from numpy.typing import NDArray

from zoo.data.synthetic.appearance import HAIR, SKIRT_BACK, SKIRT_FRONT, SOLE, HairCut, Outfit, hairline
from zoo.data.synthetic.body import BONE, Array, BodyShape
from zoo.data.synthetic.mesh import (
    PART,
    Mesh,
    MeshBuilder,
    Profile,
    Rings,
    ball,
    front_and_back,
    head_halves,
    limb_rings,
    once_around,
    outside_and_inside,
    ring_grid,
    smooth_profile,
)
from zoo.pose.body_form import (
    HAND,
    HEAD_AT,
    HEAD_BACK,
    HEAD_FRONT,
    HEAD_HALF_WIDTH,
    HEEL,
    LIMBS,
    NECK_END,
    TOE,
    TRUNK_AT,
    TRUNK_BACK,
    TRUNK_FRONT,
    TRUNK_HALF_WIDTH,
)


def build_mesh(shape: BodyShape, outfit: Outfit, cut: HairCut) -> Mesh:
    """The surface of a dressed person."""
    builder = MeshBuilder()
    _add_trunk(builder, shape, outfit)
    _add_head(builder, shape, cut)
    if outfit.skirt:
        _add_skirt(builder, shape, outfit)
    first = len(builder.pieces)
    _add_left_arm(builder, shape, outfit)
    _add_left_leg(builder, shape, outfit)
    builder.mirror_left_pieces(first)
    return builder.finish()


def trunk_u(fraction: float | Array) -> float | Array:
    """U on the torso of a height on the average body: 0 at the throat, 1 between the legs."""
    return (TRUNK_AT[-1] - np.asarray(fraction)) / (TRUNK_AT[-1] - TRUNK_AT[0])


def _add_trunk(builder: MeshBuilder, shape: BodyShape, outfit: Outfit) -> None:
    height = shape.height
    hem = outfit.top_hem
    at = np.sort(np.concatenate([np.linspace(TRUNK_AT[0], TRUNK_AT[-1], 26), [hem - 0.002, hem + 0.002]]))
    upper = np.clip((at - 0.60) / 0.15, 0, 1)
    widening = (shape.hips * (1 - upper) + shape.shoulders * upper) * (0.35 + 0.65 * shape.girth)
    waist = np.exp(-(((at - 0.615) / 0.045) ** 2))
    cloth = np.where(at < hem, 0.004, 0.004 + outfit.top_ease * (1 - np.clip((at - 0.79) / 0.05, 0, 1)))
    half_width = smooth_profile(TRUNK_AT, TRUNK_HALF_WIDTH)(at) * height * widening
    half_width *= 1 + waist * (0.14 * shape.belly - 0.10 * shape.bust)
    front = smooth_profile(TRUNK_AT, TRUNK_FRONT)(at) * height * shape.girth
    front += height * 0.036 * shape.belly * np.exp(-(((at - 0.60) / 0.055) ** 2))
    back = smooth_profile(TRUNK_AT, TRUNK_BACK)(at) * height * shape.girth
    lean = -0.012 * height * np.clip((at - 0.80) / 0.05, 0, 1)  # the throat stands a little behind the chest
    y = np.asarray(shape.trunk_height(at))
    rings = Rings(
        y[::-1], np.zeros_like(y), lean[::-1], (half_width + cloth)[::-1], (front + cloth)[::-1], (back + cloth)[::-1],
        np.asarray(trunk_u(at))[::-1], squareness=2.35,
    )  # fmt: skip
    grid = ring_grid(rings, 32)
    chest_height, chest_x = float(shape.trunk_height(0.735)), 0.047 * height * shape.shoulders
    distance = np.hypot(np.abs(grid[..., 0]) - chest_x, (grid[..., 1] - chest_height) * 1.1)
    is_front = np.maximum(np.sin(np.linspace(0, 2 * np.pi, grid.shape[1])), 0)
    grid[..., 2] += 0.034 * height * shape.bust * np.exp(-((distance / (0.042 * height)) ** 2)) * is_front
    builder.tube(grid, rings.u, front_and_back("torso_front", "torso_back"), _trunk_bones(shape, grid))


def _trunk_bones(shape: BodyShape, grid: Array) -> tuple[Array, Array]:
    """Pelvis, spine and chest blend over the trunk's height; the shoulders follow the collar bones."""
    y = grid[..., 1]
    low, high = (float(shape.trunk_height(f)) for f in (0.555, 0.645))
    chest_low, chest_high = (float(shape.trunk_height(f)) for f in (0.645, 0.735))
    to_spine = np.clip((y - low) / (high - low), 0, 1)
    to_chest = np.clip((y - chest_low) / (chest_high - chest_low), 0, 1)
    is_upper = y > high
    first = np.where(is_upper, BONE["spine"], BONE["pelvis"])
    second = np.where(is_upper, BONE["chest"], BONE["spine"])
    share = np.where(is_upper, to_chest, to_spine)
    shoulder_low = float(shape.trunk_height(0.765))
    shoulder_x = 0.103 * shape.height * shape.shoulders
    raised = np.clip((np.abs(grid[..., 0]) / shoulder_x - 0.35) / 0.6, 0, 1)
    raised = raised * np.clip((y - shoulder_low) / (0.04 * shape.height), 0, 1)
    collar = np.where(grid[..., 0] > 0, BONE["left_clavicle"], BONE["right_clavicle"])
    is_shoulder = raised > 0
    bones = np.stack([np.where(is_shoulder, BONE["chest"], first), np.where(is_shoulder, collar, second)], axis=-1)
    share = np.where(is_shoulder, 0.85 * raised, share)
    return bones, np.stack([1 - share, share], axis=-1)


def _add_head(builder: MeshBuilder, shape: BodyShape, cut: HairCut) -> None:
    size = shape.head_height
    segments = 32
    position = np.concatenate(
        [[0.001, 0.02, 0.05, 0.1, 0.16], np.linspace(0.23, 1.0, 17), [1.04, 1.09, 1.16, 1.28, 1.42]]
    )
    phi = np.linspace(0, 2 * np.pi, segments + 1)
    girth = 1 + 0.35 * (shape.girth - 1)
    neck = np.clip((position - 1.0) / 0.12, 0, 1)
    half_width = smooth_profile(HEAD_AT, HEAD_HALF_WIDTH)(position) * size * (girth + neck * (shape.girth - 1) * 0.5)
    front = smooth_profile(HEAD_AT, HEAD_FRONT)(position) * size
    back = smooth_profile(HEAD_AT, HEAD_BACK)(position) * size
    y = shape.height - position * size
    rings = Rings(y, np.zeros_like(y), np.zeros_like(y), half_width, front, back, position / NECK_END, squareness=2.15)
    grid = ring_grid(rings, segments)
    azimuth = np.abs((phi - np.pi / 2 + np.pi) % (2 * np.pi) - np.pi)  # 0 in front, pi behind

    nose = np.interp(position, [0.44, 0.5, 0.62, 0.655, 0.70], [0.0, 0.3, 1.0, 0.85, 0.0])
    grid[..., 2] += 0.115 * size * nose[:, None] * np.exp(-((azimuth / 0.17) ** 2))
    sockets = np.exp(-(((position - 0.48) / 0.05) ** 2))[:, None] * np.exp(-(((azimuth - 0.38) / 0.2) ** 2))
    grid[..., 2] -= 0.03 * size * sockets

    depth_of_hair = np.clip((hairline(cut, azimuth)[None] - position[:, None]) / 0.09, 0, 1)
    volume = cut.top * np.clip(1.1 - 1.3 * position, 0.0, 1)[:, None] + cut.sides
    middle = np.array([0.0, shape.height - 0.42 * size, -0.01 * size])
    outward = (grid - middle) / np.linalg.norm(grid - middle, axis=-1, keepdims=True)
    grid = grid + outward * (depth_of_hair * volume)[..., None]

    to_head = np.clip((1.30 - position) / 0.3, 0, 1)
    share = np.broadcast_to(to_head[:, None], grid.shape[:2])
    bones = np.broadcast_to([BONE["neck"], BONE["head"]], (*grid.shape[:2], 2))
    builder.tube(grid, rings.u, head_halves, (bones, np.stack([1 - share, share], axis=-1)))
    _add_ears(builder, shape)
    if cut.curtain:
        _add_hair_curtain(builder, shape, cut)
    if cut.tail:
        _add_hair_ball(builder, shape, (0.0, 0.62 + cut.tail / 2, -0.50), (0.13, 0.10 + cut.tail / 2, 0.14))
    if cut.bun:
        _add_hair_ball(builder, shape, (0.0, 0.10, -0.40), (0.21, 0.19, 0.20))


def _add_hair_ball(
    builder: MeshBuilder, shape: BodyShape, place: tuple[float, float, float], radii: tuple[float, float, float]
) -> None:
    """A bun or a pony tail: an ellipsoid behind the head, in units of the head's height, down from the crown."""
    size = shape.head_height
    centre = (place[0] * size, shape.height - place[1] * size, place[2] * size)
    grid, share = ball(centre, (radii[0] * size, radii[1] * size, radii[2] * size))
    u = np.clip((place[1] + (2 * share - 1) * radii[1]) / NECK_END, 0, 1)
    builder.tube(grid, u, head_halves, BONE["head"], material=HAIR)


def _add_ears(builder: MeshBuilder, shape: BodyShape) -> None:
    size = shape.head_height
    first = len(builder.pieces)
    grid, share = ball(
        (0.325 * size, shape.height - 0.56 * size, -0.03 * size), (0.035 * size, 0.105 * size, 0.06 * size)
    )
    builder.tube(grid, (0.455 + 0.21 * share) / NECK_END, once_around("head_left", 0.46, 0.54), BONE["head"])
    builder.mirror_left_pieces(first)


def _add_hair_curtain(builder: MeshBuilder, shape: BodyShape, cut: HairCut) -> None:
    """Hair that hangs from the head at the sides and behind, open to the face."""
    size = shape.head_height
    segments = 32
    position = np.linspace(0.12, cut.curtain, 12)
    inner = np.minimum(position, 0.62)
    falls = np.clip(position - 0.62, 0, None)
    half_width = smooth_profile(HEAD_AT, HEAD_HALF_WIDTH)(inner) * size + 0.085 * size + 0.05 * falls * size
    back = smooth_profile(HEAD_AT, HEAD_BACK)(inner) * size + 0.085 * size + 0.02 * falls * size
    y = shape.height - position * size
    rings = Rings(y, np.zeros_like(y), np.zeros_like(y), half_width, back, back, np.clip(position / NECK_END, 0, 1))
    grid = ring_grid(rings, segments)
    azimuth = np.linspace(0, 2 * np.pi, segments + 1)
    azimuth = np.abs((azimuth[:-1] + np.pi / segments - np.pi / 2 + np.pi) % (2 * np.pi) - np.pi)
    opening = np.interp(position[:-1], [0.12, 0.3, 0.5, 1.0, 1.6], [1.1, 1.25, 1.35, 1.4, 1.75])
    keep = azimuth[None] > opening[:, None]
    share = np.broadcast_to(np.clip((1.5 - position) / 0.6, 0, 1)[:, None], grid.shape[:2])
    bones = np.broadcast_to([BONE["chest"], BONE["head"]], (*grid.shape[:2], 2))
    weights = np.stack([1 - share, share], axis=-1)
    builder.tube(grid, rings.u, head_halves, (bones, weights), material=HAIR, keep=keep, both_sides=True)


def _sleeve(outfit: Outfit, bone_number: int) -> tuple[Profile, list[float]]:
    """What the sleeve adds to the radius of the upper arm (0) or the forearm (1), and where it ends."""
    return _garment(outfit.sleeve - bone_number, outfit.top_ease * 0.8 + 0.004, outfit.sleeve - bone_number < 0.95)


def _garment(end: float, ease: float, flared: bool) -> tuple[Profile, list[float]]:
    """Cloth over a limb from u = 0 to ``end``: thickness in metres over u, and the hems."""

    def thickness(u: Array) -> Array:
        loose = ease * (0.55 + 0.75 * u) if flared else np.full_like(u, ease)
        return np.where(u < end, loose, 0.0)

    return thickness, [end]


def _add_left_arm(builder: MeshBuilder, shape: BodyShape, outfit: Outfit) -> None:
    height = shape.height
    origins = shape.rest_origins()
    thick = height * (0.3 + 0.7 * shape.girth) * (1.04 - 0.1 * shape.bust)
    upper, lower = (smooth_profile(*LIMBS[bone][0]) for bone in ("upper_arm", "forearm"))
    for number, (bone, end, radius) in enumerate((("upper_arm", "forearm", upper), ("forearm", "hand", lower))):
        start = origins[BONE[f"left_{bone}"]]
        length = start[1] - origins[BONE[f"left_{end}"]][1]
        cloth, hems = _sleeve(outfit, number)

        def half(u: Array, radius: Profile = radius, cloth: Profile = cloth) -> Array:
            return radius(u) * thick + cloth(u)

        rings = limb_rings(length, half, half, hems, 9, top_cap=True, bottom_cap=True)
        chart = outside_and_inside(f"left_{bone}_outside", f"left_{bone}_inside")
        builder.tube(ring_grid(rings, 16) + start, rings.u, chart, BONE[f"left_{bone}"])

    start, bone_index = origins[BONE["left_hand"]], BONE["left_hand"]
    length = HAND * height * (0.5 + 0.5 * shape.arms)
    thickness, breadth = (smooth_profile(*profile) for profile in LIMBS["hand"])
    rings = limb_rings(
        length, lambda u: thickness(u) * thick, lambda u: breadth(u) * thick, [], 9, top_cap=True, bottom_cap=True
    )
    rings.u = np.clip(-rings.y / length, 0, 1)
    rings.x = rings.x - 0.006 * height * rings.u**2  # relaxed fingers bend towards the thigh
    builder.tube(ring_grid(rings, 12) + start, rings.u, once_around("left_hand"), bone_index)

    thumb_length = 0.042 * height
    rings = limb_rings(
        thumb_length, lambda u: (0.0085 - 0.002 * u) * thick, lambda u: (0.0085 - 0.002 * u) * thick, [], 4, True, True
    )
    grid = ring_grid(rings, 8)
    grid[..., 2] -= 0.45 * grid[..., 1]  # spread to the front
    offset = np.array([-0.004, -0.022, 0.012]) * height
    builder.tube(grid + start + offset, 0.25 + 0.35 * rings.u, once_around("left_hand", 0.2, 0.3), bone_index)


def _add_left_leg(builder: MeshBuilder, shape: BodyShape, outfit: Outfit) -> None:
    height = shape.height
    origins = shape.rest_origins()
    thick = height * shape.girth
    for number, bone in enumerate(("thigh", "shin")):
        start = origins[BONE[f"left_{bone}"]]
        end = origins[BONE["left_shin" if bone == "thigh" else "left_foot"]]
        length = float(start[1] - end[1])
        width, depth = (smooth_profile(knots, values) for knots, values in LIMBS[bone])
        cloth, hems = _garment(outfit.trousers - number, outfit.bottom_ease, outfit.trousers < 1.05)
        covered = outfit.trousers - number

        def straight(u: Array, number: int = number, covered: float = covered) -> Array:
            """The least radius of a trouser leg, which hangs straight instead of following calf and ankle."""
            hanging = (0.0435 - 0.0135 * (u + number) * outfit.taper) * height
            return np.where(u < covered, hanging, 0.0)

        def half_width(u: Array, width: Profile = width, cloth: Profile = cloth, straight: Profile = straight) -> Array:
            return np.maximum(width(u) * thick + cloth(u), straight(u))

        def half_depth(u: Array, depth: Profile = depth, cloth: Profile = cloth, straight: Profile = straight) -> Array:
            return np.maximum(depth(u) * thick + cloth(u), straight(u))

        rings = limb_rings(length, half_width, half_depth, hems, 11, top_cap=True, bottom_cap=True)
        if bone == "shin":
            calf = smooth_profile([0, 0.12, 0.3, 0.6, 1], [0.0, 0.004, 0.010, 0.004, 0.0])(rings.u) * height
            rings.z = rings.z - calf * (0.4 if covered > 0.5 else 1.0)
        chart = front_and_back(f"left_{bone}_front", f"left_{bone}_back")
        builder.tube(ring_grid(rings, 20) + start, rings.u, chart, BONE[f"left_{bone}"])
    _add_left_foot(builder, shape, outfit)


def _add_left_foot(builder: MeshBuilder, shape: BodyShape, outfit: Outfit) -> None:
    """A shoe: a tube from heel to toe with a flat sole, lying along z."""
    height = shape.height
    ankle = shape.rest_origins()[BONE["left_foot"]]
    heel, toe = HEEL * height, TOE * height
    share = np.array([0.0, 0.02, 0.07, 0.16, 0.28, 0.40, 0.52, 0.64, 0.76, 0.86, 0.94, 0.985, 1.0])
    half_width = smooth_profile(
        [0, 0.03, 0.12, 0.45, 0.72, 0.9, 0.98, 1], [0.002, 0.012, 0.0185, 0.019, 0.0265, 0.021, 0.011, 0.002]
    )(share)
    top = smooth_profile(
        [0, 0.04, 0.15, 0.32, 0.55, 0.8, 0.96, 1], [0.012, 0.045, 0.058, 0.060, 0.040, 0.026, 0.017, 0.008]
    )(share)
    top, half_width = top * height, half_width * height * (0.6 + 0.4 * shape.girth)
    floor = -ankle[1] + np.where(share > 0.9, (share - 0.9) * 0.06 * height, 0.0)
    # Rings are made around a downward axis; here "down" becomes "to the toe" and "front" becomes "up".
    middle = floor + 0.35 * top
    rings = Rings(-share * (toe - heel), np.zeros_like(share), middle, half_width, 0.65 * top, 0.35 * top, share, 2.6)
    lying = ring_grid(rings, 20)
    sole = np.minimum(floor, -ankle[1] + 0.1)
    lying[..., 2] = np.maximum(lying[..., 2], sole[:, None])
    grid = np.stack([lying[..., 0], lying[..., 2], heel - lying[..., 1]], axis=-1) + ankle
    phi = np.linspace(0, 2 * np.pi, 21)
    under = np.broadcast_to((np.sin(phi[:-1] + np.pi / 20) < -0.3)[None], (len(share) - 1, 20))
    builder.tube(grid, rings.u, once_around("left_foot"), BONE["left_foot"], keep=~under)
    builder.tube(grid, rings.u, once_around("left_foot"), BONE["left_foot"], material=SOLE, keep=under)


def _add_skirt(builder: MeshBuilder, shape: BodyShape, outfit: Outfit) -> None:
    """A skirt from the waist over both thighs, which carry it; charted as the thighs under it."""
    height = shape.height
    thigh = shape.rest_origins()[BONE["left_thigh"]]
    knee = shape.rest_origins()[BONE["left_shin"]][1]
    length = thigh[1] - knee
    waist = float(shape.trunk_height(0.60))
    y = np.concatenate(
        [np.linspace(waist, thigh[1], 5)[:-1], np.linspace(thigh[1], thigh[1] - outfit.skirt * length, 9)]
    )
    down = np.clip((thigh[1] - y) / length, 0, None)
    over_hips = np.clip((waist - y) / (waist - thigh[1]), 0, 1)
    half_width = (0.080 + 0.024 * over_hips) * height * shape.hips * (0.35 + 0.65 * shape.girth)
    half_width = half_width + 0.012 + (0.012 + outfit.flare * down) * over_hips
    depth = (0.060 + 0.017 * over_hips) * height * shape.girth + 0.012 + (0.010 + 0.8 * outfit.flare * down) * over_hips
    zeros = np.zeros_like(y)
    rings = Rings(y, zeros, zeros, half_width, depth + 0.008, depth, np.clip((thigh[1] - y) / length, 0, 1), 2.3)
    grid = ring_grid(rings, 32)
    phi = np.linspace(0, 2 * np.pi, 33)
    folds = 0.05 * np.clip(down, 0, 1)[:, None] * np.cos(10 * phi)[None]
    grid[..., [0, 2]] *= 1 + folds[..., None] * min(1.0, outfit.flare / 0.06)

    side = np.clip(0.5 + 0.75 * grid[..., 0] / (0.09 * height), 0, 1)
    hangs = np.broadcast_to(np.clip(down / 0.3, 0, 1)[:, None], side.shape)
    bones = np.broadcast_to([BONE["pelvis"], BONE["left_thigh"], BONE["right_thigh"]], (*side.shape, 3))
    weights = np.stack([1 - hangs, hangs * side, hangs * (1 - side)], axis=-1)
    builder.tube(
        grid, rings.u, _skirt_chart, (bones, weights), pages=(SKIRT_FRONT, SKIRT_BACK), both_sides=True
    )  # fmt: skip


def _skirt_chart(phi: Array) -> tuple[NDArray[np.int64], Array]:
    """Thigh parts by quadrant; V of a thigh runs across, 0 at the person's right."""
    across = (1 + np.cos(phi)) / 2  # 0 right, 1 left
    is_left = np.cos(phi.mean(axis=1)) > 0
    is_front = np.sin(phi.mean(axis=1)) > 0
    v = np.where(is_left[:, None], 2 * across - 1, 2 * across)
    names = np.where(
        is_left,
        np.where(is_front, PART["left_thigh_front"], PART["left_thigh_back"]),
        np.where(is_front, PART["right_thigh_front"], PART["right_thigh_back"]),
    )
    return names, np.clip(v, 0, 1)
