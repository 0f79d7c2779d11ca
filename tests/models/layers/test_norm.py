"""Norms over many ranks are torch's norms of the whole field and batch: output, gradients, running statistics, second derivative."""

import pytest
import torch
from torch import nn

from hpcml.core.errors import CommunicationError, ShapeError
from hpcml.fields import Grid, decompose
from hpcml.models import layers
from hpcml.parallel import global_sum

TIGHT = 1e-12  # the bar for float64, relative to the largest entry
SHAPES = {1: (13,), 2: (7, 9), 3: (5, 6, 4)}
RANKS = pytest.mark.parallel([1, 2, 3])


def assert_close(a, b, bound=TIGHT):
    assert a.shape == b.shape and a.dtype == b.dtype
    error = float((a - b).detach().abs().max() / b.detach().abs().max().clamp_min(1e-30))
    assert error <= bound, error


def random_like(rng, *shape):
    return torch.from_numpy(rng.standard_normal(shape))


def randomize(module, rng):
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(random_like(rng, *p.shape))


NORMS = [
    ("BatchNorm{D}d", (4,), {}),
    ("BatchNorm{D}d", (4,), {"momentum": None}),
    ("BatchNorm{D}d", (4,), {"affine": False, "momentum": 0.3, "eps": 1e-2}),
    ("BatchNorm{D}d", (4,), {"track_running_stats": False}),
    ("InstanceNorm{D}d", (4,), {}),
    ("InstanceNorm{D}d", (4,), {"affine": True, "track_running_stats": True}),
    ("InstanceNorm{D}d", (4,), {"track_running_stats": True, "momentum": None}),
    ("GroupNorm", (1, 4), {}),
    ("GroupNorm", (2, 4), {"eps": 1e-2}),
    ("GroupNorm", (4, 4), {"affine": False}),
    ("LayerNorm", "CS", {}),
    ("LayerNorm", "S", {}),
    ("LayerNorm", "CS", {"bias": False}),
    ("LayerNorm", "S", {"elementwise_affine": False}),
]


def build(name, args, options, domain, dtype=torch.float64):
    """Our layer and torch's, with the same random parameters."""
    if isinstance(args, str):
        args = ([4, *domain.global_shape] if args == "CS" else list(domain.global_shape),)
    name = name.format(D=domain.num_dims)
    ours = getattr(layers, name)(domain, *args, **options, dtype=dtype)
    theirs = getattr(nn, name)(*args, **options, dtype=dtype)
    return ours, theirs


@RANKS
@pytest.mark.parametrize("num_dims", [1, 2, 3])
@pytest.mark.parametrize(("name", "args", "options"), NORMS, ids=str)
def test_equals_torch_on_the_whole_field(comm, rng, num_dims, name, args, options):
    shape = SHAPES[num_dims]
    groups = 2 if comm.size % 2 == 0 and num_dims == 2 else 1  # there the batch is shared too
    with decompose(Grid(shape), comm, data=groups) as domain:
        ours, theirs = build(name, args, options, domain)
        randomize(theirs, rng)
        ours.load_state_dict(theirs.state_dict())
        mine = slice(2 * domain.data_index, 2 * domain.data_index + 2)
        for training in (True, True, False):
            ours.train(training)
            theirs.train(training)
            whole = random_like(rng, 2 * groups, 4, *shape).mul_(2).add_(3).requires_grad_()
            cotangent = random_like(rng, *whole.shape)
            block = whole.detach()[mine][domain.index].clone().requires_grad_()
            y = ours(block)
            reference = theirs(whole)
            y.backward(cotangent[mine][domain.index])
            reference.backward(cotangent)
            assert_close(y, reference[mine][domain.index])
            assert_close(block.grad, whole.grad[mine][domain.index])
            for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
                assert_close(p.grad, q.grad)
            for p, q in zip(ours.buffers(), theirs.buffers(), strict=True):
                assert_close(p.double(), q.double())


