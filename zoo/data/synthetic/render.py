"""The renderer: triangles to pixels with a depth buffer, nine samples per pixel.

Only arithmetic on single elements and sums in a fixed order are used, never a product of matrices by BLAS: the same
frame comes out to the byte whatever the number of threads, and whichever other frames are asked for.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.data.synthetic.body import Array
from zoo.data.synthetic.mesh import Mesh
from zoo.data.synthetic.scene import Backdrop, Camera, Scene

_SAMPLES = 3  # per pixel along each side; odd, so that the middle sample lies on the pixel's centre


@dataclass(frozen=True)
class Rendering:
    """One frame.

    Attributes:
        frame: (3, H, W) uint8 RGB.
        iuv: (3, H, W) uint8: surface part, and U and V times 255, at the pixels' centres; 0 on the background.
        depth: (H, W) float32: metres along the optical axis at the pixels' centres, infinite on the background.
    """

    frame: NDArray[np.uint8]
    iuv: NDArray[np.uint8]
    depth: NDArray[np.float32]


@dataclass(frozen=True)
class _Samples:
    """What is seen at the samples of a box that the person lies in; box sides are whole pixels."""

    box: tuple[slice, slice]  # rows and columns of the picture
    pixel: NDArray[np.int64]  # (N,) flat pixel in the box
    is_centre: NDArray[np.bool_]  # (N,) whether the sample lies at the pixel's centre
    triangle: NDArray[np.int64]  # (N,) what is seen there
    shares: tuple[Array, Array, Array]  # (N,) of the triangle's corners, correct in perspective
    depth: NDArray[np.float32]  # (N,)


def render(
    mesh: Mesh,
    atlas: NDArray[np.uint8],
    rotations: Array,
    translations: Array,
    touching: Array,
    camera: Camera,
    scene: Scene,
    backdrop: Backdrop,
) -> Rendering:
    """Renders a person in front of a backdrop.

    Args:
        mesh: The person's surface at rest.
        atlas: The person's texture, (pages, N, N, 3) uint8.
        rotations: (J, 3, 3) of the bones, as ``pose_bones`` gives them for one frame.
        translations: (J, 3) of the bones.
        touching: (N, 3) world points that shade the floor under them.
        camera: Where the person is seen from.
        scene: Gives the light.
        backdrop: What is behind, already painted; its size is the picture's.
    """
    height, width = backdrop.picture.shape[:2]
    iuv = np.zeros((3, height, width), dtype=np.uint8)
    depth = np.full((height, width), np.inf, dtype=np.float32)
    points, normals = _skin(mesh, rotations.astype(np.float32), translations.astype(np.float32))
    picture = backdrop.picture.astype(np.float32)
    _cast_shadow(touching.astype(np.float32), camera, backdrop, picture)
    samples = _rasterise(camera.project(points), mesh.triangles, (height, width))
    if samples is not None:
        colours = _shade(mesh, atlas, normals, samples, scene)
        picture[samples.box] = _blend(samples, colours, picture[samples.box])
        _fill_centres(mesh, samples, iuv[(slice(None), *samples.box)], depth[samples.box])
    frame = np.rint(picture).astype(np.uint8)
    return Rendering(np.ascontiguousarray(frame.transpose(2, 0, 1)), iuv, depth)


def _skin(mesh: Mesh, rotations: NDArray[np.float32], translations: NDArray[np.float32]) -> tuple[Array, Array]:
    """Points and normals (V, 3) in the world: each follows its bones in proportion."""
    bones = np.concatenate([rotations, translations[..., None]], axis=-1).reshape(-1, 12)
    blended = bones[mesh.bones[:, 0]] * mesh.weights[:, :1]
    for number in (1, 2):
        shared = mesh.shared[number]
        blended[shared] += bones[mesh.bones[shared, number]] * mesh.weights[shared, number, None]
    a = blended.reshape(-1, 3, 4)
    x, y, z = (mesh.points[:, axis, None] for axis in range(3))
    points = a[..., 0] * x + a[..., 1] * y + a[..., 2] * z + a[..., 3]
    x, y, z = (mesh.normals[:, axis, None] for axis in range(3))
    normals = a[..., 0] * x + a[..., 1] * y + a[..., 2] * z
    return points, normals


def _rasterise(projected: Array, triangles: NDArray[np.int64], size: tuple[int, int]) -> _Samples | None:
    """Finds the nearest triangle at each sample; None where the person is outside the picture."""
    height, width = size
    # Sample k lies at pixel (k - 1) / 3: every third one, from 1 on, is a pixel's centre.
    x, y = (projected[:, axis] * _SAMPLES + _SAMPLES // 2 for axis in range(2))
    top, left = (int(max(c.min() // _SAMPLES, 0)) for c in (y, x))
    bottom, right = (int(min(c.max() // _SAMPLES + 1, limit)) for c, limit in ((y, height), (x, width)))
    if bottom <= top or right <= left:
        return None
    rows, columns = (bottom - top) * _SAMPLES, (right - left) * _SAMPLES
    x, y = x - left * _SAMPLES, y - top * _SAMPLES

    spans = _spans(x, y, 1 / projected[:, 2], triangles, rows, columns)
    span = np.repeat(np.arange(len(spans.count)), spans.count)
    along = np.arange(len(span)) - (np.cumsum(spans.count) - spans.count).take(span)
    nearness = spans.nearness.take(span) + spans.nearness_step.take(span) * along.astype(np.float32)
    # Positive floats sort like their bits: the largest key per place is the nearest hit, ties go to the later one.
    keys = (nearness.view(np.int32).astype(np.int64) << 32) | np.arange(len(span))
    nearest = np.full(rows * columns, -1, dtype=np.int64)
    np.maximum.at(nearest, spans.place.take(span) + along, keys)
    where = np.flatnonzero(nearest >= 0)
    winner = nearest[where] & 0xFFFFFFFF
    span, along, nearness = span[winner], along[winner].astype(np.float32), nearness[winner]

    triangle = spans.triangle[span]
    far1, far2 = (projected[triangles[corner], 2] for corner in (1, 2))
    share1 = (spans.share1[span] + spans.share1_step[span] * along) / (far1[triangle] * nearness)
    share2 = (spans.share2[span] + spans.share2_step[span] * along) / (far2[triangle] * nearness)
    row, column = np.arange(rows), np.arange(columns)
    pixel = (row // _SAMPLES)[:, None] * (columns // _SAMPLES) + column // _SAMPLES
    is_centre = (row % _SAMPLES == _SAMPLES // 2)[:, None] & (column % _SAMPLES == _SAMPLES // 2)
    return _Samples(
        (slice(top, bottom), slice(left, right)), pixel.reshape(-1)[where], is_centre.reshape(-1)[where],
        triangle, (1 - share1 - share2, share1, share2), 1 / nearness,
    )  # fmt: skip


@dataclass(frozen=True)
class _Spans:
    """Runs of samples: where the rows of samples cross the triangles. All arrays (S,)."""

    triangle: NDArray[np.int64]
    place: NDArray[np.int64]  # flat place of the first sample
    count: NDArray[np.int64]  # samples
    share1: Array  # of the triangle's second corner at the first sample, linear on the screen
    share1_step: Array  # how much it changes from one sample to the next
    share2: Array  # the same for the third corner
    share2_step: Array
    nearness: Array  # 1 / depth
    nearness_step: Array


def _spans(x: Array, y: Array, nearness: Array, triangles: NDArray[np.int64], rows: int, columns: int) -> _Spans:
    """Cuts the triangles that face the camera into runs of samples.

    Args:
        x: (V,) of the points, in samples of the box.
        y: (V,)
        nearness: (V,) 1 / depth.
        triangles: (3, F) the points at the corners.
        rows: Samples of the box.
        columns: Samples of the box.
    """
    (x0, x1, x2), (y0, y1, y2) = x[triangles], y[triangles]
    area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
    first_row = np.ceil(np.minimum(np.minimum(y0, y1), y2)).clip(0)
    last_row = np.floor(np.maximum(np.maximum(y0, y1), y2)).clip(None, rows - 1)
    drawn = np.flatnonzero((area > 1e-4) & (last_row >= first_row))
    first_row = first_row[drawn].astype(np.int64)
    high = last_row[drawn].astype(np.int64) - first_row + 1

    x0, y0, x1, y1, x2, y2, area = (values[drawn] for values in (x0, y0, x1, y1, x2, y2, area))
    share1_x, share1_y = (y2 - y0) / area, (x0 - x2) / area
    share2_x, share2_y = (y0 - y1) / area, (x1 - x0) / area
    owner = np.repeat(np.arange(len(drawn)), high)
    row = np.arange(len(owner)) + (first_row - np.cumsum(high) + high)[owner]
    down = row - y0[owner]
    step1, step2 = share1_x[owner], share2_x[owner]
    start1 = share1_y[owner] * down - step1 * x0[owner]  # where the row meets column 0
    start2 = share2_y[owner] * down - step2 * x0[owner]

    # The run is where all three shares are positive: each share bounds it from the left or from the right.
    low, high_end = np.zeros(len(row)), np.full(len(row), columns - 1.0)
    for start, step in ((start1, step1), (start2, step2), (1 - start1 - start2, -step1 - step2)):
        flat = np.abs(step) < 1e-9
        bound = -(start + 1e-5) / np.where(flat, 1, step)
        low = np.where(step >= 1e-9, np.maximum(low, bound), low)
        high_end = np.where(step <= -1e-9, np.minimum(high_end, bound), high_end)
        high_end = np.where(flat & (start < -1e-5), -1, high_end)
    first = np.ceil(low)
    count = np.floor(high_end) - first + 1
    kept = np.flatnonzero(count > 0)
    owner, row, first, count = owner[kept], row[kept], first[kept], count[kept].astype(np.int64)
    step1, step2 = step1[kept], step2[kept]
    share1, share2 = start1[kept] + step1 * first, start2[kept] + step2 * first
    near0, near1, near2 = (nearness[corner[drawn]][owner] for corner in triangles)
    single = np.float32
    return _Spans(
        drawn[owner], row * columns + first.astype(np.int64), count,
        share1.astype(single), step1.astype(single), share2.astype(single), step2.astype(single),
        (near0 + share1 * (near1 - near0) + share2 * (near2 - near0)).astype(single),
        (step1 * (near1 - near0) + step2 * (near2 - near0)).astype(single),
    )  # fmt: skip


def _interpolate(corners: Array, samples: _Samples) -> Array:
    """Values (3, F) at the triangles' corners, mixed for the samples: (N,)."""
    first, second, third = (
        corner.take(samples.triangle) * share for corner, share in zip(corners, samples.shares, strict=True)
    )
    return first + second + third


