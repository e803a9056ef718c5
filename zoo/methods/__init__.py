"""The methods. A folder here with an ``__init__.py`` that exports one class is a method; nothing else registers it."""

from importlib import import_module
from pkgutil import iter_modules

from zoo.base import AnimationModule


def discover() -> dict[str, type[AnimationModule]]:
    """Imports every method's folder.

    Returns:
        Folder name -> the one LightningModule class that the folder exports.
    """
    methods = {}
    for package in iter_modules(__path__):
        module = import_module(f"{__name__}.{package.name}")
        (name,) = module.__all__
        methods[package.name] = getattr(module, name)
    return methods
