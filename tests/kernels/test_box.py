"""Boxes packed, unpacked and accumulated are the slices they stand for, bit by bit, by every back end."""

import gc
import itertools
import tracemalloc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpcml.core.errors import DeviceError, ShapeError
from hpcml.kernels.box import BoxPlan
from hpcml.kernels.box_table import box_table, boxes_overlap, by_turns, common_word
from hpcml.kernels.field_layout import FieldLayout
from hpcml.kernels.strided_box import box_of, canonical_box

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.complex64]


def faces(dims, width):
    """The cells next to either end of every dim of a padded field, as indices of its spatial dims."""
    inside = [slice(width, -width)] * dims
    for dim, side in itertools.product(range(dims), (slice(width, 2 * width), slice(-2 * width, -width))):
        yield (..., *inside[:dim], side, *inside[dim + 1 :])


def cells(shape, dtype, device, seed=0):
    values = torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))
    return (values if dtype.is_complex else values.real).contiguous().to(dtype).to(device)


def as_bytes(tensor):
    return tensor.contiguous().view(torch.uint8).flatten().tolist()


@pytest.mark.parametrize("dtype", [*DTYPES, torch.int8, torch.complex128], ids=str)
@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_pack_is_the_slices_one_after_the_other(backend, device, dims, width, dtype):
    field = cells((2, 3, 9, 10, 11)[: 2 + dims], dtype, device)
    boxes = list(faces(dims, width))
    plan = BoxPlan([field], [(0, index) for index in boxes])
    buffer = torch.zeros(plan.nbytes, dtype=torch.uint8, device=device)
    plan.pack(buffer, field)
    assert buffer.tolist() == [byte for index in boxes for byte in as_bytes(field[index])]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_unpack_and_accumulate_write_the_boxes_only(backend, device, dims, dtype):
    field, other = (cells((2, 3, 9, 10, 11)[: 2 + dims], dtype, device, seed) for seed in (1, 2))
    plan = BoxPlan([field], [(0, index) for index in faces(dims, 2)])
    buffer = torch.empty(plan.nbytes // field.element_size(), dtype=dtype, device=device)
    plan.pack(buffer, field)
    written, summed, expected, total = other.clone(), other.clone(), other.clone(), other.clone()
    plan.unpack(buffer, written)
    plan.accumulate(buffer, summed)
    for index in faces(dims, 2):
        expected[index] = field[index]
        total[index] += field[index]
    assert torch.equal(written, expected)
    assert torch.equal(summed, total)


def test_several_fields_of_several_dtypes_share_a_buffer(backend, device):
    fields = [cells((3, 5), torch.bfloat16, device), cells((2, 4, 6), torch.float64, device), cells((4,), torch.complex64, device)]
    plan = BoxPlan(fields, [(0, (slice(None), 4)), (1, (..., slice(1, 3))), (2, (slice(1, 4),)), (1, (0, 0, 0))])
    assert plan.offsets == (0, 8, 136, 160)
    buffer = torch.zeros(plan.nbytes, dtype=torch.uint8, device=device)
    plan.pack(buffer, *fields)
    doubled = [field.clone() for field in fields]
    plan.accumulate(buffer, *doubled)
    zeros = [torch.zeros_like(field) for field in fields]
    plan.unpack(buffer, *zeros)
    for field, twice, only in zip(fields, doubled, zeros, strict=True):
        assert torch.equal(twice, field + only)
    assert torch.equal(zeros[0][:, 4], fields[0][:, 4]) and zeros[0][:, :4].abs().sum() == 0


def test_overlapping_boxes_accumulate_in_order(backend, device):
    field = torch.zeros(4, dtype=torch.float64, device=device)
    plan = BoxPlan([field], [(0, slice(0, 3)), (0, slice(1, 4))])
    plan.accumulate(torch.arange(1.0, 7.0, dtype=torch.float64, device=device), field)
    assert field.tolist() == [1, 2 + 4, 3 + 5, 6]


def test_reversed_repeated_and_permuted_boxes(backend, device):
    field = torch.arange(60, dtype=torch.int32, device=device).reshape(3, 4, 5)
    turned = field.permute(2, 0, 1)
    plan = BoxPlan([turned], [(0, (slice(None, None, -2), 1, slice(2, 0, -1)))])
    buffer = torch.zeros(plan.nbytes // 4, dtype=torch.int32, device=device)
    plan.pack(buffer, turned)
    assert buffer.tolist() == turned.cpu().numpy()[::-2, 1, 2:0:-1].ravel().tolist()
    edge = BoxPlan([field], [(0, (0, 0, slice(0, 2)))] * 2, offsets=(0, 0))
    assert edge.nbytes == 8


def test_more_than_four_loops(backend, device):
    field = cells((3, 3, 3, 3, 3, 4), torch.float64, device)
    index = (slice(0, 2),) * 5 + (slice(1, 4, 2),)
    plan = BoxPlan([field], [(0, index)])
    buffer = torch.zeros(64, dtype=torch.float64, device=device)
    plan.pack(buffer, field)
    assert torch.equal(buffer, field[index].flatten())


def test_numpy_fields_pack_as_torch_ones():
    field = np.arange(24.0).reshape(2, 3, 4)[:, ::-1]
    plan = BoxPlan([field], [(0, (..., 2))])
    buffer = np.zeros(6)
    plan.pack(buffer, field)
    assert buffer.tolist() == field[..., 2].ravel().tolist()


def test_bfloat16_rounds_to_nearest_even(backend, device):
    one = torch.ones(6, dtype=torch.bfloat16, device=device)
    tiny = torch.tensor([2**-9, 2**-8, 2**-7, 3 * 2**-8, float("nan"), float("inf")], dtype=torch.bfloat16, device=device)
    plan = BoxPlan([one], [(0, slice(0, 6))])
    plan.accumulate(tiny, one)
    assert one[:4].tolist() == [1, 1, 1 + 2**-7, 1 + 2**-6] and one[4].isnan() and one[5].isinf()


def test_calls_follow_the_arrays_and_keep_none_alive():
    first, second = torch.zeros(3, 4), torch.ones(3, 4)
    plan, buffer = BoxPlan([first], [(0, (slice(None), 1))]), torch.empty(3)
    plan.pack(buffer, first)
    plan.pack(buffer, second)
    assert buffer.tolist() == [1, 1, 1]
    alive = weakref.ref(second)
    del second
    gc.collect()
    assert alive() is None


def test_calls_allocate_no_array():
    field = torch.zeros(2, 34, 34, 34)
    plan = BoxPlan([field], [(0, index) for index in faces(3, 1)])
    buffer = torch.zeros(plan.nbytes // 4)
    moves = (plan.pack, plan.unpack, plan.accumulate)
    for move in moves:
        move(buffer, field)
    tracemalloc.start()
    try:
        for move in moves:
            move(buffer, field)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Short-lived Python objects; the smallest face alone would be 8 KiB.
    assert peak < 2048


@pytest.mark.parametrize("kind", ["pack", "unpack", "accumulate"])
def test_a_bound_launch_does_what_the_call_does(backend, device, kind):
    field = cells((2, 6, 6), torch.float32, device)
    plan = BoxPlan([field], [(0, index) for index in faces(2, 1)])
    ours, theirs = (field.clone(), torch.ones(32, device=device)), (field.clone(), torch.ones(32, device=device))
    launch = plan.bind(kind, ours[1], ours[0])
    launch()
    getattr(plan, kind)(theirs[1], theirs[0])
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


@given(st.lists(st.tuples(st.integers(2, 6), st.integers(0, 3)), min_size=1, max_size=3), st.sampled_from([1, 2, 4, 8, 16]))
def test_wide_elements_divide_every_run_and_stride(dims, itemsize):
    shape = [n + gap for n, gap in dims]
    array = np.zeros((*shape, itemsize), np.uint8)
    box = box_of(array, tuple(slice(0, n) for n, _ in dims))
    word = common_word([box])
    assert word >= itemsize
    assert all(stride % word == 0 for stride in box.strides[:-1]) and box.counts[-1] % word == 0


def test_overlap_is_found_between_boxes_and_within_one():
    apart, across = canonical_box(0, (2, 8), (16, 1)), canonical_box(8, (2, 8), (16, 1))
    assert not boxes_overlap([0, 0], [apart, across])
    assert not boxes_overlap([0, 1], [apart, apart])
    assert boxes_overlap([0, 0], [apart, apart])
    assert boxes_overlap([0], [canonical_box(0, (2, 8), (4, 1))])


def test_a_plan_needs_layouts_only():
    layout = FieldLayout((2, 3), (3, 1), "float32", 4)
    assert BoxPlan([layout], [(0, (slice(None), 0))]).nbytes == 8


@pytest.mark.parametrize(
    ("field", "buffer", "message"),
    [
        (torch.zeros(3, 5), torch.empty(3), r"shape \(3, 4\)"),
        (torch.zeros(4, 3).T, torch.empty(3), "strides"),
        (torch.zeros(3, 4, dtype=torch.int32), torch.empty(3), "float32"),
        (torch.zeros(3, 4), torch.empty(4), "12 bytes, got 16"),
        (torch.zeros(3, 4), torch.empty(6)[::2], "contiguous: False"),
    ],
)
def test_another_layout_or_buffer_is_named(field, buffer, message):
    plan = BoxPlan([torch.zeros(3, 4)], [(0, (slice(None), 1))])
    with pytest.raises(ShapeError, match=message):
        plan.pack(buffer, field)


def test_wrong_calls_are_named():
    field = torch.zeros(3, 4)
    plan = BoxPlan([field], [(0, (slice(None), 1))])
    with pytest.raises(ShapeError, match="1 fields, got 2"):
        plan.pack(torch.empty(3), field, field)
    with pytest.raises(ShapeError, match="cannot accumulate int64"):
        integers = torch.zeros(4, dtype=torch.int64)
        BoxPlan([integers], [(0, slice(0, 2))]).accumulate(torch.zeros(2, dtype=torch.int64), integers)
    with pytest.raises(DeviceError, match="on cpu"):
        plan.pack(torch.empty(3), torch.zeros(3, 4, device="meta"))


@pytest.mark.parametrize("shape", [(2, 5, 70, 10), (64, 9), (97, 8)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_both_faces_of_the_unit_stride_dim_are_moved_by_turns(shape, dtype):
    """In one row of the table, which must not change where a cell goes."""
    field = torch.arange(float(np.prod(shape)), dtype=dtype).view(shape)
    boxes = [(..., slice(1, 2)), (..., slice(shape[-1] - 2, shape[-1] - 1))]
    plan = BoxPlan([field], [(0, box) for box in boxes])
    plain = box_table((0, 0), plan.boxes, plan.offsets, field.element_size())
    table = by_turns(plain)
    close = field.element_size() * shape[-1] >= 64  # a row is a cache line or more
    assert (table[0, 6] == 2) == close and len(table) == (3 if close and plain[0, 7] % 32 else 1 if close else 2)
    buffer = torch.zeros(plan.nbytes // field.element_size(), dtype=dtype)
    plan.pack(buffer, field)
    assert torch.equal(buffer, torch.cat([field[box].flatten() for box in boxes]))
    written = torch.zeros_like(field)
    plan.unpack(buffer, written)
    assert all(torch.equal(written[box], field[box]) for box in boxes) and not written[..., 2:-2].any()
    assert not written[..., [0, -1]].any()
