"""Work on each point alone, tile by tile where a space has tiles (`hpcml.parallel.tiles`)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hpcml.core.errors import ConfigError
from hpcml.parallel.collectives import all_reduce
from hpcml.parallel.space import Space
from hpcml.parallel.tiles import by_tile, joined


class PerTile:
    """What stands for a parameter while each tile has one of its own: usable by `tilewise` and `alike` alone.

    Parameters
    ----------
    name : str
        Of the parameter.
    each : tuple of Tensor
        That of each own tile.
    whole : Tensor
        The parameter itself.
    """

    def __init__(self, name: str, each: tuple[Tensor, ...], whole: Tensor) -> None:
        self.name, self.each, self.whole = name, each, whole

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Refuse to be computed with."""
        raise ConfigError(_REFUSAL.format(next((a.name for a in args if isinstance(a, cls)), "parameter"), function))

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameter, which depends on no tile."""
        return self.whole.dtype

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise ConfigError(_REFUSAL.format(self.name, attribute))


_REFUSAL = (
    "the {} is used by {} on all points of a rank at once, so the bits of its gradient depend on the number of ranks, and the space was "
    "made with same_bits=True: compute with it inside of hpcml.models.layers.tilewise, or leave same_bits out"
)


def tilewise(
    space: Space,
    function: Callable[..., Any],
    *fields: Tensor,
    of: nn.Module | None = None,
    on: str = "field",
    shared: Sequence[Tensor] = (),
    keep: bool = False,
) -> Any:
    """Call a function that treats each point alone: once, or once for each tile.

    Parameters
    ----------
    space : Space
        Where the fields live.
    function : callable
        Of tensors of one layout, and of what is shared; gives one tensor of that layout or a tuple of some.
    *fields : Tensor
        With this rank's points, or edges.
    of : Module, optional
        Its parameters, and no others, may be used, within `hpcml.models.layers.parameters.replicated_together`.
    on : str
        Layout: ``field``, as fields on the space have it; ``points``, (..., point, channel), as `Space.points` gives it; ``edges`` of a
        graph, (..., edge, channel).
    shared : sequence of Tensor
        The same on every rank; where the space has tiles their gradients are the sums over all tiles.
    keep : bool
        As for `hpcml.parallel.tiles.joined`: the results go to `tilewise` or `sum_tilewise` next.

    Returns
    -------
    Tensor or tuple of Tensor
        What the function gives for all rows.

    Communication
    -------------
    That of the function; where there are tiles, backward one sum over tiles of what is shared.

    Notes
    -----
    Tile by tile a product has the same shape and a point the same place in it whatever rank has it, so its bits are the same too.
    """
    if space.tiles is None:
        return function(*fields, *shared)
    dim = space.tile_dim if on == "field" else -2
    each = space.tiles.spread(*shared) if shared else ()
    places = _places(of)

    def of_tile(k: int, *rows: Tensor) -> Any:
        for owner, name, value in places:
            owner[name] = value.each[k]
        return function(*rows, *(copies[k] for copies in each))

    with _restored(places):
        results = by_tile(of_tile, space.tile_sizes[on], dim, *fields)
    if isinstance(results[0], tuple):
        return tuple(joined(parts, dim, keep) for parts in zip(*results, strict=True))
    return joined(results, dim, keep)


def sum_tilewise(space: Space, function: Callable[..., Tensor], *points: Tensor, shared: Sequence[Tensor] = ()) -> Tensor:
    """Sum over all points what a function gives for some.

    Parameters
    ----------
    space : Space
        Of the points.
    function : callable
        Of tensors of points, see `tilewise`; gives one tensor, of a shape that does not depend on the number of points.
    *points : Tensor
        (..., point, channel), as `Space.points` gives it.
    shared : sequence of Tensor
        More of its arguments, as for `tilewise`.

    Returns
    -------
    Tensor
        The sum, which each rank then uses in its own way, see `hpcml.parallel.all_reduce`; where the space has tiles, by `alike` and as
        ``shared`` of `tilewise` alone.

    Communication
    -------------
    Collective over space.comm: one all-reduce, backward too; where there are tiles one sum over tiles, and backward none.
    """
    if space.tiles is None:
        return all_reduce(space.comm, function(*points, *shared))
    each = space.tiles.spread(*shared) if shared else ()
    of_tile = by_tile(lambda k, *rows: function(*rows, *(copies[k] for copies in each)), space.tile_sizes["points"], -2, *points)
    return space.tiles.total_of(of_tile)[0]


def alike(space: Space, function: Callable[..., Any], *values: Tensor, of: nn.Module) -> Any:
    """Call a function of values that are the same on every rank, which every rank computes alike.

    Parameters
    ----------
    space : Space
        Whose ranks these are.
    function : callable
        Of the values.
    *values : Tensor
        Of no points; where the space has tiles, sums over them, see `sum_tilewise`.
    of : Module
        Its parameters, and no others, may be used. Where there are tiles every rank has the whole of their gradients.

    Communication
    -------------
    That of the function.
    """
    if space.tiles is None:
        return function(*values)
    places = _places(of)
    with _restored(places):
        for owner, name, value in places:
            owner[name] = value.whole
        return function(*values)


def _places(module: nn.Module | None) -> list[tuple[dict[str, Any], str, PerTile]]:
    tables: list[dict[str, Any]] = [part._parameters for part in (module.modules() if module is not None else ())]
    return [(table, name, value) for table in tables for name, value in table.items() if isinstance(value, PerTile)]


@contextmanager
def _restored(places: list[tuple[dict[str, Any], str, PerTile]]) -> Iterator[None]:
    try:
        yield
    finally:
        for owner, name, value in places:
            owner[name] = value
