"""Interpolation of a field that many ranks share to another number of cells: torch's on one rank, its exact equal on any number."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _ntuple

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields.domain import Domain
from hpcml.models.layers.autocast import no_autocast
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.padding import periodic_dims
from hpcml.models.layers.reach import check_field, output_domain, read_inputs
from hpcml.models.layers.resampling import Resampling
from hpcml.parallel.layout import Range

MODES = {"nearest": "nearest", "nearest-exact": "nearest-exact", "area": "area", "bicubic": "cubic"}
LINEAR = ("linear", "bilinear", "trilinear")
MOST_TAPS = 4
"""Above as many taps (wide areas) one product with a matrix is faster than a sum over taps."""


@numbered
class Interpolate(nn.Upsample):
    """`torch.nn.functional.interpolate` on a domain.

    Parameters
    ----------
    domain : Domain
        Of the input.
    size, scale_factor, mode, align_corners, recompute_scale_factor
        Those of `torch.nn.Upsample`, which also samples down: ``nearest``, ``nearest-exact``, ``area``, ``linear`` in 1 dim, ``bilinear``
        and ``bicubic`` in 2, ``trilinear`` in 3.
    antialias : bool
        Not offered.
    periodic : bool or sequence of bool
        Along which dims the smooth modes take the first cells for what lies beyond the last and the other way round;
        ``domain.grid.periodic`` is what the grid is. The default is torch's rule, which repeats the outermost cells. Along periodic dims
        the scale is that of the sizes.

    Attributes
    ----------
    domain_out : Domain
        Of the output.

    Raises
    ------
    ConfigError
        For ``antialias``, a mode that the dims do not have, or arguments that torch would refuse.
    ShapeError, TopologyError
        As for `hpcml.models.layers.Conv2d`.

    Communication
    -------------
    Neighbors, one message per peer each way; none where every rank's outputs are made of its own inputs.

    Notes
    -----
    Which cell is the nearest and how far a position lies between two depends on rounding, which is done as torch does it on a CPU.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> domain = decompose(Grid((8, 8)), MPI.COMM_SELF)
    >>> Interpolate(domain, scale_factor=2, mode="bilinear").domain_out.global_shape
    (16, 16)
    """

    def __init__(self, domain: Domain, *args: Any, antialias: bool = False, periodic: bool | Sequence[bool] = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.periodic = periodic_dims("Interpolate", periodic, domain)
        self._check(domain, antialias)
        every = _ntuple(domain.num_dims)
        scales: tuple[float | None, ...] = every(self.scale_factor)
        if self.size is None:
            sizes = tuple(math.floor(n * float(s or 0)) for n, s in zip(domain.global_shape, scales, strict=True))
        else:
            sizes = every(self.size)
        self.domain = domain
        self.domain_out = output_domain("Interpolate", domain, sizes)
        mode = "linear" if self.mode in LINEAR else MODES[self.mode]
        if mode not in ("linear", "cubic"):
            self.periodic = (False,) * domain.num_dims  # none of these looks beyond an end
        if self.recompute_scale_factor or mode == "area":
            scales = (None,) * domain.num_dims
        scales = tuple(None if wraps else scale for scale, wraps in zip(scales, self.periodic, strict=True))
        self._dims = tuple(
            (mode, n, m, scale, bool(self.align_corners)) for n, m, scale in zip(domain.global_shape, sizes, scales, strict=True)
        )
        self._single = False
        if mode.startswith("nearest"):
            self._settle_nearest()
        elif mode == "cubic" and sizes == domain.global_shape and not self.align_corners and any(s not in (None, 1) for s in scales):
            raise self._inconsistent()  # torch copies the gradient but not the output

    def forward(self, x: Tensor) -> Tensor:
        """Interpolate this rank's block (batch, channel, *local_shape) to that of ``domain_out``."""
        check_field(x, self.domain, layer="Interpolate")
        if self.domain.comm.size == 1 and not any(self.periodic):
            return super().forward(x)
        single = self._single or x.dtype != torch.float64
        dims = tuple(Resampling(*dim, single and not wraps, wraps) for dim, wraps in zip(self._dims, self.periodic, strict=True))
        # In 16 bits every product and sum would be rounded, where torch rounds once.
        y = x.to(torch.promote_types(x.dtype, torch.float32))
        y = read_inputs(y, self.domain, self.domain_out, dims, tuple("periodic" if wraps else "zero" for wraps in self.periodic))
        with no_autocast(x.device):
            for d in reversed(range(len(dims))):
                owned = self.domain_out.block[d]
                y = _resample(y, d - len(dims), dims[d], (owned.start, owned.stop))
        return y.to(x.dtype)

    def _settle_nearest(self) -> None:
        """Find nearest cells as torch does in 2 dims and in all gradients: in float32, and without the scale for n or 2 n outputs.

        In 1 and 3 dims torch's output has other roundings; where that makes a difference, torch's gradient is not that of its output.
        """
        given = self._dims
        self._single = True
        self._dims = tuple((mode, n, m, None if mode == "nearest" and m in (n, 2 * n) else s, no) for mode, n, m, s, no in given)
        if self.domain.num_dims == 2:
            return
        for dim, settled in zip(given, self._dims, strict=True):
            everything = (0, dim[2])
            index = Resampling(*settled, single=True).taps(everything)[0]
            if any((Resampling(*dim, single=single).taps(everything)[0] != index).any() for single in (True, False)):
                raise self._inconsistent()

    def _inconsistent(self) -> ConfigError:
        sizes = f"{self.domain.global_shape} to {self.domain_out.global_shape} cells"
        return ConfigError(
            f"Interpolate: {self.mode} from {sizes} with scale_factor={self.scale_factor}: there torch's gradient is not that "
            "of its output: set recompute_scale_factor=True, or choose another size"
        )

    def _check(self, domain: Domain, antialias: bool) -> None:
        if antialias:
            raise ConfigError("Interpolate: antialias=True is not offered over ranks: leave it out, or smooth with a convolution first")
        modes = ("nearest", "nearest-exact", "area", LINEAR[domain.num_dims - 1], *(("bicubic",) if domain.num_dims == 2 else ()))
        if self.mode not in modes:
            raise ConfigError(f"Interpolate: mode {self.mode!r} is not one of {', '.join(modes)}, those of {domain.num_dims} dims")
        if (self.size is None) == (self.scale_factor is None):
            raise ConfigError(f"Interpolate: give either size or scale_factor, got {self.size} and {self.scale_factor}")
        if self.align_corners and any(self.periodic):
            raise ConfigError("Interpolate: align_corners puts the first and the last cell on the ends, which a periodic field has none of")
        if self.align_corners is not None and self.mode not in (*LINEAR, "bicubic"):
            raise ConfigError(f"Interpolate: align_corners has no meaning for mode {self.mode!r}: leave it out")
        if self.recompute_scale_factor and self.size is not None:
            raise ConfigError("Interpolate: recompute_scale_factor has no meaning with a size: leave it out")
        given = self.scale_factor if self.size is None else self.size
        if isinstance(given, tuple) and len(given) != domain.num_dims:
            raise ShapeError(f"Interpolate: {given} has {len(given)} numbers for {domain.num_dims} dims: give one for each")


