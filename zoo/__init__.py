"""Animation Zoo: video-animation methods that share one batch, one contract and one set of metrics.

>>> import zoo
>>> method = zoo.load("first_order_motion_model/synthetic-64")
>>> type(method).__name__
'FirstOrderMotionModel'
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.api import animate, list_methods, load

__version__ = "0.1.0"
__all__ = ["animate", "list_methods", "load"]


def __getattr__(name: str) -> Any:
    """Imports the helpers, and with them torch, only when one is used: `zoo --version` stays quick."""
    if name in __all__:
        from zoo import api

        return vars(api)[name]
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")
