"""The same model on one rank."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from hpcml.models.spaces import spaces_of
from hpcml.parallel.space import Space


def serial_twin(model: nn.Module) -> nn.Module:
    """Copy of a model in which every space is the whole of it on this rank alone.

    Communication
    -------------
    Local.

    Notes
    -----
    A module must make whatever has the shape of a block from its ``domain`` or ``space`` at every call, and keep only what is global.
    """
    memo: dict[int, Any] = {id(space): space.serial() for space in spaces_of(model)}
    return copy.deepcopy(model, memo)


@contextmanager
def without(spaces: list[Space]) -> Iterator[None]:
    """Refuse every use of some spaces in this block: other ranks would be waited for, and do not come.

    Raises
    ------
    ConfigError
        In the block, where one is used, with the line of the caller's code that does.

    Communication
    -------------
    Local.
    """
    for space in spaces:
        space.bar("the model on one rank met a domain of all ranks")
    try:
        yield
    finally:
        for space in spaces:
            space.bar("")
