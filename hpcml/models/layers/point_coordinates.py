"""Where points lie, as channels of a network's input."""

import math

import torch
from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.fields.domain import Domain
from hpcml.graphs.graph import Graph
from hpcml.parallel.space import Space


def coordinates(space: Space) -> Tensor:
    """Numbers that tell the points of a space apart.

    Parameters
    ----------
    space : Space
        A grid gives, for every dim, where a cell lies in the box, from 0 to 1, or along a periodic dim sine and cosine of its angle; a
        graph gives its positions, any other space nothing.

    Returns
    -------
    Tensor
        float64, (point, number).

    Communication
    -------------
    Local.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> coordinates(decompose(Grid((2,), periodic=False), MPI.COMM_SELF)).tolist()
    [[0.25], [0.75]]
    """
    if isinstance(space, Graph):
        return space.positions
    if not isinstance(space, Domain):
        return torch.zeros(math.prod(space.local_shape), 0, dtype=torch.float64, device=space.device)
    channels: list[Tensor] = []
    for d, (length, periodic) in enumerate(zip(space.grid.extent, space.grid.periodic, strict=True)):
        part = space.grid.centres(d, 0, space.global_shape[d], space.device) / length
        lines = [torch.sin(2 * math.pi * part), torch.cos(2 * math.pi * part)] if periodic else [part]
        own = slice(space.block[d].start, space.block[d].stop)  # of a whole line, whose sines do not depend on who owns which cells
        channels += [line[own].view([-1 if k == d else 1 for k in range(space.num_dims)]) for line in lines]
    return torch.stack([c.expand(space.local_shape).flatten() for c in channels], -1)


def positions_of(space: Space) -> Tensor:
    """Where the points of a grid or a graph lie, float64, (point, dim).

    Raises
    ------
    ConfigError
        For points that lie nowhere.

    Communication
    -------------
    Local.
    """
    if isinstance(space, Graph):
        return space.positions
    if not isinstance(space, Domain):
        raise ConfigError(f"expected a grid or a graph, whose points have positions, got {type(space).__name__}")
    return torch.stack([x.expand(space.local_shape).flatten() for x in space.centres()], -1)


def box_of(space: Space) -> tuple[float, ...] | None:
    """Lengths of the box of a grid or a graph, if it is periodic along every dim.

    Communication
    -------------
    Local.
    """
    if isinstance(space, Domain):
        return space.grid.extent if all(space.grid.periodic) else None
    box = getattr(space, "box", None)
    return box if box and all(box) else None
