"""The Cartesian process grid: which rank sits where, and how many ranks share each dim."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hpcml.core.errors import TopologyError

UNIT_STRIDE_WEIGHT = 4.0
"""Cost of a face cell on the unit-stride dim over one on any other dim.

Such a face is strided one cell at a time: packing it took 3 to 6 times as long as any other face of the same size (128^3 and 256^3
doubles, two ranks of one node), so the surface alone is the wrong measure.
"""


@dataclass(frozen=True, slots=True)
class ProcessGrid:
    """Ranks 0 to size - 1 arranged in C order over a grid of ``dims``.

    Parameters
    ----------
    dims : tuple of int
        Ranks along each dim of the field, each at least 1.
    rank : int
        This rank, ``0 <= rank < prod(dims)``.

    Raises
    ------
    TopologyError
        For dims below 1 or a rank outside the grid.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> ProcessGrid((2, 3), rank=4).coords
    (1, 1)
    """

    dims: tuple[int, ...]
    rank: int

    def __post_init__(self) -> None:
        if not 1 <= len(self.dims) <= 3 or min(self.dims) < 1:
            raise TopologyError(f"a process grid has 1 to 3 dims of at least 1 rank each, got {self.dims}")
        if not 0 <= self.rank < self.size:
            raise TopologyError(f"rank {self.rank} is outside a process grid {self.dims} of {self.size} ranks")

    @property
    def size(self) -> int:
        """Number of ranks in the grid."""
        return math.prod(self.dims)

    @property
    def coords(self) -> tuple[int, ...]:
        """Place of this rank in the grid."""
        coords = []
        rest = self.rank
        for dim in reversed(self.dims):
            rest, coord = divmod(rest, dim)
            coords.append(coord)
        return tuple(reversed(coords))

    @property
    def split_dims(self) -> tuple[int, ...]:
        """Dims of the field that more than one rank shares."""
        return tuple(d for d, num_ranks in enumerate(self.dims) if num_ranks > 1)


def choose_dims(shape: Sequence[int], size: int, weights: Sequence[float] | None = None) -> tuple[int, ...]:
    """Process grid for a field: the factorisation of ``size`` with the least modelled time per step.

    Time is counted in cells touched by the busiest rank, with w_d the cost of a face cell on dim d:

        t(dims) = prod_d ceil(n_d / p_d)  +  2 sum_{d: p_d > 1} w_d prod_{e != d} ceil(n_e / p_e)

    Parameters
    ----------
    shape : sequence of int
        Global cells of the field, 1 to 3 dims.
    size : int
        Number of ranks to place.
    weights : sequence of float, optional
        w_d; default 1, and `UNIT_STRIDE_WEIGHT` for the last dim.

    Returns
    -------
    tuple of int
        Ranks along each dim; their product is ``size``.

    Raises
    ------
    TopologyError
        If no factorisation leaves every rank at least one cell.

    Communication
    -------------
    Local, and the same on every rank.

    Examples
    --------
    >>> choose_dims((512, 512), 4)
    (4, 1)
    >>> choose_dims((64, 64, 64), 8)
    (4, 2, 1)
    """
    weights = tuple(weights) if weights is not None else (1.0,) * (len(shape) - 1) + (UNIT_STRIDE_WEIGHT,)
    fitting = [dims for dims in _factorisations(size, len(shape)) if all(p <= n for p, n in zip(dims, shape, strict=True))]
    if not fitting:
        raise TopologyError(
            f"no process grid deals {tuple(shape)} cells to {size} ranks with a cell for each: use fewer ranks or a finer grid"
        )
    return min(fitting, key=lambda dims: (_modelled_time(shape, dims, weights), [-p for p in dims]))


def check_dims(dims: Sequence[int], shape: Sequence[int], size: int) -> tuple[int, ...]:
    """Accept a process grid set by hand, or say by name why it is impossible.

    Raises
    ------
    TopologyError
        If the dims do not multiply to ``size``, differ in number from the field's, or leave a rank without cells.

    Communication
    -------------
    Local, and the same on every rank.
    """
    dims = tuple(dims)
    if len(dims) != len(shape):
        raise TopologyError(
            f"process grid {dims} has {len(dims)} dims but the field {tuple(shape)} has {len(shape)}: give one number for each"
        )
    if min(dims) < 1 or math.prod(dims) != size:
        raise TopologyError(f"process grid {dims} needs {math.prod(dims)} ranks but there are {size}: start {math.prod(dims)} or change it")
    for d, (num_ranks, num_cells) in enumerate(zip(dims, shape, strict=True)):
        if num_ranks > num_cells:
            raise TopologyError(
                f"dim {d} has {num_cells} cells for {num_ranks} ranks, so some would own none: use at most {num_cells} ranks there"
            )
    return dims


def _factorisations(size: int, num_dims: int) -> Iterator[tuple[int, ...]]:
    if num_dims == 1:
        yield (size,)
        return
    for first in range(1, size + 1):
        if size % first == 0:
            for rest in _factorisations(size // first, num_dims - 1):
                yield (first, *rest)


def _modelled_time(shape: Sequence[int], dims: Sequence[int], weights: Sequence[float]) -> float:
    local = [-(-n // p) for n, p in zip(shape, dims, strict=True)]
    volume = math.prod(local)
    faces = sum(2 * w * volume / n for n, p, w in zip(local, dims, weights, strict=True) if p > 1)
    return volume + faces
