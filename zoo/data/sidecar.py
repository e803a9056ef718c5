import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from zoo.batch import Condition
from zoo.data.cache import ByteCache
from zoo.data.errors import DataError
from zoo.data.walk import without_suffix
from zoo.pose import BODY_18, FACE_68, SKELETONS, SURFACE_PARTS, Skeleton, are_pixels, without_missing

_ARRAYS: dict[Condition, str] = {"pose": "keypoints", "iuv": "iuv", "mask": "mask"}
_LAYOUTS: dict[Condition, str] = {
    "pose": "'keypoints' (frames, joints, 3): x and y in pixels, confidence",
    "iuv": "'iuv' uint8 (frames, 3, height, width): I, U, V",
    "mask": "'mask' uint8 (frames, 1, height, width): 0 and 255",
}
_PREPARE = "make it anew from this video"


def sidecar_path(clip: Path, condition: Condition) -> Path:
    """Where a clip's condition is stored: ``dance.mp4`` has ``dance_pose.npz`` beside it."""
    return clip.with_name(f"{without_suffix(clip).name}_{condition}.npz")


def check_own_sidecars(clips: Iterable[Path]) -> None:
    """Complains about clips whose side-cars would be the same files, such as ``dance.mp4`` and ``dance.mov``.

    Raises:
        DataError: Names the two.
    """
    owners: dict[Path, Path] = {}
    for clip in clips:
        owner = owners.setdefault(without_suffix(clip), clip)
        if owner != clip:
            raise DataError(clip, f"would share its poses and maps with {owner.name}", "rename one of the two")


@dataclass(frozen=True)
class SideCar:
    """A condition of every frame of a file, stored beside it as npz.

    Attributes:
        path: The npz file.
        condition: What it holds.
        frames: How many frames the video has.
        height: Their height, pixels.
        width: Their width, pixels.
    """

    path: Path
    condition: Condition
    frames: int
    height: int
    width: int

    def check(self) -> None:
        """Compares the array's header with the video; of the large ones (``iuv``, ``mask``) nothing else is read.

        Raises:
            DataError: The file can't be read, holds something else, or belongs to a video of another length or size.
        """
        shape, dtype = self._header()
        if dtype.kind != "f" if self.condition == "pose" else dtype != np.uint8:
            raise self._error(f"{_ARRAYS[self.condition]!r} has type {dtype}", f"expected {_LAYOUTS[self.condition]}")
        per_frame = self._shapes_per_frame()
        if shape[1:] not in per_frame:
            expected = (self.frames, *per_frame[0])
            raise self._error(f"{_ARRAYS[self.condition]!r} is {shape}, expected {expected}", _PREPARE)
        if shape[0] != self.frames:
            raise self._error(f"has {shape[0]} frames, but the video has {self.frames}", _PREPARE)
        if self.condition == "pose":
            self._check_units()

    def skeleton(self) -> Skeleton:
        """The format of a pose track: named by the text ``skeleton`` in the file.

        Without a name 68 joints are the landmarks of a face, as only they are; others are OpenPose BODY_18.
        """
        with self._open() as archive:
            if "skeleton.npy" not in archive.namelist():
                shape, _ = self._header()
                return FACE_68 if shape[1:] == (len(FACE_68.joints), 3) else BODY_18
            with archive.open("skeleton.npy") as member:
                name = str(self._load(member))
        if name not in SKELETONS:
            raise self._error(f"has the unknown skeleton {name!r}", f"convert it to one of {', '.join(SKELETONS)}")
        return SKELETONS[name]

    def read(self, indices: Sequence[int], cache: ByteCache) -> Tensor:
        """The condition of some frames, as `zoo.data.ClipSource.condition` hands it out.

        An array that is stored without compression is read frame by frame from the disk; a compressed one is unpacked
        as a whole and kept in ``cache``.

        Args:
            indices: Frame numbers, any order.
            cache: Where unpacked arrays are kept.
        """
        stored = cache.get(self.path)
        if stored is None:
            mapped = self._map()
            if mapped is not None:
                return self._clean(torch.from_numpy(mapped[list(indices)]))
            with self._open() as archive, archive.open(f"{_ARRAYS[self.condition]}.npy") as member:
                stored = torch.from_numpy(self._load(member))
            cache.put(self.path, stored)
        return self._clean(stored[list(indices)])

    def _clean(self, values: Tensor) -> Tensor:
        if self.condition == "pose":
            return without_missing(values.float())
        if self.condition == "mask":
            return (values.reshape(len(values), 1, self.height, self.width) > 0).to(torch.uint8) * 255
        if (highest := int(values[:, 0].max())) >= len(SURFACE_PARTS):
            raise self._error(f"has part label {highest}, but {len(SURFACE_PARTS) - 1} is the largest", _PREPARE)
        return values

    def _shapes_per_frame(self) -> list[tuple[int, ...]]:
        if self.condition == "pose":
            return [(len(self.skeleton().joints), 3)]
        if self.condition == "iuv":
            return [(3, self.height, self.width)]
        return [(1, self.height, self.width), (self.height, self.width)]

    def _check_units(self) -> None:
        if not are_pixels(self.read(range(self.frames), ByteCache(0))):
            raise self._error("has no coordinate above 2: not pixels", "multiply x by the width, y by the height")

    def _header(self) -> tuple[tuple[int, ...], np.dtype]:
        with self._open() as archive:
            if f"{_ARRAYS[self.condition]}.npy" not in archive.namelist():
                names = ", ".join(repr(name.removesuffix(".npy")) for name in archive.namelist()) or "nothing"
                raise self._error(f"holds {names}", f"expected {_LAYOUTS[self.condition]}")
            with archive.open(f"{_ARRAYS[self.condition]}.npy") as member:
                shape, _, dtype = self._read_header(member)
        return shape, dtype

    def _map(self) -> np.ndarray | None:
        """The array on the disk, or None when it is compressed."""
        with self._open() as archive:
            entry = archive.getinfo(f"{_ARRAYS[self.condition]}.npy")
            if entry.compress_type != zipfile.ZIP_STORED:
                return None
            with archive.open(entry) as member:
                shape, fortran_order, dtype = self._read_header(member)
                header = member.tell()
        with self.path.open("rb") as file:
            file.seek(entry.header_offset + 26)  # the local header ends with two lengths, the name and extra fields
            lengths = np.frombuffer(file.read(4), "<u2")
        start = entry.header_offset + 30 + int(lengths.sum()) + header
        return np.memmap(self.path, dtype, "r", start, shape, order="F" if fortran_order else "C")

    def _read_header(self, member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
        """Shape, whether in Fortran order, and type of an array, from the first bytes of its npy file."""
        try:
            newer = npy.read_magic(member) > (1, 0)
            return npy.read_array_header_2_0(member) if newer else npy.read_array_header_1_0(member)
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise self._error(f"is damaged ({error})", _PREPARE) from error

    def _load(self, member: IO[bytes]) -> np.ndarray:
        try:
            return npy.read_array(member, allow_pickle=False)
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise self._error(f"is damaged ({error})", _PREPARE) from error

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (OSError, zipfile.BadZipFile) as error:
            raise self._error(f"is not an npz file ({error})", _PREPARE) from error

    def _error(self, problem: str, remedy: str) -> DataError:
        return DataError(self.path, problem, remedy)
