"""Packing a derived datatype is what MPI_Pack does, whatever nest it is."""

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import ShapeError
from hpcml.kernels.datatype import box_of_datatype, pack, unpack
from hpcml.kernels.strided_box import box_of

BASES = [MPI.BYTE, MPI.SHORT, MPI.FLOAT, MPI.DOUBLE, MPI.DOUBLE_COMPLEX]


def random_type(rng, depth):
    """A nest of ``depth`` constructors over a basic type; vectors may leave gaps, subarrays have either order."""
    if depth == 0:
        return BASES[rng.integers(len(BASES))].Dup()
    base = random_type(rng, depth - 1)
    count, block, gap = (int(n) for n in rng.integers((1, 1, 0), (5, 4, 3)))
    dims = int(rng.integers(1, 4))
    sizes = rng.integers(1, 5, dims)
    subsizes = [int(rng.integers(1, n + 1)) for n in sizes]
    starts = [int(rng.integers(0, n - m + 1)) for n, m in zip(sizes, subsizes, strict=True)]
    order = [MPI.ORDER_C, MPI.ORDER_FORTRAN][rng.integers(2)]
    made = {
        0: lambda: base.Create_contiguous(count),
        1: lambda: base.Create_vector(count, block, block + gap),
        2: lambda: base.Create_hvector(count, block, block * base.Get_extent()[1] + gap * 16),
        3: lambda: base.Create_subarray(sizes.tolist(), subsizes, starts, order),
        4: lambda: base.Create_resized(0, base.Get_extent()[1] + gap * 16),
    }[int(rng.integers(5))]()
    base.Free()
    return made


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_packed_bytes_are_those_of_mpi_pack(depth, rng):
    compared = 0
    while compared < 150:
        datatype, count = random_type(rng, depth).Commit(), int(rng.integers(1, 3))
        size = datatype.Get_extent()[1] * count
        if size < 1 << 18:
            memory = rng.integers(0, 256, size, dtype=np.uint8)
            expected = np.zeros(datatype.Get_size() * count, np.uint8)
            datatype.Pack(memory, expected, 0, MPI.COMM_SELF)
            packed = pack(datatype, memory, count)
            assert packed.tobytes() == expected.tobytes()
            restored = np.zeros_like(memory)
            unpack(datatype, packed, restored, count)
            assert pack(datatype, restored, count).tobytes() == expected.tobytes()
            compared += 1
        datatype.Free()


def subarray_as_nests(sizes, subsizes, starts):
    """One 3-D subarray of doubles, written in six ways: with the displacement of its first byte where the type itself has none."""
    plane, row, item = sizes[1] * sizes[2] * 8, sizes[2] * 8, 8
    first = starts[0] * plane + starts[1] * row + starts[2] * item
    line = MPI.DOUBLE.Create_contiguous(subsizes[2])
    rows = MPI.DOUBLE.Create_vector(subsizes[1], subsizes[2], sizes[2])
    yield MPI.DOUBLE.Create_subarray(sizes, subsizes, starts), 0
    yield MPI.DOUBLE.Create_subarray(sizes[::-1], subsizes[::-1], starts[::-1], MPI.ORDER_FORTRAN), 0
    yield line.Create_hvector(subsizes[1], 1, row).Create_hvector(subsizes[0], 1, plane), first
    yield rows.Create_hvector(subsizes[0], 1, plane), first
    yield rows.Create_resized(0, plane).Create_contiguous(subsizes[0]), first
    yield MPI.BYTE.Create_subarray([*sizes[:2], row], [*subsizes[:2], subsizes[2] * 8], [*starts[:2], starts[2] * 8]), 0


@pytest.mark.parametrize("subsizes", [(3, 4, 5), (4, 5, 6), (1, 5, 2), (4, 5, 1), (2, 1, 6), (1, 1, 1)])
def test_equivalent_types_have_one_form(subsizes):
    sizes = [4, 5, 6]
    starts = [n - m for n, m in zip(sizes, subsizes, strict=True)]
    nests = [(box_of_datatype(datatype), first) for datatype, first in subarray_as_nests(sizes, list(subsizes), starts)]
    forms = {(box.start + first, box.counts, box.strides) for box, first in nests}
    view = box_of(np.zeros(sizes), tuple(slice(a, a + m) for a, m in zip(starts, subsizes, strict=True)))
    assert forms == {(view.start, view.counts, view.strides)}


def test_another_traversal_of_the_same_bytes_has_the_same_pattern():
    by_rows = MPI.DOUBLE.Create_vector(3, 2, 4)
    by_columns = MPI.DOUBLE.Create_vector(3, 1, 4).Create_hvector(2, 1, 8)
    assert box_of_datatype(by_rows) != box_of_datatype(by_columns)
    assert box_of_datatype(by_rows).pattern == box_of_datatype(by_columns).pattern


def test_tensors_and_basic_types_pack_too():
    face = MPI.FLOAT.Create_subarray([4, 5], [4, 1], [0, 4])
    tensor = torch.arange(20, dtype=torch.float32).reshape(4, 5)
    assert pack(face, tensor).view(torch.float32).tolist() == [4, 9, 14, 19]
    assert pack(MPI.FLOAT, tensor, 3).view(torch.float32).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("datatype", "message"),
    [
        (MPI.DOUBLE.Create_indexed([1, 2], [0, 3]), "INDEXED"),
        (MPI.DOUBLE_INT, "gaps"),
        (MPI.DOUBLE.Create_vector(3, 1, 5), "0 to 88 of a buffer of 80"),
        (MPI.DOUBLE.Create_vector(2, 1, -1), "-8"),
    ],
)
def test_what_cannot_be_packed_is_named(datatype, message):
    with pytest.raises(ShapeError, match=message):
        pack(datatype, np.zeros(10))


def test_a_packed_buffer_of_the_wrong_size_is_named():
    with pytest.raises(ShapeError, match="24 bytes, got 16"):
        unpack(MPI.DOUBLE.Create_vector(3, 1, 4), np.zeros(2), np.zeros(12))
