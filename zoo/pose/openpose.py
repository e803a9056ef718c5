"""OpenPose's folders of JSON files, one file a frame."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.errors import FileError
from zoo.pose.coordinates import are_pixels, without_missing
from zoo.pose.skeleton import BODY_18, BODY_23, BODY_25, Skeleton, whole_body

_SUFFIX = "_keypoints.json"
_BODIES = {len(skeleton.joints): skeleton for skeleton in (BODY_18, BODY_23, BODY_25)}
_PARTS = {"face": ("face_keypoints_2d", 70), "left_hand": ("hand_left_keypoints_2d", 21),
          "right_hand": ("hand_right_keypoints_2d", 21)}  # fmt: skip
_REMEDY = "write it anew with OpenPose's --write_json"
_REACH = 0.5  # diagonals of a body: farther away than that in the next frame is somebody else
_PACE = 0.02  # diagonals that a person who isn't seen may have moved in each frame


@dataclass(frozen=True)
class OpenPoseFolder:
    """What OpenPose found in a video.

    Attributes:
        files: The file of each frame.
        people: For each frame (P, K, 3) float64: x and y in pixels and confidence of the P people in it, maybe none;
            missing joints are 0 in all three.
        skeleton: The format of the K joints: with face and hands where any file has some.
    """

    files: tuple[Path, ...]
    people: tuple[Tensor, ...]
    skeleton: Skeleton


def read_openpose(folder: Path) -> OpenPoseFolder:
    """Reads a folder of ``*_keypoints.json``, in the order of the numbers in their names: 10 comes after 2.

    The body's format follows from the number of its points: 18, 23 or 25. A part that a file leaves out is missing, and
    so is a joint with a value that is not finite.

    Raises:
        FileError: There are no such files, or one is damaged, or holds another format than those before, or none of
            their coordinates can be pixels.
    """
    files = tuple(sorted(folder.glob(f"*{_SUFFIX}"), key=_in_order))
    if not files:
        raise FileError(folder, f"holds no {_SUFFIX.lstrip('_')} files", "give the folder of OpenPose's --write_json")
    frames = [_people(file) for file in files]
    body, first = None, folder
    for file, people in zip(files, frames, strict=True):
        for person in people:
            found = _BODIES[len(person["body"])]
            if body not in (None, found):
                raise FileError(file, f"has {found.name} bodies, but {first.name} {body.name}", _REMEDY)
            body, first = found, file
    body = body or BODY_25  # nobody anywhere: today's format
    with_parts = any(part in person for people in frames for person in people for part in _PARTS)
    skeleton = whole_body(body) if with_parts else body
    stacked = tuple(_stack(people, skeleton) for people in frames)
    _check_units(files, stacked)
    return OpenPoseFolder(files, stacked, skeleton)


def write_openpose(folder: Path, people: Sequence[Tensor], skeleton: Skeleton, name: str = "frame") -> None:
    """Writes ``<name>_000000000000_keypoints.json`` and so on, as OpenPose calls them; reading them gives the same.

    Args:
        folder: Made where it isn't there.
        people: For each frame (P, K, 3) with x, y in pixels and confidence.
        skeleton: One of OpenPose's formats.
        name: What file names begin with.

    Raises:
        FileError: The skeleton isn't OpenPose's.
    """
    if skeleton.body() not in _BODIES.values():
        raise FileError(folder, f"can't hold {skeleton.name}", "convert poses to body_18 or body_25 first")
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(people):
        content = {"version": 1.3, "people": [_entry(person, skeleton) for person in frame]}
        path = folder / f"{name}_{number:012d}{_SUFFIX}"
        path.write_text(json.dumps(content, separators=(",", ":")) + "\n", "utf-8")


def follow_person(people: Sequence[Tensor], skeleton: Skeleton, numbers: Sequence[int] | None = None) -> Tensor:
    """One person's track out of several people's.

    It begins with the largest person of the first frame that shows anybody (by the box around the body), and goes on
    with whoever is nearest to where that person was last seen, by the mean distance of the joints that both have. Those
    without any joint of the body aren't anybody; where no frame shows one, faces and hands are looked at instead.

    Where some frame shows several people, who is too far away is somebody else, and the person is missing until seen
    again: farther than half of the diagonal of the box around the body, and half a diagonal more for each 25 frames in
    which the person was missing, about the pace of walking. Where no frame shows several people whoever is there is
    followed, however far away: after a cut, for example.

    Args:
        people: For each frame (P, K, 3) with x, y in pixels and confidence.
        skeleton: The format of the K joints.
        numbers: The frames' numbers in the video, ascending, where they don't follow each other.

    Returns:
        (T, K, 3), the type of the input. Frames without the person are missing: 0 throughout.
    """
    like = people[0] if people else torch.zeros(0, len(skeleton.joints), 3)
    track = like.new_zeros(len(people), len(skeleton.joints), 3)
    body = skeleton.part("body")
    if not any(bool((frame[:, body, 2] > 0).any()) for frame in people):
        body = slice(None)
    shown = [frame[(frame[:, body, 2] > 0).any(dim=1)] for frame in people]
    several = any(len(frame) > 1 for frame in shown)
    last: Tensor | None = None
    last_number = 0
    for place, (number, candidates) in enumerate(zip(numbers or range(len(people)), shown, strict=True)):
        if not len(candidates):
            continue
        bodies = candidates[:, body]
        if last is None:
            chosen: int | None = int(_sides(bodies).prod(dim=1).argmax())
        else:
            reach = _REACH + _PACE * (number - last_number - 1) if several else None
            chosen = _nearest(bodies, last, reach)
        if chosen is not None:
            track[place], last, last_number = candidates[chosen], bodies[chosen], number
    return track


def _nearest(bodies: Tensor, last: Tensor, reach: float | None) -> int | None:
    """Which of the bodies (P, K, 3) is nearest to the last one (K, 3).

    None if all are farther away than ``reach`` times the diagonal of the body: of the larger one of both, because one
    that is partly hidden has a small box.
    """
    distances = _distances(bodies, last)
    if reach is not None:
        diagonals = torch.maximum(_sides(bodies).norm(dim=1), _sides(last[None]).norm(dim=1))
        distances = torch.where(distances <= reach * diagonals, distances, torch.inf)
    chosen = int(distances.argmin())
    return chosen if distances[chosen].isfinite() else None


def _distances(bodies: Tensor, last: Tensor) -> Tensor:
    """(P,) mean distance of the joints of bodies (P, K, 3) to those of one body (K, 3), pixels.

    Of the middles of the boxes where no joint is in both, as of a head that is seen from the front and from behind.
    """
    both = (bodies[..., 2] > 0) & (last[..., 2] > 0)
    of_joints = torch.where(both, (bodies - last)[..., :2].norm(dim=-1), 0.0).sum(dim=1) / both.sum(dim=1)
    of_boxes = (_corners(bodies).mean(dim=0) - _corners(last[None]).mean(dim=0)).norm(dim=-1)
    return torch.where(both.any(dim=1), of_joints, of_boxes)


def _sides(bodies: Tensor) -> Tensor:
    """(P, 2) width and height of the box around each body, pixels."""
    low, high = _corners(bodies)
    return high - low


def _corners(bodies: Tensor) -> Tensor:
    """(2, P, 2) upper left and lower right of the box around each body (P, K, 3), which has a joint at least."""
    seen, points = bodies[..., 2:] > 0, bodies[..., :2]
    low = torch.where(seen, points, torch.inf).amin(dim=1)
    return torch.stack([low, torch.where(seen, points, -torch.inf).amax(dim=1)])


def _in_order(file: Path) -> tuple[list[str | int], str]:
    """By what files are sorted: numbers in their names count as numbers, however many zeros they begin with."""
    texts_and_numbers = re.split(r"(\d+)", file.name)  # in turns, so that numbers are compared with numbers
    return [int(part) if part.isdecimal() else part for part in texts_and_numbers], file.name


def _check_units(files: Sequence[Path], people: Sequence[Tensor]) -> None:
    if not are_pixels(torch.cat(list(people))):
        first = next(file for file, frame in zip(files, people, strict=True) if frame.any())
        raise FileError(
            first, "has no coordinate above 2, nor has any other file: not pixels", f"{_REMEDY} and --keypoint_scale 0"
        )


def _people(file: Path) -> list[dict[str, Tensor]]:
    """The parts of each person of a file."""
    try:
        entries = json.loads(file.read_text("utf-8"))["people"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise FileError(file, f"is no file of OpenPose ({type(error).__name__}: {error})", _REMEDY) from error
    if not isinstance(entries, list):
        raise FileError(file, "has 'people' that are no list", _REMEDY)
    people = []
    for entry in entries:
        parts = {"body": _points(file, entry, "pose_keypoints_2d", tuple(_BODIES))}
        for part, (key, count) in _PARTS.items():
            points = _points(file, entry, key, (0, count))
            if len(points):
                parts[part] = points
        people.append(parts)
    return people


def _points(file: Path, entry: dict[str, Any], key: str, counts: tuple[int, ...]) -> Tensor:
    try:
        points = torch.tensor(entry.get(key, []), dtype=torch.float64)
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise FileError(file, f"has a {key!r} that is no list of numbers", _REMEDY) from error
    if points.dim() != 1 or points.numel() not in [3 * count for count in counts]:
        expected = " or ".join(str(3 * count) for count in counts)
        raise FileError(file, f"has {points.numel()} numbers in {key!r}, expected {expected}", _REMEDY)
    return points.view(-1, 3)


def _stack(people: list[dict[str, Tensor]], skeleton: Skeleton) -> Tensor:
    stacked = torch.zeros(len(people), len(skeleton.joints), 3, dtype=torch.float64)
    for person, parts in zip(stacked, people, strict=True):
        for part, points in parts.items():
            person[skeleton.part(part)] = points
    return without_missing(stacked)


def _entry(person: Tensor, skeleton: Skeleton) -> dict[str, Any]:
    entry: dict[str, Any] = {"person_id": [-1], "pose_keypoints_2d": _numbers(person[skeleton.part("body")])}
    for part, (key, _) in _PARTS.items():
        entry[key] = _numbers(person[skeleton.part(part)])
    return entry


def _numbers(points: Tensor) -> list[float]:
    return points.double().flatten().tolist()
