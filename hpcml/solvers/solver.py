"""The one protocol of everything that takes a state to the next: explicit schemes, spectral and steady solvers, trained networks."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from hpcml.core.errors import SolverError
from hpcml.fields.domain import Domain
from hpcml.mpi.reductions import all_min


class Solver(ABC):
    """Takes a state one step further.

        step      u(t)  ->  u(t + dt)
        rollout   u(t)  ->  u(t), u(t + every dt), u(t + 2 every dt), ...

    A subclass gives `advance`; one that computes in another representation than the state's, Fourier coefficients for example, also gives
    `enter` and `leave`, so that a rollout stays there between snapshots.

    Attributes
    ----------
    domain : Domain
        Where states live: tensors (batch, channel, *local_shape). Samples of a batch do not influence one another.

    Notes
    -----
    Steps are differentiable unless a solver says otherwise: wrap long rollouts in ``torch.no_grad()`` to save memory.
    """

    domain: Domain

    @abstractmethod
    def advance(self, inner: Tensor) -> Tensor:
        """One step of the solver's own representation."""

    def enter(self, state: Tensor) -> Tensor:
        """From a state to the solver's own representation; the same unless a subclass has another."""
        return state

    def leave(self, inner: Tensor) -> Tensor:
        """Inverse of `enter`."""
        return inner

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

        Communication
        -------------
        That of the solver; see its class.
        """
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
            On every rank, when a value is no longer finite anywhere, naming the first such step.

        Communication
        -------------
        That of the steps, and one all-reduce over all ranks per snapshot.
        """
        return torch.stack(list(self.snapshots(state, num_steps, every)), 1)

    def snapshots(self, state: Tensor, num_steps: int, every: int = 1) -> Iterator[Tensor]:
        """`rollout`, one snapshot at a time, for what does not fit in memory together."""
        inner = self.enter(state)
        self._agree_finite(-1 if _is_finite(inner) else 0, 0)
        yield state
        for last in range(every, num_steps + 1, every):
            first_bad = -1
            for step in range(last - every + 1, last + 1):
                inner = self.advance(inner)
                if first_bad < 0 and not _is_finite(inner):
                    first_bad = step
            self._agree_finite(first_bad, last)
            yield self.leave(inner)

    def _agree_finite(self, first_bad: int, last: int) -> None:
        comm = self.domain.world_comm
        step = all_min(first_bad if first_bad >= 0 else last + 1, comm)
        if step <= last:
            when = f"after step {step}" if step else "before the first step"
            raise SolverError(
                f"{type(self).__name__}: the state holds NaN or infinity {when}, on one of {comm.size} ranks at least: take a smaller "
                "step, or look at the initial state and the coefficients"
            )


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
