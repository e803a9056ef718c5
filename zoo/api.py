"""The zoo from Python: ``zoo.list_methods()``, ``zoo.load(...)`` and ``zoo.animate(...)``."""

from zoo.animation import animate
from zoo.loading import list_methods, load

__all__ = ["animate", "list_methods", "load"]
