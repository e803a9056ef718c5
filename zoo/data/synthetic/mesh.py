"""The surface of a person: tubes around the bones, with the charts of the 24 surface parts.

Every part is a tube: rings of points around a downward axis, closed by round caps. Around a ring the angle phi runs
from the person's left (+x) over the front (+z) to the right and the back. U runs down the tube; V runs around it: on
trunk and legs across (0 at the person's right, 1 at the left), on the left arm from back to front (the right arm is its
mirror image, with V reversed), on the head around it, and on hands and feet once around.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from zoo.data.synthetic.body import BONE, Array
from zoo.pose import SURFACE_PARTS
from zoo.pose.surface import MIRRORED_PARTS

Profile = Callable[[Array], Array]

PART = {name: index for index, name in enumerate(SURFACE_PARTS)}


@dataclass(frozen=True)
class Mesh:
    """Triangles in the rest pose, clockwise as seen from outside.

    Attributes:
        points: (V, 3) metres.
        normals: (V, 3) unit length, outward.
        bones: (V, 3) the bones that carry a point.
        weights: (V, 3) their shares, sum 1.
        triangles: (3, F) the points at the corners.
        parts: (F,) surface part, 1..24.
        materials: (F,) page of the texture atlas: a surface part, or one of the extra pages of ``appearance``.
        charts: (2, 3, F) U and V of the surface part at the corners.
        textures: (2, 3, F) where on the page the colour is read: the chart, except on a skirt.
    """

    points: Array
    normals: Array
    bones: NDArray[np.int64]
    weights: Array
    triangles: NDArray[np.int64]
    parts: NDArray[np.int64]
    materials: NDArray[np.int64]
    charts: Array
    textures: Array

    @cached_property
    def shared(self) -> tuple[NDArray[np.int64], ...]:
        """Per column of ``bones``: which points that bone has a share in."""
        return tuple(np.flatnonzero(column) for column in self.weights.T)


def smooth_profile(knots: list[float] | Array, values: list[float] | Array) -> Profile:
    """A smooth curve through the knots that overshoots nowhere (Fritsch-Carlson slopes); constant beyond the ends."""
    x, y = np.asarray(knots, dtype=float), np.asarray(values, dtype=float)
    width, rise = np.diff(x), np.diff(y)
    secant = rise / width
    slope = np.zeros_like(y)
    same_sign = secant[:-1] * secant[1:] > 0
    total = np.where(same_sign, secant[:-1] + secant[1:], 1.0)
    slope[1:-1] = np.where(same_sign, 2 * secant[:-1] * secant[1:] / total, 0.0)

    def profile(position: Array) -> Array:
        position = np.clip(position, x[0], x[-1])
        k = np.clip(np.searchsorted(x, position, side="right") - 1, 0, len(x) - 2)
        t = (position - x[k]) / width[k]
        return (
            y[k] * (1 + 2 * t) * (1 - t) ** 2
            + y[k + 1] * t * t * (3 - 2 * t)
            + width[k] * t * (1 - t) * (slope[k] * (1 - t) - slope[k + 1] * t)
        )

    return profile


@dataclass
class Rings:
    """A tube under construction: R rings around a downward axis, not yet on a grid."""

    y: Array
    x: Array
    z: Array
    half_width: Array
    front: Array
    back: Array
    u: Array
    squareness: float = 2.0  # exponent of the ring's super-ellipse


def limb_rings(
    length: float, width: Profile, depth: Profile, hems: list[float], count: int, top_cap: bool, bottom_cap: bool
) -> Rings:
    """Rings along a limb that hangs down from the origin.

    Args:
        length: In metres.
        width: Half width (x) over u in [0, 1].
        depth: Half depth (z) over u.
        hems: Where a garment ends (in u): two rings close together make a crisp edge there.
        count: Rings between the caps.
        top_cap: Whether a hemisphere closes the top; otherwise it stays open (and hidden).
        bottom_cap: The same for the bottom.
    """
    u = np.linspace(0, 1, count)
    u = np.sort(np.concatenate([u, *[np.array([h - 0.004, h + 0.004]) for h in hems if 0.01 < h < 0.99]]))
    half_width, half_depth, y = width(u), depth(u), -u * length
    latitude = np.radians([4.0, 25.0, 45.0, 67.0])
    if top_cap:
        half_width = np.concatenate([half_width[0] * np.sin(latitude), half_width])
        half_depth = np.concatenate([half_depth[0] * np.sin(latitude), half_depth])
        y = np.concatenate([max(half_width[4], half_depth[4]) * np.cos(latitude), y])
        u = np.concatenate([np.zeros(4), u])
    if bottom_cap:
        # A little smaller than the next bone's top cap, which would otherwise lie in the same place in a bent joint.
        ring, drop = 0.94 * np.sin(latitude[::-1]), 0.94 * np.cos(latitude[::-1])
        radius = max(half_width[-1], half_depth[-1])
        half_width = np.concatenate([half_width, half_width[-1] * ring])
        half_depth = np.concatenate([half_depth, half_depth[-1] * ring])
        y = np.concatenate([y, y[-1] - radius * drop])
        u = np.concatenate([u, np.ones(4)])
    zeros = np.zeros_like(y)
    return Rings(y, zeros, zeros, half_width, half_depth, half_depth, u)


def ball(
    centre: tuple[float, float, float], radii: tuple[float, float, float], segments: int = 12
) -> tuple[Array, Array]:
    """An ellipsoid as a tube: its grid and the rings' u in [0, 1]."""
    latitude = np.linspace(0.02, np.pi - 0.02, 9)
    ring = np.sin(latitude)
    ones = np.ones_like(ring)
    rings = Rings(
        centre[1] + radii[1] * np.cos(latitude), centre[0] * ones, centre[2] * ones,
        radii[0] * ring, radii[2] * ring, radii[2] * ring, (1 - np.cos(latitude)) / 2,
    )  # fmt: skip
    return ring_grid(rings, segments), rings.u


