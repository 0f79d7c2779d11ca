"""Work on each point alone, tile by tile where a space has tiles (`hpcml.parallel.tiles`)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hpcml.core.errors import ConfigError
from hpcml.parallel.space import Space
from hpcml.parallel.tiles import by_tile


class PerTile:
    """What stands for a parameter while each tile has one of its own: usable by `tilewise` alone.

    Parameters
    ----------
    name : str
        Of the parameter.
    each : tuple of Tensor
        That of each own tile.
    """

    def __init__(self, name: str, each: tuple[Tensor, ...]) -> None:
        self.name, self.each = name, each

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Refuse to be computed with."""
        raise ConfigError(_REFUSAL.format(next((a.name for a in args if isinstance(a, cls)), "parameter"), function))

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise ConfigError(_REFUSAL.format(self.name, attribute))


_REFUSAL = (
    "the {} is used by {} on all points of a rank at once, so the bits of its gradient depend on the number of ranks, and the space was "
    "made with same_bits=True: compute with it inside of hpcml.models.layers.tilewise, or leave same_bits out"
)


def tilewise(space: Space, function: Callable[..., Any], *fields: Tensor, of: nn.Module, on: str = "points") -> Any:
    """Call a function that treats each point alone: once, or once for each tile.

    Parameters
    ----------
    space : Space
        Where the fields live.
    function : callable
        Of fields; gives one field or a tuple of some.
    *fields : Tensor
        On the space, in the shape that its fields have.
    of : Module
        Its parameters, and no others, may be used, within `hpcml.models.layers.parameters.replicated_together`.
    on : str
        ``points``, or what else has tiles: ``edges`` of a graph.

    Returns
    -------
    Tensor or tuple of Tensor
        What the function gives for all rows.

    Communication
    -------------
    That of the function.

    Notes
    -----
    Tile by tile a product has the same shape and a point the same place in it whatever rank has it, so its bits are the same too.
    """
    if space.tiles is None:
        return function(*fields)
    tables: list[dict[str, Any]] = [part._parameters for part in of.modules()]
    places = [(table, name, value) for table in tables for name, value in table.items() if isinstance(value, PerTile)]

    def of_tile(k: int, *rows: Tensor) -> Any:
        for owner, name, value in places:
            owner[name] = value.each[k]
        return function(*rows)

    try:
        results = by_tile(of_tile, space.tile_sizes[on], space.tile_dim, *fields)
    finally:
        for owner, name, value in places:
            owner[name] = value
    if isinstance(results[0], tuple):
        return tuple(torch.cat(list(parts), space.tile_dim) for parts in zip(*results, strict=True))
    return torch.cat(results, space.tile_dim)
