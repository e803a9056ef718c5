from collections import OrderedDict
from collections.abc import Hashable

from torch import Tensor


class ByteCache:
    """Least recently used tensors, never more than a given number of bytes in total.

    Args:
        budget: Bytes that may be held at once; a value larger than that is not kept.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.held = 0
        self._values: OrderedDict[Hashable, Tensor] = OrderedDict()

    def get(self, key: Hashable) -> Tensor | None:
        """The value kept under ``key``, or None."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: Hashable, value: Tensor) -> None:
        """Keeps ``value``, and drops the values that were not used for longest until the budget holds.

        Args:
            key: Where to find it again.
            value: Must own its memory: a view would keep its base alive unseen.
        """
        if value.nbytes > self.budget or key in self._values:
            return
        self._values[key] = value
        self.held += value.nbytes
        while self.held > self.budget:
            _, dropped = self._values.popitem(last=False)
            self.held -= dropped.nbytes
