"""Cases of the operators that need the whole field, or only each cell: norms, pointwise maps, dropout, Fourier transforms."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from mpi4py import MPI
from torch import Tensor, nn
from torch.nn import functional

from hpcml.fields.decompose import decompose
from hpcml.fields.domain import Domain
from hpcml.fields.fft import fftn, ifftn, irfftn, rfftn, spectral_domain
from hpcml.fields.grid import Grid
from hpcml.models import layers
from hpcml.models.verification.matrix_case import SHAPES, Function, MatrixCase, Shape, like_torch


def global_cases(num_dims: int) -> Iterator[MatrixCase]:
    """Cases of one number of dims."""
    for family in (_norms, _pointwise, _transforms, _spectral):
        yield from family(SHAPES[num_dims])


def _norms(shape: Shape) -> Iterator[MatrixCase]:
    batch, instance = f"BatchNorm{len(shape)}d", f"InstanceNorm{len(shape)}d"
    yield like_torch(batch, shape, 4, 4)
    yield like_torch(batch, shape, 4, 4, momentum=None)
    yield like_torch(batch, shape, 4, 4, affine=False, eps=1e-2)
    yield like_torch(batch, shape, 4, 4, track_running_stats=False)
    yield like_torch(instance, shape, 4, 4)
    yield like_torch(instance, shape, 4, 4, affine=True, track_running_stats=True)
    yield like_torch(instance, shape, 4, 4, track_running_stats=True, momentum=0.4)
    for groups in (1, 2, 4):
        yield like_torch("GroupNorm", shape, 4, groups, 4, affine=groups != 4)
    for normalized in ((4, *shape), shape):
        yield like_torch("LayerNorm", shape, 4, normalized)
        yield like_torch("LayerNorm", shape, 4, normalized, bias=False)
        yield like_torch("LayerNorm", shape, 4, normalized, elementwise_affine=False)


def _pointwise(shape: Shape) -> Iterator[MatrixCase]:
    for widths in ((4, 8, 3), (4, 3, 3, 2), (4, 5)):
        yield _channel_mlp(shape, widths)
    for name, module, last in (("Linear", lambda: nn.Linear(4, 3), True), ("PReLU", lambda: nn.PReLU(4), False)):
        yield _wrapped(name, shape, module, last)
    serial = decompose(Grid(shape), MPI.COMM_SELF, device="cpu")
    yield MatrixCase("Dropout", "0.3", shape, 4, lambda domain: layers.Dropout(domain, 0.3), lambda: layers.Dropout(serial, 0.3))


def _channel_mlp(shape: Shape, widths: Sequence[int]) -> MatrixCase:
    first, hidden, last = widths[0], widths[-2], widths[-1]
    return MatrixCase(
        "ChannelMLP",
        str(widths),
        shape,
        first,
        lambda domain: layers.ChannelMLP(domain, first, hidden, last, len(widths) - 1),
        lambda: _MLP(widths),
    )


def _wrapped(name: str, shape: Shape, module: Callable[[], nn.Module], channels_last: bool) -> MatrixCase:
    def make(domain: Domain) -> nn.Module:
        return layers.Pointwise(domain, module(), channels_last)

    return MatrixCase("Pointwise", name, shape, 4, make, lambda: _Wrapped(module(), channels_last))


class _Wrapped(nn.Module):
    """A module under the name that `Pointwise` gives it."""

    def __init__(self, module: nn.Module, channels_last: bool) -> None:
        super().__init__()
        self.module, self.channels_last = module, channels_last

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.movedim(1, -1)).movedim(-1, 1) if self.channels_last else self.module(x)


class _MLP(nn.Module):
    """What `ChannelMLP` is, by another road."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(n, m, 1) for n, m in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        parameters = list(self.parameters())
        for k, (weight, bias) in enumerate(zip(parameters[::2], parameters[1::2], strict=True)):
            x = functional.gelu(x) if k else x
            x = torch.einsum("oi,bi...->bo...", weight.squeeze(-1), x) + bias.view(-1, *(1,) * (x.dim() - 2))
        return x


