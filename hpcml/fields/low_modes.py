"""The lowest Fourier modes of a real field: a transform that throws the others away before it sends anything.

    s[k] = (1/N) sum_x u[x] exp(-2 pi i sum_d k_d x_d / N_d)          |k_d| <= m_d

With the scale 1/N a mode does not depend on the resolution that the field is sampled at.
"""

import math
from collections.abc import Sequence
from types import EllipsisType

import torch
from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.fields.domain import Domain
from hpcml.fields.pencils import Pencils, blocks
from hpcml.mpi.call import named_call
from hpcml.parallel.layout import Layout
from hpcml.parallel.linear import uncompiled
from hpcml.parallel.window import window, window_adjoint
from hpcml.parallel.window_plan import WindowPlan


class LowModes:
    """The modes k_d = 0, ..., m_d - 1, -m_d, ..., -1 of every dim d but the last, and 0, ..., m - 1 of the last; made by `low_modes`.

    Parameters
    ----------
    domain : Domain
        Of the field.
    modes : tuple of int
        m_d.
    tag : int
        Of the messages; the next one is used too.

    Attributes
    ----------
    shape : tuple of int
        Kept modes of each dim, (2 m_0, ..., 2 m_{D-2}, m_{D-1}).
    block : tuple
        Index of those that this rank holds, for a tensor (..., *shape); a rank may hold none.

    Communication
    -------------
    Construction: local. Calls: one transpose for every dim that is split, of what is left of the block by then: on p ranks along the first
    dim a rank sends (1 - 1/p) 2 m / N of its block, with m and N of the last dim. Where the last dim is split too, no rank has its lines
    whole before the modes are chosen, so every rank sums over its own cells and sends the sums to the owners of the modes, p m modes of a
    line in all; these sums depend on the number of ranks in the last digit. A process grid that leaves the last dim whole avoids that.
    """

    def __init__(self, domain: Domain, modes: Sequence[int], tag: int) -> None:
        self.domain = domain
        *others, last = modes
        self.shape = (*(2 * m for m in others), last)
        comm, cells, process_dims = domain.comm, domain.global_shape, domain.process_grid.dims
        self.sums: WindowPlan | None = None
        self.lines: Pencils | None = None
        dims = tuple(range(domain.num_dims))
        if process_dims[-1] == 1:
            self.lines = Pencils(comm, cells, process_dims, dims, self.shape, True, tag)
            layout = self.lines.layout_out
        else:
            cells = (*cells[:-1], last)
            layout = blocks(cells, process_dims)
            everywhere = Layout(cells, (*layout.ranges[:-1], ((0, last),) * process_dims[-1]))
            self.sums = WindowPlan(comm, layout, everywhere, ("zero",) * len(cells), tag)
            if len(dims) > 1:
                self.lines = Pencils(comm, cells, process_dims, dims[:-1], self.shape, False, tag)
                layout = self.lines.layout_out
            self._waves = _waves(domain, last)
        self.block: tuple[EllipsisType | slice, ...] = (..., *(slice(*r) for r in layout.box(comm.rank)))

    @uncompiled
    @named_call
    def modes(self, u: Tensor) -> Tensor:
        """Modes (batch, channel, *k) that this rank holds of a field (batch, channel, *local), differentiably."""
        s = u.flatten(0, 1)
        if self.sums is not None:
            waves = torch.view_as_real(self._waves.to(u.dtype.to_complex()) / self.domain.global_shape[-1]).flatten(-2)
            partial = torch.view_as_complex((s @ waves).unflatten(-1, (-1, 2)))
            s = window_adjoint(self.sums, partial)[0]
        if self.lines is not None:
            s = self.lines.modes(s, "forward")
        return s.unflatten(0, u.shape[:2])

    @uncompiled
    @named_call
    def cells(self, s: Tensor) -> Tensor:
        """Real field (batch, channel, *local) of modes (batch, channel, *k), differentiably."""
        u = s.flatten(0, 1)
        if self.lines is not None:
            u = self.lines.cells(u, "forward")
        if self.sums is not None:
            modes = torch.arange(self.shape[-1], device=s.device)
            count = torch.where((modes == 0) | (2 * modes == self.domain.global_shape[-1]), 1.0, 2.0)  # once more for the conjugate
            waves = torch.view_as_real((self._waves * count).to(s.dtype)).flatten(-2)
            u = torch.view_as_real(window(self.sums, u)[0].contiguous()).flatten(-2) @ waves.T
        return u.unflatten(0, s.shape[:2])

    def close(self) -> None:
        """Free all persistent requests."""
        for plan in (self.sums, self.lines):
            if plan is not None:
                plan.close()


@uncompiled
def low_modes(domain: Domain, modes: Sequence[int]) -> LowModes:
    """Transform of fields on a domain to their lowest modes and back, made at the first call.

    Parameters
    ----------
    domain : Domain
        Of the field.
    modes : sequence of int
        m_d >= 1 for each dim.

    Raises
    ------
    ConfigError
        For modes that a grid cannot hold, or another number of them than dims.

    Communication
    -------------
    Local.
    """
    modes = tuple(modes)
    if len(modes) != domain.num_dims:
        raise ConfigError(f"modes {modes} are {len(modes)} numbers for a field of {domain.num_dims} dims: give one for each or for all")
    for d, (m, n) in enumerate(zip(modes, domain.global_shape, strict=True)):
        most = n // 2 + 1 if d == len(modes) - 1 else n // 2
        if not 1 <= m <= most:
            what = "above the Nyquist frequency" if m > most else "none"
            remedy = "keep fewer modes or refine the grid" if m > most else "keep at least one"
            raise ConfigError(f"modes[{d}] = {m} is {what} of a dim of {n} cells: expected 1 to {most}; {remedy}")
    return domain.once(("low modes", modes), lambda tag: LowModes(domain, modes, tag))


def _waves(domain: Domain, count: int) -> Tensor:
    """exp(-2 pi i k x / N) for this rank's cells x and the first modes k of the last dim, complex128."""
    n, cells = domain.global_shape[-1], domain.block[-1]
    # The phase is reduced in integers, so that it is exact for any number of cells.
    turns = torch.arange(cells.start, cells.stop)[:, None] * torch.arange(count) % n
    return torch.polar(torch.ones(turns.shape, dtype=torch.float64), -2 * math.pi / n * turns.double()).to(domain.device)
