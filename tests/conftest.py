import os
from pathlib import Path

import pytest

_DEFAULT_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The development data folder: real clips, recorded outputs of official codes."""
    folder = Path(os.environ.get("ANIMATION_ZOO_SHARED", _DEFAULT_SHARED))
    if not folder.is_dir():
        pytest.skip(f"no development data at {folder}; set ANIMATION_ZOO_SHARED")
    return folder