@RANKS
@pytest.mark.parametrize(
    ("name", "args"), [("BatchNorm2d", (4,)), ("GroupNorm", (2, 4)), ("InstanceNorm2d", (4, 1e-5, 0.1, True)), ("LayerNorm", "CS")]
)
def test_the_second_derivative_is_torchs(comm, rng, name, args):
    """Gradient of |d/dx sum(c y^3)|^2, a gradient penalty."""
    with decompose(Grid((5, 6)), comm) as domain:
        ours, theirs = build(name, args, {}, domain)
        randomize(theirs, rng)
        ours.load_state_dict(theirs.state_dict())
        whole, c = random_like(rng, 2, 4, 5, 6).requires_grad_(), random_like(rng, 2, 4, 5, 6)
        block = whole.detach()[domain.index].clone().requires_grad_()

        def penalty(layer, x, c, total):
            (g,) = torch.autograd.grad(total((c * layer(x) ** 3).sum()), x, create_graph=True)
            total((g**2).sum()).backward()

        penalty(ours, block, c[domain.index], lambda s: global_sum(comm, s)[0])
        penalty(theirs, whole, c, lambda s: s)
        assert_close(block.grad, whole.grad[domain.index])
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert_close(p.grad, q.grad)


@RANKS
@pytest.mark.parametrize(("name", "args"), [("BatchNorm2d", (4,)), ("GroupNorm", (2, 4)), ("InstanceNorm2d", (4,)), ("LayerNorm", "S")])
def test_a_large_mean_costs_no_digits_in_float32(comm, rng, name, args):
    with decompose(Grid((8, 9)), comm) as domain:
        ours, _ = build(name, args, {}, domain, torch.float32)
        _, exact = build(name, args, {}, domain, torch.float64)
        whole = (random_like(rng, 2, 4, 8, 9) + 1000).float()  # the mean itself has a rounding error of 3e-5 deviations
        assert_close(ours(whole[domain.index]).double(), exact(whole.double())[domain.index], 1e-4)


@pytest.mark.parallel([1, 2, 3])
def test_mistakes_are_named_alike_on_every_rank(comm):
    with decompose(Grid((6, 6)), comm) as domain:
        with pytest.raises(ShapeError, match="BatchNorm3d works on fields of 3 dims"):
            layers.BatchNorm3d(domain, 4)
        with pytest.raises(ShapeError, match=r"expected \(6, 6\) or these after"):
            layers.LayerNorm(domain, 6)
        with pytest.raises(ShapeError, match="expected 4 channels"):
            layers.GroupNorm(domain, 2, 4)(torch.zeros(1, 2, *domain.local_shape))
        with pytest.raises(ShapeError, match="domain.scatter"):
            layers.BatchNorm2d(domain, 4)(torch.zeros(1, 4, 7, 7))
    if comm.size == 1:
        with decompose(Grid((1, 1)), comm) as domain, pytest.raises(ShapeError, match="more than one point"):
            layers.InstanceNorm2d(domain, 4)


@pytest.mark.parallel([2, 3])
@pytest.mark.parametrize(
    ("name", "args", "same_bits"),
    [(*norm, same) for norm in (("GroupNorm", (2, 4)), ("InstanceNorm2d", (4,)), ("BatchNorm2d", (4,))) for same in (False, True)]
    + [("LayerNorm", "S", False)],
)
def test_fields_of_other_numbers_on_one_rank_are_refused(comm, name, args, same_bits):
    """Statistics are gathered in float64, whatever they are of."""
    with decompose(Grid((9, 7)), comm, same_bits=same_bits) as domain:
        norm = build(name, args, {}, domain, torch.float32)[0]
        dtype = torch.float16 if comm.rank == 1 else torch.float32
        with pytest.raises(CommunicationError, match=f"rank 1 in {name} 1: .* float16"):
            norm(torch.ones(2, 4, *domain.local_shape, dtype=dtype))


