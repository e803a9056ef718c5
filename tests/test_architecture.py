"""Imports point one way, and every method's folder reads the same."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "zoo").rglob("*.py"))
METHODS = sorted(p.parent for p in (ROOT / "zoo" / "methods").glob("*/__init__.py"))

ALLOWED = {
    "nn": {"nn", "weights", "errors"},
    "warp": {"warp", "errors"},
    "pose": {"pose", "errors"},
    "metrics": {"metrics", "nn", "weights", "errors"},
    "video": {"video", "errors"},
    "weights": {"weights", "errors", "files", "folders"},
    "conditions": {"conditions", "pose", "nn", "weights", "video", "errors"},
    "data": {"data", "batch", "pose", "video", "errors", "files", "folders"},
    "methods": {"base", "adversarial", "batch", "nn", "warp", "pose", "pictures", "weights", "errors"},
}
"""Room of the package -> the rooms that it may import."""


def imported(path):
    """Absolute names of the zoo's modules that a file imports at run time; imports for type checkers don't count."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    names = set()
    tree = ast.parse(path.read_text())
    checking = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in checking:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in ("zoo", "benchmarks", "lightning")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_import_only_what_they_may(path):
    room = path.relative_to(ROOT / "zoo").parts[0]
    for name in imported(path):
        top, *rest = name.split(".")
        assert top != "benchmarks", f"{path} imports {name}"
        if top == "zoo" and rest and room in ALLOWED and path.parent != ROOT / "zoo":
            own_method = room == "methods" and name.startswith(
                f"zoo.methods.{path.relative_to(ROOT / 'zoo').parts[1]}."
            )
            assert own_method or rest[0] in ALLOWED[room], f"{path} imports {name}"


@pytest.mark.parametrize("folder", METHODS, ids=lambda folder: folder.name)
def test_method_folders_read_the_same(folder):
    for name in ("module.py", "networks.py", "losses.py", "README.md"):
        assert (folder / name).is_file(), name
    assert (ROOT / "configs" / folder.name / "tiny.yaml").is_file()
    assert not any(name.startswith("lightning") for name in imported(folder / "networks.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_device_is_wired_in(path):
    text = path.read_text()
    assert ".cuda(" not in text
    assert 'device="cuda"' not in text