def ring_grid(rings: Rings, segments: int) -> Array:
    """Points (R, segments + 1, 3) of the rings; the last column repeats the first."""
    phi = np.linspace(0, 2 * np.pi, segments + 1)
    power = 2 / rings.squareness
    across = np.sign(np.cos(phi)) * np.abs(np.cos(phi)) ** power
    along = np.sign(np.sin(phi)) * np.abs(np.sin(phi)) ** power
    depth = np.where(along >= 0, rings.front[:, None], rings.back[:, None])
    x = rings.x[:, None] + rings.half_width[:, None] * across
    z = rings.z[:, None] + depth * along
    return np.stack([x, np.broadcast_to(rings.y[:, None], x.shape), z], axis=-1)


def _normals(grid: Array) -> Array:
    """Outward unit normals of a closed grid (R, S + 1, 3), from differences along and around it."""
    down = np.gradient(grid, axis=0)
    ring = grid[:, :-1]
    around = np.roll(ring, -1, axis=1) - np.roll(ring, 1, axis=1)
    around = np.concatenate([around, around[:, :1]], axis=1)
    normal = np.cross(around, -down)
    normal = -normal
    return normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)


# Charts: from the two phi of a face's edges (F, 2) to its part (F,) and V (F, 2).
Chart = Callable[[Array], tuple[NDArray[np.int64], Array]]


def front_and_back(front: str, back: str) -> Chart:
    """A chart of two halves; V runs across, 0 at the person's right."""

    def chart(phi: Array) -> tuple[NDArray[np.int64], Array]:
        is_front = phi.mean(axis=1) < np.pi
        v = np.where(is_front[:, None], 1 - phi / np.pi, phi / np.pi - 1)
        return np.where(is_front, PART[front], PART[back]), v

    return chart


def outside_and_inside(outside: str, inside: str) -> Chart:
    """A chart of two halves of a left limb; V runs from back to front."""

    def chart(phi: Array) -> tuple[NDArray[np.int64], Array]:
        turned = _from_back(phi)
        is_outside = turned.mean(axis=1) < np.pi
        v = np.where(is_outside[:, None], turned / np.pi, 2 - turned / np.pi)
        return np.where(is_outside, PART[outside], PART[inside]), v

    return chart


def once_around(part: str, low: float = 0.0, high: float = 1.0) -> Chart:
    """A chart of one part; V runs around it, from the person's left."""

    def chart(phi: Array) -> tuple[NDArray[np.int64], Array]:
        return np.full(len(phi), PART[part]), low + (high - low) * phi / (2 * np.pi)

    return chart


def head_halves(phi: Array) -> tuple[NDArray[np.int64], Array]:
    """The chart of the head's two halves; V runs around it, on the left from the back, on the right from the front."""
    turned = _from_back(phi)
    is_left = turned.mean(axis=1) < np.pi
    v = np.where(is_left[:, None], turned / np.pi, turned / np.pi - 1)
    return np.where(is_left, PART["head_left"], PART["head_right"]), v


def _from_back(phi: Array) -> Array:
    """Phi counted from the back, in [0, 2 pi], both edges of a face in one turn."""
    turned = phi + np.pi / 2
    return turned - 2 * np.pi * (turned.mean(axis=1, keepdims=True) >= 2 * np.pi)


