"""One fused pass is torch's AdamW."""

import math

import pytest
import torch

from hpcml.core.errors import ShapeError
from hpcml.kernels.adam import adam_step
from hpcml.kernels.adam_twin import adam_twin


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)], ids=["float32", "float64"])
def test_steps_are_those_of_torch(backend, device, dtype, tolerance, decay):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, 13, dtype=dtype, generator=generator).to(device)
    theirs = torch.nn.Parameter(start.clone())
    optimiser = torch.optim.AdamW([theirs], lr=0.02, betas=(0.8, 0.99), eps=1e-7, weight_decay=decay)
    ours, mean, square = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for step in range(1, 11):
        theirs.grad = torch.randn(5, 13, dtype=dtype, generator=generator).to(device)
        adam_step(ours, theirs.grad, mean, square, step, 0.02, (0.8, 0.99), 1e-7, decay)
        optimiser.step()
    # Ten steps of size 0.02 onto values up to 3, rounded in another order: a few units in the last place.
    assert (ours - theirs).abs().max() < tolerance


def test_the_kernel_agrees_with_its_twin(backend, device):
    generator = torch.Generator().manual_seed(1)
    ours = [torch.rand(1001, dtype=torch.float64, generator=generator).to(device) for _ in range(4)]
    theirs = [t.clone() for t in ours]
    adam_step(*ours, 3, 0.1, (0.9, 0.999), 1e-8, 0.01)
    adam_twin(*theirs, 1001, 1 - 0.1 * 0.01, 1 - 0.9, 0.999, 1 - 0.999, 0.1 / (1 - 0.9**3), math.sqrt(1 - 0.999**3), 1e-8)
    assert all(torch.equal(a, b) for a, b in zip(ours[1:], theirs[1:], strict=True))
    # The square root of torch, unlike that of the kernel and of NumPy, is not always the nearest number: one unit in the last place.
    assert (ours[0] - theirs[0]).abs().max() <= 2.3e-16


def test_a_parameter_that_requires_grad_is_updated_in_place():
    parameter = torch.nn.Parameter(torch.ones(3))
    adam_step(parameter, torch.ones(3), torch.zeros(3), torch.zeros(3), 1, lr=0.5)
    # The first step has the size of lr, up to epsilon over the gradient and float32 round-off.
    assert (parameter - 0.5).abs().max() < 1e-6


def test_what_does_not_fit_is_named():
    with pytest.raises(ShapeError, match="step 0"):
        adam_step(*(torch.zeros(3) for _ in range(4)), 0)
    with pytest.raises(ShapeError, match=r"\(4,\)"):
        adam_step(torch.zeros(3), torch.zeros(4), torch.zeros(3), torch.zeros(3), 1)
