import io

import av
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from zoo.base import MotionOptions
from zoo.baselines.baseline import Baseline
from zoo.batch import Batch, truth
from zoo.video import H264

FPS = 25  # of the coded file; the encoder's constant quality hardly depends on it


class Oracle(Baseline):
    """The true frames through the video codec: what a perfect method would score when its clips are stored as videos.

    A method's contract gives it source and driving frames alone, so ``animate`` returns the coded driving frames, which
    are the truth in reconstruction. Where the true frames are others (``target``), only a test step knows them, which
    has the whole batch: ``test_step`` puts them in the place of the driving frames. Where nobody knows the true frames,
    the oracle shows the driving clip: motion and realism are perfect, the person is the wrong one.
    """

    title = "Oracle (truth through H.264)"

    def encode(self, source: Batch, options: MotionOptions) -> None:
        """Nothing: it knows no source."""

    def render(self, state: None, driving: Batch) -> tuple[Tensor, None]:
        """The driving frames after coding; each chunk is coded on its own, as a file that begins with a key frame."""
        return torch.stack([coded(clip) for clip in driving["driving"]]), None

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The true frames after coding, each clip as one file."""
        frames = truth(batch)
        known = Batch(source=batch["source"], driving=frames)
        return self.animate(known, chunk=frames.shape[1])

    validation_step = test_step


def coded(clip: Tensor) -> Tensor:
    """Frames (T, 3, H, W) in [0, 1], coded as H.264 (CRF 18, yuv420p) as `zoo.video` writes it, and decoded again."""
    height, width = clip.shape[-2:]
    even = functional.pad(clip, (0, width % 2, 0, height % 2), mode="replicate")  # as yuv420p needs it
    pictures = (even * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options=H264)
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:3], "yuv420p"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format="yuv420p", threads=1)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as stored:
        decoded = [frame.to_ndarray(format="rgb24", threads=1) for frame in stored.decode(video=0)]
    frames = torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2)
    return frames[..., :height, :width].to(clip) / 255
