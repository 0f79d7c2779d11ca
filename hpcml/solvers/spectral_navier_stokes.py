"""Two-dimensional turbulence in Fourier space."""

import torch
from torch import Tensor

from hpcml.equations.dealiased import Dealiased
from hpcml.equations.navier_stokes import NavierStokes
from hpcml.fields.domain import Domain
from hpcml.solvers.solver import Solver, check_step


class SpectralNavierStokes(Solver):
    """Explicit steps of the vorticity equation, its linear part solved exactly.

    With ω̂ = exp(L t) ŵ, where L = -ν |k|² - α, the modes obey ŵₜ = exp(-L t) N(exp(L t) ŵ), which the classical Runge-Kutta method solves:
    viscosity and drag limit no step.

    Parameters
    ----------
    equation : NavierStokes
        What to solve.
    domain : Domain
        Where; all ranks of it take part in the Fourier transforms.
    dt : float
        Step in time; at most ``equation.stable_step(domain, state)`` for the fastest state of the run.

    Raises
    ------
    ConfigError
        For a domain that the equation refuses, or a step that is not positive.

    Communication
    -------------
    Collective over domain.comm: four Fourier transforms for each of four stages.

    Notes
    -----
    Fourth order in time; in space the error falls faster than any power of dx once the dissipation is resolved. A rollout stays in Fourier
    space between snapshots; the first step drops what a state holds above a third of the grid's modes.

    References
    ----------
    C. Canuto and others, Spectral Methods in Fluid Dynamics, Springer, 1988, section 4.4, for the integrating factor.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> flow, domain = NavierStokes(viscosity=1e-3), decompose(Grid((16, 16)), MPI.COMM_SELF)
    >>> state = flow.initial_state(domain, range(2))
    >>> SpectralNavierStokes(flow, domain, flow.stable_step(domain, state)).rollout(state, num_steps=4, every=2).shape
    torch.Size([2, 3, 1, 16, 16])
    """

    def __init__(self, equation: NavierStokes, domain: Domain, dt: float) -> None:
        equation.check(domain)
        check_step(dt)
        self.equation = equation
        self.space = self.domain = domain
        self.dt = dt
        self.transform = Dealiased(domain)
        self._half_decay = torch.exp(0.5 * dt * equation.decay(self.transform))
        self._force = self.transform.modes(equation.force(domain)) if equation.forcing else None

    def enter(self, state: Tensor) -> Tensor:
        return self.transform.modes(state)

    def leave(self, inner: Tensor) -> Tensor:
        return self.transform.field(inner)

    def stable_step(self, state: Tensor) -> float:
        return self.equation.stable_step(self.domain, state)

    def advance(self, inner: Tensor) -> Tensor:
        half, dt = self._half_decay.to(inner.real.dtype), self.dt
        undisturbed = half * inner
        k1 = half * self._rate(inner)
        k2 = self._rate(undisturbed.add(k1, alpha=dt / 2))
        k3 = self._rate(undisturbed.add(k2, alpha=dt / 2))
        k4 = self._rate(half * undisturbed.add(k3, alpha=dt))
        return (half * (undisturbed + dt / 6 * (k1 + 2 * (k2 + k3)))).add(k4, alpha=dt / 6)

    def _rate(self, modes: Tensor) -> Tensor:
        rate = self.equation.advection(self.transform, modes)
        return rate if self._force is None else rate + self._force.to(rate.dtype)
