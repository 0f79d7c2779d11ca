"""Central finite differences of fields, of order 2 and 4, differentiable.

    derivative        du/dx_d  = sum_j a_j u(x + j dx_d) / dx_d  + O(dx^order)
    gradient          (du/dx_1, ..., du/dx_D)
    divergence        sum_d dv_d/dx_d
    laplacian         sum_d sum_j b_j u(x + j dx_d) / dx_d^2  + O(dx^order)

Cells outside the grid follow the domain's boundary rule (periodic or zero) or the one that is given, see
`hpcml.parallel.segments.source_index`.
"""

from collections.abc import Sequence

from torch import Tensor

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields.domain import Domain
from hpcml.mpi.call import named_call

FIRST = {2: (-1 / 2, 0.0, 1 / 2), 4: (1 / 12, -2 / 3, 0.0, 2 / 3, -1 / 12)}
SECOND = {2: (1.0, -2.0, 1.0), 4: (-1 / 12, 4 / 3, -5 / 2, 4 / 3, -1 / 12)}


@named_call
def derivative(u: Tensor, domain: Domain, dim: int, order: int = 2, boundary: Sequence[str] | None = None) -> Tensor:
    """First derivative along one dim.

    Parameters
    ----------
    u : Tensor
        (batch, channel, *domain.local_shape).
    domain : Domain
        Of the field.
    dim : int
        Spatial dim, counted from 0.
    order : int
        2 or 4.
    boundary : sequence of str, optional
        Rule for each dim; default that of the domain.

    Returns
    -------
    Tensor
        Like ``u``, in its unit over that of the grid's extent.

    Raises
    ------
    ConfigError
        For another order, or a dim that does not exist.

    Communication
    -------------
    Neighbors along the dim, one message each; ``order / 2`` layers of cells.

    Examples
    --------
    >>> import torch
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> domain = decompose(Grid(4, extent=4.0), MPI.COMM_SELF)
    >>> derivative(torch.tensor([[[0.0, 1.0, 0.0, -1.0]]]), domain, 0)
    tensor([[[ 1.,  0., -1.,  0.]]])
    """
    if not 0 <= dim < domain.num_dims:
        raise ConfigError(f"dim {dim} of a field of {domain.num_dims} dims: count from 0 to {domain.num_dims - 1}")
    weights = _weights(FIRST, order)
    return _stencil(_wide(u, domain, order, boundary, (dim,)), domain, dim, weights, (dim,)) / domain.grid.spacing[dim]


@named_call
def gradient(u: Tensor, domain: Domain, order: int = 2, boundary: Sequence[str] | None = None) -> tuple[Tensor, ...]:
    """First derivatives along all dims, one tensor like ``u`` for each; parameters as for `derivative`.

    Communication
    -------------
    Neighbors, one message each.
    """
    weights, dims = _weights(FIRST, order), tuple(range(domain.num_dims))
    wide = _wide(u, domain, order, boundary, dims)
    return tuple(_stencil(wide, domain, d, weights, dims) / dx for d, dx in enumerate(domain.grid.spacing))


@named_call
def divergence(v: Tensor, domain: Domain, order: int = 2, boundary: Sequence[str] | None = None) -> Tensor:
    """Divergence of a vector field, whose channels are its components.

    Parameters
    ----------
    v : Tensor
        (batch, D, *domain.local_shape).
    domain, order, boundary
        As for `derivative`.

    Returns
    -------
    Tensor
        (batch, 1, *domain.local_shape).

    Raises
    ------
    ShapeError
        If there is not one channel for each dim.

    Communication
    -------------
    Neighbors, one message each.
    """
    if v.shape[1] != domain.num_dims:
        raise ShapeError(f"the divergence of a field of {domain.num_dims} dims needs as many components, got {v.shape[1]} channels")
    weights, dims = _weights(FIRST, order), tuple(range(domain.num_dims))
    wide = _wide(v, domain, order, boundary, dims)
    parts = [_stencil(wide[:, d : d + 1], domain, d, weights, dims) / dx for d, dx in enumerate(domain.grid.spacing)]
    return sum(parts[1:], start=parts[0])


@named_call
def laplacian(u: Tensor, domain: Domain, order: int = 2, boundary: Sequence[str] | None = None) -> Tensor:
    """Sum of the second derivatives along all dims, each from its own compact stencil; parameters as for `derivative`.

    Communication
    -------------
    Neighbors, one message each.
    """
    weights, dims = _weights(SECOND, order), tuple(range(domain.num_dims))
    wide = _wide(u, domain, order, boundary, dims)
    parts = [_stencil(wide, domain, d, weights, dims) / dx**2 for d, dx in enumerate(domain.grid.spacing)]
    return sum(parts[1:], start=parts[0])


def _weights(table: dict[int, tuple[float, ...]], order: int) -> tuple[float, ...]:
    if order not in table:
        raise ConfigError(f"finite differences are of order {' or '.join(map(str, table))}, got {order}")
    return table[order]


def _wide(u: Tensor, domain: Domain, order: int, boundary: Sequence[str] | None, dims: Sequence[int]) -> Tensor:
    widths = tuple((order // 2, order // 2) if d in dims else (0, 0) for d in range(domain.num_dims))
    return domain.halo(u, widths=widths, boundary=boundary)[0]


def _stencil(wide: Tensor, domain: Domain, dim: int, weights: Sequence[float], dims: Sequence[int]) -> Tensor:
    """Weighted sum of shifted blocks; ``wide`` has ghost cells along ``dims``."""
    width = len(weights) // 2
    total = None
    for shift, weight in enumerate(weights):
        if not weight:
            continue
        block = wide
        for d in dims:
            block = block.narrow(d - domain.num_dims, shift if d == dim else width, domain.local_shape[d])
        total = block * weight if total is None else total.add(block, alpha=weight)
    assert total is not None
    return total
