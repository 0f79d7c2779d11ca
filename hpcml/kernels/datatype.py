"""MPI derived datatypes as strided boxes, packed by our own kernels: on a GPU too, and never by the MPI library."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hpcml.core.errors import ShapeError
from hpcml.kernels.arguments import Array, array_info
from hpcml.kernels.box import BoxPlan
from hpcml.kernels.strided_box import StridedBox, canonical_box

if TYPE_CHECKING:
    from mpi4py import MPI

Loops = list[tuple[int, int]]  # (count, stride in bytes), the outermost first


@dataclass(frozen=True, slots=True)
class _Nest:
    """Loops of a datatype over its bytes, in the order of its type map."""

    start: int
    loops: Loops

    def inside(self, loops: Loops, start: int = 0) -> "_Nest":
        return _Nest(self.start + start, [*loops, *self.loops])


def box_of_datatype(datatype: "MPI.Datatype", count: int = 1) -> StridedBox:
    """Canonical form of ``count`` elements of an MPI datatype.

    Parameters
    ----------
    datatype : MPI.Datatype
        A basic type, or any nest of contiguous, vector, hvector, subarray, duplicated and resized types.
    count : int
        How many follow one another, an extent apart.

    Returns
    -------
    StridedBox
        In the order in which MPI packs. Types of equal type maps give equal boxes; types that visit the same bytes in another order give
        boxes of equal ``pattern``.

    Raises
    ------
    ShapeError
        For indexed and struct types, which are no strided boxes.

    Communication
    -------------
    Local.
    """
    nest = _read(datatype).inside([(count, datatype.Get_extent()[1])])
    return canonical_box(nest.start, [n for n, _ in nest.loops], [s for _, s in nest.loops])


def pack(datatype: "MPI.Datatype", buffer: Array, count: int = 1) -> Array:
    """Gather the bytes of an MPI datatype from a buffer, as ``MPI_Pack`` orders them.

    Parameters
    ----------
    datatype : MPI.Datatype
        See `box_of_datatype`.
    buffer : array
        Contiguous, NumPy, torch or CuPy, on the CPU or on a GPU; its first byte is the address that MPI would be given.
    count : int
        Number of elements.

    Returns
    -------
    array of uint8
        Contiguous, of the buffer's library and device.

    Raises
    ------
    ShapeError
        For a datatype that is no strided box or reaches outside the buffer.

    Communication
    -------------
    Local; deterministic.

    Examples
    --------
    >>> import numpy as np
    >>> from mpi4py import MPI
    >>> column = MPI.DOUBLE.Create_vector(3, 1, 4)
    >>> pack(column, np.arange(12.0)).view(np.float64)
    array([0., 4., 8.])
    """
    plan, field = _plan(datatype, buffer, count)
    packed = _empty_bytes(buffer, plan.nbytes)
    plan.pack(packed, field)
    return packed


def unpack(datatype: "MPI.Datatype", packed: Array, buffer: Array, count: int = 1) -> None:
    """Scatter packed bytes into a buffer: the inverse of `pack`, as ``MPI_Unpack``; parameters are those of `pack`.

    Raises
    ------
    ShapeError
        Also when ``packed`` has not the datatype's number of bytes.

    Communication
    -------------
    Local; deterministic.
    """
    plan, field = _plan(datatype, buffer, count)
    plan.unpack(packed, field)


def _plan(datatype: "MPI.Datatype", buffer: Array, count: int) -> tuple[BoxPlan, Array]:
    info = array_info(buffer)
    box = box_of_datatype(datatype, count)
    lowest, highest = span(box)
    size = math.prod(info.shape) * info.itemsize
    if not info.contiguous or lowest < 0 or highest > size:
        raise ShapeError(f"the datatype reads bytes {lowest} to {highest} of a buffer of {size} bytes (contiguous: {info.contiguous})")
    field = buffer.reshape(-1).view(torch.uint8 if isinstance(buffer, torch.Tensor) else np.uint8)
    return BoxPlan([field], [(0, box)]), field


def span(box: StridedBox) -> tuple[int, int]:
    """Half-open range of bytes between the lowest and the highest that a box visits."""
    reach = [(n - 1) * s for n, s in zip(box.counts, box.strides, strict=True)]
    if not box.nbytes:
        return 0, 0
    return box.start + sum(r for r in reach if r < 0), box.start + sum(r for r in reach if r > 0) + 1


def _empty_bytes(like: Array, size: int) -> Array:
    if isinstance(like, torch.Tensor):
        return torch.empty(size, dtype=torch.uint8, device=like.device)
    return np.empty(size, np.uint8) if isinstance(like, np.ndarray) else type(like)(size, "u1")


def _read(datatype: "MPI.Datatype") -> _Nest:
    base, combiner, settings = datatype.decode()
    if combiner == "NAMED":
        if datatype.Get_size() != datatype.Get_extent()[1]:
            raise ShapeError(f"{datatype.Get_name()} has gaps: a pair type is no strided box; use two arrays")
        return _Nest(0, [(datatype.Get_size(), 1)])
    if combiner not in _READERS:
        raise ShapeError(f"a datatype made by {combiner} is no strided box: expected a nest of {', '.join(_READERS)}")
    nest, extent = _read(base), base.Get_extent()[1]
    if not base.is_predefined:
        base.Free()
    return _READERS[combiner](nest, extent, settings)


def _vector(nest: _Nest, extent: int, settings: dict[str, Any]) -> _Nest:
    return nest.inside([(settings["count"], settings["stride"] * extent), (settings["blocklength"], extent)])


def _hvector(nest: _Nest, extent: int, settings: dict[str, Any]) -> _Nest:
    return nest.inside([(settings["count"], settings["stride"]), (settings["blocklength"], extent)])


def _subarray(nest: _Nest, extent: int, settings: dict[str, Any]) -> _Nest:
    from mpi4py import MPI

    dims = list(zip(settings["sizes"], settings["subsizes"], settings["starts"], strict=True))
    if settings["order"] == MPI.ORDER_FORTRAN:
        dims.reverse()
    loops: Loops = []
    start, stride = 0, extent
    for size, count, first in reversed(dims):
        loops.insert(0, (count, stride))
        start += first * stride
        stride *= size
    return nest.inside(loops, start)


_READERS: dict[str, Callable[[_Nest, int, dict[str, Any]], _Nest]] = {
    "CONTIGUOUS": lambda nest, extent, settings: nest.inside([(settings["count"], extent)]),
    "VECTOR": _vector,
    "HVECTOR": _hvector,
    "SUBARRAY": _subarray,
    "DUP": lambda nest, extent, settings: nest,
    "RESIZED": lambda nest, extent, settings: nest,
}
