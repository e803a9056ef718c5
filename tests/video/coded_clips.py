from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

BITS = 10
SOUND_RATE = 48000


def coded_frames(count: int, height: int = 64, width: int = 112) -> Tensor:
    """Moving pictures, uint8 (count, 3, H, W), each with its number as a bar code along the bottom."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    frames = torch.empty(count, 3, height, width, dtype=torch.uint8)
    bar = height // 4
    for number in range(count):
        shade = [
            127 + 90 * torch.sin(x / 17 + number / 5),
            60 + 100 * y / height,
            90 + 80 * torch.cos(y / 13 - number / 7),
        ]
        frames[number] = torch.stack(shade).to(torch.uint8)
        for bit in range(BITS):
            cell = slice(bit * width // BITS, (bit + 1) * width // BITS)
            frames[number, :, height - bar :, cell] = 235 if number >> bit & 1 else 20
    return frames


def code(frame: Tensor) -> int:
    """The number that a frame (3, H, W) carries."""
    height, width = frame.shape[-2:]
    middle = [(2 * bit + 1) * width // (2 * BITS) for bit in range(BITS)]
    row = frame[:, height - height // 8].float().mean(dim=0)
    return sum(1 << bit for bit in range(BITS) if row[middle[bit]] > 127)


def codes(frames: Tensor) -> list[int]:
    return [code(frame) for frame in frames]


def encode(
    path: Path,
    frames: Tensor,
    options: dict[str, str] | None = None,
    codec: str = "libx264",
    fps: int = 25,
    sound: str | None = None,
) -> Path:
    """A file as a stranger's tool would write it: PyAV alone, none of the code under test."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=fps)
        video.width, video.height, video.pix_fmt = frames.shape[-1], frames.shape[-2], "yuv420p"
        video.options = {"crf": "12", "threads": "1"} | (options or {})
        audio = None if sound is None else container.add_stream(sound, rate=SOUND_RATE, layout="mono")
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame.permute(1, 2, 0).contiguous().numpy(), format="rgb24")
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if audio is not None:
            for start in range(0, SOUND_RATE * len(frames) // fps, 1024):
                tone = np.sin(2 * np.pi * 440 * np.arange(start, start + 1024) / SOUND_RATE, dtype=np.float32)
                container.mux(audio.encode(_sound_frame(tone, start, sound)))
            container.mux(audio.encode(None))
    return path


def _sound_frame(tone: np.ndarray, start: int, codec: str | None) -> av.AudioFrame:
    if codec == "pcm_s16le":
        frame = av.AudioFrame.from_ndarray((tone * 32767).astype(np.int16)[None], format="s16", layout="mono")
    else:
        frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, start, Fraction(1, SOUND_RATE)
    return frame
