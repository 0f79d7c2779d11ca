"""A trained network as a solver."""

from torch import Tensor, nn

from hpcml.core.errors import ShapeError
from hpcml.fields.domain import Domain
from hpcml.solvers.solver import Solver


class NeuralSolver(Solver):
    """Steps with a network that has learned the map from one state to the next.

        u(t + Δt) = model(u(t))      or, with ``residual``,      u(t) + model(u(t))

    Parameters
    ----------
    model : Module
        From (batch, channel, *local_shape) to the same shape; built from the layers of `hpcml.models` it runs on any number of ranks.
        Normalisation belongs to the model.
    domain : Domain
        The one that the model was built with.
    residual : bool
        Whether the model gives the change of the state.

    Raises
    ------
    ShapeError
        At a step, when the model returns another shape than it was given: such a model cannot step on from its own output.

    Communication
    -------------
    That of the model.

    Examples
    --------
    >>> import torch
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> solver = NeuralSolver(torch.nn.Identity(), decompose(Grid((8,)), MPI.COMM_SELF), residual=True)
    >>> solver.rollout(torch.ones(1, 1, 8), num_steps=3).amax((0, 2, 3))
    tensor([1., 2., 4., 8.])
    """

    def __init__(self, model: nn.Module, domain: Domain, residual: bool = False) -> None:
        self.model = model
        self.domain = domain
        self.residual = residual

    def advance(self, inner: Tensor) -> Tensor:
        output = self.model(inner)
        if output.shape != inner.shape:
            raise ShapeError(
                f"a model that steps must return the shape of its input, {tuple(inner.shape)}, got {tuple(output.shape)} on rank "
                f"{self.domain.comm.rank}: train it from one state to the next"
            )
        return inner + output if self.residual else output
