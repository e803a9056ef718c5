"""The methods. A folder here with an ``__init__.py`` that exports classes is a method; nothing else registers it."""

from importlib import import_module
from pkgutil import iter_modules

from zoo.base import AnimationModule


def discover() -> dict[str, type[AnimationModule]]:
    """Imports every method's folder.

    Returns:
        Folder name -> the LightningModule class of its ``module.py``, and class name -> each variant of the method that
        the folder exports besides.
    """
    methods = {}
    for package in iter_modules(__path__):
        module = import_module(f"{__name__}.{package.name}")
        for name in module.__all__:
            method = getattr(module, name)
            is_main = method.__module__ == f"{module.__name__}.module"
            methods[package.name if is_main else name] = method
    return methods


def by_class_name() -> dict[str, type[AnimationModule]]:
    """Class name -> class of every method and variant, as the command line calls them."""
    return {method.__name__: method for method in discover().values()}
