"""The oracle of every network: the same network trained on one rank."""

import copy

import pytest
import torch

from hpcml.fields import Grid, decompose
from hpcml.parallel import global_sum


def train(network, domain, fields, targets, steps=20):
    """Adam on the mean square error of the whole field; parameters in order."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        (error,) = global_sum(domain.comm, (network(fields[domain.index]) - targets[domain.index]).square().sum() / targets.numel())
        error.backward()
        optimiser.step()
    return network.state_dict()


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def assert_trains_alike(comm, float64):
    """20 steps of Adam over ranks and on one rank lead to the same parameters, on each of the process grids."""

    def check(build, shape, all_dims, channels=(2, 1), periodic=True):
        torch.manual_seed(0)
        fields, targets = (torch.randn(3, c, *shape) for c in channels)
        for dims in all_dims:
            with decompose(Grid(shape, periodic=periodic), comm, dims=dims) as domain:
                network = build(domain)
                alone = build(domain.serial())
                alone.load_state_dict(copy.deepcopy(network.state_dict()))
                serial = train(alone, domain.serial(), fields, targets)
                for name, value in train(network, domain, fields, targets).items():
                    # The bar of the package: a step moves an entry by 1e-3 times a ratio of gradients, known to 1e-15 of the largest.
                    assert (value - serial[name]).abs().max() < 1e-10, (name, dims)

    return check
