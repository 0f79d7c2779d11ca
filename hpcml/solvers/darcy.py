"""Steady Darcy flow by conjugate gradients."""

import torch
from torch import Tensor

from hpcml.core.config import Tolerance
from hpcml.equations.darcy import Darcy, diagonal, face_weights, minus_divergence
from hpcml.fields.domain import Domain
from hpcml.linear.conjugate_gradients import conjugate_gradients
from hpcml.mpi.call import named_call
from hpcml.solvers.solver import Solver


class DarcySolver(Solver):
    """Finds the pressure that belongs to a coefficient.

    A step replaces the pressure in a state (coefficient, pressure) by the solution, and starts from what it finds there, so a second step
    costs next to nothing.

    Parameters
    ----------
    equation : Darcy
        Gives the source.
    domain : Domain
        With walls on all sides.
    source : Tensor, optional
        Instead of the equation's constant: f at this rank's cells, broadcast to (batch, 1, *local_shape).
    tolerance : float
        Of the residual over the source; in float32 not below 1e-5.

    Communication
    -------------
    Collective over domain.comm: in each iteration one exchange with the neighbors and two all-reduces. Not differentiable.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> domain = decompose(Grid((16, 16), periodic=False), MPI.COMM_SELF)
    >>> coefficient = Darcy().initial_state(domain, range(2))[:, :1]
    >>> DarcySolver(Darcy(), domain).solve(coefficient).shape
    torch.Size([2, 1, 16, 16])
    """

    def __init__(self, equation: Darcy, domain: Domain, source: Tensor | None = None, tolerance: Tolerance = 1e-10) -> None:
        equation.check(domain)
        self.equation = equation
        self.space = self.domain = domain
        self.source = torch.tensor(equation.source, dtype=torch.float64) if source is None else source
        self.tolerance = tolerance

    def advance(self, inner: Tensor) -> Tensor:
        coefficient, pressure = inner[:, :1], inner[:, 1:]
        return torch.cat([coefficient, self.solve(coefficient, pressure)], 1)

    @named_call
    def solve(self, coefficient: Tensor, start: Tensor | None = None) -> Tensor:
        """Pressure for a coefficient.

        Parameters
        ----------
        coefficient : Tensor
            a > 0, (batch, 1, *local_shape).
        start : Tensor, optional
            First guess of the pressure.

        Returns
        -------
        Tensor
            p, (batch, 1, *local_shape), of the dtype of ``coefficient``.

        Raises
        ------
        SolverError
            On every rank, if the coefficient is not positive everywhere or the tolerance is not reached.
        """
        with torch.no_grad():
            weights = face_weights(coefficient, self.domain)
            source = self.source.to(coefficient).expand(coefficient.shape)
            return conjugate_gradients(
                lambda p: minus_divergence(weights, p, self.domain),
                source,
                self.domain.comm,
                diagonal=diagonal(weights),
                start=start,
                tolerance=self.tolerance,
            )
