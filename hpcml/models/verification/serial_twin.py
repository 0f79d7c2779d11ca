"""The same model on one rank."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from hpcml.fields.domain import Domain
from hpcml.models.domains import domains_of


def serial_twin(model: nn.Module) -> nn.Module:
    """Copy of a model in which every domain is that of the whole grid on this rank alone.

    Communication
    -------------
    Local.

    Notes
    -----
    A module must make whatever has the shape of a block from its ``domain`` at every call, and keep only what is global.
    """
    memo: dict[int, Any] = {id(domain): domain.serial() for domain in domains_of(model)}
    return copy.deepcopy(model, memo)


@contextmanager
def without(domains: list[Domain]) -> Iterator[None]:
    """Refuse every use of some domains in this block: other ranks would be waited for, and do not come.

    Raises
    ------
    ConfigError
        In the block, where one is used, with the line of the caller's code that does.

    Communication
    -------------
    Local.
    """
    for domain in domains:
        domain.bar("the model on one rank met a domain of all ranks")
    try:
        yield
    finally:
        for domain in domains:
            domain.bar("")
