"""Operators between ranks are differentiated forward and by `torch.func` too: what they give over ranks is what one rank gives."""

import pytest
import torch
from torch.func import functional_call, grad, jvp, vjp, vmap

from hpcml.fields import Grid, decompose
from hpcml.fields.fft import irfftn, rfftn
from hpcml.models import FNO, UNet, layers
from hpcml.parallel import all_gather, all_reduce, broadcast, global_sum, replicated, sum_reduce

RANKS = pytest.mark.parallel([1, 2, 3])
TIGHT = {"rtol": 1e-11, "atol": 1e-12}  # float64 sums in another order

LINEAR = {
    "halo": lambda domain, x: domain.halo(x)[0],
    "gather": lambda domain, x: domain.gather(x),
    "scaled spectrum": lambda domain, x: irfftn(domain, 2 * rfftn(domain, x)),
    "all-gather": lambda domain, x: all_gather(domain.comm, x.sum()),
    "all-reduce": lambda domain, x: all_reduce(domain.comm, x.sum()),
    "broadcast": lambda domain, x: broadcast(domain.comm, x.sum()),
    "sum": lambda domain, x: sum_reduce(domain.comm, x.sum()),
    "global sum": lambda domain, x: global_sum(domain.comm, x.sum(), x.max())[0],
    "replicated": lambda domain, x: replicated(domain.comm, x.sum())[0],
    "roll": lambda domain, x: layers.roll(x, domain, 3),
}


@RANKS
@pytest.mark.parametrize("name", LINEAR)
def test_the_derivative_of_a_linear_operator_is_itself(comm, rng, name):
    operator = LINEAR[name]
    with decompose(Grid((7, 8)), comm) as domain:
        x, dx = (torch.from_numpy(rng.standard_normal((2, 3, 7, 8)))[domain.index].contiguous() for _ in range(2))
        expected = operator(domain, dx) if name != "global sum" else global_sum(domain.comm, dx.sum())[0]
        torch.testing.assert_close(jvp(lambda u: operator(domain, u), (x,), (dx,))[1], expected, **TIGHT)
        both = torch.stack([x, dx], 1)
        torch.testing.assert_close(
            vmap(lambda u: operator(domain, u), 1)(both), torch.stack([operator(domain, u) for u in (x, dx)]), **TIGHT
        )
        y, back = vjp(lambda u: operator(domain, u), x)
        leaf = x.clone().requires_grad_()
        operator(domain, leaf).backward(y)
        torch.testing.assert_close(back(y)[0], leaf.grad, **TIGHT)


def networks(domain):
    torch.manual_seed(0)
    yield FNO(domain, 2, 1, channels=4, modes=2, layers=1, norm="group").double()
    yield UNet(domain, 2, 1, channels=2, levels=2, norm="instance").double()
    yield torch.nn.Sequential(layers.Conv2d(domain, 2, 2, 1), layers.BatchNorm2d(domain, 2, track_running_stats=False)).double()
    yield torch.nn.Sequential(layers.LayerNorm(domain, (2, 8, 8)), layers.ConvTranspose2d(domain, 2, 1, 2, 2)).double()


@RANKS
@pytest.mark.parametrize("which", range(4), ids=["fno", "unet", "batch norm", "layer norm"])
def test_a_network_has_every_derivative_that_it_has_on_one_rank(comm, rng, which):
    """Forward-mode along fields and parameters, gradients of parameters, and a directional derivative of a gradient (a Hessian product)."""
    with decompose(Grid((8, 8)), comm) as domain:
        model, alone = (list(networks(d))[which] for d in (domain, domain.serial()))
        alone.load_state_dict(model.state_dict())
        x, dx = (torch.from_numpy(rng.standard_normal((2, 2, 8, 8))) for _ in range(2))
        w = dict(model.named_parameters())
        dw = {n: torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(1)) for n, p in w.items()}

        def both(network, where, total):
            def energy(parameters, u):
                return total(functional_call(network, parameters, (u,)).square().sum())

            inputs, tangents = x[where].contiguous(), dx[where].contiguous()
            value, slope = jvp(lambda p, u: functional_call(network, p, (u,)), (w, inputs), (dw, tangents))
            gradient = grad(energy)(w, inputs)
            twice = jvp(lambda p: grad(energy)(p, inputs), (w,), (dw,))[1]
            return value, slope, gradient, twice

        ours = both(model, domain.index, lambda s: global_sum(domain.comm, s)[0])
        theirs = both(alone, ..., lambda s: s)
        out = getattr(model if which < 2 else model[-1], "domain_out", domain).index
        for a, b in zip(ours[:2], theirs[:2], strict=True):
            torch.testing.assert_close(a, b[out], **TIGHT)
        for a, b in zip(ours[2:], theirs[2:], strict=True):
            scale = max(float(v.abs().max()) for v in b.values())
            for name in w:
                torch.testing.assert_close(a[name], b[name], rtol=0.0, atol=1e-11 * scale)


@RANKS
def test_forward_mode_without_functions(comm, rng):
    import torch.autograd.forward_ad as forward

    with decompose(Grid((7, 8)), comm) as domain:
        x, dx = (torch.from_numpy(rng.standard_normal((1, 1, 7, 8)))[domain.index].contiguous() for _ in range(2))
        with forward.dual_level():
            tangent = forward.unpack_dual(domain.halo(forward.make_dual(x, dx))[0]).tangent
        assert torch.equal(tangent, domain.halo(dx)[0])


@pytest.mark.parallel([1, 2])
def test_a_compiled_network_communicates_between_its_graphs(comm, rng):
    with decompose(Grid((8, 8)), comm) as domain:
        x = torch.from_numpy(rng.standard_normal((2, 2, 8, 8)))[domain.index].contiguous()
        convolutions = torch.nn.Sequential(layers.Conv2d(domain, 2, 2, 3, padding=1), layers.GroupNorm(domain, 1, 2)).double()
        for model in (convolutions, layers.SpectralConv(domain, 2, 1, 2).double(), layers.ChannelMLP(domain, 2).double()):
            compiled = torch.compile(model, backend="eager")
            y = compiled(x)
            gradients = torch.autograd.grad(y.square().sum(), list(model.parameters()))
            expected = model(x)
            torch.testing.assert_close(y, expected, **TIGHT)
            for a, b in zip(gradients, torch.autograd.grad(expected.square().sum(), list(model.parameters())), strict=True):
                torch.testing.assert_close(a, b, **TIGHT)
