"""Fourier transforms of fields on a domain, over all its dims: the values and gradients of `torch.fft` on the whole field.

    s[k] = scale sum_x u[x] exp(-2 pi i sum_d k_d x_d / N_d)

The spectrum stays where its last lines were transformed, so that no transpose back is needed: its blocks are those of another process grid
than the field's, and `spectral_domain` says of which. A real field of N_last cells has N_last // 2 + 1 modes along its last dim.
"""

import math
from typing import Any

import torch
from torch import Tensor

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields.domain import Domain
from hpcml.fields.pencils import ADJOINT_NORM, Pencils
from hpcml.mpi.call import named_call
from hpcml.parallel.recent import Recent


@named_call
def fftn(domain: Domain, u: Tensor, norm: str = "backward") -> Tensor:
    """Spectrum of a complex (or real) field, all modes.

    Parameters
    ----------
    domain : Domain
        Of the field.
    u : Tensor
        (..., *domain.local_shape).
    norm : str
        "backward" (no scale), "ortho" (1/sqrt(N)) or "forward" (1/N), as in `torch.fft.fftn`.

    Returns
    -------
    Tensor
        Complex, (..., *spectral_domain(domain, real=False).local_shape).

    Raises
    ------
    ShapeError
        If u does not end in the domain's local shape.
    ConfigError
        For any other norm.
    TopologyError
        If a rank would own no mode.

    Communication
    -------------
    For every dim that is split one transpose, in which a rank sends its block but for the part that it keeps; the backward pass likewise.
    On one dim, where no other can be split instead, the ranks share the leading dims (batch, channel) meanwhile: two transposes, and a rank
    without a row waits.
    """
    u = u if u.is_complex() else u.to(_floating(u).dtype.to_complex())
    return _to_modes(domain, u, norm, real=False)


@named_call
def ifftn(domain: Domain, s: Tensor, norm: str = "backward") -> Tensor:
    """Complex field of a spectrum: the inverse of `fftn` with the same ``norm``."""
    return _to_cells(domain, s, norm, real=False)


@named_call
def rfftn(domain: Domain, u: Tensor, norm: str = "backward") -> Tensor:
    """Spectrum of a real field, of which the modes 0 to N // 2 of the last dim are stored; otherwise as `fftn`.

    Returns
    -------
    Tensor
        Complex, (..., *spectral_domain(domain).local_shape).
    """
    return _to_modes(domain, u, norm, real=True)


@named_call
def irfftn(domain: Domain, s: Tensor, norm: str = "backward") -> Tensor:
    """Real field of a spectrum: the inverse of `rfftn` with the same ``norm``.

    As in `torch.fft.irfftn`, what contradicts a real field (imaginary parts of modes that are their own conjugate) is ignored.
    """
    return _to_cells(domain, s, norm, real=True)


def spectral_domain(domain: Domain, real: bool = True) -> Domain:
    """Whose blocks the spectra of a domain's fields are.

    Returns
    -------
    Domain
        Its ``global_shape`` is that of `torch.fft`'s spectrum, its ``gather`` puts one together.

    Raises
    ------
    TopologyError
        If a rank would own no mode.
    """
    if domain.comm.size == 1 or domain.num_dims == 1:
        return domain.with_shape(_spectral_shape(domain, real))
    return domain.with_shape(_spectral_shape(domain, real)).with_dims(_pencils(domain, real, 1).process_dims_out)


