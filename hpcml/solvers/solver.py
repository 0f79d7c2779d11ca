"""The one protocol of everything that takes a state to the next: explicit schemes, spectral and steady solvers, trained networks."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from hpcml.core.errors import ConfigError, SolverError
from hpcml.mpi.reductions import all_min
from hpcml.parallel.space import Space

TOLERATED = 1.25
"""How much longer than ``stable_step`` a step may be: the margin that every equation's leaves, so that a flow may gain some speed."""

NEVER = 2**62


class Solver(ABC):
    """Takes a state one step further.

        step      u(t)  ->  u(t + dt)
        rollout   u(t)  ->  u(t), u(t + every dt), u(t + 2 every dt), ...

    A subclass gives `advance`; one that computes in another representation than the state's, Fourier coefficients for example, also gives
    `enter` and `leave`, so that a rollout stays there between snapshots.

    Attributes
    ----------
    space : Space
        Where states live: tensors (batch, channel, *local_shape) on a grid. Samples of a batch do not influence one another.
    dt : float
        Step in time; 0 for a solver that has none.

    Notes
    -----
    Steps are differentiable unless a solver says otherwise: wrap long rollouts in ``torch.no_grad()`` to save memory.
    """

    space: Space
    dt: float = 0.0

    @abstractmethod
    def advance(self, inner: Tensor) -> Tensor:
        """One step of the solver's own representation."""

    def enter(self, state: Tensor) -> Tensor:
        """From a state to the solver's own representation; the same unless a subclass has another."""
        return state

    def leave(self, inner: Tensor) -> Tensor:
        """Inverse of `enter`."""
        return inner

    def stable_step(self, state: Tensor) -> float:
        """Longest step from a state that is stable, with a margin: without bound unless a subclass knows one."""
        return math.inf

    def step(self, state: Tensor) -> Tensor:
        """State one step later.

        Parameters
        ----------
        state : Tensor
            (batch, channel, *local_shape).

        Returns
        -------
        Tensor
            Shape and dtype of ``state``.

        Raises
        ------
        SolverError
            On every rank, when ``dt`` is more than `TOLERATED` times the state's stable step, or the state has none: what comes out would
            be finite and wrong.

        Communication
        -------------
        That of the solver, see its class, and of its equation's ``stable_step``.
        """
        self._check_stable(state, 0)
        return self.leave(self.advance(self.enter(state)))

    def rollout(self, state: Tensor, num_steps: int, every: int = 1) -> Tensor:
        """Snapshots of ``num_steps`` steps, the first being the state itself.

        Parameters
        ----------
        state : Tensor
            (batch, channel, *local_shape).
        num_steps : int
            Steps to take.
        every : int
            Steps between two snapshots; what remains after the last whole interval is not taken.

        Returns
        -------
        Tensor
            (batch, 1 + num_steps // every, channel, *local_shape).

        Raises
        ------
        SolverError
            On every rank, when a value is no longer finite anywhere, naming the first such step, or when the step is too long for the flow
            as it is at a snapshot, the first included; see `step`.

        Communication
        -------------
        That of the steps, and per snapshot one all-reduce over all ranks and what the equation's ``stable_step`` takes.
        """
        return torch.stack(list(self.snapshots(state, num_steps, every)), 1)

    def snapshots(self, state: Tensor, num_steps: int, every: int = 1, after_step: Callable[[], None] | None = None) -> Iterator[Tensor]:
        """`rollout`, one snapshot at a time, for what does not fit in memory together; ``after_step`` may end it by an exception."""
        inner = self.enter(state)
        first_bad = _first_bad(inner, 0)
        self._agree_finite(first_bad)
        self._check_stable(state, 0)
        yield state
        for last in range(every, num_steps + 1, every):
            for step in range(last - every + 1, last + 1):
                inner = self.advance(inner)
                first_bad = torch.minimum(first_bad, _first_bad(inner, step))
                if after_step is not None:
                    after_step()
            self._agree_finite(first_bad)
            state = self.leave(inner)
            self._check_stable(state, last)
            yield state

    def _check_stable(self, state: Tensor, step: int) -> None:
        longest = self.stable_step(state) if self.dt else math.inf
        if math.isnan(longest):
            raise SolverError(
                f"{type(self).__name__}: after step {step} no step is stable, for the state holds NaN, or what the equation knows no speed "
                "of, such as water of negative depth: look at the initial state and the coefficients, or take a smaller step"
            )
        if self.dt > TOLERATED * longest:
            raise SolverError(
                f"{type(self).__name__}: the step of {self.dt:g} is {self.dt / longest:.3g} times the longest stable one, {longest:g}, "
                f"after step {step}: take a smaller step, as stable_step gives it, or look at the coefficients"
            )

    def _agree_finite(self, first_bad: Tensor) -> None:
        comm = self.space.world_comm
        step = int(all_min(first_bad, comm))
        if step < NEVER:
            when = f"after step {step}" if step else "before the first step"
            raise SolverError(
                f"{type(self).__name__}: the state holds NaN or infinity {when}, on one of {comm.size} ranks at least: take a smaller "
                "step, or look at the initial state and the coefficients"
            )


def _first_bad(inner: Tensor, step: int) -> Tensor:
    """The step if its state holds NaN or infinity, else `NEVER`; on the state's device, so that a GPU need not be waited for."""
    return torch.where(torch.isfinite(inner).all(), NEVER, step)


def check_step(dt: float) -> None:
    """Refuse a step in time that is not positive.

    Raises
    ------
    ConfigError
        For one.

    Communication
    -------------
    Local.
    """
    if not dt > 0:
        raise ConfigError(f"a step in time must be positive, got dt = {dt}")
