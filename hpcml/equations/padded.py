"""Finite differences of a block with its ghost cells: one exchange, then local arithmetic."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hpcml.fields.domain import Domain
from hpcml.kernels.flux import weno5_flux
from hpcml.kernels.flux_twin import weno5
from hpcml.kernels.stencil import star_stencil


@dataclass(frozen=True, slots=True)
class Padded:
    """A field with ``width`` ghost cells on every side, and its differences at the cells that this rank owns.

    Attributes
    ----------
    values : Tensor
        (..., *(local_shape + 2 width)).
    spacing : tuple of float
        dx of every dim.
    width : int
        Ghost cells.

    Communication
    -------------
    `of` exchanges with the neighbors; all else is local.
    """

    values: Tensor
    spacing: tuple[float, ...]
    width: int

    @classmethod
    def of(cls, field: Tensor, domain: Domain, width: int, wall: str = "replicate") -> "Padded":
        """Fetch the ghost cells of a field.

        Beyond a wall the rule ``wall`` holds; the default repeats the outermost cell, which lets nothing through the wall.

        Communication
        -------------
        Neighbors, one message per neighbor.
        """
        boundary = tuple("periodic" if periodic else wall for periodic in domain.grid.periodic)
        return cls(domain.halo(field, widths=width, boundary=boundary)[0], domain.grid.spacing, width)

    def at(self, dim: int, offset: int) -> Tensor:
        """Values of the cells ``offset`` further along ``dim``: a view of the shape of the field."""
        view = self.values
        for d in range(len(self.spacing)):
            axis = d - len(self.spacing)
            start = self.width + (offset if d == dim else 0)
            view = view.narrow(axis, start, view.shape[axis] - 2 * self.width)
        return view

    def line(self, dim: int) -> Tensor:
        """Owned cells with their ghost cells along ``dim`` only: a view of n + 2 width cells there."""
        view = self.values
        for axis in range(-len(self.spacing), 0):
            if axis + len(self.spacing) != dim:
                view = view.narrow(axis, self.width, view.shape[axis] - 2 * self.width)
        return view

    def laplacian(self, factor: float = 1.0) -> Tensor:
        """Factor times the sum of second derivatives, error O(dx²): (1, -2, 1) / dx² along each dim; width 1.

        Where a kernel fits it is one pass over memory, with the same bits: no number depends on what keeps a gradient.
        """
        near = [factor * dx**-2 for dx in self.spacing]
        if self.width == 1 and len(near) > 1 and fits_a_kernel(self.values):
            total = torch.empty_like(self.at(0, 0), memory_format=torch.contiguous_format)
            star_stencil(total, self.values.contiguous(), -2 * sum(near), near)
            return total
        total = self.at(0, 0) * (-2 * sum(near))
        for dim, weight in enumerate(near):
            total = total + (self.at(dim, -1) + self.at(dim, 1)) * weight
        return total

    def laplacian_4(self) -> Tensor:
        """Sum of second derivatives, error O(dx⁴): (-1, 16, -30, 16, -1) / 12 dx² along each dim; width 2."""
        total = self.at(0, 0) * (-30 / 12 * sum(dx**-2 for dx in self.spacing))
        for dim, dx in enumerate(self.spacing):
            for offset, weight in ((-2, -1), (-1, 16), (1, 16), (2, -1)):
                total = total.add(self.at(dim, offset), alpha=weight / 12 * dx**-2)
        return total

    def derivative_4(self, dim: int) -> Tensor:
        """First derivative along ``dim``, error O(dx⁴): (1, -8, 0, 8, -1) / 12 dx; width 2."""
        return (self.at(dim, -2) - self.at(dim, 2) + 8 * (self.at(dim, 1) - self.at(dim, -1))) / (12 * self.spacing[dim])

    def advection(self, dim: int, velocity: float) -> Tensor:
        """Product of a constant velocity and the first derivative along ``dim``, biased against the stream, error O(dx³); width 2.

            c (u₋₂ - 8 u₋₁ + 8 u₁ - u₂) / 12 dx  +  |c| (u₋₂ - 4 u₋₁ + 6 u₀ - 4 u₁ + u₂) / 12 dx

        The first term is the central difference of order 4, the second damps what the grid cannot carry.
        """
        far = self.at(dim, -2) + self.at(dim, 2)
        damping = far - 4 * (self.at(dim, -1) + self.at(dim, 1)) + 6 * self.at(dim, 0)
        return velocity * self.derivative_4(dim) + abs(velocity) / (12 * self.spacing[dim]) * damping

    def advection_weno(self, dim: int, velocity: float) -> Tensor:
        """Product of a constant velocity and the first derivative along ``dim``, error O(dx⁵), without new extrema at jumps; width 3.

        Differences of fluxes that `hpcml.kernels.flux` reconstructs from the five cells on the upwind side.
        """
        axis = dim - len(self.spacing)
        line = self.line(dim).contiguous()
        num_faces = line.shape[axis] - 5
        if fits_a_kernel(line):
            flux = torch.empty_like(line.narrow(axis, 0, num_faces), memory_format=torch.contiguous_format)
            weno5_flux(flux, line, torch.full_like(flux, velocity), axis)
        else:
            cells = [line.narrow(axis, k, num_faces) for k in range(6)]
            flux = velocity * weno5(*(cells[:5] if velocity > 0 else cells[:0:-1]))
        return flux.diff(dim=axis) / self.spacing[dim]


def fits_a_kernel(field: Tensor) -> bool:
    """Whether a kernel may compute this field: it lies where kernels run, and there is no gradient to keep.

    Communication
    -------------
    Local. Kernels give the bits of torch's operations, so ranks need not agree.
    """
    return field.device.type in ("cpu", "cuda") and field.dtype in (torch.float32, torch.float64) and not torch.is_grad_enabled()