def wavenumbers(domain: Domain, real: bool = True) -> tuple[Tensor, ...]:
    """Angular wavenumbers of this rank's block of a spectrum, 2 pi k_d / extent_d.

    Returns
    -------
    tuple of Tensor
        float64, one for each dim, shaped to broadcast against the spectrum's local shape. The largest frequency of an even number of cells
        has the sign that `torch.fft.fftfreq` gives it.

    Examples
    --------
    The derivative of a periodic field along its first dim, on one rank:

    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> domain = decompose(Grid(8, extent=2 * math.pi), MPI.COMM_SELF)
    >>> (k,), (x,) = wavenumbers(domain), domain.centres()
    >>> torch.allclose(irfftn(domain, 1j * k * rfftn(domain, x.sin())), x.cos())
    True
    """
    waves = []
    for d, (block, n, extent) in enumerate(zip(spectral_domain(domain, real).block, domain.global_shape, domain.grid.extent, strict=True)):
        halved = real and d == domain.num_dims - 1
        lies: dict[str, Any] = {"dtype": torch.float64, "device": domain.device}
        k = torch.arange(n // 2 + 1, **lies) if halved else torch.fft.fftfreq(n, 1 / n, **lies)
        shape = [1] * domain.num_dims
        shape[d] = block.size
        waves.append(2 * math.pi / extent * k[block.start : block.stop].view(shape))
    return tuple(waves)


def _to_modes(domain: Domain, u: Tensor, norm: str, real: bool) -> Tensor:
    _check(u, domain, norm, "field")
    target = spectral_domain(domain, real)
    dims = tuple(range(-domain.num_dims, 0))
    if domain.comm.size == 1:
        return torch.fft.rfftn(u, dim=dims, norm=norm) if real else torch.fft.fftn(u, dim=dims, norm=norm)
    u = _floating(u)
    leading = u.shape[: -domain.num_dims]
    rows = math.prod(leading)
    u = u.reshape(rows, *domain.local_shape) if domain.num_dims > 1 else u.reshape(1, rows, *domain.local_shape)
    return _pencils(domain, real, rows).modes(u, norm).reshape(*leading, *target.local_shape)


def _floating(u: Tensor) -> Tensor:
    """The same numbers, integers as torch.fft takes them."""
    return u if u.is_floating_point() or u.is_complex() else u.to(torch.get_default_dtype())


def _to_cells(domain: Domain, s: Tensor, norm: str, real: bool) -> Tensor:
    source = spectral_domain(domain, real)
    _check(s, source, norm, "spectrum")
    dims = tuple(range(-domain.num_dims, 0))
    if domain.comm.size == 1:
        return torch.fft.irfftn(s, domain.global_shape, dims, norm) if real else torch.fft.ifftn(s, dim=dims, norm=norm)
    leading = s.shape[: -domain.num_dims]
    rows = math.prod(leading)
    s = s.reshape(rows, *source.local_shape) if domain.num_dims > 1 else s.reshape(1, rows, *source.local_shape)
    return _pencils(domain, real, rows).cells(s, norm).reshape(*leading, *domain.local_shape)


def _spectral_shape(domain: Domain, real: bool) -> tuple[int, ...]:
    *others, last = domain.global_shape
    return (*others, last // 2 + 1 if real else last)


def _pencils(domain: Domain, real: bool, rows: int) -> Pencils:
    """One dim is transformed as the second of (rows, N), so that there is another one to split."""
    shape, kept, process_dims = domain.global_shape, _spectral_shape(domain, real), domain.process_grid.dims
    if domain.num_dims > 1:
        dims = tuple(range(domain.num_dims))
        return domain.once(("fft", real), lambda tag: Pencils(domain.comm, shape, process_dims, dims, kept, real, tag))
    shape, kept, process_dims = (rows, *shape), (rows, *kept), (1, *process_dims)
    several: Recent[Pencils] = domain.once(("fft", real), lambda _: Recent())
    pencils = several.get(rows)
    if pencils is None:
        return several.add(rows, Pencils(domain.comm, shape, process_dims, (1,), kept, real, rows, home=True))
    several.move_to_end(rows)
    return pencils


def _check(t: Tensor, domain: Domain, norm: str, what: str) -> None:
    if norm not in ADJOINT_NORM:
        raise ConfigError(f"unknown norm {norm!r} of a Fourier transform: expected one of {', '.join(ADJOINT_NORM)}")
    if tuple(t.shape[-domain.num_dims :]) != domain.local_shape:
        raise ShapeError(
            f"rank {domain.comm.rank} of {domain.comm.size} expected a {what} that ends in its local shape {domain.local_shape}, got "
            f"{tuple(t.shape)}: pass this rank's block"
        )
