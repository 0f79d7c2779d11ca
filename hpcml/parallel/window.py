"""Every rank reads a box of the global index space: the one linear operator behind halo exchange, repartition, gather and scatter.

    y_r = x[window_r]        for ranks r, with x dealt to the ranks in disjoint boxes and the window inside or outside the array

Outside the array a boundary rule says which cell is read (`hpcml.parallel.segments.source_index`). The adjoint adds every cell of every
window to where it was read from. Both are differentiable, each being the other's derivative.
"""

from torch import Tensor

from hpcml.mpi.call import named_call
from hpcml.parallel.linear import pair, uncompiled
from hpcml.parallel.window_plan import WindowPlan

_window, _window_adjoint = pair(
    lambda how, *tensors: how[0].forward(tensors, how[1]), lambda how, *windows: how[0].adjoint(windows), slope=lambda how: (how[0], 0.0)
)


@uncompiled
@named_call
def window(plan: WindowPlan, *tensors: Tensor, fill: float = 0.0) -> tuple[Tensor, ...]:
    """Read this rank's window of every tensor, differentiably.

    Parameters
    ----------
    plan : WindowPlan
        From whom to whom.
    *tensors : Tensor
        Each (..., *plan.source_shape), all of one dtype.
    fill : float
        Value outside the array for the ``constant`` boundary.

    Returns
    -------
    tuple of Tensor
        Each (..., *plan.target_shape).

    Communication
    -------------
    Neighbors, one message per peer for all tensors together; the backward pass sends the same bytes the other way.
    """
    return _window((plan, fill), *tensors)


@uncompiled
@named_call
def window_adjoint(plan: WindowPlan, *windows: Tensor) -> tuple[Tensor, ...]:
    """Adjoint of `window`: add every window back to where it was read from, differentiably."""
    return _window_adjoint((plan, 0.0), *windows)
