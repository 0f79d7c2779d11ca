"""What was made for the shapes of the last calls."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Protocol, TypeVar

MOST = 64
"""Shapes for which one plan holds an exchange: layers of a network that share a plan have some each, forward and backward."""


class _Closed(Protocol):
    def close(self) -> None: ...


Value = TypeVar("Value", bound=_Closed)


class Recent(OrderedDict[Hashable, Value]):
    """Things that hold buffers and requests, by key: at most `MOST`, then the one that was not asked for longest is closed.

    Who finds one with ``get`` moves it to the end, so that a call costs no function of Python. All ranks ask for the same keys in one
    order, so all ranks close the same.

    Communication
    -------------
    Local.
    """

    def add(self, key: Hashable, value: Value) -> Value:
        """Keep one more, and close what there is no room for."""
        while len(self) >= MOST:
            self.popitem(last=False)[1].close()
        self[key] = value
        return value

    def close(self) -> None:
        """Close all."""
        while self:
            self.popitem()[1].close()