@pytest.mark.parallel([1])
def test_one_rank_runs_torch_itself(comm, rng):
    with decompose(Grid((6, 6)), comm) as domain:
        x = random_like(rng, 2, 4, 6, 6).float()
        assert torch.equal(layers.BatchNorm2d(domain, 4)(x), nn.BatchNorm2d(4)(x))
        assert torch.equal(layers.GroupNorm(domain, 2, 4)(x), nn.GroupNorm(2, 4)(x))


EXTREMES = [("BatchNorm2d", (4,)), ("GroupNorm", (2, 4)), ("InstanceNorm2d", (4, 1e-5, 0.1, True)), ("LayerNorm", "CS")]


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize(("name", "args"), EXTREMES, ids=[name for name, _ in EXTREMES])
@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_units_whose_squares_leave_float32(comm, rng, name, args, unit):
    with decompose(Grid((8, 9)), comm) as domain:
        ours, _ = build(name, args, {}, domain, torch.float32)
        _, exact = build(name, args, {}, domain, torch.float64)
        whole = (unit * random_like(rng, 2, 4, 8, 9)).float().double().requires_grad_()
        c = random_like(rng, 2, 4, 8, 9).float()
        block = whole.detach()[domain.index].float().requires_grad_()
        y, reference = ours(block), exact(whole)
        y.backward(c[domain.index])
        reference.backward(c.double())
        for got, expected in ((y, reference[domain.index]), (block.grad, whole.grad[domain.index])):
            scale = float(expected.detach().abs().max())
            assert float((got.double() - expected).detach().abs().max()) <= 1e-5 * scale  # float32 after some operations


@RANKS
@pytest.mark.parametrize(("name", "args"), [*EXTREMES, ("InstanceNorm2d", (4, 1e-5, 0.1, False, True))], ids=str)
def test_an_empty_batch_is_empty_and_says_nothing(comm, name, args):
    """Running statistics stay as they are, parameters get zero gradients."""
    with decompose(Grid((6, 6)), comm) as domain:
        ours, _ = build(name, args, {}, domain)
        before = {k: v.clone() for k, v in ours.state_dict().items() if v.is_floating_point()}
        x = torch.zeros(0, 4, *domain.local_shape, dtype=torch.float64, requires_grad=True)
        y = ours(x)
        y.sum().backward()
        assert y.shape == x.shape and x.grad.shape == x.shape
        assert all(p.grad is not None and not p.grad.any() for p in ours.parameters())
        assert all(torch.equal(ours.state_dict()[k], v) for k, v in before.items())


@pytest.mark.parallel([2, 4])
def test_a_data_group_may_have_no_sample(comm, rng):
    """Statistics are then those of the other group."""
    with decompose(Grid((6, 6)), comm, data=2) as domain:
        ours, theirs = build("BatchNorm2d", (4,), {}, domain)
        whole = random_like(rng, 3, 4, 6, 6)
        mine = slice(0, 3) if domain.data_index == 0 else slice(3, 3)
        y, reference = ours(whole[mine][domain.index]), theirs(whole)
        if domain.data_index == 0:
            assert_close(y, reference[domain.index])
        assert_close(ours.running_var, theirs.running_var)


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize(("name", "args"), EXTREMES, ids=[name for name, _ in EXTREMES])
def test_a_norm_keeps_its_input_and_no_more(comm, rng, name, args):
    with decompose(Grid((16, 12)), comm) as domain:
        ours, _ = build(name, args, {}, domain)
        x = random_like(rng, 2, 4, *domain.local_shape).requires_grad_()
        kept = {}
        parameters = {p.untyped_storage().data_ptr() for p in ours.parameters()}

        def keep(t):
            kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            ours(x)
        own = sum(nbytes for where, nbytes in kept.items() if where not in parameters)
        assert own <= 1.1 * x.untyped_storage().nbytes() + 8 * 2 * 4 * 4  # and a few numbers per mean
