"""The in-place exchange is the serial pad, bit for bit, whichever way the bytes go; its adjoint passes the dot-product test exactly."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hpcml.core.errors import CommunicationError, ConfigError, DeviceError, ShapeError
from hpcml.kernels.device import cupy_found
from hpcml.parallel.adjoint import adjoint_error
from hpcml.parallel.deep_halo import DeepHalo
from hpcml.parallel.exchange import traffic
from hpcml.parallel.halo_plan import HaloPlan
from hpcml.parallel.layout import Layout
from hpcml.parallel.transport.choice import datatypes_possible
from hpcml.topology.process_grid import choose_dims

BACKENDS = ["shared", "mpi", "staged", *(["datatype"] if datatypes_possible() else [])]
ON_GPU = ["shared", "mpi", "staged", "one-shot", "nccl"] if torch.cuda.is_available() and cupy_found() else []
WAYS = [*((name, "cpu") for name in BACKENDS), *(pytest.param(name, "cuda", marks=pytest.mark.gpu) for name in ON_GPU)]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.complex64]
SHAPES = [(9,), (9, 5), (7, 4, 5)]
OUTSIDE = 99.0  # what a cell outside the grid holds, and a ghost that nobody fills


def field(shape):
    """Cells that differ from their neighbors by whole numbers that all dtypes hold."""
    return (torch.arange(float(np.prod(shape))) % 251).view(shape)


def padded(x, width, periodic):
    """`numpy.pad` of the whole grid, which for a width above the size goes around more than once."""
    more = {"mode": "wrap"} if periodic else {"constant_values": OUTSIDE}
    return torch.from_numpy(np.pad(x.numpy(), width, **more))


def without_corners(block, width):
    """The same with the ghosts beyond an edge or a corner as they were."""
    beyond = torch.zeros(block.shape, dtype=torch.int64)
    for d, n in enumerate(block.shape):
        outside = torch.ones(n, dtype=torch.int64)
        outside[width : n - width] = 0
        beyond += outside.view([-1 if e == d else 1 for e in range(block.dim())])
    return torch.where(beyond > 1, OUTSIDE, block)


def whole_numbers(like, seed):
    """Small whole numbers, of which products and sums are exact in every dtype."""
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randint(-2, 3, like.shape, generator=generator).float() for _ in range(2)]
    return (torch.complex(*parts) if like.dtype.is_complex else parts[0]).to(like)


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize(("backend", "device"), WAYS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_exchange_is_the_serial_pad_and_accumulate_its_adjoint(comm, shape, backend, device):
    whole = field(shape)
    layout = Layout.blocks(shape, choose_dims(shape, comm.size))
    if backend == "nccl" and comm.size > torch.cuda.device_count():
        with pytest.raises(DeviceError, match="NCCL wants a GPU for each rank, and ranks 0 and 1 share"):
            HaloPlan(comm, layout, torch.zeros([n + 2 for n in layout.local_shape(comm.rank)], device=device), backend=backend)
        return
    for width, corners, periodic in itertools.product((1, 2, 3), (True, False), (True, False)):
        cut = tuple(slice(a, b + 2 * width) for a, b in layout.box(comm.rank))
        expected = padded(whole, width, periodic)[cut]
        expected = expected if corners else without_corners(expected, width)
        for dtype in DTYPES:
            blocks = [torch.full((c, *expected.shape), OUTSIDE, dtype=dtype, device=device) for c in (1, 2)]
            with HaloPlan(comm, layout, *blocks, widths=width, periodic=periodic, corners=corners, backend=backend) as halo:
                for block in blocks:
                    block[halo.interior] = whole[tuple(slice(*r) for r in layout.box(comm.rank))].to(dtype)
                assert set(halo.routes.values()) <= ({backend} if device == "cpu" or backend != "mpi" else {"mpi", "staged"})
                for _ in range(3):  # both halves, and the first again
                    halo.exchange(*blocks)
                for block in blocks:
                    assert torch.equal(block.cpu(), expected.to(dtype).expand(block.shape)), (width, corners, periodic, dtype)
                x, y = ([whole_numbers(b, seed + comm.rank) for b in blocks] for seed in (0, 50))
                error = adjoint_error(lambda *a, h=halo: run(h.exchange, a), lambda *a, h=halo: run(h.accumulate, a), x, y, comm)
                assert error <= 1e-12, (width, corners, periodic, dtype)  # whole numbers leave no round-off in the sums


def run(operator, fields):
    copies = [f.clone() for f in fields]
    operator(*copies)
    return copies


class NoOperation(TorchDispatchMode):
    """Fails at any operation of torch: what allocates a tensor is one."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        raise AssertionError(f"{function} was called")


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("backend", BACKENDS[:2] + BACKENDS[3:])
def test_a_call_allocates_nothing(comm, backend):
    layout = Layout.blocks((128, 128), choose_dims((128, 128), comm.size))
    u = torch.zeros([n + 2 for n in layout.local_shape(comm.rank)], dtype=torch.float64)
    with HaloPlan(comm, layout, u, periodic=True, backend=backend) as halo:
        for call in (halo.exchange, halo.accumulate):
            for _ in range(3):
                call(u)
            with NoOperation():
                tracemalloc.start()
                before, _ = tracemalloc.get_traced_memory()
                for _ in range(20):
                    call(u)
                after, peak = tracemalloc.get_traced_memory()
                tracemalloc.stop()
            # Some Python numbers and tuples come and go; a face of 64 cells would be 512 bytes each time.
            assert after - before < 2048 and peak - before < 4096


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("array", [np.zeros, torch.zeros], ids=["numpy", "torch"])
@pytest.mark.parametrize("backend", [None, *BACKENDS[3:]])
def test_fields_may_change_and_be_laid_out_in_any_way(comm, array, backend):
    shape = (8, 6)
    layout = Layout.blocks(shape, choose_dims(shape, comm.size))
    rows, columns = (n + 2 for n in layout.local_shape(comm.rank))
    whole = field(shape)
    expected = padded(whole, 1, True)[tuple(slice(a, b + 2) for a, b in layout.box(comm.rank))]
    both = [array((columns, rows)).T for _ in range(2)]
    with HaloPlan(comm, layout, both[0], periodic=True, backend=backend) as halo:
        for u in [*both, both[0]]:
            u[halo.interior] = whole[tuple(slice(*r) for r in layout.box(comm.rank))]
            halo.exchange(u)
            np.testing.assert_array_equal(np.asarray(u), expected)


