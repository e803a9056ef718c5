"""What to tell somebody whose data folder is not there."""

import re
from pathlib import Path

from zoo.folders import recipes_folder

_HEADINGS = {"vox": "VoxCeleb", "taichi": "Tai-Chi-HD", "fashion": "UBC Fashion"}
"""How the folders of public datasets begin, and what the datasets page calls them."""


def obtaining(folder: Path) -> str:
    """What to do about a data folder that is missing.

    Returns:
        For a public dataset its section of ``configs/data/README.md``: where it comes from, its licence and the steps
        that prepare it. Else one line.
    """
    for beginning, heading in _HEADINGS.items():
        if folder.name.lower().startswith(beginning):
            return f"this is how to get it:\n\n{_section(heading)}"
    return "give the folder that holds the clips"


def _section(heading: str) -> str:
    page = recipes_folder() / "data" / "README.md"
    found = re.search(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    if found is None:
        raise LookupError(f"{page} has no section {heading!r}")
    return found.group().strip()
