"""What a stored notebook must be. That each of them runs is tested by nbmake, which pytest is told to use."""

import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def cells(notebook, kind):
    return [cell for cell in json.loads(notebook.read_text("utf-8"))["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_stored(notebook):
    assert [cell["id"] for cell in cells(notebook, "code") if cell["outputs"] or cell["execution_count"]] == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_somewhere(notebook):
    text = "".join("".join(cell["source"]) for cell in cells(notebook, "markdown"))
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    assert [link for link in links if not (FOLDER / link).exists()] == []


def test_every_notebook_is_named_by_the_readme():
    readme = (FOLDER.parent / "README.md").read_text("utf-8")
    assert [path.name for path in NOTEBOOKS if path.name not in readme] == []
