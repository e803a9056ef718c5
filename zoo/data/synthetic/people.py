"""Synthetic people as a source of clips."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypedDict, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.batch import Condition
from zoo.data.source import Clip, Split
from zoo.data.synthetic.appearance import Appearance, random_appearance
from zoo.data.synthetic.body import BONE, Array, BodyShape, Motion, carry, pose_bones, random_shape
from zoo.data.synthetic.figure import build_mesh, trunk_u
from zoo.data.synthetic.mesh import Mesh
from zoo.data.synthetic.motion import STYLES, TRAINING_STYLES, random_motion
from zoo.data.synthetic.paint import paint_atlas
from zoo.data.synthetic.render import Rendering, render
from zoo.data.synthetic.scene import Backdrop, Camera, Scene, fit_camera, paint_backdrop, random_scene
from zoo.errors import OptionError
from zoo.pose import BODY_18, Skeleton

_SPLITS: tuple[Split, ...] = ("train", "val", "test")
OCCLUDED = 0.5
"""Confidence of a joint that is in the picture but hidden by the body; a visible one has 1, one outside has 0."""


class SyntheticOptions(TypedDict, total=False):
    """The options of ``SyntheticPeople``."""

    size: tuple[int, int]
    train_identities: int
    val_identities: int
    test_identities: int
    clips_per_identity: int
    frames: int
    fps: float
    seed: int


@dataclass(frozen=True)
class _Person:
    shape: BodyShape
    mesh: Mesh
    atlas: NDArray[np.uint8]


@dataclass(frozen=True)
class _Performance:
    """One body doing one motion: bones, joints and what shades the floor, for all frames."""

    rotations: Array  # (T, J, 3, 3)
    translations: Array  # (T, J, 3)
    joints: Array  # (T, 18, 3) world
    touching: Array  # (T, N, 3) world


_Value = TypeVar("_Value")


class _Recent:
    """The last few results of slow functions, by key."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.values: OrderedDict[Hashable, object] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        value = self.values.pop(key, None)
        if value is None:
            value = make()
        self.values[key] = value
        while len(self.values) > self.limit:
            self.values.popitem(last=False)
        return value  # type: ignore[return-value]