def _shade(mesh: Mesh, atlas: NDArray[np.uint8], normals: Array, samples: _Samples, scene: Scene) -> Array:
    """Colours (N, 3) of the samples, 0 to 255: texture times ambient light from above and one soft lamp."""
    side = atlas.shape[1]
    row, column = (
        np.clip(_interpolate(chart, samples) * side, 0, side - 1).astype(np.int64) for chart in mesh.textures
    )
    colours = atlas.reshape(-1, 3).take((mesh.materials.take(samples.triangle) * side + row) * side + column, axis=0)

    x, y, z = (np.float32(component) for component in scene.light)
    length = np.sqrt(normals[:, 0] ** 2 + normals[:, 1] ** 2 + normals[:, 2] ** 2)
    facing = (normals[:, 0] * x + normals[:, 1] * y + normals[:, 2] * z) / length
    lamp = np.clip((facing + 0.25) / 1.25, 0, None)
    sky = np.float32(scene.ambient) * (0.88 + 0.12 * normals[:, 1] / length)
    brightness = sky + np.float32(1.08 - scene.ambient) * lamp
    light = _interpolate(brightness[mesh.triangles], samples)
    return np.minimum(colours * light[:, None] * np.array(scene.tint, dtype=np.float32), 255)


def _blend(samples: _Samples, colours: Array, behind: Array) -> Array:
    """Averages the samples of each pixel, empty ones showing what is behind (rows, columns, 3)."""
    pixels = behind.shape[0] * behind.shape[1]
    filled = np.bincount(samples.pixel, minlength=pixels)
    totals = [np.bincount(samples.pixel, colour, minlength=pixels) for colour in colours.T]
    total = np.stack(totals, axis=-1).reshape(behind.shape)
    return (total + behind * (_SAMPLES**2 - filled).reshape(*behind.shape[:2], 1)) / _SAMPLES**2


