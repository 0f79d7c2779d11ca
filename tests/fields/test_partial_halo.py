"""Some channels see the neighbors, the others do not; with all of them, or on one rank, it is the halo itself."""

import pytest
import torch

from hpcml.core.errors import ConfigError
from hpcml.fields import Grid, decompose
from hpcml.fields.partial_halo import PartialHalo
from hpcml.mpi.reductions import all_sum
from hpcml.parallel.exchange import traffic

ENDLESS = float("inf")


@pytest.fixture
def domain(comm):
    with decompose(Grid((7, 8), periodic=(True, False)), comm) as domain:
        yield domain


def block(domain, rng, channels=4):
    whole = torch.from_numpy(rng.standard_normal((2, channels, *domain.global_shape)))
    return whole[domain.index].clone().requires_grad_()


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("channels", [4, 9])
def test_all_channels_are_the_halo_with_its_gradient(domain, rng, channels):
    x = block(domain, rng)
    (expected,) = domain.halo(x, widths=((1, 2), (1, 0)))
    ours = PartialHalo(domain, channels, widths=((1, 2), (1, 0)))(x)
    assert torch.equal(ours, expected)
    weight = torch.from_numpy(rng.standard_normal(expected.shape))
    assert torch.equal(*(torch.autograd.grad((y * weight).sum(), x)[0] for y in (ours, expected)))


@pytest.mark.parallel([1, 2, 3])
def test_the_shared_are_fresh_and_the_private_are_ones_own(domain, comm, rng):
    x = block(domain, rng)
    ours = PartialHalo(domain, channels=3, tolerance=ENDLESS)(x)
    (fresh,) = domain.halo(x)
    assert torch.equal(ours[:, :3], fresh[:, :3])
    for d, ranks in enumerate(domain.process_grid.dims):
        if ranks > 1:
            edge, ghost = (ours[:, 3].select(d - 2, k) for k in (1, 0))
            assert torch.equal(ghost, edge)
    assert comm.size > 1 or torch.equal(ours, fresh)


@pytest.mark.parallel([1, 2, 3])
def test_its_gradient_is_its_adjoint(domain, rng):
    x = block(domain, rng)
    halo = PartialHalo(domain, channels=1, tolerance=ENDLESS)
    ours = halo(x)
    y = torch.randn_like(ours)
    (back,) = torch.autograd.grad(ours, x, y)
    one, other = all_sum((ours.detach() * y).sum(), domain.comm), all_sum((x.detach() * back).sum(), domain.comm)
    assert abs(one - other) < 1e-12 * float(one.abs() + 1)  # round-off of some hundred products


@pytest.mark.parallel([2, 3])
def test_only_the_shared_channels_travel(domain, rng):
    x, halo = block(domain, rng), None
    halo = PartialHalo(domain, channels=1, tolerance=ENDLESS)
    halo(x)
    traffic.reset()
    halo(x)
    partial = traffic.bytes
    traffic.reset()
    domain.halo(x)
    assert traffic.bytes == 4 * partial


@pytest.mark.parallel([1, 2, 3])
def test_the_monitor_calls_on_all_ranks_before_the_result_is_used(domain, comm, rng):
    x = block(domain, rng).detach()
    halo = PartialHalo(domain, channels=1, tolerance=1e-3, every=2)
    still = torch.ones_like(x)
    assert torch.equal(halo(still), halo(still)) and halo.channels == 1  # looked at, and not looked at
    (fresh,) = domain.halo(x)
    assert torch.equal(halo(x), fresh)
    assert halo.channels == (1 if comm.size == 1 else None)
    assert torch.equal(halo(x), fresh)


def test_no_channel_is_refused(domain):
    with pytest.raises(ConfigError, match="at least one channel, got 0"):
        PartialHalo(domain, channels=0)
