"""Tiny data folders, written on the fly."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def numbered_frames(clip: int, frames: int, side: int = 8) -> Tensor:
    """uint8 (T, 3, side, side): red says which clip it is, green which frame; blue grows from left to right."""
    pictures = torch.zeros(frames, 3, side, side, dtype=torch.uint8)
    pictures[:, 0] = clip
    pictures[:, 1] = torch.arange(frames, dtype=torch.uint8)[:, None, None]
    pictures[:, 2] = torch.linspace(0, 200, side).to(torch.uint8)
    return pictures


def write_strip(path: Path, frames: Tensor) -> None:
    """Square frames side by side, without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(torch.cat(list(frames), dim=2).permute(1, 2, 0).numpy()).save(path)


def write_frames(folder: Path, frames: Tensor) -> None:
    """A folder with one picture per frame, of any aspect, without loss."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")


def write_clips(folder: Path, names: list[str], frames: int = 6, side: int = 8) -> None:
    """Strips named ``names``; clip n has red n."""
    for number, name in enumerate(names):
        write_strip(folder / name, numbered_frames(number, frames, side))


def write_pose(path: Path, keypoints: np.ndarray, compressed: bool = True) -> None:
    """A pose side-car."""
    (np.savez_compressed if compressed else np.savez)(path, keypoints=keypoints.astype(np.float32))
