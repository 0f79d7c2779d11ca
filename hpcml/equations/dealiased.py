"""Fourier transforms that keep the modes which quadratic products leave free of aliases."""

import math
from functools import cached_property

import torch
from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.fields.domain import Domain
from hpcml.fields.pencils import Pencils


class Dealiased:
    """Modes |n_d| <= (N_d - 1) // 3 of real fields on a periodic domain: the two-thirds rule.

    The product of two fields of such modes reaches up to 2 N / 3, and what the grid folds back lands above N / 3, where it is cut off. Only
    kept modes are stored and sent, 2/9 as many complex numbers as there are cells in 2 dims.

    Parameters
    ----------
    domain : Domain
        Of the fields, in 2 or 3 dims, with at least 4 cells along each.

    Attributes
    ----------
    waves : tuple of Tensor
        Angular wavenumbers 2π n_d / L_d of this rank's modes, float64, shaped to broadcast.

    Raises
    ------
    ShapeError
        If a dim is too short to keep any wave.

    Communication
    -------------
    Construction: local, and cheap after the first for a domain. Transforms: one transpose for every dim that is split, see
    `hpcml.fields.pencils.Pencils`.

    References
    ----------
    S. A. Orszag, Journal of the Atmospheric Sciences 28, 1074 (1971).
    """

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        shape, dims = domain.global_shape, tuple(range(domain.num_dims))
        highest = [(n - 1) // 3 for n in shape]
        if min(highest) < 1:
            raise ShapeError(f"a spectral method needs at least 4 cells along each dim, got a grid of shape {shape}")
        kept = (*(2 * m + 1 for m in highest[:-1]), highest[-1] + 1)
        process_dims = domain.process_grid.dims
        self._pencils: Pencils = domain.once("dealiased", lambda tag: Pencils(domain.comm, shape, process_dims, dims, kept, True, tag))
        waves = []
        box = self._pencils.layout_out.box(domain.comm.rank)
        for d, ((start, stop), m, extent) in enumerate(zip(box, highest, domain.grid.extent, strict=True)):
            number = torch.arange(start, stop, device=domain.device)
            number = torch.where(number > m, number - (2 * m + 1), number)
            broadcast = [-1 if axis == d else 1 for axis in dims]
            waves.append(2 * math.pi / extent * number.double().view(broadcast))
        self.waves = tuple(waves)

    @cached_property
    def laplacian(self) -> Tensor:
        """-|k|² of this rank's modes, float64."""
        total = -(self.waves[0] ** 2)
        for k in self.waves[1:]:
            total = total - k**2
        return total

    def modes(self, field: Tensor) -> Tensor:
        """Spectrum of a real field (batch, channel, *local_shape), without the modes above; differentiable.

        Raises
        ------
        ShapeError
            For a field of another shape.
        """
        local_shape = self.domain.local_shape
        if tuple(field.shape[2:]) != local_shape:
            raise ShapeError(
                f"rank {self.domain.comm.rank} of {self.domain.comm.size} expected a field (batch, channel, *{local_shape}), got "
                f"{tuple(field.shape)}: pass this rank's block, as domain.scatter gives it"
            )
        return self._pencils.modes(field.flatten(0, 1), "backward").unflatten(0, field.shape[:2])

    def field(self, modes: Tensor) -> Tensor:
        """Real field of a spectrum: the inverse of `modes` for fields that have no others; differentiable."""
        return self._pencils.cells(modes.flatten(0, 1), "backward").unflatten(0, modes.shape[:2])