@lru_cache(maxsize=256)
def _tables(resampling: Resampling, outputs: Range, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    index, weight = resampling.taps(outputs)
    return torch.from_numpy(index - resampling(outputs)[0]).to(device), torch.from_numpy(weight).to(device, dtype)


def _resample(x: Tensor, dim: int, resampling: Resampling, outputs: Range) -> Tensor:
    """Interpolate a window along one dim."""
    index, weight = _tables(resampling, outputs, x.dtype, x.device)
    if len(index) == 1:
        return _select(x, dim, index[0])
    if len(index) > MOST_TAPS:
        matrix = weight.new_zeros(index.shape[1], x.shape[dim]).scatter_add_(1, index.T, weight.T)
        return (x.movedim(dim, -1) @ matrix.T).movedim(-1, dim)
    along = (-1, *(1,) * (-1 - dim))
    y = _select(x, dim, index[0]) * weight[0].view(along)
    for i, w in zip(index[1:], weight[1:], strict=True):
        y = torch.addcmul(y, _select(x, dim, i), w.view(along))
    return y


def _select(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Cells of a dim; along the last one several times faster on two dims than on more."""
    if dim == -1:
        return x.flatten(0, -2).index_select(1, index).unflatten(0, x.shape[:-1])
    return x.index_select(dim, index)
