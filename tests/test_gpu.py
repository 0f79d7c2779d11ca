"""What is computed on a GPU is what the CPU computes: every layer, network, loss and equation, a training run and its checkpoint.

On one rank and on ranks that share the card. The lists are those of the walk over the meta device.
"""

import pytest
import torch

from hpcml import equations, solvers
from hpcml.data.samples import Pairs
from hpcml.fields import Grid, decompose, difference, fft
from hpcml.io.checkpoint import Checkpointer
from hpcml.models.factory import build_network
from hpcml.training.trainer import Trainer
from tests.test_meta_device import ARGUMENTS, EQUATIONS, KINDS, LAYERS, LOSSES, MODELS, SHAPES

pytestmark = [pytest.mark.gpu, pytest.mark.parallel([1, 2])]
CLOSE = {"rtol": 1e-10, "atol": 1e-12}  # float64, sums of at most some thousand terms of size one in another order
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def results(make, comm, device, num_dims, channels=2, periodic=True):
    """Output and gradients of a module, or of a function of a domain and a field, on a device; on the CPU."""
    with decompose(Grid(SHAPES[num_dims], periodic=periodic), comm, device=device) as domain:
        torch.manual_seed(0)
        module = make(domain)
        x = noise(2, channels, *SHAPES[num_dims])[domain.index].to(device).requires_grad_()
        y = module(x)
        y.square().sum().backward()
        assert y.device.type == device.type
        parameters = module.parameters() if isinstance(module, torch.nn.Module) else ()
        return [tensor.detach().cpu() for tensor in (y, x.grad, *(p.grad for p in parameters))]


def assert_same(comm, gpu, make, num_dims=2, channels=2, periodic=True):
    for ours, expected in zip(*(results(make, comm, device, num_dims, channels, periodic) for device in (gpu, CPU)), strict=True):
        torch.testing.assert_close(ours, expected, **CLOSE)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer(name, comm, gpu):
    num_dims, makers = LAYERS[name]
    for make in makers:
        assert_same(comm, gpu, make, num_dims, 8 if name == "PixelShuffle" else 2)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("periodic", [True, False])
def test_a_network(name, periodic, comm, gpu):
    for make in MODELS[name]:
        assert_same(comm, gpu, make, periodic=periodic)


def test_losses_differences_and_transforms(comm, gpu):
    for loss in LOSSES:
        assert_same(comm, gpu, lambda domain, loss=loss: lambda x: loss(domain, x, torch.ones_like(x)))
    for operator in (difference.laplacian, difference.divergence):
        assert_same(comm, gpu, lambda domain, operator=operator: lambda x: operator(x, domain, order=4))
    assert_same(comm, gpu, lambda domain: lambda x: fft.irfftn(domain, fft.wavenumbers(domain)[0] * fft.rfftn(domain, x)))


@pytest.mark.parametrize("name", EQUATIONS)
def test_an_equation(name, comm, gpu):
    """Initial state, tendency, and some steps of its solver."""
    found = []
    for device in (gpu, CPU):
        with decompose(Grid(SHAPES[EQUATIONS[name]], periodic=name != "Darcy"), comm, device=device) as domain:
            equation = getattr(equations, name)(*ARGUMENTS.get(name, ()))
            state = equation.initial_state(domain, range(2))
            solver = solvers.build_solver(equation, domain, 1e-3)
            tensors = [state, equation.tendency(state, domain), solver.step(solver.step(state))]
            assert {tensor.device.type for tensor in tensors} == {device.type}
            found.append([tensor.cpu() for tensor in tensors])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)  # Darcy's solver stops at 1e-10


def trained(kind, comm, device, folder):
    with decompose(Grid(SHAPES[2], periodic=True), comm, device=device) as domain:
        torch.manual_seed(0)
        network = build_network(kind, domain, 2, 2, dtype=torch.float64)
        x = noise(4, 2, *SHAPES[2])[domain.index]
        trainer = Trainer(network, Pairs(domain, x, x.roll(1, 1)), batch_size=2, clip=1.0, learning_rate=1e-3)
        trainer.fit(epochs=3)
        state = network.state_dict()
        assert {value.device.type for value in state.values()} == {device.type}
        with Checkpointer(folder, comm, lazy=True) as checkpointer:
            checkpointer.save(1, state)
            checkpointer.wait()
            restored = checkpointer.restore().state
        return {name: (value.cpu(), torch.as_tensor(restored[name])) for name, value in state.items()}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_training_run_and_its_checkpoint(kind, comm, gpu, shared_path):
    ours, expected = (trained(kind, comm, device, shared_path / place) for device, place in ((gpu, "gpu"), (CPU, "cpu")))
    for name, (value, restored) in ours.items():
        assert torch.equal(value, restored)
        torch.testing.assert_close(value, expected[name][0], rtol=1e-8, atol=1e-10)  # through six steps of Adam


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_networks_of_16_bits(dtype, comm, gpu):
    torch.set_default_dtype(torch.float32)
    for makers in MODELS.values():
        with decompose(Grid(SHAPES[2]), comm, device=gpu) as domain:
            x = noise(2, 2, *SHAPES[2])[domain.index].to(gpu)
            torch.manual_seed(0)
            network = makers[0](domain).eval()  # without the noise of attention, which is another at every call
            with torch.autocast(gpu.type, dtype):
                y = network(x)
            y.float().square().mean().backward()
            expected = network(x)
        assert y.dtype is dtype and all(p.grad.dtype is torch.float32 and p.grad.isfinite().all() for p in network.parameters())
        assert (y - expected).norm() < 0.05 * expected.norm()  # some roundings of 2^-9 each
