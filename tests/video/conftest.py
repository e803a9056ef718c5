from pathlib import Path

import pytest
from coded_clips import coded_frames, encode


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames of 112x64 with B-frames and a key frame every 12, a size that decord reads exactly."""
    return encode(tmp_path_factory.mktemp("clip") / "clip.mp4", coded_frames(60), {"g": "12"})
