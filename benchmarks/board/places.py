"""Places in README and method pages that are filled with tables of now.

A place begins with ``<!-- KIND: WORDS -->`` and ends with ``<!-- end -->``.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

PAGES = ("README.md", "zoo/methods/*/README.md")
"""Pages that may have such places."""


def _places(kind: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {kind}: ([^>]+) -->\n).*?<!-- end -->", re.S)


def pages_below(folder: Path) -> list[Path]:
    """The pages below a folder that have places of any kind."""
    pages = (path for pattern in PAGES for path in sorted(folder.glob(pattern)))
    return [path for path in pages if _places(r"\w+").search(path.read_text("utf-8"))]


def filled(page: str, kind: str, content: Callable[[Sequence[str]], str]) -> str:
    """The page with every place of one kind filled anew.

    Args:
        page: Its text.
        kind: Which places.
        content: The words of a place -> what stands there now.
    """
    return _places(kind).sub(lambda found: f"{found[1]}{content(found[2].split())}\n<!-- end -->", page)