@pytest.mark.parallel([1, 2, 3, 4])
def test_inner_and_rim_are_the_interior(comm):
    layout = Layout.blocks((12, 9), choose_dims((12, 9), comm.size))
    u = torch.zeros([n + 4 for n in layout.local_shape(comm.rank)])
    with HaloPlan(comm, layout, u, widths=2) as halo:
        for reach in (1, 2, 3, 6):
            u.zero_()
            u[halo.inner(reach)] += 1
            for box in halo.rim(reach):
                u[box] += 1
            assert (u[halo.interior] == 1).all() and u.sum() == np.prod(layout.local_shape(comm.rank))


@pytest.mark.parallel([2])
def test_a_step_that_begins_too_early_is_refused_and_the_one_in_flight_arrives(comm):
    u = torch.full((5,), -1.0)
    with HaloPlan(comm, Layout.blocks((6,), (2,)), u, periodic=True, backend="shared") as plan:
        u[1:4] = 3.0 * comm.rank + torch.arange(3)
        plan.exchange(u)
        way, u[1:4] = plan._forward, u[1:4] + 10
        plan.begin(u)
        with pytest.raises(CommunicationError, match="started again before it was waited for"):
            way.exchange.exchange.run(way.turns)
        plan.end()
        assert u[[0, 4]].tolist() == ([15.0, 13.0] if comm.rank == 0 else [12.0, 10.0])
        plan.exchange(u)
        plan.close()
        with pytest.raises(CommunicationError, match="was closed"):
            plan.exchange(u)


