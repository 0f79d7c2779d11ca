"""Fourier transforms along a dim that is not the innermost, from where its parts lie to where those of the result shall lie, on a CPU.

Memory is read and written once, in one call of C++ for a whole block, where torch reorders lines before and after it transforms them.
"""

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from hpcml.kernels.host import TEAM_MIN_POINTS
from hpcml.kernels.shared_library import shared_library

RADICES = (8, 4, 2, 3, 5)
LONGEST = 2048
"""Longer columns leave no room in a core's own cache for two tiles of them."""
VECTOR_BYTES = 64  # of the longest vectors
FEWEST_LINES = 8  # as many float32 as such a vector has complex numbers of


class _Piece(ctypes.Structure):
    _fields_ = [(name, ctypes.c_longlong) for name in ("rows", "base", "row", "slab", "field")]


class _Plan(ctypes.Structure):
    _fields_ = [("n", ctypes.c_longlong), ("radices", ctypes.c_void_p), ("factors", ctypes.c_void_p)]


class _Job(ctypes.Structure):
    _fields_ = [
        *(("columns", _Plan), ("lines", _Plan), ("turns", ctypes.c_void_p), ("scale", ctypes.c_double)),
        *((name, ctypes.c_longlong) for name in ("count", "slabs", "slabs_of_field", "slab_modes", "back", "threads", "share")),
        *((name, ctypes.c_void_p) for name in ("work", "cells", "source", "target")),
    ]


def transformable(dims: Sequence[int], shape: Sequence[int], kept: Sequence[int], real: bool) -> bool:
    """Whether dims of an array can be transformed here: the first, or the last two of a real array of three, with all modes kept.

    Parameters
    ----------
    dims : sequence of int
        To transform at once.
    shape, kept : sequence of int
        Global cells of the array, and modes.
    real : bool
        Whether the cells are real; the last dim then has half the modes.

    Communication
    -------------
    Local; the same on all ranks.
    """
    *others, last = shape
    if any(kept[d] != (last // 2 + 1 if real and d == len(others) else shape[d]) for d in dims):
        return False
    if tuple(dims) == (0,):
        return len(shape) > 1 and _has_radices(shape[0])
    lines = real and tuple(dims) == (1, 2) and len(shape) == 3 and last % 2 == 0 and shape[1] >= FEWEST_LINES
    return lines and _has_radices(shape[1]) and _has_radices(last // 2)


@lru_cache
def column_functions() -> Mapping[torch.dtype, Callable[[int], None]]:
    """The C functions by the type of the columns, compiled once per node; none without a compiler."""
    library = shared_library(Path(__file__).with_suffix(".cpp"))
    if library is None:
        return {}
    functions = {torch.complex64: library.hpcml_columns_float, torch.complex128: library.hpcml_columns_double}
    for function in functions.values():
        function.argtypes, function.restype = [ctypes.c_void_p], None
    return functions


def transform_columns(source: Sequence[Tensor], target: Sequence[Tensor], back: bool, scale: float) -> None:
    """Transform along the first dim of each field.

    Parameters
    ----------
    source, target : sequence of Tensor
        Complex (fields, rows, ...): parts that follow one another along dim 1. Whatever comes after dim 1 is contiguous and not split.
    back : bool
        The inverse transform.
    scale : float
        Of the result.

    Communication
    -------------
    Local. A column's result is the same whatever lies beside it, and for any number of threads, which are torch's.
    """
    if any(part.numel() for part in target):
        first = target[0]
        job = _job(sum(part.shape[1] for part in target), first[0, 0].numel(), back, scale, first)
        job.slabs, job.slabs_of_field = len(first), 1
        _run(job, source, target, 1, first)


def transform_slabs(cells: Tensor, modes: Sequence[Tensor], back: bool, scale: float) -> None:
    """Transform along the last two dims of real fields of three, there or back.

    Parameters
    ----------
    cells : Tensor
        Real (fields, slabs, N, M), contiguous.
    modes : sequence of Tensor
        Complex (fields, slabs, rows, M // 2 + 1): parts that follow one another along dim 2.
    back : bool
        From modes to cells.
    scale : float
        Of the result.

    Communication
    -------------
    Local; as `transform_columns`.
    """
    if cells.numel():
        first = modes[0]
        fields, slabs, n, m = cells.shape
        job = _job(n, m // 2 + 1, back, scale, first, m // 2)
        job.slabs, job.slabs_of_field, job.cells = fields * slabs, slabs, cells.data_ptr()
        _run(job, modes if back else (), () if back else modes, 2, first)


def _job(n: int, count: int, back: bool, scale: float, like: Tensor, half: int = 0) -> _Job:
    dtype = like.dtype.to_real()
    job = _Job(columns=_plan(n, back, dtype)[0], scale=scale, count=count, back=back)
    if half:
        job.lines, job.turns, job.slab_modes = _plan(half, back, dtype)[0], _turns(half, dtype).data_ptr(), n * count
    most = max(n, half + 1)
    job.share = -(-(5 * most * (VECTOR_BYTES + 8) + job.slab_modes * like.element_size()) // VECTOR_BYTES) * VECTOR_BYTES
    return job


def _run(job: _Job, source: Sequence[Tensor], target: Sequence[Tensor], dim: int, like: Tensor) -> None:
    job.threads = torch.get_num_threads() if job.slabs * job.count * job.columns.n >= TEAM_MIN_POINTS else 1
    work = torch.empty(job.threads * job.share, dtype=torch.uint8)
    pieces = [_pieces(parts, dim) for parts in (source, target)]
    job.work, job.source, job.target = work.data_ptr(), *(ctypes.addressof(p) for p in pieces)
    column_functions()[like.dtype](ctypes.addressof(job))


def _pieces(parts: Sequence[Tensor], dim: int) -> ctypes.Array[_Piece]:
    found = []
    for part in parts:
        field, slab, row = (part.element_size() * part.stride(d) for d in (0, dim - 1, dim))
        found.append(_Piece(part.shape[dim], part.data_ptr(), row, slab, field))
    return (_Piece * len(found))(*found)


def _has_radices(n: int) -> bool:
    return 2 <= n <= LONGEST and math.prod(_radices(n)) == n


@lru_cache
def _radices(n: int) -> tuple[int, ...]:
    """Factors of a length, as far as there are passes for them."""
    found = []
    for radix in RADICES:
        while n % radix == 0:
            found.append(radix)
            n //= radix
    return tuple(found)


@lru_cache
def _plan(n: int, back: bool, dtype: torch.dtype) -> tuple[_Plan, Tensor, Tensor]:
    """Radices of a length, and after each pass but the last the roots of unity by which its results are multiplied."""
    factors, left = [], n
    for radix in _radices(n):
        turns = torch.arange(left // radix)[:, None] * torch.arange(1, radix)
        factors.append(_roots(turns.flatten(), left, back))
        left //= radix
    tables = torch.tensor(_radices(n)), torch.cat(factors).to(dtype)
    return _Plan(n, *(table.data_ptr() for table in tables)), *tables


@lru_cache
def _turns(half: int, dtype: torch.dtype) -> Tensor:
    return _roots(torch.arange(half + 1), 2 * half, back=False).to(dtype)


def _roots(turns: Tensor, n: int, back: bool) -> Tensor:
    """exp(-+ 2 pi i turns / n), in double precision: (turns, 2)."""
    angles = (2 if back else -2) * math.pi / n * (turns % n).to(torch.float64)
    return torch.stack([angles.cos(), angles.sin()], -1)