class _Transform(nn.Module):
    """Fourier transform of a field, from cells to modes or, by way of a filter, back to cells."""

    def __init__(self, domain: Domain, norm: str, real: bool, back: bool) -> None:
        super().__init__()
        self.domain, self.norm, self.real, self.back = domain, norm, real, back
        self.domain_out = domain if back else spectral_domain(domain, real)

    def forward(self, x: Tensor) -> Tensor:
        forth, back = (rfftn, irfftn) if self.real else (fftn, ifftn)
        s = forth(self.domain, x, self.norm)
        spectrum = spectral_domain(self.domain, self.real)
        return back(self.domain, s * _filter(spectrum.global_shape)[spectrum.index].to(s), self.norm) if self.back else s


def _filter(shape: Shape) -> Tensor:
    """Some number for each mode."""
    return torch.linspace(0.5, 1.5, Grid(shape).num_cells, dtype=torch.float64).view(shape).cos()


def _transforms(shape: Shape) -> Iterator[MatrixCase]:
    even = (*shape[:-1], shape[-1] + shape[-1] % 2)
    for cells, norm, real, back in itertools.product({shape, even}, ("backward", "ortho"), (True, False), (False, True)):
        yield _transform(cells, norm, real, back)


def _transform(shape: Shape, norm: str, real: bool, back: bool) -> MatrixCase:
    dims = tuple(range(-len(shape), 0))
    forth = torch.fft.rfftn if real else torch.fft.fftn

    def reference(x: Tensor) -> Tensor:
        s = forth(x, dim=dims, norm=norm)
        if not back:
            return s
        s = s * _filter(tuple(s.shape[2:])).to(s)
        return torch.fft.irfftn(s, shape, dims, norm) if real else torch.fft.ifftn(s, dim=dims, norm=norm)

    def make(domain: Domain) -> nn.Module:
        return _Transform(domain, norm, real, back)

    setting = f"{'rfftn' if real else 'fftn'}{', filter and back' if back else ''}, {norm}"
    return MatrixCase("FFT", setting, shape, 2, make, lambda: Function(reference), complex=not real)


def _spectral(shape: Shape) -> Iterator[MatrixCase]:
    for modes, bias in ((4, True), (6, False), (tuple(range(2, 2 + len(shape))), True)):
        yield _spectral_conv(shape, modes if isinstance(modes, tuple) else (modes,) * len(shape), bias)


def _spectral_conv(shape: Shape, modes: Shape, bias: bool) -> MatrixCase:
    return MatrixCase(
        "SpectralConv",
        f"modes={modes}, bias={bias}",
        shape,
        2,
        lambda domain: layers.SpectralConv(domain, 2, 3, modes, bias),
        lambda: _SpectralConv(shape, modes, bias),
    )


class _SpectralConv(nn.Module):
    """What `SpectralConv` is, with torch's transform of the whole field and all its modes."""

    def __init__(self, shape: Shape, modes: Shape, bias: bool) -> None:
        super().__init__()
        self.shape, self.modes = shape, modes
        kept = (*(2 * m for m in modes[:-1]), modes[-1])
        self.weight = nn.Parameter(torch.zeros(2, 3, *kept, 2))
        self.bias = nn.Parameter(torch.zeros(3)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        dims = tuple(range(-len(self.shape), 0))
        s = torch.fft.rfftn(x, dim=dims, norm="forward")
        lowest = [torch.cat([torch.arange(m), torch.arange(n - m, n)]) for n, m in zip(self.shape, self.modes[:-1], strict=False)]
        index: tuple[Any, ...] = (..., *torch.meshgrid(*lowest, torch.arange(self.modes[-1]), indexing="ij"))
        y = torch.zeros(x.shape[0], 3, *s.shape[2:], dtype=s.dtype)
        y[index] = torch.einsum("bi...,io...->bo...", s[index], torch.view_as_complex(self.weight))
        field = torch.fft.irfftn(y, self.shape, dims, norm="forward")
        return field if self.bias is None else field + self.bias.view(-1, *(1,) * len(self.shape))