class SyntheticPeople:
    """Articulated people, generated: clips with exact conditions and true cross-identity frames.

    Everything follows from ``seed``: asking for the same frame always gives the same bytes, in any order and process.
    Frames are rendered when they are asked for. Nobody and no motion of one split occurs in another, and two styles of
    motion (``HELD_OUT_STYLES``) occur in the test split alone. Clothes belong to the identity; motion and scene to the
    clip. Training clips have a camera each; all clips of the validation split share one, and so do those of the test
    split.

    Args:
        size: Height and width of the frames in pixels.
        train_identities: People in the training split.
        val_identities: People in the validation split.
        test_identities: People in the test split.
        clips_per_identity: Clips of each of them.
        frames: Frames of each clip.
        fps: Frames per second.
        seed: Another seed gives other people, motions and scenes.

    Raises:
        ValueError: If an option is out of its range.
    """

    skeleton: ClassVar[Skeleton] = BODY_18
    conditions: ClassVar[frozenset[Condition]] = frozenset({"pose", "iuv", "mask"})

    def __init__(
        self,
        size: tuple[int, int] = (64, 64),
        train_identities: int = 64,
        val_identities: int = 4,
        test_identities: int = 8,
        clips_per_identity: int = 4,
        frames: int = 48,
        fps: float = 25.0,
        seed: int = 0,
    ) -> None:
        if min(size) < 16:
            raise OptionError(f"size is {tuple(size)}; people need at least 16 x 16 pixels")
        if min(train_identities, val_identities, test_identities) < 0:
            raise OptionError("train_identities, val_identities and test_identities must not be negative")
        if clips_per_identity < 1 or frames < 1 or fps <= 0 or seed < 0:
            raise OptionError("clips_per_identity and frames must be at least 1, fps positive, seed not negative")
        self.size = (int(size[0]), int(size[1]))
        self.identities: dict[Split, int] = {
            "train": train_identities, "val": val_identities, "test": test_identities,
        }  # fmt: skip
        self.clips_per_identity = clips_per_identity
        self.frame_count = frames
        self.fps = float(fps)
        self.seed = seed
        self._styles = {split: self._assign_styles(split) for split in _SPLITS}
        self._clips = {split: self._list_clips(split) for split in _SPLITS}
        self._places: dict[str, tuple[Split, int, int]] = {
            clip.name: (split, number // clips_per_identity, number % clips_per_identity)
            for split in _SPLITS
            for number, clip in enumerate(self._clips[split])
        }
        pixels = self.size[0] * self.size[1]
        self._people = _Recent(96)
        self._performances = _Recent(512)
        self._cameras = _Recent(4096)
        self._scenes = _Recent(4096)
        self._backdrops = _Recent(max(8, 2**26 // (3 * pixels)))  # 64 MB
        self._renderings = _Recent(max(8, 2**25 // (10 * pixels)))  # 32 MB

    def clips(self, split: Split) -> list[Clip]:
        """The clips of a split, person by person."""
        return list(self._clips[split])

    def find(self, name: str) -> Clip | None:
        """The clip of that name, of whatever split, or None."""
        return next((clip for clips in self._clips.values() for clip in clips if clip.name == name), None)

    def frames(self, clip: Clip, indices: Sequence[int]) -> Tensor:
        """Frames (N, 3, H, W) uint8."""
        return self._stack([self._rendering(clip, clip, index).frame for index in indices], 3)

    def condition(self, clip: Clip, name: Condition, indices: Sequence[int]) -> Tensor:
        """What is known of the frames exactly.

        ``pose``: (N, 18, 3) float32: x and y in pixels and confidence: 1 visible, 0.5 hidden by the body, and 0 (with x
        and y 0 as well) outside the picture. ``iuv``: (N, 3, H, W) uint8: surface part, U and V times 255.
        ``mask``: (N, 1, H, W) uint8: 255 where the person is, exactly where the surface part isn't 0.
        """
        return self.target_condition(clip, clip, name, indices)

    def target(self, source: Clip, driving: Clip, indices: Sequence[int]) -> Tensor | None:
        """The true cross-identity frames: the source's person doing the driving clip's motion.

        Body, clothes, background and light are the source's, the motion is the driving clip's. None if the two clips'
        cameras differ (between training clips), because then there is no one true picture.

        Returns:
            (N, 3, H, W) uint8, or None.
        """
        if self._camera(source) != self._camera(driving):
            return None
        return self._stack([self._rendering(source, driving, index).frame for index in indices], 3)

    def target_condition(self, source: Clip, driving: Clip, name: Condition, indices: Sequence[int]) -> Tensor:
        """The conditions of ``target``'s frames, as ``condition`` gives them."""
        if name == "pose":
            poses = [self._pose(source, driving, index) for index in indices]
            return torch.from_numpy(np.stack(poses)) if poses else torch.zeros(0, len(BODY_18.joints), 3)
        maps = self._stack([self._rendering(source, driving, index).iuv for index in indices], 3)
        if name == "iuv":
            return maps
        return (maps[:, :1] > 0).to(torch.uint8) * 255

    def background(self, clip: Clip) -> Tensor:
        """The clip's background (3, H, W) uint8, without the person and the person's shadow."""
        return torch.from_numpy(self._backdrop(clip).picture.transpose(2, 0, 1).copy())

    def summary(self) -> str:
        """What there is, in a few lines."""
        height, width = self.size
        lines = [
            f"synthetic people, seed {self.seed}: {self.frame_count} frames of {width}x{height} at {self.fps:g} fps"
        ]
        for split in _SPLITS:
            styles = ", ".join(sorted(set(self._styles[split])))
            lines.append(f"  {split}: {len(self._clips[split])} clips of {self.identities[split]} people ({styles})")
        return "\n".join(lines)

    # Everything below follows from the seed and a clip's place: split, person, number.

    def _generator(self, purpose: str, split: Split, *numbers: int) -> np.random.Generator:
        place = (_SPLITS.index(split), int.from_bytes(purpose.encode(), "big"), *numbers)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, *place])))

    def _assign_styles(self, split: Split) -> list[str]:
        """A style per clip: all styles equally often, a person's clips different where there are styles enough."""
        styles = STYLES if split == "test" else TRAINING_STYLES
        order = self._generator("styles", split).permutation(len(styles))
        count = self.identities[split] * self.clips_per_identity
        return [styles[order[number % len(styles)]] for number in range(count)]

    def _list_clips(self, split: Split) -> list[Clip]:
        height, width = self.size
        clips = []
        for number, style in enumerate(self._styles[split]):
            person, take = divmod(number, self.clips_per_identity)
            identity = f"{split}/person{person:03d}"
            name = f"{identity}/{style}-{take}"
            clips.append(Clip(name, identity, self.frame_count, self.fps, height, width, recording=name))
        return clips

    def _style(self, split: Split, person: int, take: int) -> str:
        return self._styles[split][person * self.clips_per_identity + take]

    def _shape(self, split: Split, person: int) -> BodyShape:
        return random_shape(self._generator("shape", split, person))

    def _appearance(self, split: Split, person: int) -> Appearance:
        return random_appearance(self._generator("appearance", split, person), self._shape(split, person))

    def _person(self, clip: Clip) -> _Person:
        split, person, _ = self._places[clip.name]

        def make() -> _Person:
            shape, appearance = self._shape(split, person), self._appearance(split, person)
            atlas = paint_atlas(shape, appearance, float(trunk_u(appearance.outfit.top_hem)))
            if max(self.size) <= 96:  # texels about as large as samples
                pages, side = atlas.shape[:2]
                atlas = np.rint(atlas.reshape(pages, side // 2, 2, side // 2, 2, 3).mean(axis=(2, 4))).astype(np.uint8)
            return _Person(shape, build_mesh(shape, appearance.outfit, appearance.cut), atlas)

        return self._people.get((split, person), make)

    def _motion(self, clip: Clip) -> Motion:
        place = self._places[clip.name]
        return random_motion(self._style(*place), self._generator("motion", *place), self.frame_count, self.fps)

    def _scene(self, clip: Clip) -> Scene:
        return self._scenes.get(clip.name, lambda: random_scene(self._generator("scene", *self._places[clip.name])))

    def _performance(self, source: Clip, driving: Clip) -> _Performance:
        def make() -> _Performance:
            split, person, _ = self._places[source.name]
            shape = self._shape(split, person)
            rotations, translations = pose_bones(shape, self._motion(driving))
            origins = shape.rest_origins()
            joints = carry(*shape.keypoint_anchors(), rotations, translations)
            bones, points = [BONE["pelvis"]], [origins[BONE["pelvis"]]]
            for side in ("left", "right"):
                foot = BONE[f"{side}_foot"]
                bones += [foot, foot]
                points += [np.array([origins[foot][0], 0.0, share * shape.height]) for share in (-0.02, 0.08)]
            touching = carry(np.array(bones), np.stack(points), rotations, translations)
            return _Performance(rotations.astype(np.float32), translations.astype(np.float32), joints, touching)

        return self._performances.get((source.identity, driving.name), make)

    def _camera(self, clip: Clip) -> Camera:
        place = self._places[clip.name]
        split = place[0]
        if split == "train":
            return self._cameras.get(clip.name, lambda: self._frame_clips(self._generator("camera", *place), [clip]))
        return self._cameras.get(split, lambda: self._frame_clips(self._generator("camera", split), self._clips[split]))

    def _frame_clips(self, generator: np.random.Generator, clips: list[Clip]) -> Camera:
        """A camera that sees all of the clips' motions, whoever among their people performs them."""
        distance, height = generator.uniform(4.6, 6.4), generator.uniform(0.9, 1.5)
        pitch = np.arctan2(height - 0.9, distance)
        shift = generator.uniform(-0.8, 0.8) if len(clips) == 1 else 0.0
        margin = generator.uniform(0.03, 0.09) if len(clips) == 1 else 0.03
        shapes = {clip.identity: self._shape(*self._places[clip.name][:2]) for clip in clips}
        reaching = [
            max(shapes.values(), key=lambda shape: shape.height),
            max(shapes.values(), key=lambda shape: shape.arms * shape.height),
        ]
        points = []
        for clip in clips:
            motion = self._motion(clip)
            for shape in dict.fromkeys(reaching):
                points.append(carry(*shape.outline_anchors(), *pose_bones(shape, motion)).reshape(-1, 3))
        unfitted = Camera(float(height), float(distance), float(pitch), 1.0, 0.0, 0.0)
        return fit_camera(unfitted, np.concatenate(points), self.size, float(margin), float(shift))

    def _backdrop(self, clip: Clip) -> Backdrop:
        return self._backdrops.get(clip.name, lambda: paint_backdrop(self._scene(clip), self._camera(clip), self.size))

    def _rendering(self, source: Clip, driving: Clip, index: int) -> Rendering:
        if not 0 <= index < driving.frames:
            raise IndexError(f"frame {index} of {driving.name!r}, which has frames 0 to {driving.frames - 1}")

        def make() -> Rendering:
            person, performance = self._person(source), self._performance(source, driving)
            return render(
                person.mesh, person.atlas, performance.rotations[index], performance.translations[index],
                performance.touching[index], self._camera(driving), self._scene(source), self._backdrop(source),
            )  # fmt: skip

        return self._renderings.get((source.name, driving.name, index), make)

    def _pose(self, source: Clip, driving: Clip, index: int) -> NDArray[np.float32]:
        joints = self._performance(source, driving).joints[index]
        x, y, depth = self._camera(driving).project(joints).T
        height, width = self.size
        seen = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
        column = np.clip(np.rint(x), 0, width - 1).astype(np.int64)
        row = np.clip(np.rint(y), 0, height - 1).astype(np.int64)
        surface = self._rendering(source, driving, index).depth[row, column]
        hidden = surface < depth - _JOINT_DEPTH
        confidence = np.where(seen, np.where(hidden, OCCLUDED, 1.0), 0.0)
        return np.stack([np.where(seen, x, 0), np.where(seen, y, 0), confidence], axis=1).astype(np.float32)

    def _stack(self, arrays: list[NDArray[np.uint8]], channels: int) -> Tensor:
        if not arrays:
            return torch.zeros(0, channels, *self.size, dtype=torch.uint8)
        return torch.from_numpy(np.stack(arrays))


# How deep under the skin a joint lies at most, in metres; whatever is nearer to the camera hides it.
_JOINT_DEPTH = np.array([
    0.04 if name in ("nose", "left_eye", "right_eye") else 0.06 if name.endswith("ear") else
    0.16 if name.endswith(("hip", "neck")) else 0.09
    for name in BODY_18.joints
])  # fmt: skip


def render_clip(
    style: str, size: tuple[int, int] = (256, 256), frames: int = 48, fps: float = 25.0, seed: int = 0
) -> Tensor:
    """One clip of one person, for a first look.

    Args:
        style: What the person does: one of ``STYLES``.
        size: Height and width in pixels.
        frames: How many frames, T.
        fps: Frames per second.
        seed: Another seed gives another person, motion and scene.

    Returns:
        (T, 3, H, W) uint8 RGB.

    Raises:
        ValueError: If there is no such style.
    """
    if style not in STYLES:
        raise ValueError(f"unknown style {style!r}; there are {', '.join(STYLES)}")
    people = SyntheticPeople(size, 0, 0, 1, clips_per_identity=len(STYLES), frames=frames, fps=fps, seed=seed)
    clip = next(clip for clip in people.clips("test") if f"/{style}-" in clip.name)
    return people.frames(clip, range(frames))
