import os
from pathlib import Path

from zoo.errors import ZooError

_PACKAGE = Path(__file__).parent


def cache_folder() -> Path:
    """Where fetched and remembered files are kept: ``ZOO_CACHE``, by default ``~/.cache/animation-zoo``."""
    return Path(os.environ.get("ZOO_CACHE", "~/.cache/animation-zoo")).expanduser()


def recipes_folder() -> Path:
    """The folder of configuration files: beside the package in a clone, inside it in an installed wheel."""
    inside = _PACKAGE / "configs"
    return inside if inside.is_dir() else _PACKAGE.parent / "configs"


def find_recipe(method: str, name: str) -> Path:
    """The configuration file ``configs/<method>/<name>.yaml``.

    Raises:
        ZooError: There is none; lists those of the method.
    """
    path = recipes_folder() / method / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.yaml"))
        raise ZooError(f"{path}: no such recipe; {method} has {known}")
    return path
