"""The transforms of a distributed field are those of `torch.fft` on the whole field, in value, gradient and second derivative."""

import itertools
import math
from functools import partial

import pytest
import torch

from hpcml.core.errors import ConfigError, ShapeError, TopologyError
from hpcml.fields import Grid, decompose
from hpcml.fields.fft import fftn, ifftn, irfftn, rfftn, spectral_domain, wavenumbers
from hpcml.parallel import adjoint_error, traffic

SHAPES = [(13,), (12,), (9, 12), (12, 13), (8, 7, 12), (7, 8, 13)]
ROUND_OFF = 1e-12  # the bar of the package; transforms of a thousand float64 cells stay near 1e-15


def process_grids(shape, size):
    grids = itertools.product(range(1, size + 1), repeat=len(shape))
    return [dims for dims in grids if math.prod(dims) == size and all(p <= n for p, n in zip(dims, shape, strict=True))]


def pair(real):
    return (rfftn, irfftn) if real else (fftn, ifftn)


def serial(real, shape, norm):
    """Torch's transform of the last dims, and back."""
    dims = tuple(range(-len(shape), 0))
    if real:
        return lambda u: torch.fft.rfftn(u, dim=dims, norm=norm), lambda s: torch.fft.irfftn(s, shape, dims, norm)
    return lambda u: torch.fft.fftn(u, dim=dims, norm=norm), lambda s: torch.fft.ifftn(s, dim=dims, norm=norm)


def derivatives(transform, u, cotangent, direction):
    """Value; gradient of a function that bends; directional derivative of that gradient."""
    u = u.clone().requires_grad_()
    value = transform(u)
    bent = (value * value.conj() * cotangent).real.sum()
    (gradient,) = torch.autograd.grad(bent, u, create_graph=True)
    (second,) = torch.autograd.grad((gradient * direction.conj()).real.sum(), u)
    return value.detach(), gradient.detach(), second


def assert_blocks(ours, whole, domain):
    assert ours.shape == whole[domain.index].shape and ours.dtype == whole.dtype
    assert (ours - whole[domain.index]).abs().max() <= ROUND_OFF * whole.abs().max()


