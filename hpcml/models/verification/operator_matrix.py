"""Every operator, with every setting, on every process grid of the ranks at hand, against torch on the whole field."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from mpi4py import MPI

from hpcml.core.errors import HpcmlError
from hpcml.models.verification.matrix_case import MatrixCase, Reference, Shape, compare_case
from hpcml.models.verification.matrix_global import global_cases
from hpcml.models.verification.matrix_windows import window_cases

BOUND = {torch.float64: 1e-12, torch.float32: 1e-5}
"""Largest error relative to the largest entry: sums in another order, and no more."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case, in one precision, on one process grid.

    Attributes
    ----------
    case : MatrixCase
        The operator and its setting.
    dtype : torch.dtype
        Precision.
    dims : tuple of int
        Process grid.
    error : float
        Worst of all quantities and ranks.
    quantity : str
        Where that is.
    raised : str
        Text of the error at construction, if there was one.
    """

    case: MatrixCase
    dtype: torch.dtype
    dims: Shape
    error: float
    quantity: str
    raised: str = ""

    @property
    def verdict(self) -> str:
        """exact, raised or wrong."""
        return "raised" if self.raised else "exact" if self.error <= BOUND[self.dtype] else "wrong"

    def __str__(self) -> str:
        said = self.raised or f"{self.quantity} off by {self.error:.1e}"
        return f"{self.case} {str(self.dtype).removeprefix('torch.')} on {self.dims}: {said}"


def matrix_cases() -> list[MatrixCase]:
    """Every case, in the same order on every rank."""
    return [case for num_dims in (1, 2, 3) for family in (window_cases, global_cases) for case in family(num_dims)]


def run_matrix(comm: MPI.Intracomm, every: int = 1, progress: Callable[[int, int], None] | None = None) -> list[Outcome]:
    """Run the matrix on the ranks of a communicator.

    Parameters
    ----------
    comm : MPI.Intracomm
        The ranks; every process grid of so many is tried.
    every : int
        Run every so-manieth case only.
    progress : callable, optional
        Told the number of cases done and of all.

    Returns
    -------
    list of Outcome
        The same on every rank.

    Communication
    -------------
    Collective over comm.
    """
    cases = matrix_cases()[::every]
    outcomes: list[Outcome] = []
    for number, case in enumerate(cases):
        for dtype in BOUND:
            reference = Reference(case, dtype)
            for dims in _process_grids(comm.size, case.shape):
                outcomes.append(_outcome(case, dtype, dims, compare_case(case, reference, dtype, comm, dims)))
        if progress is not None:
            progress(number + 1, len(cases))
    return _worst_of_ranks(outcomes, comm)


def summary(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Numbers of cases, and of those that are exact, raised an error by name at construction, or are wrong.

    Communication
    -------------
    Local.
    """
    count = Counter(outcome.verdict for outcome in outcomes)
    return {"cases": len(outcomes), "exact": count["exact"], "raised": count["raised"], "wrong": count["wrong"]}


def table(outcomes: Sequence[Outcome]) -> str:
    """A line per operator, and one for each wrong case.

    Communication
    -------------
    Local.
    """
    lines = [f"{'operator':18} {'cases':>6} {'exact':>6} {'raised':>6} {'wrong':>6}  {'float64':>8} {'float32':>8}"]
    for operator in dict.fromkeys(outcome.case.operator for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.case.operator == operator]
        worst = [max((o.error for o in own if o.dtype == dtype and not o.raised), default=0.0) for dtype in BOUND]
        lines.append(f"{operator:18} {' '.join(f'{n:6}' for n in summary(own).values())}  {' '.join(f'{e:8.1e}' for e in worst)}")
    return "\n".join([*lines, *(f"wrong: {outcome}" for outcome in outcomes if outcome.verdict == "wrong")])


def _process_grids(size: int, shape: Shape) -> list[Shape]:
    """Every way to deal a field of so many cells to so many ranks, with a cell for each."""
    products = itertools.product(range(1, size + 1), repeat=len(shape))
    return [dims for dims in products if math.prod(dims) == size and all(p <= n for p, n in zip(dims, shape, strict=True))]


def _outcome(case: MatrixCase, dtype: torch.dtype, dims: Shape, found: dict[str, float] | HpcmlError) -> Outcome:
    if isinstance(found, HpcmlError):
        return Outcome(case, dtype, dims, 0.0, "", f"{type(found).__name__}: {found}")
    quantity = max(found, key=lambda name: found[name])
    return Outcome(case, dtype, dims, found[quantity], quantity)


def _worst_of_ranks(outcomes: list[Outcome], comm: MPI.Intracomm) -> list[Outcome]:
    """Each outcome as the rank with the largest error sees it."""
    reports = comm.allgather([(outcome.error, outcome.quantity) for outcome in outcomes])
    worst = (max(of_ranks) for of_ranks in zip(*reports, strict=True))
    return [replace(outcome, error=error, quantity=quantity) for outcome, (error, quantity) in zip(outcomes, worst, strict=True)]
