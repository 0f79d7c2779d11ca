"""Reductions over ranks equal those over the list of what every rank holds."""

import numpy as np
import pytest
import torch

from hpcml.core.errors import CommunicationError, ShapeError
from hpcml.mpi.agreement import agree
from hpcml.mpi.reductions import InPlaceSum, all_max, all_min, all_sum, start_sum

SIZES = [1, 2, 3]
NUMBERS = [
    torch.float64,
    torch.float32,
    torch.bfloat16,
    torch.float16,
    torch.complex64,
    torch.complex128,
    torch.int64,
    torch.int32,
    torch.uint8,
]


def block(rank, shape, dtype):
    """Small integers, whose sums every dtype holds exactly."""
    values = (torch.arange(torch.Size(shape).numel()).reshape(shape) * 3 + 5 * rank) % 11
    return (values * (1 + 2j)).to(dtype) if dtype.is_complex else values.to(dtype)


@pytest.mark.parallel(SIZES)
@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 0)], ids=str)
@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_the_sum_of_tensors(comm, dtype, shape):
    expected = sum((block(r, shape, dtype) for r in range(comm.size)), torch.zeros(shape, dtype=dtype))
    mine = block(comm.rank, shape, dtype)
    total = all_sum(mine, comm)
    assert total.dtype == dtype and torch.equal(total, expected)
    assert torch.equal(mine, block(comm.rank, shape, dtype))
    assert torch.equal(start_sum(mine, comm).wait(), expected)
    InPlaceSum(mine, comm)()
    assert torch.equal(mine, expected)


@pytest.mark.parallel(SIZES)
@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "c16", "i4", "u1"])
def test_the_sum_of_arrays(comm, dtype):
    def held(rank):
        return (np.arange(6).reshape(2, 3) + rank).astype(dtype)

    expected = sum(held(r) for r in range(comm.size)).astype(dtype)
    total = all_sum(held(comm.rank).T, comm)
    assert total.dtype == np.dtype(dtype) and np.array_equal(total, expected.T)
    mine = held(comm.rank)
    InPlaceSum(mine, comm)()
    assert np.array_equal(mine, expected)


@pytest.mark.parallel(SIZES)
def test_numbers_keep_their_type(comm):
    ranks = range(comm.size)
    for value, expected in [
        (comm.rank + 1, sum(ranks) + comm.size),
        (0.5 * comm.rank, 0.5 * sum(ranks)),
        (1j * comm.rank, 1j * sum(ranks)),
        (np.float32(comm.rank), np.float32(sum(ranks))),
    ]:
        total = all_sum(value, comm)
        assert total == expected and type(total) is type(expected)
    assert (all_max(comm.rank, comm), all_min(comm.rank, comm)) == (comm.size - 1, 0)
    assert isinstance(all_max(comm.rank, comm), int) and isinstance(all_max(0.5, comm), float)


@pytest.mark.parallel(SIZES)
def test_booleans_are_counted_or_joined(comm):
    first = comm.rank == 0
    assert all_sum(first, comm) == 1
    assert torch.equal(all_sum(torch.tensor([True, first]), comm), torch.tensor([comm.size, 1]))
    assert all_max(first, comm) is True and all_min(first, comm) is (comm.size == 1)
    assert torch.equal(all_min(torch.tensor([True, first]), comm), torch.tensor([True, comm.size == 1]))


@pytest.mark.parallel(SIZES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64], ids=str)
def test_extremes_entry_by_entry(comm, dtype):
    held = torch.stack([block(r, (5,), dtype) for r in range(comm.size)])
    assert torch.equal(all_max(held[comm.rank], comm), held.amax(0))
    assert torch.equal(all_min(held[comm.rank], comm), held.amin(0))


@pytest.mark.parallel(SIZES)
@pytest.mark.parametrize("where", [0, -1], ids=["first-rank", "last-rank"])
def test_not_a_number_on_any_rank_is_seen_on_all(comm, where):
    mine = np.array([1.0, -np.inf, np.inf, comm.rank])
    if comm.rank == where % comm.size:
        mine[0] = np.nan
    assert np.array_equal(all_max(mine, comm), [np.nan, -np.inf, np.inf, comm.size - 1], equal_nan=True)
    assert np.array_equal(all_min(mine, comm), [np.nan, -np.inf, np.inf, 0], equal_nan=True)
    assert np.isnan(all_max(float(mine[0]), comm))


@pytest.mark.parallel(SIZES)
def test_a_sum_in_the_background_leaves_time_for_other_communication(comm):
    gradient = torch.full((1000,), float(comm.rank))
    add_up = InPlaceSum(gradient, comm)
    for _ in range(3):
        gradient.fill_(comm.rank)
        add_up.start()
        assert all_sum(1, comm) == comm.size
        add_up.wait()
        assert torch.equal(gradient, torch.full((1000,), float(sum(range(comm.size)))))


@pytest.mark.parallel([2])
def test_a_sum_is_not_started_twice(comm):
    add_up = InPlaceSum(torch.ones(3), comm)
    add_up.start()
    with pytest.raises(CommunicationError, match="started twice"):
        add_up.start()
    add_up.wait()


@pytest.mark.parallel([1, 2])
def test_a_result_is_outside_of_autograd(comm):
    weight = torch.ones(3, requires_grad=True)
    assert not all_sum(weight, comm).requires_grad
    InPlaceSum(weight, comm)()
    assert weight.tolist() == [comm.size] * 3 and weight.grad_fn is None


@pytest.mark.parametrize(
    "buffer", [torch.ones(4, 4).t()[1:], np.ones((4, 4))[:, 1], torch.ones(3, dtype=torch.bool)], ids=["view", "array", "bool"]
)
def test_a_buffer_that_cannot_be_summed_in_place_is_named(buffer, comm):
    with pytest.raises(ShapeError, match="contiguous"):
        InPlaceSum(buffer, comm)


def test_complex_numbers_have_no_extreme(comm):
    with pytest.raises(ShapeError, match="complex"):
        all_max(1j, comm)


@pytest.mark.parallel(SIZES)
def test_ranks_agree_only_if_all_say_yes(comm):
    assert agree(True, comm) is True
    assert agree(comm.rank != comm.size - 1, comm) is False
    assert agree(False, comm) is False


@pytest.mark.parallel([2])
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_gpu_memory_is_staged(comm, gpu, dtype, monkeypatch):
    monkeypatch.setattr("hpcml.mpi.reductions.gpu_aware", lambda: False)
    expected = block(0, (5,), dtype) + block(1, (5,), dtype)
    mine = block(comm.rank, (5,), dtype).to(gpu)
    assert torch.equal(all_sum(mine, comm), expected.to(gpu))
    InPlaceSum(mine, comm)()
    assert torch.equal(mine, expected.to(gpu))
    assert all_max(mine.real, comm).device.type == gpu.type