@pytest.mark.parallel([1, 2, 3, 4, 6])
@pytest.mark.parametrize("real", [True, False], ids=["real", "complex"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_process_grid_gives_the_serial_transform_and_its_derivatives(comm, shape, real):
    torch.manual_seed(0)
    field_dtype = torch.float64 if real else torch.complex128
    u, direction = torch.randn(2, 2, 3, *shape, dtype=field_dtype)
    for dims, norm in itertools.product(process_grids(shape, comm.size), ("backward", "ortho", "forward")):
        with decompose(Grid(shape), comm, dims=dims) as domain:
            modes = spectral_domain(domain, real)
            there, back = (partial(transform, domain, norm=norm) for transform in pair(real))
            serial_there, serial_back = serial(real, shape, norm)
            s = serial_there(u)
            weight, towards = torch.randn(s.shape, dtype=torch.float64), torch.randn_like(s)
            whole = derivatives(serial_there, u, weight, direction)
            ours = derivatives(there, u[domain.index], weight[modes.index], direction[domain.index])
            for a, b, where in zip(ours, whole, (modes, domain, domain), strict=True):
                assert_blocks(a, b, where)
            # A spectrum that belongs to no real field: what contradicts one must be ignored as torch ignores it.
            whole = derivatives(serial_back, towards, u.abs(), s)
            ours = derivatives(back, towards[modes.index], u.abs()[domain.index], s[modes.index])
            for a, b, where in zip(ours, whole, (domain, modes, modes), strict=True):
                assert_blocks(a, b, where)


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_there_and_back(comm, shape):
    with decompose(Grid(shape), comm) as domain:
        torch.manual_seed(comm.rank)
        u = torch.randn(3, *domain.local_shape, dtype=torch.float64)
        assert (irfftn(domain, rfftn(domain, u)) - u).abs().max() < ROUND_OFF
        z = torch.complex(u, u.flip(0))
        assert (ifftn(domain, fftn(domain, z)) - z).abs().max() < ROUND_OFF
        assert torch.equal(fftn(domain, u), fftn(domain, u.to(torch.complex128)))


@pytest.mark.parallel([1, 2, 3, 4, 6])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_backward_is_the_adjoint(comm, shape):
    with decompose(Grid(shape), comm) as domain:
        torch.manual_seed(comm.rank)
        for real in (True, False):
            modes = spectral_domain(domain, real)
            u = torch.randn(2, *domain.local_shape, dtype=torch.float64 if real else torch.complex128)
            s = torch.randn(2, *modes.local_shape, dtype=torch.complex128)
            there, back = (partial(transform, domain) for transform in pair(real))
            for f, x, y in [(there, u, s), (back, s, u)]:
                leaf = x.clone().requires_grad_()
                image = f(leaf)

                def adjoint(b, image=image, leaf=leaf):
                    return torch.autograd.grad(image, leaf, b, retain_graph=True)

                assert adjoint_error(lambda a, f=f: [f(a)], adjoint, [x], [y], comm) < ROUND_OFF


@pytest.mark.parallel([1, 2, 4])
def test_float32_keeps_its_precision_in_chunks_and_rows(comm):
    torch.manual_seed(0)
    for shape, rows in [((64, 64, 48), 2), ((32, 32), 150)]:  # blocks above one chunk: along a dim, and along the rows
        u = torch.randn(rows, *shape)
        whole = torch.fft.rfftn(u, dim=tuple(range(-len(shape), 0)))
        with decompose(Grid(shape), comm) as domain:
            s = rfftn(domain, u[domain.index])
            assert s.dtype == torch.complex64
            # float32 carries 6e-8; its transforms lose a few times that.
            assert (s - whole[spectral_domain(domain).index]).abs().max() < 1e-6 * whole.abs().max()
            assert (irfftn(domain, s) - u[domain.index]).abs().max() < 1e-6 * u.abs().max()


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_wavenumbers_differentiate(comm, shape):
    with decompose(Grid(shape, extent=[d + 1.5 for d in range(len(shape))]), comm) as domain:
        for d, (x, length) in enumerate(zip(domain.centres(), domain.grid.extent, strict=True)):
            phase = 4 * math.pi / length * x
            u = torch.sin(phase).expand(domain.local_shape)
            slope = 4 * math.pi / length * torch.cos(phase)
            real = irfftn(domain, 1j * wavenumbers(domain)[d] * rfftn(domain, u))
            also_complex = ifftn(domain, 1j * wavenumbers(domain, real=False)[d] * fftn(domain, u)).real
            for ours in (real, also_complex):
                assert (ours - slope).abs().max() < 10 * ROUND_OFF  # the derivative magnifies round-off by the largest wavenumber


@pytest.mark.parallel([2, 4])
def test_a_slab_sends_its_block_once_each_way_without_the_part_it_keeps(comm):
    with decompose(Grid((16, 8, 12)), comm, dims=(comm.size, 1, 1)) as domain:
        u = torch.zeros(3, *domain.local_shape)
        rfftn(domain, u)
        traffic.reset()
        irfftn(domain, rfftn(domain, u))
        modes = 3 * 16 * 8 * 7 // comm.size
        assert traffic.bytes == 2 * modes * 8 * (comm.size - 1) // comm.size and traffic.messages == 2 * (comm.size - 1)


@pytest.mark.parallel([1, 2, 3])
def test_misuse_is_named(comm):
    with decompose(Grid((8, 6)), comm) as domain:
        with pytest.raises(ShapeError, match=r"local shape .* got \(1, 9, 6\)"):
            rfftn(domain, torch.zeros(1, 9, 6))
        with pytest.raises(ConfigError, match="unknown norm 'none' of a Fourier transform: expected one of backward"):
            rfftn(domain, torch.zeros(1, *domain.local_shape), norm="none")
    if comm.size == 3:
        with decompose(Grid((3, 2)), comm, dims=(3, 1)) as domain, pytest.raises(TopologyError, match="2 cells for 3 ranks"):
            spectral_domain(domain)


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool], ids=str)
def test_integers_are_taken_as_floating_point_numbers(comm, rng, dtype, real):
    with decompose(Grid((9, 12)), comm) as domain:
        u = torch.from_numpy(rng.integers(-1, 2, (1, 1, 9, 12))).to(dtype)
        there = pair(real)[0](domain, u[domain.index].contiguous())
        expected = serial(real, (9, 12), "backward")[0](u)
        assert there.dtype == expected.dtype
        assert torch.allclose(spectral_domain(domain, real).gather(there), expected, atol=1e-4)
