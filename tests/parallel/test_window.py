"""A window is `torch.nn.functional.pad` of the whole field cut out; its adjoint passes the dot-product test."""

import itertools

import numpy as np
import pytest
import torch

from hpcml.core.errors import CommunicationError, ShapeError
from hpcml.parallel.adjoint import adjoint_error
from hpcml.parallel.exchange import traffic
from hpcml.parallel.layout import Layout
from hpcml.parallel.segments import BOUNDARIES
from hpcml.parallel.window import window, window_adjoint
from hpcml.parallel.window_plan import WindowPlan
from hpcml.topology.process_grid import choose_dims

NUMPY_MODE = {"periodic": "wrap", "zero": "constant", "constant": "constant", "reflect": "reflect", "replicate": "edge"}
SHAPES = [(11,), (9, 7), (7, 6, 8)]
ROUND_OFF = 1e-12  # the bar of every dot-product test; sums of some thousand float64 products stay near 1e-15


def coordinates(shape):
    """A field whose cells hold their own global number: a wrong cell is a wrong value."""
    return torch.arange(1.0, np.prod(shape) + 1, dtype=torch.float64).view(shape)


def all_dims(shape, size):
    return [
        d
        for d in itertools.product(range(1, size + 1), repeat=len(shape))
        if np.prod(d) == size and all(p <= n for p, n in zip(d, shape, strict=True))
    ]


def padded(x, widths, boundary, fill=0.0):
    for d, ((lower, upper), rule) in enumerate(zip(widths, boundary, strict=True)):
        pad = [(0, 0)] * x.ndim
        pad[d] = (lower, upper)
        more = {"constant_values": fill} if NUMPY_MODE[rule] == "constant" else {}
        x = np.pad(x, pad, mode=NUMPY_MODE[rule], **more)
    return x


@pytest.mark.parallel([1, 2, 3, 4, 6])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_halo_is_the_serial_pad(comm, shape, boundary):
    whole = coordinates(shape)
    rules = (boundary,) * len(shape)
    for dims in all_dims(shape, comm.size):
        layout = Layout.blocks(shape, dims)
        for widths in [((1, 1),) * len(shape), tuple((d, 3 - d) for d in range(len(shape))), ((5, 4),) * len(shape)]:
            plan = WindowPlan(comm, layout, layout.widened(widths), rules)
            block = whole[tuple(slice(*r) for r in layout.box(comm.rank))]
            (ours,) = plan.forward([block], fill=-3.0)
            serial = padded(whole.numpy(), widths, rules, fill=-3.0)
            cut = tuple(slice(a, b + lo + hi) for (a, b), (lo, hi) in zip(layout.box(comm.rank), widths, strict=True))
            np.testing.assert_array_equal(ours.numpy(), serial[cut], err_msg=f"{dims} {widths}")
            plan.close()


@pytest.mark.parallel([1, 2, 3, 4, 6])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_adjoint(comm, shape, boundary, dtype):
    torch.manual_seed(comm.rank)
    layout = Layout.blocks(shape, choose_dims(shape, comm.size))
    plan = WindowPlan(comm, layout, layout.widened(((2, 3),) * len(shape)), (boundary,) * len(shape))
    x = [torch.randn(2, c, *plan.source_shape, dtype=dtype) for c in (1, 3)]
    y = [torch.randn(2, c, *plan.target_shape, dtype=dtype) for c in (1, 3)]
    assert adjoint_error(lambda *a: window(plan, *a), lambda *a: window_adjoint(plan, *a), x, y, comm) < ROUND_OFF
    assert adjoint_error(lambda *a: window_adjoint(plan, *a), lambda *a: window(plan, *a), y, x, comm) < ROUND_OFF
    consumed = plan.adjoint([t.clone() for t in y], consume=True)
    assert all(torch.equal(a, b) for a, b in zip(consumed, window_adjoint(plan, *y), strict=True))
    plan.close()


