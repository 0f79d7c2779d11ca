"""What was made for the shapes of the last calls."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, Protocol, TypeVar

MOST = 64
"""Shapes for which one plan holds an exchange: layers of a network that share a plan have some each, forward and backward."""


class _Closed(Protocol):
    def close(self) -> None: ...


Value = TypeVar("Value", bound=_Closed)


class Recent(Generic[Value]):
    """Things that hold buffers and requests, by key: at most `MOST`, then the one that was not asked for longest is closed.

    All ranks ask for the same keys in one order, so all ranks close the same.

    Communication
    -------------
    Local.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Value]:
        return iter(self._kept.values())

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """What there is for a key, made where there is nothing."""
        found = self._kept.get(key)
        if found is None:
            found = make()
            while len(self._kept) >= MOST:
                self._kept.popitem(last=False)[1].close()
            self._kept[key] = found
        else:
            self._kept.move_to_end(key)
        return found

    def close(self) -> None:
        """Close all."""
        while self._kept:
            self._kept.popitem()[1].close()
