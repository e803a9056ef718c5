import os
import subprocess
import sys
from pathlib import Path

import pytest

_DEFAULT_SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Notebooks are slow tests, and bear no mark themselves."""
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The development data folder: real clips, recorded outputs of official codes."""
    folder = Path(os.environ.get("ANIMATION_ZOO_SHARED", _DEFAULT_SHARED))
    if not folder.is_dir():
        pytest.skip(f"no development data at {folder}; set ANIMATION_ZOO_SHARED")
    return folder


@pytest.fixture(scope="session")
def torture(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of awkward and broken inputs, with `manifest.json` that says what to expect of each."""
    folder = tmp_path_factory.mktemp("torture")
    script = shared / "data" / "make_torture.py"
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder
