"""Pack, unpack and accumulate boxes of several fields in one launch: what a halo exchange does on either side of its messages."""

import operator
from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
import torch

from hpcml.core.errors import ShapeError
from hpcml.kernels.arguments import Array
from hpcml.kernels.backend import choose_backend
from hpcml.kernels.box_table import box_table, boxes_overlap, by_turns, common_word
from hpcml.kernels.box_twin import accumulate_twin, pack_twin, unpack_twin
from hpcml.kernels.device import launch_shape
from hpcml.kernels.field_layout import FieldLayout, buffer_address
from hpcml.kernels.kernel import Kernel
from hpcml.kernels.launch import Launch

WORDS = {1: "unsigned char", 2: "unsigned short", 4: "unsigned int", 8: "unsigned long long", 16: "word16"}
# dtype -> C type and bytes of what is added; a complex number is two of them.
COMPONENTS = {
    "float32": ("float", 4),
    "float64": ("double", 8),
    "bfloat16": ("bfloat16", 2),
    "complex64": ("float", 4),
    "complex128": ("double", 8),
}
AT_ONCE = 4  # words that a thread of a GPU has under way, in `kernels/pack.cu`
PACK = Kernel("pack", "pack", pack_twin, strided=("fields",))
UNPACK = Kernel("pack", "unpack", unpack_twin, strided=("fields",))
ACCUMULATE = Kernel("accumulate", "accumulate", accumulate_twin, strided=("fields",))


class BoxPlan:
    """Boxes of one or more fields and one contiguous buffer, moved either way by one kernel launch.

    Parameters
    ----------
    fields : sequence of array or FieldLayout
        Fields of the calls to come: any layout, any dtypes, leading dims (batch, channel) and spatial dims alike.
    boxes : sequence of (int, index)
        Number of a field, and what of it: integers, slices (steps may be negative) and one Ellipsis, or a `StridedBox` in bytes.
    offsets : sequence of int, optional
        First byte of each box in the buffer; by default one after the other, each at a multiple of its field's itemsize.

    Attributes
    ----------
    nbytes : int
        Size of the buffer.
    offsets : tuple of int
        First byte of each box in the buffer. Within a box the elements lie in C order of its index, so that two ranks whose boxes have
        equal shapes agree, whatever the layouts of their fields.

    Raises
    ------
    ShapeError
        For a box outside its field; in a call, for a field of another layout or a buffer of another size.

    Communication
    -------------
    Local. Deterministic: boxes are moved in order, and every result has the same bits on the CPU, on a GPU and by the twin.

    Notes
    -----
    A call checks layouts and passes addresses, about 2 us for one torch field on the CPU, and allocates no array after the first of its
    kind. Runs are widened to elements of up to 16 bytes, dims that continue one another are joined, and the longest loop is innermost, so
    that a face of the unit-stride dim, whose runs are one or two cells, costs no call per run. Boxes of one `unpack` must not overlap. A
    plan serves one thread at a time. What a call writes, autograd does not record.

    Examples
    --------
    Two faces of a padded field, whatever their dims:

    >>> field = torch.arange(30.0).reshape(1, 5, 6)
    >>> plan = BoxPlan([field], [(0, (..., 1, slice(1, 5))), (0, (..., slice(1, 4), 4))])
    >>> buffer = torch.empty(plan.nbytes // 4)
    >>> plan.pack(buffer, field)
    >>> buffer
    tensor([ 7.,  8.,  9., 10., 10., 16., 22.])
    """

    def __init__(
        self, fields: Sequence[Array | FieldLayout], boxes: Sequence[tuple[int, Any]], offsets: Sequence[int] | None = None
    ) -> None:
        self.layouts = tuple(field if isinstance(field, FieldLayout) else FieldLayout.of(field) for field in fields)
        self.numbers = tuple(number for number, _ in boxes)
        self.boxes = tuple(self.layouts[number].box(index) for number, index in boxes)
        self.offsets = tuple(self._one_after_another() if offsets is None else offsets)
        self.nbytes = max((at + box.nbytes for at, box in zip(self.offsets, self.boxes, strict=True)), default=0)
        self._word = common_word(self.boxes)
        self._starts = reduce(operator.or_, (*self.offsets, *(box.start for box in self.boxes)), 0)
        self._backends: dict[tuple[str, str], str] = {}
        self._launches: dict[tuple[str, str, int], list[Launch]] = {}

    def pack(self, buffer: Array, *fields: Array) -> None:
        """Copy every box into the buffer."""
        self._run(PACK, buffer, fields)

    def unpack(self, buffer: Array, *fields: Array) -> None:
        """Copy the buffer into every box."""
        self._run(UNPACK, buffer, fields)

    def accumulate(self, buffer: Array, *fields: Array) -> None:
        """Add the buffer onto every box, in order where boxes overlap: the adjoint of `pack`.

        For float32, float64, complex64, complex128 and bfloat16, which is added in float32 and rounded to nearest even.
        """
        self._run(ACCUMULATE, buffer, fields)

    def bind(self, kind: str, buffer: Array, *fields: Array) -> Launch:
        """Launch of ``pack``, ``unpack`` or ``accumulate`` on arrays that stay: it checks nothing, and costs 0.3 us on the CPU.

        Raises
        ------
        KeyError
            For another kind.
        """
        launches = self.launches(kind, buffer, *fields)
        return launches[0] if len(launches) == 1 else Launch(partial(_run_all, launches), (buffer, fields))

    def launches(self, kind: str, buffer: Array, *fields: Array) -> list[Launch]:
        """The launches of which `bind` makes one, in order; their argument 0 is the buffer, and 1 the list of fields."""
        kernel = {"pack": PACK, "unpack": UNPACK, "accumulate": ACCUMULATE}[kind]
        device, at, addresses = self._addresses(buffer, fields)
        backend = choose_backend(kernel.source, device)
        tables = self._tables(kernel, self._element(backend, at, addresses), backend)
        return [self._bound(kernel, types, table, buffer, fields) for types, table in tables]

    def _run(self, kernel: Kernel, buffer: Array, fields: Sequence[Array]) -> None:
        device, at, addresses = self._addresses(buffer, fields)
        backend = self._backends.get((kernel.name, device))
        if backend is None:
            backend = self._backends[kernel.name, device] = choose_backend(kernel.source, device)
        element = self._element(backend, at, addresses)
        if backend == "twin":
            for types, table in self._tables(kernel, element, backend):
                kernel(buffer, fields, table, len(table), extent=(len(table),), types=types, backend="twin")
            return
        launches = self._launches.get((kernel.name, device, element))
        if launches is None:
            launches = self._launches[kernel.name, device, element] = self._pointable(kernel, element, backend, buffer, fields)
        for launch in launches:
            launch.point(0, at)
            launch.point_all(1, addresses)
            launch()

    def _pointable(self, kernel: Kernel, element: int, backend: str, buffer: Array, fields: Sequence[Array]) -> list[Launch]:
        """Launches that are pointed at the arrays of each call and keep none alive."""
        launches = [self._bound(kernel, types, table, buffer, fields) for types, table in self._tables(kernel, element, backend)]
        for launch in launches:
            launch.release(positions=(0, 1))
        return launches

    def _bound(self, kernel: Kernel, types: dict[str, str], table: np.ndarray, buffer: Array, fields: Sequence[Array]) -> Launch:
        extent = table[:, [7, 6, 5]].max(axis=0).tolist()
        shape = None if kernel is ACCUMULATE else launch_shape((-(-extent[0] // AT_ONCE), *extent[1:]))
        return kernel.bind(buffer, fields, _beside(table, buffer), len(table), extent=extent, shape=shape, types=types)

    def _tables(self, kernel: Kernel, element: int, backend: str) -> list[tuple[dict[str, str], np.ndarray]]:
        """Rows and types of each launch: one for a copy, one per dtype for a sum."""
        if kernel is not ACCUMULATE:
            table = box_table(self.numbers, self.boxes, self.offsets, element)
            return [({"WORD": WORDS[element]}, table if backend == "twin" else by_turns(table))] if self.nbytes else []
        tables = []
        for c_type, size in dict.fromkeys(_component(self.layouts[number]) for number in self.numbers):
            chosen = [i for i, number in enumerate(self.numbers) if _component(self.layouts[number]) == (c_type, size)]
            numbers, boxes = [self.numbers[i] for i in chosen], [self.boxes[i] for i in chosen]
            table = box_table(numbers, boxes, [self.offsets[i] for i in chosen], size)
            in_turn = backend == "cuda" and boxes_overlap(numbers, boxes)
            tables += [({"REAL": c_type}, rows) for rows in (np.split(table, len(table)) if in_turn else [table]) if len(rows)]
        return tables

    def _addresses(self, buffer: Array, fields: Sequence[Array]) -> tuple[str, int, list[int]]:
        if len(fields) != len(self.layouts):
            raise ShapeError(f"this plan moves boxes of {len(self.layouts)} fields, got {len(fields)}")
        device, at = buffer_address(buffer, self.nbytes)
        return device, at, [layout.address(field, device) for layout, field in zip(self.layouts, fields, strict=True)]

    def _element(self, backend: str, at: int, addresses: Sequence[int]) -> int:
        """Bytes that one load may move: on the host they start anywhere, elsewhere at a multiple of their number."""
        if backend == "host":
            return self._word
        bits = reduce(operator.or_, addresses, at | self._starts)
        return min(self._word, bits & -bits) if bits else self._word

    def _one_after_another(self) -> list[int]:
        offsets, end = [], 0
        for number, box in zip(self.numbers, self.boxes, strict=True):
            itemsize = self.layouts[number].itemsize
            offsets.append(-(-end // itemsize) * itemsize)
            end = offsets[-1] + box.nbytes
        return offsets


def _run_all(launches: Sequence[Launch]) -> None:
    for launch in launches:
        launch()


def _component(layout: FieldLayout) -> tuple[str, int]:
    if layout.dtype not in COMPONENTS:
        raise ShapeError(f"cannot accumulate {layout.dtype}: expected one of {', '.join(COMPONENTS)}")
    return COMPONENTS[layout.dtype]


def _beside(table: np.ndarray, buffer: Array) -> Array:
    """The table in the memory of the buffer's device."""
    if isinstance(buffer, np.ndarray):
        return table
    if isinstance(buffer, torch.Tensor):
        return torch.from_numpy(table).to(buffer.device)
    import cupy

    return cupy.asarray(table)
