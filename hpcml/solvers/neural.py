"""A trained network as a solver."""

from torch import Tensor, nn

from hpcml.core.errors import ShapeError
from hpcml.parallel.space import Space
from hpcml.solvers.solver import Solver


class NeuralSolver(Solver):
    """Steps with a network that has learned the map from one state to the next.

        u(t + Δt) = model(u(t))      or, with ``residual``,      u(t) + model(u(t))

    Parameters
    ----------
    model : Module
        From (batch, channel, *local_shape), or as the space has it, to the same shape, or to its first channels: those after them are
        given, and stay. Built from the layers of `hpcml.models` it runs on any number of ranks. Normalisation belongs to the model.
    space : Space
        The one that the model was built with.
    residual : bool
        Whether the model gives the change of the state.

    Raises
    ------
    ShapeError
        At a step, when the model returns another shape than it was given, or more channels: it cannot step on from its own output.

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

    def __init__(self, model: nn.Module, space: Space, residual: bool = False) -> None:
        self.model = model
        self.space = space
        self.residual = residual

    def advance(self, inner: Tensor) -> Tensor:
        output, dim = self.model(inner), self.space.channel_dim
        state = inner.narrow(dim, 0, min(output.shape[dim], inner.shape[dim])) if output.dim() == inner.dim() else inner
        if output.shape != state.shape:
            raise ShapeError(
                f"a model that steps must return the shape of its input, {tuple(inner.shape)}, got {tuple(output.shape)} on rank "
                f"{self.space.comm.rank}: train it from one state to the next"
            )
        return self.space.with_given(state + output if self.residual else output, inner)
