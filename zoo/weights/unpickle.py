import io
import pickle
from typing import Any

import numpy as np
from numpy._core import multiarray

Tree = dict[str, "Tree | np.ndarray"]
"""Arrays in nested dictionaries, as the published files hold them."""

# Everything that a pickled array needs, by table: nothing is imported by a name that the file gives.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): multiarray._reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"refers to {module}.{name}, which is not part of an array") from None

    def persistent_load(self, persistent_id: Any) -> Any:
        raise pickle.UnpicklingError(f"refers to something outside the file ({persistent_id!r})")


def load_arrays(content: bytes) -> Tree:
    """Reads pickled float32 arrays in nested dictionaries; no code in the pickle is ever run.

    Args:
        content: The bytes of the file, whose hash the caller has checked.

    Returns:
        Nested dictionaries with string keys and C-contiguous float32 arrays as leaves.

    Raises:
        pickle.UnpicklingError: The pickle refers to anything but plain arrays, or holds anything else.
    """
    tree = _ArrayUnpickler(io.BytesIO(content)).load()
    _check(tree, "")
    return tree


def _check(node: Any, path: str) -> None:
    if type(node) is dict:
        for key, child in node.items():
            if type(key) is not str:
                raise pickle.UnpicklingError(f"holds the key {key!r} in {path or '/'}, which is no string")
            _check(child, f"{path}/{key}")
    elif type(node) is not np.ndarray or node.dtype != np.float32:
        raise pickle.UnpicklingError(f"holds a {type(node).__name__} at {path or '/'}, not a float32 array")
