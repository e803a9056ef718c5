from collections.abc import Iterable
from typing import Literal, TypedDict

import torch
from torch import Tensor

Condition = Literal["pose", "iuv", "mask"]


class Batch(TypedDict, total=False):
    """What every method receives. B batch, S source frames, T driving frames, K keypoints.

    Pictures are RGB float32 in [0, 1]. Poses hold x, y in [-1, 1] (pixel centres as in ``align_corners=False``:
    ``x = (2 * px + 1) / W - 1``) and a confidence in [0, 1], where 0 is a missing joint. Surface maps hold I in
    {0..24} as float and U, V in [0, 1], background 0. In a mask 1 is the subject.
    """

    source: Tensor  # B,S,3,H,W: who
    driving: Tensor  # B,T,3,H,W: how they move
    other: Tensor  # B,O,3,H,W: frames of someone else's clip, for methods that train across identities
    target: Tensor  # B,T,3,H,W: the truth, where it isn't simply `driving` (cross-identity, known to synthetic data)
    source_pose: Tensor  # B,S,K,3
    driving_pose: Tensor  # B,T,K,3
    other_pose: Tensor  # B,O,K,3
    target_pose: Tensor  # B,T,K,3
    source_iuv: Tensor  # B,S,3,H,W
    driving_iuv: Tensor  # B,T,3,H,W
    other_iuv: Tensor  # B,O,3,H,W
    target_iuv: Tensor  # B,T,3,H,W
    source_mask: Tensor  # B,S,1,H,W
    driving_mask: Tensor  # B,T,1,H,W
    other_mask: Tensor  # B,O,1,H,W
    target_mask: Tensor  # B,T,1,H,W
    pose_window: Tensor  # B,T,2w+1,K,3: the poses around each driving frame
    frame: Tensor  # B,T int64: the driving frames' numbers in their clip
    source_frame: Tensor  # B int64: the (first) source frame's number in its clip, in evaluation
    index: Tensor  # B int64: the sample's running number, from which its augmentation follows
    valid: Tensor  # B bool: False for copies that only fill up a distributed shard
    source_clip: list[str]
    driving_clip: list[str]
    other_clip: list[str]
    source_identity: list[str]
    driving_identity: list[str]
    other_identity: list[str]
    fps: list[float]  # of the driving clip


_FRAMES = {"source": ("S", 3), "driving": ("T", 3), "other": ("O", 3), "target": ("T", 3)}
_OPTIONAL = ("other", "target")
_CONDITION_SHAPE = {
    "pose": "(B, {frames}, K, 3)",
    "iuv": "(B, {frames}, 3, H, W)",
    "mask": "(B, {frames}, 1, H, W)",
}


def truth(batch: Batch) -> Tensor:
    """The frames that a prediction is compared with: ``target`` where it is known, else ``driving``."""
    return batch["target"] if "target" in batch else batch["driving"]


def check_batch(batch: Batch, conditions: Iterable[Condition] = ()) -> None:
    """Compares a batch with the conventions above, once per run.

    Args:
        batch: The batch as it comes from the data module, on any device.
        conditions: Which of ``pose``, ``iuv`` and ``mask`` the method declares.

    Raises:
        ValueError: Names the key, what was expected and what was found.
    """
    for key, (frames, channels) in _FRAMES.items():
        if key not in batch:
            if key in _OPTIONAL:
                continue
            raise ValueError(f"the batch has no {key!r}; it has {sorted(batch)}")
        _check_pictures(key, batch[key], frames, channels)  # type: ignore[literal-required]
    shape = batch["source"].shape
    if batch["driving"].shape[0] != shape[0] or batch["driving"].shape[-2:] != shape[-2:]:
        raise ValueError(
            f"'driving' {tuple(batch['driving'].shape)} and 'source' {tuple(shape)} differ in batch or picture size"
        )
    for condition in conditions:
        for role, frames in (("source", "S"), ("driving", "T")):
            key = f"{role}_{condition}"
            expected = _CONDITION_SHAPE[condition].format(frames=frames)
            if key not in batch:
                raise ValueError(
                    f"the method needs {key!r} {expected}, but the data has none: see `zoo prepare --help`"
                )
            _check_condition(key, condition, batch[key], batch[role].shape, expected)  # type: ignore[literal-required]


def _check_pictures(key: str, pictures: Tensor, frames: str, channels: int) -> None:
    expected = f"(B, {frames}, {channels}, H, W) floating point in [0, 1]"
    if pictures.ndim != 5 or pictures.shape[2] != channels or not pictures.is_floating_point():
        raise ValueError(f"{key!r} should be {expected}, not {tuple(pictures.shape)} {pictures.dtype}")
    low, high = pictures.aminmax()
    if not (low >= -0.01 and high <= 1.01):  # written so that NaN fails too
        raise ValueError(f"{key!r} should be {expected}, but its values reach from {low:.3g} to {high:.3g}")


def _check_condition(key: str, condition: Condition, value: Tensor, pictures: torch.Size, expected: str) -> None:
    fits = value.ndim == (4 if condition == "pose" else 5) and value.shape[:2] == pictures[:2]
    if condition == "pose":
        fits = fits and value.shape[-1] == 3
    else:
        fits = fits and value.shape[2:] == ({"iuv": 3, "mask": 1}[condition], *pictures[-2:])
    if not fits:
        raise ValueError(f"{key!r} should be {expected} beside pictures {tuple(pictures)}, not {tuple(value.shape)}")
    if not value.isfinite().all():
        raise ValueError(f"{key!r} holds NaN or infinity")