@pytest.mark.parallel([1, 2, 3])
def test_second_derivative(comm):
    """d/dx of |dL/dx|^2 for L = sum (Wx)^3 equals the serial one."""
    shape = (8, 5)
    layout = Layout.blocks(shape, choose_dims(shape, comm.size))
    plan = WindowPlan(comm, layout, layout.widened(((1, 1), (2, 0))), ("periodic", "reflect"))
    whole = coordinates(shape) / 40
    serial = whole.clone().requires_grad_()
    pad = torch.nn.functional.pad
    wide = pad(pad(serial[None, None], (0, 0, 1, 1), mode="circular"), (2, 0, 0, 0), mode="reflect")

    def wide_grad(x, y):
        (g,) = torch.autograd.grad((y**3).sum(), x, create_graph=True)
        return torch.autograd.grad((g**2).sum(), x)[0]

    # Sum over the windows counts a cell once for each window that reads it, so the serial pad is cut into the same windows.
    windows = [wide[0, 0, a : b + 2, c : d + 2] for a, b in layout.ranges[0] for c, d in layout.ranges[1]]
    expected = wide_grad(serial, torch.cat([w.reshape(-1) for w in windows]))
    cut = tuple(slice(*r) for r in layout.box(comm.rank))
    block = whole[cut].clone().requires_grad_()
    ours = wide_grad(block, window(plan, block)[0])
    torch.testing.assert_close(ours, expected[cut], rtol=1e-13, atol=1e-13)  # float64 sums in another order
    plan.close()


@pytest.mark.parallel([2, 3])
def test_all_fields_share_one_message_and_buffers_are_kept(comm):
    layout = Layout.blocks((12,), (comm.size,))
    plan = WindowPlan(comm, layout, layout.widened(((1, 1),)), ("periodic",))
    fields = [torch.randn(c, *plan.source_shape) for c in (1, 4)]
    plan.forward(fields)
    buffers = [b.data_ptr() for bound in plan._bound.values() for half in bound.exchange.halves for b in half.send.values()]
    traffic.reset()
    plan.forward(fields)
    assert traffic.messages == len({(comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size})
    assert traffic.bytes == 2 * 5 * 4
    assert buffers == [b.data_ptr() for bound in plan._bound.values() for half in bound.exchange.halves for b in half.send.values()]
    plan.close()


@pytest.mark.parallel([1, 2])
def test_any_dtype_travels(comm):
    layout = Layout.blocks((8,), (comm.size,))
    plan = WindowPlan(comm, layout, layout.widened(((1, 1),)), ("periodic",))
    for dtype in (torch.float32, torch.bfloat16, torch.complex64, torch.int64, torch.bool):
        whole = (torch.arange(8) % 3).to(dtype)
        (ours,) = plan.forward([whole[slice(*layout.box(comm.rank)[0])]])
        assert torch.equal(ours, torch.cat([whole[-1:], whole, whole[:1]])[layout.box(comm.rank)[0][0] :][: len(ours)])
    plan.close()


@pytest.mark.parallel([2])
def test_an_exception_in_between_leaves_nothing_pending(comm):
    layout = Layout.blocks((8,), (2,))
    plan = WindowPlan(comm, layout, layout.widened(((1, 1),)), ("periodic",))
    block = torch.randn(*plan.source_shape)

    def fail():
        raise ArithmeticError("in between")

    with pytest.raises(ArithmeticError):
        plan.forward([block], meanwhile=fail)
    comm.Barrier()
    (ours,) = plan.forward([block])
    assert torch.equal(ours[1:-1], block)
    plan.close()


@pytest.mark.parallel([1, 2])
def test_misuse_is_named(comm):
    layout = Layout.blocks((8,), (comm.size,))
    plan = WindowPlan(comm, layout, layout.widened(((1, 1),)), ("periodic",))
    with pytest.raises(ShapeError, match=r"local shape \(\d,\), got \(3,\)"):
        plan.forward([torch.zeros(3)])
    plan.forward([torch.zeros(plan.source_shape)])
    (bound,) = plan._bound.values()
    bound.exchange.start()
    with pytest.raises(CommunicationError, match="wait"):
        bound.exchange.start()
    bound.exchange.wait()
    plan.close()
