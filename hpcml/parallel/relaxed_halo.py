"""Halos that need not be fresh: ghost cells of earlier steps, of some channels only, or of 8 bits, watched by a monitor.

With g(n) the ghost cells of step n as their owners have them, the block of step n is computed with an estimate e(n) of them:

    fresh          e(n) = g(n)                                            wait for the messages, then compute
    stale          e(n) = g(n-1)                                          compute while g(n) travels;  error dt
    extrapolated   e(n) = 2 g(n-1) - g(n-2)                               error dt²
                   e(n) = 3 g(n-1) - 3 g(n-2) + g(n-3)                    error dt³
    partial        in step n one channel in m, or one strip of each face in m, is g(n), the others are as old as up to m steps
    quantised      g(n) rounded to 8 bits
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.mpi.reductions import all_max
from hpcml.parallel.ghosts import Ghosts
from hpcml.parallel.layout import Layout

MOST_ORDER = 3
Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old, how complete and how exact ghost cells may be.

    Attributes
    ----------
    order : int
        0 fresh, 1 stale, 2 and 3 extrapolated.
    parts : int
        Of the channels that take turns; 1: all channels travel in each step.
    bits : int
        32: values travel in their own dtype; 8: quantised.
    strips : int
        Of the cells that travel to a neighbor, one after the other along its faces, that take turns; 1: all cells travel in each step.
        With parts too, every strip takes its turn with every part.

    Raises
    ------
    ConfigError
        For other numbers, and for parts or strips that are to be extrapolated: their cells have ages of their own.
    """

    order: int = 0
    parts: int = 1
    bits: int = 32
    strips: int = 1

    def __post_init__(self) -> None:
        possible = 0 <= self.order <= MOST_ORDER and min(self.parts, self.strips) >= 1 and self.bits in (8, 32)
        if not possible or (self.turns > 1 and self.order > 1):
            raise ConfigError(f"halos are of order 0 to 3, of 1 part and strip or more (with order 0 or 1) and of 8 or 32 bits, got {self}")

    @property
    def turns(self) -> int:
        """Steps in which every cell of every channel travels once."""
        return self.parts * self.strips


FRESH = Freshness()


