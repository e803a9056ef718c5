"""Where people are seen: the camera, the light, and the room or landscape behind them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.data.synthetic.appearance import Colour, Pattern
from zoo.data.synthetic.body import Array
from zoo.data.synthetic.paint import paint_cloth


@dataclass(frozen=True)
class Camera:
    """A fixed pinhole camera that looks along -z from the front, a little downward or upward.

    Attributes:
        height: Of the lens over the floor, in metres.
        distance: To the world's origin, in metres.
        pitch: Radians by which it looks down.
        focal: Focal length in pixels.
        centre_x: Pixel column of the optical axis (columns count pixel centres from 0).
        centre_y: Pixel row of the optical axis.
    """

    height: float
    distance: float
    pitch: float
    focal: float
    centre_x: float
    centre_y: float

    def view(self, points: Array) -> Array:
        """World points (..., 3) seen from the camera: right, down, and depth along the optical axis."""
        x, y, z = np.moveaxis(points, -1, 0)
        y, z = y - self.height, self.distance - z
        cosine, sine = np.cos(self.pitch), np.sin(self.pitch)
        return np.stack([x, -y * cosine - z * sine, z * cosine - y * sine], axis=-1)

    def project(self, points: Array) -> Array:
        """World points (..., 3) to pixel coordinates x, y and depth in metres."""
        right, down, depth = np.moveaxis(self.view(points), -1, 0)
        return np.stack(
            [self.centre_x + self.focal * right / depth, self.centre_y + self.focal * down / depth, depth], axis=-1
        )

    def rays(self, x: Array, y: Array) -> Array:
        """World directions (..., 3) through pixels."""
        right, down = (x - self.centre_x) / self.focal, (y - self.centre_y) / self.focal
        cosine, sine = np.cos(self.pitch), np.sin(self.pitch)
        right, down = np.broadcast_arrays(right, down)
        return np.stack([right, -down * cosine - sine, down * sine - cosine], axis=-1)


def fit_camera(camera: Camera, points: Array, size: tuple[int, int], margin: float, shift: float) -> Camera:
    """The camera zoomed so that everything given is inside the picture.

    Args:
        camera: Place and pitch; its focal length and centre are replaced.
        points: World points (..., 3).
        size: Height and width of the picture.
        margin: What stays free at each side, as a share of the picture's height or width.
        shift: -1 to 1: where the points lie across the free width.
    """
    right, down, depth = np.moveaxis(camera.view(points), -1, 0)
    x, y = right / depth, down / depth
    height, width = size
    focal = min(height * (1 - 2 * margin) / np.ptp(y), width * (1 - 2 * margin) / np.ptp(x))
    spare = width * (1 - 2 * margin) - focal * np.ptp(x)
    centre_x = (width - 1) / 2 - focal * (x.max() + x.min()) / 2 + 0.5 * shift * spare
    centre_y = (height - 1) / 2 - focal * (y.max() + y.min()) / 2
    return Camera(camera.height, camera.distance, camera.pitch, float(focal), float(centre_x), float(centre_y))


@dataclass(frozen=True)
class Scene:
    """A room or a landscape.

    Attributes:
        wall: Cloth-like pattern of the wall, or sky and hills if ``outdoor``.
        floor: Pattern of the floor.
        floor_kind: ``planks``, ``tiles``, ``pattern`` or ``rough``.
        wall_kind: ``pattern``, ``gradient``, ``bricks`` or ``noise``.
        wall_distance: Metres from the origin to the wall behind.
        outdoor: Whether there is sky instead of a wall.
        furniture: Whether pictures, a window and a skirting board are there.
        light: Unit direction towards the light.
        ambient: Share of light that comes from everywhere.
        tint: Colour of the light.
        seed: Where irregularities come from.
    """

    wall: Pattern
    floor: Pattern
    floor_kind: str
    wall_kind: str
    wall_distance: float
    outdoor: bool
    furniture: bool
    light: tuple[float, float, float]
    ambient: float
    tint: tuple[float, float, float]
    seed: int


def _scaled(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(component * factor, 1.0) for component in colour)
    return (red, green, blue)


def random_scene(generator: np.random.Generator) -> Scene:
    """A scene drawn from a generator."""

    def soft(lowest: float, highest: float) -> Colour:
        grey = generator.uniform(lowest, highest)
        red, green, blue = np.clip(grey + generator.uniform(-0.13, 0.13, 3), 0.05, 0.97)
        return (float(red), float(green), float(blue))

    def pattern(lowest: float, highest: float, kinds: tuple[str, ...], smallest: float, largest: float) -> Pattern:
        ground = soft(lowest, highest)
        change = generator.uniform(0.78, 0.92) if generator.random() < 0.6 else generator.uniform(1.06, 1.15)
        second, third = (_scaled(ground, change**power) for power in (1, 2))
        period = float(generator.uniform(smallest, largest))
        return Pattern(str(generator.choice(kinds)), (ground, second, third), period, int(generator.integers(2**31)))

    azimuth, elevation = generator.uniform(-1.1, 1.1), generator.uniform(0.5, 1.0)
    light = (np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation))
    warmth = generator.uniform(-0.04, 0.04)
    outdoor = generator.random() < 0.25
    return Scene(
        wall=pattern(0.4, 0.9, ("plain", "stripes", "pinstripes", "checks", "dots", "print"), 0.25, 0.7),
        floor=pattern(0.3, 0.75, ("plain", "checks", "print", "stripes"), 0.3, 0.8),
        floor_kind=str(generator.choice(("rough",) if outdoor else ("planks", "tiles", "pattern", "rough"))),
        wall_kind=str(generator.choice(("pattern", "pattern", "gradient", "bricks", "noise"))),
        wall_distance=float(generator.uniform(1.3, 3.0)),
        outdoor=bool(outdoor),
        furniture=bool(generator.random() < 0.6),
        light=(float(light[0]), float(light[1]), float(light[2])),
        ambient=float(generator.uniform(0.50, 0.66)),
        tint=(1.0 + warmth, 1.0, 1.0 - warmth),
        seed=int(generator.integers(2**31)),
    )


@dataclass(frozen=True)
class Backdrop:
    """A scene seen by a camera, without people.

    The floor covers whole rows of pixels, because the camera never tilts sideways and the wall stands across its axis.

    Attributes:
        picture: (H, W, 3) uint8 RGB.
        floor_z: (R,) z of the floor in metres, in the last R rows of pixels.
        floor_step: (R,) metres from one pixel to the next in those rows; x is 0 in the camera's ``centre_x``.
    """

    picture: NDArray[np.uint8]
    floor_z: NDArray[np.float32]
    floor_step: NDArray[np.float32]


_SAMPLES = 2  # per pixel along each side


def paint_backdrop(scene: Scene, camera: Camera, size: tuple[int, int]) -> Backdrop:
    """Paints the scene behind the person, anti-aliased.

    Args:
        scene: What to paint.
        camera: From where.
        size: Height and width in pixels.
    """
    height, width = size
    rows, columns = ((np.arange(count * _SAMPLES) - (_SAMPLES - 1) / 2) / _SAMPLES for count in (height, width))
    x, y, z, is_floor = _hit(scene, camera, rows, columns)
    generator = np.random.Generator(np.random.PCG64(scene.seed))
    wall = _paint_sky(scene, x, y, generator) if scene.outdoor else _paint_wall(scene, x, y, generator)
    picture = np.where(is_floor[..., None], _paint_floor(scene, x, z, generator), wall)
    picture = np.clip(picture * np.array(scene.tint), 0, 1)
    picture = picture.reshape(height, _SAMPLES, width, _SAMPLES, 3).mean(axis=(1, 3))
    centre = np.array([camera.centre_x, camera.centre_x + 1])
    x, _, z, is_floor = _hit(scene, camera, np.arange(float(height)), centre)
    floor = is_floor[:, 0]
    return Backdrop(
        np.rint(picture * 255).astype(np.uint8), z[floor, 0].astype(np.float32), x[floor, 1].astype(np.float32)
    )


def _hit(scene: Scene, camera: Camera, rows: Array, columns: Array) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """Where the rays through pixels meet floor or wall: x, y, z in metres, and whether it is the floor; all (H, W)."""
    rays = camera.rays(columns[None], rows[:, None])
    to_wall = (camera.distance + (40.0 if scene.outdoor else scene.wall_distance)) / -rays[..., 2]
    slope = np.maximum(-rays[..., 1], 1e-9)
    reach = np.minimum(camera.height / slope, to_wall)
    x, z = rays[..., 0] * reach, camera.distance + rays[..., 2] * reach
    return x, camera.height + rays[..., 1] * reach, z, camera.height / slope < to_wall


def _texture_noise(x: Array, y: Array, generator: np.random.Generator, period: float) -> Array:
    """Smooth noise in [-1, 1] over a plane, repeating every 64 periods."""
    lattice = generator.uniform(-1, 1, (64, 64))
    row, column = np.floor(y / period), np.floor(x / period)
    share_y, share_x = y / period - row, x / period - column
    share_y, share_x = share_y * share_y * (3 - 2 * share_y), share_x * share_x * (3 - 2 * share_x)
    top, left = row.astype(np.int64) % 64, column.astype(np.int64) % 64
    bottom, right = (top + 1) % 64, (left + 1) % 64
    upper = lattice[top, left] * (1 - share_x) + lattice[top, right] * share_x
    lower = lattice[bottom, left] * (1 - share_x) + lattice[bottom, right] * share_x
    return upper * (1 - share_y) + lower * share_y


_GROUNDS = ((0.36, 0.47, 0.25), (0.52, 0.52, 0.32), (0.72, 0.64, 0.50), (0.52, 0.51, 0.49))


def _paint_floor(scene: Scene, x: Array, z: Array, generator: np.random.Generator) -> Array:
    x, z = np.clip(x, -50, 50), np.clip(z, -50, 50)
    ground, second = np.array(scene.floor.colours[0]), np.array(scene.floor.colours[1])
    rough = _texture_noise(x, z, generator, 0.35) + 0.6 * _texture_noise(x, z, generator, 0.1)
    if scene.floor_kind == "planks":
        board = np.floor(x / 0.14)
        shade = 0.5 + 0.5 * np.sin(board * 12.9898 + np.floor(z / 0.9 + 0.37 * board) * 4.1414)
        seam = ((x / 0.14) % 1.0 < 0.06) | ((z / 0.9 + 0.37 * board) % 1.0 < 0.012)
        colour = np.array([0.62, 0.45, 0.30]) * (0.75 + 0.45 * ground.mean()) * (0.86 + 0.2 * shade)[..., None]
        colour = colour * np.where(seam, 0.72, 1.0)[..., None]
    elif scene.floor_kind == "tiles":
        size = max(scene.floor.period, 0.35)
        odd = (np.floor(x / size) + np.floor(z / size)) % 2
        colour = np.where(odd[..., None] > 0, ground, second)
        colour = np.where((((x / size) % 1 < 0.03) | ((z / size) % 1 < 0.03))[..., None], second * 0.8, colour)
    elif scene.floor_kind == "pattern":
        colour = paint_cloth(scene.floor, z, x)
    else:
        if scene.outdoor:  # grass, dry grass, sand or gravel
            ground = np.array(_GROUNDS[scene.seed % len(_GROUNDS)])
        return ground * (1 + 0.14 * rough)[..., None]
    return colour * (1 + 0.03 * rough)[..., None]


def _paint_wall(scene: Scene, x: Array, y: Array, generator: np.random.Generator) -> Array:
    ground, second = np.array(scene.wall.colours[0]), np.array(scene.wall.colours[2])
    if scene.wall_kind == "pattern":
        colour = paint_cloth(scene.wall, y, x)
    elif scene.wall_kind == "gradient":
        share = np.clip(0.5 + 0.35 * (y - 1.2) + 0.12 * x, 0, 1)[..., None]
        colour = ground * share + second * (1 - share)
    elif scene.wall_kind == "bricks":
        row = np.floor(y / 0.11)
        along = x / 0.30 + 0.5 * (row % 2)
        shade = 0.5 + 0.5 * np.sin(row * 7.31 + np.floor(along) * 3.77)
        joint = ((y / 0.11) % 1.0 < 0.1) | (along % 1.0 < 0.04)
        colour = np.where(joint[..., None], 0.45 + 0.5 * ground, ground * (0.80 + 0.16 * shade)[..., None])
    else:
        patches = _texture_noise(x, y, generator, 0.9) + 0.5 * _texture_noise(x, y, generator, 0.3)
        colour = ground * (1 + 0.12 * patches)[..., None]
    if not scene.furniture:
        return colour
    for _ in range(int(generator.integers(1, 4))):
        left, bottom = generator.uniform(-1.9, 1.2), generator.uniform(0.5, 1.6)
        right, top = left + generator.uniform(0.4, 0.9), bottom + generator.uniform(0.4, 0.9)
        frame, inner = generator.uniform(0.1, 0.95, 3), generator.uniform(0.25, 0.95, (2, 3))
        inside = (x > left) & (x < right) & (y > bottom) & (y < top)
        border = np.minimum(np.minimum(x - left, right - x), np.minimum(y - bottom, top - y))
        share = np.clip((y - bottom) / (top - bottom), 0, 1)[..., None]
        colour = np.where(inside[..., None], inner[0] * share + inner[1] * (1 - share), colour)
        colour = np.where((inside & (border < 0.04))[..., None], frame, colour)
    return np.where((y < 0.11)[..., None], second * 0.7 + 0.2, colour)


def _paint_sky(scene: Scene, x: Array, y: Array, generator: np.random.Generator) -> Array:
    """Sky over hills far away."""
    share = np.clip(y / 16, 0, 1)[..., None]
    zenith = np.array([0.42, 0.62, 0.88]) * (0.75 + 0.35 * np.array(scene.wall.colours[0]))
    sky = zenith * share + np.array([0.86, 0.91, 0.95]) * (1 - share)
    clouds = np.clip(
        _texture_noise(x, y * 2.2, generator, 9.0) + 0.5 * _texture_noise(x, y * 2.2, generator, 3.5) - 0.25, 0, 1
    )
    sky = sky + (0.97 - sky) * clouds[..., None] * share
    phases = generator.uniform(0, 2 * np.pi, 3)
    for number, lift in enumerate((3.4, 1.8)):
        ridge = lift + 1.3 * np.sin(x / 5.3 + phases[number]) + 0.8 * np.sin(x / 2.3 + phases[2] + number)
        hill = np.array([0.40, 0.50, 0.46]) * (1 - 0.22 * number) * (0.7 + 0.4 * np.array(scene.wall.colours[0]))
        sky = np.where((y < ridge)[..., None], hill, sky)
    return sky