@dataclass
class MeshBuilder:
    """Collects tubes; ``finish`` joins them to one mesh."""

    pieces: list[dict[str, Array]] = field(default_factory=list)

    def tube(
        self,
        grid: Array,
        u: Array,
        chart: Chart,
        bones: tuple[Array, Array] | int,
        material: int | None = None,
        pages: tuple[int, int] | None = None,
        keep: NDArray[np.bool_] | None = None,
        both_sides: bool = False,
    ) -> None:
        """Adds a tube.

        Args:
            grid: (R, S + 1, 3), as made by ``ring_grid``.
            u: (R,) chart coordinate of the rings.
            chart: Gives part and V of each column of faces.
            bones: One bone, or bones (R, S + 1, N) and weights (R, S + 1, N), N up to 3.
            material: The atlas page, if it isn't the part's.
            pages: Atlas pages of the front and the back half, if the tube has a texture of its own.
            keep: (R - 1, S) which quads exist.
            both_sides: Whether the inside is seen too.
        """
        rows, columns = grid.shape[0], grid.shape[1]
        index = np.arange(rows * columns).reshape(rows, columns)
        quads = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], axis=-1).reshape(-1, 4)
        phi = np.linspace(0, 2 * np.pi, columns)
        edges = np.stack([phi[:-1], phi[1:]], axis=1)
        part, v = chart(edges)
        parts, charts = np.tile(part, rows - 1), _corner_charts(u, v)
        materials, textures = parts if material is None else np.full_like(parts, material), charts
        if pages is not None:
            half, across = front_and_back("torso_front", "torso_back")(edges)
            materials = np.tile(np.where(half == PART["torso_front"], *pages), rows - 1)
            textures = _corner_charts(np.linspace(0, 1, rows), across)
        chosen = np.ones(len(quads), dtype=bool) if keep is None else keep.reshape(-1)
        quads, charts, textures = quads[chosen], charts[chosen], textures[chosen]
        parts, materials = parts[chosen], materials[chosen]

        carried = np.zeros((rows * columns, 3), dtype=np.int64)
        weights = np.zeros((rows * columns, 3))
        if isinstance(bones, int):
            carried[:], weights[:, 0] = bones, 1.0
        else:
            number = bones[0].shape[-1]
            carried[:, :number], weights[:, :number] = bones[0].reshape(-1, number), bones[1].reshape(-1, number)
        points, normals = grid.reshape(-1, 3), _normals(grid).reshape(-1, 3)
        piece = {
            "points": points, "normals": normals, "bones": carried, "weights": weights, "triangles": _split(quads),
            "parts": np.tile(parts, 2), "materials": np.tile(materials, 2),
            "charts": _split(charts), "textures": _split(textures),
        }  # fmt: skip
        self.pieces.append(piece)
        if both_sides:
            reversed_corners = {key: piece[key][:, ::-1] for key in ("triangles", "charts", "textures")}
            self.pieces.append(piece | reversed_corners | {"normals": -normals})

    def mirror_left_pieces(self, first: int) -> None:
        """Adds the mirror images (right limbs) of the pieces (left limbs) from number ``first`` on."""
        mirrored_parts = np.array(MIRRORED_PARTS)
        mirrored_bones = np.array([BONE[_other_side(name)] for name in BONE])
        for piece in self.pieces[first:]:
            flip = np.array([-1.0, 1.0, 1.0])
            parts = mirrored_parts[piece["parts"]]
            self.pieces.append(
                piece
                | {
                    "points": piece["points"] * flip,
                    "normals": piece["normals"] * flip,
                    "bones": mirrored_bones[piece["bones"]],
                    "triangles": piece["triangles"][:, ::-1],
                    "charts": piece["charts"][:, ::-1] * [1.0, -1.0] + [0.0, 1.0],
                    "textures": piece["textures"][:, ::-1] * [1.0, -1.0] + [0.0, 1.0],
                    "parts": parts,
                    "materials": np.where(piece["materials"] == piece["parts"], parts, piece["materials"]),
                }
            )

    def finish(self) -> Mesh:
        """Joins the tubes."""
        offsets = np.cumsum([0] + [len(piece["points"]) for piece in self.pieces[:-1]])
        joined = {key: np.concatenate([piece[key] for piece in self.pieces]) for key in self.pieces[0]}
        joined["triangles"] = np.concatenate(
            [piece["triangles"] + offset for piece, offset in zip(self.pieces, offsets, strict=True)]
        )
        for key in ("triangles", "charts", "textures"):
            joined[key] = np.ascontiguousarray(joined[key].T)
        for key in ("points", "normals", "weights", "charts", "textures"):
            joined[key] = joined[key].astype(np.float32)
        return Mesh(**joined)


def _corner_charts(u: Array, v: Array) -> Array:
    """U of the rings (R,) and V of the columns' edges (S, 2), at the corners of all quads ((R - 1) * S, 4, 2)."""
    rows, columns = len(u) - 1, len(v)
    top, bottom = np.repeat(u[:-1], columns), np.repeat(u[1:], columns)
    first, last = np.tile(v[:, 0], rows), np.tile(v[:, 1], rows)
    return np.stack([np.stack([top, bottom, bottom, top], -1), np.stack([first, first, last, last], -1)], axis=-1)


def _split(quads: Array) -> Array:
    """Corners of quads (N, 4, ...) as corners of triangles (2 N, 3, ...)."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _other_side(name: str) -> str:
    side, _, rest = name.partition("_")
    return {"left": "right_", "right": "left_"}[side] + rest if side in ("left", "right") else name