class RelaxedHalo:
    """Runs steps of a solver on ghost cells that need not be fresh, and returns to fresh ones before the result is lost.

    Parameters
    ----------
    comm : MPI.Intracomm
        Holds the ranks of ``layout``.
    layout : Layout
        Blocks of the field, as ``domain.layout``.
    widths : sequence of (int, int)
        Ghost cells below and above along each dim.
    boundary : sequence of str
        Rule for each dim, as ``domain.boundary``.
    freshness : Freshness
        What is asked of the ghost cells.
    tolerance : float
        Largest error of a ghost cell, over the range of its channel's ghost cells on all ranks, that goes unpunished. 8 bits alone have
        errors of up to 0.004.
    growth : float
        By how much an error may exceed the smallest one before, where errors are to fall: for iterations, with an infinite tolerance.
    every : int
        Steps after which the ranks agree whether the errors were small enough.
    tag : int
        Of the messages; the next one is used too.

    Attributes
    ----------
    freshness : Freshness
        Now: `FRESH` after the monitor has called.
    error : float
        Largest that the monitor saw at its last look.
    called_at : int or None
        Step whose error was too large, or not finite.

    Communication
    -------------
    Each step: neighbors, one message each, on its way while the block is computed for orders 1 to 3; every ``every`` steps an all-reduce of
    three numbers per channel. Deterministic, but dependent on the number of ranks, unless fresh.

    Notes
    -----
    The higher the order, the smaller the steps in time for which a scheme stays stable. What the monitor finds wrong is computed anew from
    where it last found all right, so ``step`` must not change what it is given; after that all is fresh. Cells that a rank supplies to
    itself always are, so on one rank the result is the fresh one. A run goes on from the one before: for another field make another halo.

    References
    ----------
    M. Li and others, DistriFusion, CVPR 2024, arXiv:2402.19481 (stale); X. Zhang and others, PCPP, arXiv:2412.02962 (partial).

    Examples
    --------
    >>> layout = Layout.blocks((8,), (1,))
    >>> u = torch.arange(8.0).view(1, 1, 8)
    >>> with RelaxedHalo(MPI.COMM_SELF, layout, [(1, 0)], ["periodic"], Freshness(order=2)) as halo:
    ...     halo.run(u, lambda window: window[..., :-1], num_steps=3)
    tensor([[[5., 6., 7., 0., 1., 2., 3., 4.]]])
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        layout: Layout,
        widths: Sequence[tuple[int, int]],
        boundary: Sequence[str],
        freshness: Freshness,
        tolerance: float = 1e-2,
        growth: float = torch.inf,
        every: int = 8,
        tag: int = 0,
    ) -> None:
        self.comm, self.freshness = comm, freshness
        self.tolerance, self.growth, self.every = tolerance, growth, every
        self.error, self._least = 0.0, torch.inf
        self.called_at: int | None = None
        self._make = lambda block, bits, strip: Ghosts(comm, layout, widths, boundary, block, tag + (bits == 8), bits, strip)
        self._ghosts: dict[tuple[object, ...], Ghosts] = {}
        self._known: list[Tensor] = []  # the newest first
        self._steps = 0
        self._errors: Tensor | None = None
        self._newest: Tensor | None = None

    @torch.no_grad()
    def run(self, block: Tensor, step: Step, num_steps: int) -> Tensor:
        """Take steps.

        Parameters
        ----------
        block : Tensor
            (batch, channel, *local_shape).
        step : callable
            From this rank's window (batch, channel, *(lower + local + upper)) to its next block: local, the same at every call.
        num_steps : int
            To take.

        Returns
        -------
        Tensor
            Block after the last step; not differentiable.

        Raises
        ------
        ConfigError
            For fewer channels than parts.
        """
        if self.freshness.parts > block.shape[1]:
            raise ConfigError(f"{self.freshness.parts} parts need as many channels or more, got {block.shape[1]}: use fewer parts")
        done = 0
        while done < num_steps:
            count = min(self.every, num_steps - done) if self.freshness != FRESH else num_steps - done
            good, self._errors = block, None
            for _ in range(count):
                block = self._step(block, step)
            if self.freshness != FRESH and self._is_wrong():
                self.called_at = self._steps
                self.freshness, self._known, block = FRESH, [], good
                self._steps -= count
            else:
                done += count
        return block

    def close(self) -> None:
        """Free the requests."""
        for ghosts in self._ghosts.values():
            ghosts.close()
        self._ghosts.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _step(self, block: Tensor, step: Step) -> Tensor:
        order, parts, strips = self.freshness.order, self.freshness.parts, self.freshness.strips
        partial = self.freshness.turns > 1
        ready = len(self._known) == max(order, int(partial))  # enough is known to estimate from
        turn = slice(self._steps % parts, None, parts) if ready else slice(None)
        strip = (self._steps // parts % strips, strips) if ready else (0, 1)
        self._steps += 1
        ghosts = self._of(block[:, turn], self.freshness.bits if ready else FRESH.bits, strip)
        estimate = extrapolated(self._known[: max(order, 1)]) if ready and self._known else None
        ghosts.start(block[:, turn])
        try:
            early = step(ghosts.around(block, estimate)) if order and estimate is not None else None
        except BaseException:
            ghosts.cancel()
            raise
        cells = ghosts.finish()
        if ready and partial:
            part, cells = cells, self._known[0].clone()
            cells[:, turn, ghosts.fetched] = part
        if self.freshness != FRESH:
            self._look(cells, estimate, ghosts.rounding, turn)
        self._known = [cells, *self._known][: max(order, int(partial))]
        return step(ghosts.around(block, cells)) if early is None else early

    def _of(self, block: Tensor, bits: int, strip: tuple[int, int]) -> Ghosts:
        key = block.shape[1], bits, strip
        if key not in self._ghosts:
            self._ghosts[key] = self._make(block, bits, strip)
        return self._ghosts[key]

    def _look(self, cells: Tensor, estimate: Tensor | None, rounding: Tensor | None, turn: slice) -> None:
        """Keep the largest error of each channel since the ranks last agreed, and the newest cells."""
        errors = cells.new_zeros(cells.shape[1])
        if estimate is not None and cells.shape[-1]:
            errors = (cells - estimate).abs().amax((0, 2))
        if rounding is not None:
            errors[turn] = torch.maximum(errors[turn], rounding)
        self._errors = errors if self._errors is None else torch.maximum(self._errors, errors)
        self._newest = cells

    def _is_wrong(self) -> bool:
        cells, errors = self._newest, self._errors
        assert cells is not None and errors is not None
        seen = torch.stack([errors, *torch.full((2, len(errors)), -torch.inf, dtype=cells.dtype, device=cells.device)])
        if cells.shape[-1]:
            seen[1:] = torch.stack([cells.amax((0, 2)), -cells.amin((0, 2))])
        error, largest, smallest = all_max(seen, self.comm)
        span = (largest + smallest).clamp(min=0.0)
        self.error = float(torch.where(error == 0, 0.0, error / span).max())
        self._least = min(self._least, self.error)
        return not self.error <= self.tolerance or self.error > self.growth * self._least


def extrapolated(known: Sequence[Tensor]) -> Tensor:
    """Value one step after those that are known, newest first, of the polynomial through them; the same bits for values that stay.

    Communication
    -------------
    Local.
    """
    if len(known) == 1:
        return known[0]
    if len(known) == 2:
        return known[0] + (known[0] - known[1])
    return 3 * (known[0] - known[1]) + known[2]
