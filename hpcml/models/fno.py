"""Fourier neural operator on a domain of 1 to 3 dims.

    v_0 = lift(u, x)      v' = act( S norm(v) + W v )      v_{l+1} = act( MLP norm(v') + g v )      y = project(v_L)

S convolves in the lowest Fourier modes, W is a matrix and g a number per channel; MLP, lift and project act on the channels of each cell.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpcml.core.config import Count, Depth, Dims, Norm, Ratio, Width
from hpcml.core.errors import ConfigError
from hpcml.fields.domain import Domain
from hpcml.models.in_turn import Part, in_turn
from hpcml.models.layers.autocast import is_autocast
from hpcml.models.layers.channel_mlp import ChannelMLP
from hpcml.models.layers.normalisation import normalisation
from hpcml.models.layers.parameters import a_parameter, place, replicated_together, replicated_wide, share_parameters
from hpcml.models.layers.reach import check_field
from hpcml.models.layers.spectral_conv import SpectralConv
from hpcml.models.replicas import compare_at_first_use


class FNO(nn.Module):
    """Map fields to fields, at any resolution that holds the modes.

    Parameters
    ----------
    domain : Domain
        Of input and output.
    in_channels, out_channels : int
        Channels of fields.
    channels : int
        Width of v.
    modes : int or sequence of int
        m_d of `hpcml.models.layers.SpectralConv`: 2 m_d modes of each dim but the last, m_d of the last.
    layers : int
        L.
    norm : str
        ``none``, ``instance``, ``group`` or ``batch``. The first three do not tie the parameters to a resolution.
    mlp_ratio : float
        Hidden channels of MLP over ``channels``.
    coordinates : bool
        Append x_d = i_d / N_d, sin(pi x_d) and cos(pi x_d) to the input for every dim d that is not periodic: where a cell lies between the
        walls, counted as the Fourier modes count it. Along a periodic dim no place differs from another.

    Raises
    ------
    ConfigError
        For modes above the Nyquist frequency, an unknown norm or no layer.
    ShapeError
        For a tensor that is not this rank's block.

    Communication
    -------------
    That of L spectral convolutions, each about 2 m / N of a field of ``channels`` there and back, and of the norms. Backward: the same, and
    one all-reduce of all parameters' gradients over domain.world_comm.
    At the first call: that of `hpcml.check_parameters` over domain.comm.

    Notes
    -----
    The state dict holds global parameters: a network trained on one grid and some ranks loads on another grid and other ranks.

    References
    ----------
    Z. Li et al., arXiv:2010.08895; the block is that of J. Kossaifi et al., arXiv:2310.00120.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> model = FNO(decompose(Grid((16, 16)), MPI.COMM_SELF), in_channels=3, channels=8, modes=4)
    >>> model(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 1, 16, 16])
    """

    def __init__(
        self,
        domain: Domain,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: Width = 32,
        modes: Count | Dims = 12,
        layers: Depth = 4,
        norm: Norm = "none",
        mlp_ratio: Ratio = 0.5,
        coordinates: bool = True,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ConfigError(f"an FNO has at least 1 layer, got layers={layers}")
        self.domain = self.domain_out = domain
        self.coordinates, self._in_channels = coordinates, in_channels
        inputs = in_channels + (3 * domain.grid.periodic.count(False) if coordinates else 0)
        self.lift = ChannelMLP(domain, inputs, 2 * channels, channels)
        self.blocks = nn.ModuleList(FNOBlock(domain, channels, modes, norm, max(1, round(mlp_ratio * channels))) for _ in range(layers))
        self.project = ChannelMLP(domain, channels, 2 * channels, out_channels)

    def forward(self, u: Tensor) -> Tensor:
        """Output (batch, out_channels, *local) for u of (batch, in_channels, *local)."""
        check_field(u, self.domain, self._in_channels, "FNO", a_parameter(self), mixed=True)
        compare_at_first_use(self, self.domain.comm)
        with replicated_together(self, self.domain.world_comm):
            return in_turn(self.parts(u), u)[0]

    def parts(self, u: Tensor) -> list[Part]:
        """What `hpcml.models.in_turn` makes the output of; a field of ``channels`` lies between two of them."""

        def lift(u: Tensor) -> Tensor:
            v: Tensor = self.lift(torch.cat([u, *self._coordinates(u)], 1) if self.coordinates else u)
            return v

        return [lift, *(lambda v, block=block: F.gelu(block(v)) for block in self.blocks[:-1]), self.blocks[-1], self.project]

    def _coordinates(self, u: Tensor) -> list[Tensor]:
        shape = (len(u), 1, *self.domain.local_shape)
        fields = []
        for d, (block, n) in enumerate(zip(self.domain.block, self.domain.global_shape, strict=True)):
            if not self.domain.grid.periodic[d]:
                x = torch.arange(block.start, block.stop, device=u.device, dtype=torch.promote_types(u.dtype, torch.float32)) / n
                x = x.view(-1, *(1,) * (self.domain.num_dims - 1 - d)).expand(shape)
                fields += [f.to(u.dtype) for f in (x, torch.sin(math.pi * x), torch.cos(math.pi * x))]
        return fields


class FNOBlock(nn.Module):
    """One layer of an `FNO`, up to its last activation.

        v' = act( S norm(v) + W v )         MLP norm(v') + g v

    The norms come before the operators: after them they would cancel the biases, whose gradients would then be nothing but round-off.
    """

    takes_wide = True

    def __init__(self, domain: Domain, channels: int, modes: int | Sequence[int], norm: str, hidden: int) -> None:
        super().__init__()
        self.domain = self.domain_out = domain
        self.spectral = SpectralConv(domain, channels, channels, modes)
        self.skip = ChannelMLP(domain, channels, num_layers=1)
        self.mlp = ChannelMLP(domain, channels, hidden)
        self.gate = nn.Parameter(torch.ones(channels))
        self.norms = nn.ModuleList(normalisation(norm, domain, channels) for _ in range(2))
        share_parameters(self, domain.world_comm)
        place(self, domain.device)

    def forward(self, v: Tensor) -> Tensor:
        """Field (batch, channels, *local) of one such."""
        (gate,) = replicated_wide(self.domain.world_comm, self.gate)
        inner = F.gelu(self.spectral(self.norms[0](v)) + self.skip(v))
        passed = gate.view(-1, *(1,) * self.domain.num_dims) * v
        return self.mlp(self.norms[1](inner)) + (passed if is_autocast(v.device) else passed.to(v.dtype))