def _fill_centres(mesh: Mesh, samples: _Samples, iuv: NDArray[np.uint8], depth: NDArray[np.float32]) -> None:
    """Writes surface map and depth from the samples at the pixels' centres."""
    centre = np.flatnonzero(samples.is_centre)
    row, column = np.divmod(samples.pixel[centre], depth.shape[1])
    triangle = samples.triangle[centre]
    iuv[0, row, column] = mesh.parts[triangle]
    for channel, corners in enumerate(mesh.charts, start=1):
        first, second, third = (
            corner[triangle] * share[centre] for corner, share in zip(corners, samples.shares, strict=True)
        )
        iuv[channel, row, column] = np.rint(np.clip(first + second + third, 0, 1) * 255)
    depth[row, column] = samples.depth[centre]


def _cast_shadow(touching: Array, camera: Camera, backdrop: Backdrop, picture: NDArray[np.float32]) -> None:
    """Darkens the floor of a picture (H, W, 3): a soft spot under each point, fainter and wider under higher ones."""
    x, _, z = touching.mean(axis=0)
    near = np.flatnonzero(np.abs(backdrop.floor_z - z) < 1.2)
    if not len(near):
        return
    column = np.arange(picture.shape[1], dtype=np.float32) - np.float32(camera.centre_x)
    near_columns = np.flatnonzero(np.abs(column * backdrop.floor_step[near].min() - x) < 1.2)
    floor_x = column[near_columns] * backdrop.floor_step[near, None]
    light = np.ones_like(floor_x)
    for spot_x, spot_y, spot_z in touching:
        spread = 2 * (0.085 + 0.30 * max(spot_y, 0)) ** 2
        strength = 0.42 * np.exp(-max(spot_y, 0) / 0.45)
        depth = np.exp(-((backdrop.floor_z[near] - spot_z) ** 2) / spread)
        light *= 1 - strength * depth[:, None] * np.exp(-((floor_x - spot_x) ** 2) / spread)
    row = near + picture.shape[0] - len(backdrop.floor_z)
    picture[np.ix_(row, near_columns)] *= light[..., None]