@pytest.mark.parallel([2, 3])
def test_all_fields_share_one_message_that_travels_between_begin_and_end(comm):
    layout = Layout.blocks((12,), (comm.size,))
    u, v = torch.zeros(12 // comm.size + 2), torch.zeros(3, 12 // comm.size + 2, dtype=torch.float64)
    with HaloPlan(comm, layout, u, v, periodic=True) as halo:
        traffic.reset()
        halo.begin(u, v)
        with pytest.raises(CommunicationError, match="in flight"):
            halo.begin(u, v)
        halo.end()
        with pytest.raises(CommunicationError, match="without begin"):
            halo.end()
        assert traffic.messages == len({(comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size})
        assert traffic.bytes in (2 * (4 + 24), 2 * (8 + 24))  # a double starts at a multiple of eight


@pytest.mark.parallel([2, 4])
def test_neighbors_may_be_reached_in_different_ways(comm, monkeypatch):
    """Ranks of one node that cannot share memory, as in containers of their own, fall back to MPI pair by pair."""
    from hpcml.parallel.transport import connect

    if comm.rank == 1:
        monkeypatch.setattr(connect, "_own_memory", lambda nbytes: None)
    layout = Layout.blocks((8,), (comm.size,))
    u = torch.full((8 // comm.size + 2,), float(comm.rank))
    with HaloPlan(comm, layout, u, periodic=True) as halo:
        halo.exchange(u)
        assert (u[0], u[-1]) == ((comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size)
        routes = halo.routes
        assert all(way == ("mpi" if 1 in (comm.rank, peer) else "shared") for peer, way in routes.items())


@pytest.mark.parallel([1, 2])
def test_misuse_is_named(comm, monkeypatch):
    layout = Layout.blocks((8,), (comm.size,))
    local = 8 // comm.size
    with pytest.raises(ShapeError, match=rf"expected fields that end in \({local + 2},\)"):
        HaloPlan(comm, layout, torch.zeros(local))
    u = torch.zeros(local + 2)
    with HaloPlan(comm, layout, u, periodic=True) as halo:
        with pytest.raises(ShapeError, match="make a plan for it"):
            halo.exchange(torch.zeros(2, local + 2))
        halo.exchange(u)  # the refused field has not been sent
    with pytest.raises(CommunicationError, match="closed"):
        halo.exchange(u)
    monkeypatch.setenv("HPCML_HALO_BACKEND", "pigeon")
    with pytest.raises(ConfigError, match="pigeon"):
        HaloPlan(comm, layout, u)


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_deep_halos_compute_what_one_rank_computes(comm, width, periodic):
    """Seven steps of a 9-point mean, with an exchange in every k-th, equal those of the whole grid bit for bit."""
    shape = (13, 9)
    layout = Layout.blocks(shape, choose_dims(shape, comm.size))
    whole = field(shape).double()

    def mean(u, cells):
        (_, y, x) = cells
        total = sum(u[y.start + i : y.stop + i, x.start + j : x.stop + j] for i in (-1, 0, 1) for j in (-1, 0, 1))
        return total / 9

    serial, inside = whole, (..., slice(1, 14), slice(1, 10))
    for _ in range(7):
        serial = mean(padded(serial, 1, periodic), inside)
    u, v = (torch.full([n + 2 * width for n in layout.local_shape(comm.rank)], OUTSIDE, dtype=torch.float64) for _ in range(2))
    with HaloPlan(comm, layout, u, widths=width, periodic=periodic) as plan:
        halo = DeepHalo(plan)
        u[plan.interior] = whole[tuple(slice(*r) for r in layout.box(comm.rank))]
        traffic.reset()
        for _ in range(7):
            cells = halo.step(u)
            v[cells] = mean(u, cells)
            u, v = v, u
        assert traffic.messages == -(-7 // width) * len(plan.routes)
        assert torch.equal(u[plan.interior], serial[tuple(slice(*r) for r in layout.box(comm.rank))])
