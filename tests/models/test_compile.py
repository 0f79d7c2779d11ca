"""`torch.compile` of a whole network: the graph breaks where ranks communicate, and what is computed is the same."""

import copy

import pytest
import torch

from hpcml.fields import Grid, decompose
from hpcml.models import FNO, UNet

NETWORKS = {
    "fno": lambda domain: FNO(domain, 2, 1, channels=4, modes=3, layers=1, norm="group"),
    "unet": lambda domain: UNet(domain, 2, 1, channels=4, levels=1),
}


@pytest.mark.parallel([1, 2])
@pytest.mark.timeout(400)  # capturing graphs takes seconds of Python, more on a machine that is busy with other jobs
@pytest.mark.parametrize("network", NETWORKS)
def test_a_compiled_network_is_the_network(comm, network):
    torch._dynamo.reset()
    with decompose(Grid((18, 16), periodic=(True, False)), comm) as domain:
        torch.manual_seed(0)
        plain = NETWORKS[network](domain)
        twin = copy.deepcopy(plain)
        # The back end that runs graphs as they were captured: another one rounds in its own way.
        compiled, x = torch.compile(twin, backend="eager"), torch.randn(2, 2, *domain.local_shape, requires_grad=True)
        found = []
        for model, parameters in ((plain, plain.parameters()), (compiled, twin.parameters())):
            y = model(x)
            found.append([y, *torch.autograd.grad(y.square().sum(), [x, *parameters])])
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)  # float32
