"""How far a tensor that ranks computed together is from what one rank computes."""

from dataclasses import dataclass
from typing import Any

import torch
from mpi4py import MPI
from torch import Tensor

Box = tuple[slice | Tensor, ...]
"""Where a part lies in a whole tensor: for each dim a range, or for one dim of them the indices, int64."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One quantity of a model, over ranks and on one rank.

    Attributes
    ----------
    quantity : str
        Such as ``output`` or ``gradient of conv.weight``.
    error : float
        Largest |over ranks - on one| over the largest |on one|; infinite where one is absent, of another shape or dtype, or not a number,
        and for parameters that the ranks do not have in common.
    tolerance : float
        What round-off may do.
    where : str
        Global index of the worst entry, and the rank that holds it.
    """

    quantity: str
    error: float
    tolerance: float
    where: str

    @property
    def agrees(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= self.tolerance


def compare(
    quantity: str, got: Tensor | None, expected: Tensor | None, box: Box | None, comm: MPI.Intracomm, tolerance: float, floor: float = 0.0
) -> Comparison:
    """Compare what this rank has with what it should have, over all ranks.

    Parameters
    ----------
    quantity : str
        Name for the report.
    got, expected : Tensor or None
        On this rank; None for a gradient that does not exist.
    box : Box, optional
        Where ``expected`` lies in the whole tensor, if it is not the whole.
    comm : MPI.Intracomm
        The ranks.
    tolerance : float
        Largest error that agrees.
    floor : float
        Entries count as no smaller than this: for quantities that are zero on paper and round-off in practice.

    Communication
    -------------
    Collective over comm.
    """
    worst, scale, where = largest_difference(got, expected)
    place = f"{_global(where, box)} on rank {comm.rank}" if isinstance(where, tuple) else f"{where} on rank {comm.rank}"
    reports = comm.allgather((worst, scale, place))
    largest, _, place = max(reports, key=lambda report: report[0])
    scale = max(floor, *(scale for _, scale, _ in reports)) or 1.0
    return Comparison(quantity, largest / scale, tolerance, place if largest else "")


def largest_difference(got: Tensor | None, expected: Tensor | None) -> tuple[float, float, Any]:
    """Largest difference, largest expected entry, and the index of the difference; or infinity and what is wrong.

    Communication
    -------------
    Local.
    """
    if got is None and expected is None:
        return 0.0, 0.0, ()
    if got is None or expected is None:
        return torch.inf, 0.0, "absent" if got is None else "should be absent"
    if got.shape != expected.shape:
        return torch.inf, 0.0, f"shape {tuple(got.shape)} instead of {tuple(expected.shape)}"
    if got.dtype != expected.dtype:
        return torch.inf, 0.0, f"{got.dtype} instead of {expected.dtype}"
    if not expected.numel():
        return 0.0, 0.0, ()
    wide = torch.complex128 if expected.is_complex() else torch.float64
    difference = (got.detach().to(wide) - expected.detach().to(wide)).abs().nan_to_num(torch.inf)
    flat = int(difference.argmax())
    where = tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), difference.shape))
    return float(difference.flatten()[flat]), float(expected.detach().to(wide).abs().max().nan_to_num(0.0)), where


def _global(index: tuple[int, ...], box: Box | None) -> tuple[int, ...]:
    if box is None or not index:
        return index
    return tuple(int(s[i]) if isinstance(s, Tensor) else i + (s.start or 0) for i, s in zip(index, box, strict=True))
