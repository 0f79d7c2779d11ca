"""Tiles: fixed pieces of a space, the same on any number of ranks, and sums over them in one order.

A rank owns whole tiles, neighboring numbers. What is computed of one tile at a time has the same bits whoever owns it, and sums over tiles
go up one binary tree whose leaves are the tiles:

    spread   w  ->  w_t = w  for each tile t          adjoint   w' = sum_t w'_t
    total    x_t  ->  s = sum over tiles of x_t       adjoint   x'_t = s'
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.mpi.call import named_call
from hpcml.mpi.patient_comm import patient
from hpcml.parallel.linear import pair, uncompiled
from hpcml.parallel.settled import entering, leaving, settled
from hpcml.parallel.tree_sum import tree_sum
from hpcml.topology.block import block_range

FEWEST, POINTS = 8, 768
"""Tiles of a small space, so that 8 ranks have one each; above, the least points of a tile, so that calls cost little beside their work."""


class Tiles:
    """The tiles of a space, of which this rank owns some.

    Parameters
    ----------
    comm : MPI.Intracomm
        The ranks, in the order of their tiles. It is marked: what sums over it in the order of ranks refuses to, see `refuse_tiles`.
    total : int
        Tiles of all ranks, at least one for each; `block_range` deals them.

    Communication
    -------------
    Making it: local.
    """

    def __init__(self, comm: MPI.Intracomm, total: int) -> None:
        if total < comm.size:
            raise ConfigError(f"{total} tiles cannot be dealt to {comm.size} ranks: use more tiles, on any number of ranks, or fewer ranks")
        self.comm, self.total, self.own = patient(comm), total, block_range(total, comm.size, comm.rank)
        self.comm.tiles = self

    def counts(self, tile_of: np.ndarray) -> tuple[int, ...]:
        """Rows in each own tile, for the tile that each row is in."""
        return tuple(np.bincount(tile_of - self.own.start, minlength=self.own.size).tolist())

    @uncompiled
    @named_call
    def spread(self, *values: Tensor) -> tuple[tuple[Tensor, ...], ...]:
        """Use values that are the same on every rank in each tile.

        Parameters
        ----------
        *values : Tensor
            The same on every rank.

        Returns
        -------
        tuple of tuple of Tensor
            For each value one like it for each own tile; the gradient of the value is the sum over the tiles of all ranks, on every rank.

        Communication
        -------------
        Forward: local. Backward: collective, one sum of all values; see `hpcml.parallel.tree_sum`.
        """
        each = _spread(self, *values)
        return tuple(each[k :: len(values)] for k in range(len(values)))

    @uncompiled
    @named_call
    def total_of(self, *values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Sum over the tiles of all ranks.

        Parameters
        ----------
        *values : sequence of Tensor
            Of each own tile one, of one shape.

        Returns
        -------
        tuple of Tensor
            The sums, the same on every rank; see `hpcml.parallel.replicated.global_sum`.

        Communication
        -------------
        Forward: collective, one sum of all values. Backward: local.
        """
        return _total(self, *(value for of_tile in zip(*values, strict=True) for value in of_tile))


def tiles_of(same_bits: bool | int, num_points: int, comm: MPI.Intracomm) -> Tiles | None:
    """Tiles of a space of points that lie in no order: by a rule that does not look at ranks, or as many as the user says.

    Raises
    ------
    ConfigError
        For fewer tiles than ranks.

    Communication
    -------------
    Local.
    """
    if not same_bits:
        return None
    return Tiles(comm, max(FEWEST, 1 << max(num_points // POINTS, 1).bit_length() - 1) if same_bits is True else same_bits)


def by_tile(function: Callable[..., Any], sizes: Sequence[int], dim: int, *fields: Tensor) -> list[Any]:
    """Call a function with the rows of each tile.

    Parameters
    ----------
    function : callable
        Of the place of the tile among this rank's, and of tensors. The tensors of a tile lie in memory alike whatever rank has them.
    sizes : sequence of int
        Rows of each own tile.
    dim : int
        Of rows.
    *fields : Tensor
        With the rows of all own tiles.

    Returns
    -------
    list
        What it gives for each tile.

    Communication
    -------------
    That of the function.
    """
    parts = [_parts(field, sizes, dim) for field in fields]
    return [function(k, *rows) for k, rows in enumerate(zip(*parts, strict=True))]


def joined(parts: Sequence[Tensor], dim: int, keep: bool = False) -> Tensor:
    """Rows of all own tiles, of those of each.

    Parameters
    ----------
    parts : sequence of Tensor
        Of each own tile.
    dim : int
        Of rows.
    keep : bool
        Whether the next `by_tile` takes these parts rather than cut the rows anew, in the gradient too: for what goes from tiles to tiles
        within a layer, of which nobody asks a gradient.

    Communication
    -------------
    Local.
    """
    whole = torch.cat([leaving(part) for part in parts], dim)
    if keep and not whole.is_inference():  # which count no changes
        whole.of_tiles = _Kept(tuple(parts), dim % whole.dim(), whole._version)  # type: ignore[attr-defined]
    return whole


class _Kept(NamedTuple):
    """Parts that a tensor was joined of, along which dim, and at which of its changes."""

    parts: tuple[Tensor, ...]
    dim: int
    version: int


def _parts(field: Tensor, sizes: Sequence[int], dim: int) -> tuple[Tensor, ...]:
    kept: _Kept | None = getattr(field, "of_tiles", None)
    if kept is not None and kept.dim == dim % field.dim() and kept.version == field._version:
        return tuple(settled(part) for part in kept.parts)
    return tuple(entering(part) for part in field.split(list(sizes), dim))


def refuse_tiles(comm: MPI.Intracomm, what: str) -> None:
    """See that nothing on ranks with tiles depends on how many ranks there are.

    Raises
    ------
    ConfigError
        If the ranks have tiles, so that what would be done there in the order of ranks is refused.

    Communication
    -------------
    Local.
    """
    if getattr(comm, "tiles", None) is not None:
        raise ConfigError(
            f"{what} goes in the order of ranks, so its bits depend on their number, and this space was made with same_bits=True: use "
            "hpcml.parallel.sum_points and space.tiles.spread, or leave same_bits out"
        )


def _copies(tiles: Tiles, *values: Tensor) -> list[Tensor]:
    values = tuple(map(settled, values))
    return [value.view_as(value) for _ in range(tiles.own.size) for value in values]


def _sums(tiles: Tiles, *values: Tensor) -> list[Tensor]:
    number = len(values) // tiles.own.size
    return tree_sum([values[k : k + number] for k in range(0, len(values), number)], tiles.total, tiles.comm)


_spread, _total = pair(_copies, _sums)
