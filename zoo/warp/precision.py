from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def in_float32(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Makes a function compute in float32 under autocast; without autocast nothing changes.

    Positions don't survive half precision: near the picture's border bfloat16 knows steps of 1/256, an eighth of a
    pixel at 64 pixels and half a pixel at 256, and every product adds its own. Convolutions lose nothing that matters.

    Args:
        function: Takes tensors, and named tuples of tensors, as arguments.
    """

    @wraps(function)
    def computed(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        device = _device_type([*args, *kwargs.values()])
        if device is None or not torch.is_autocast_enabled(device):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*map(_float32, args), **{name: _float32(value) for name, value in kwargs.items()})

    return computed


def _float32(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.float()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_float32, value))
    return value


def _device_type(values: list[Any]) -> str | None:
    """Where the first tensor lives."""
    for value in values:
        found = value.device.type if isinstance(value, Tensor) else None
        if isinstance(value, tuple):
            found = _device_type(list(value))
        if found:
            return found
    return None
