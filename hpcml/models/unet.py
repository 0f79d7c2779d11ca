"""U-Net on a domain of 1 to 3 dims: a ladder of coarser grids, each with its view of the field, put together from the coarsest up.

h_0 = double(u)     h_l = double(pool(h_{l-1}))                         down, with twice the channels at every level
g_L = h_L           g_l = double(concat(h_l, interpolate(g_{l+1})))     up
y = head(g_0)
"""

from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hpcml.core.config import Depth, Norm, Width
from hpcml.core.errors import ConfigError, ShapeError, TopologyError
from hpcml.fields.domain import Domain
from hpcml.models import layers as on_domain
from hpcml.models.layers.interpolate import Interpolate
from hpcml.models.layers.normalisation import normalisation
from hpcml.models.layers.padding import padding_modes
from hpcml.models.layers.parameters import a_parameter
from hpcml.models.layers.reach import check_field
from hpcml.models.replicas import compare_at_first_use

PADDING_MODES = ("grid", "circular", "zeros", "reflect", "replicate")
INTERPOLATIONS = ("linear", "bilinear", "trilinear")


class UNet(nn.Module):
    """Map fields to fields by convolutions of 3 cells on several grids.

    Parameters
    ----------
    domain : Domain
        Of input and output. Cells per dim need not be divisible by anything: a grid of n cells has one of n // 2 below it.
    in_channels, out_channels : int
        Channels of fields.
    channels : int
        At the finest level; they double from level to level.
    levels : int
        Grids, at least 1.
    norm : str
        After every convolution: ``group``, ``instance``, ``batch`` or ``none``; see `hpcml.models.layers.normalisation`.
    padding_mode : str
        What the network sees outside the field: ``grid``, the other end along the periodic dims of the grid and zeros along the others; or,
        whatever the grid is, ``circular``, ``zeros``, ``reflect`` or ``replicate``.

    Raises
    ------
    ConfigError
        For an unknown norm or padding mode, or no level.
    ShapeError, TopologyError
        On every rank alike, if the coarsest grid would have no cell, or none for some rank; and for a tensor that is not this rank's block.

    Communication
    -------------
    Two halo exchanges of one cell for every level down and for every level up, one for every interpolation, one for pooling where blocks
    are not aligned, and the sums of the norms. Backward: the same, and the all-reduces of the parameters' gradients over domain.world_comm.
    At the first call: that of `hpcml.check_parameters` over domain.comm.

    Notes
    -----
    Along dims that go on at the other end interpolation does so too: a field shifted by cells of the coarsest grid gives the shifted
    output. Elsewhere interpolation repeats the outermost cells, as torch does.

    References
    ----------
    O. Ronneberger et al., arXiv:1505.04597.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> model = UNet(decompose(Grid((20, 22)), MPI.COMM_SELF), in_channels=2, out_channels=1, channels=4)
    >>> model(torch.zeros(1, 2, 20, 22)).shape
    torch.Size([1, 1, 20, 22])
    """

    def __init__(
        self,
        domain: Domain,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: Width = 32,
        levels: Depth = 3,
        norm: Norm = "group",
        padding_mode: Literal["grid", "zeros", "circular", "reflect", "replicate"] = "grid",
    ) -> None:
        super().__init__()
        if padding_mode not in PADDING_MODES:
            raise ConfigError(f"unknown padding mode {padding_mode!r} of a U-Net: expected one of {', '.join(PADDING_MODES)}")
        modes = padding_modes(padding_mode, domain)
        domains = ladder(domain, levels)
        widths = [channels * 2**level for level in range(levels)]
        self.domain = self.domain_out = domain
        self._in_channels = in_channels
        conv: Any = getattr(on_domain, f"Conv{domain.num_dims}d")
        pool: Any = getattr(on_domain, f"AvgPool{domain.num_dims}d")

        def double(where: Domain, inputs: int, outputs: int) -> nn.Sequential:
            steps: list[nn.Module] = []
            for width in (inputs, outputs):
                # A norm takes a bias away again, and its gradient would be nothing but round-off.
                steps.append(conv(where, width, outputs, 3, padding=1, padding_mode=modes, bias=norm == "none"))
                steps += [normalisation(norm, where, outputs), nn.GELU()]
            return nn.Sequential(*steps)

        self.down = nn.ModuleList(double(d, n, w) for d, n, w in zip(domains, [in_channels, *widths], widths, strict=False))
        self.pools = nn.ModuleList(pool(d, 2) for d in domains[:-1])
        mode = INTERPOLATIONS[domain.num_dims - 1]
        finer = list(zip(domains[1:], domains, widths, strict=False))
        periodic = [m == "circular" for m in modes]
        self.rises = nn.ModuleList(Interpolate(below, size=above.global_shape, mode=mode, periodic=periodic) for below, above, _ in finer)
        self.up = nn.ModuleList(double(above, 3 * w, w) for _, above, w in finer)
        self.head = conv(domain, channels, out_channels, 1)

    def forward(self, u: Tensor) -> Tensor:
        """Output (batch, out_channels, *local) for u of (batch, in_channels, *local)."""
        check_field(u, self.domain, self._in_channels, "UNet", a_parameter(self))
        compare_at_first_use(self, self.domain.comm)
        views = [self.down[0](u)]
        for pool, double in zip(self.pools, self.down[1:], strict=True):
            views.append(double(pool(views[-1])))
        g = views.pop()
        for rise, double in zip(reversed(self.rises), reversed(self.up), strict=True):
            g = double(torch.cat([views.pop(), rise(g)], 1))
        return self.head(g)


def ladder(domain: Domain, levels: int) -> list[Domain]:
    """Domains of ``levels`` grids, each of half as many cells along every dim as the one before."""
    if levels < 1:
        raise ConfigError(f"a U-Net has at least 1 level, got levels={levels}")
    domains = [domain]
    for level in range(1, levels):
        shape = tuple(n // 2 for n in domains[-1].global_shape)
        if not prod(shape):
            raise ShapeError(f"level {level} of {levels} of a U-Net on {domain.global_shape} cells has no cell: use at most {level} levels")
        try:
            domains.append(domains[-1].with_shape(shape))
        except TopologyError as error:
            remedy = f"use at most {level} levels, fewer ranks or another process grid"
            raise TopologyError(f"level {level} of {levels} of a U-Net on {domain.global_shape} cells: {error}; {remedy}") from error
    return domains
