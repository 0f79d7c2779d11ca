"""Convolution with a kernel of low Fourier modes, over many ranks."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hpcml.fields.domain import Domain
from hpcml.fields.low_modes import low_modes
from hpcml.models.layers.autocast import is_autocast, no_autocast
from hpcml.models.layers.mode_product import multiply_modes
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import replicated_wide, share_parameters
from hpcml.models.layers.reach import check_field


@numbered
class SpectralConv(nn.Module):
    """Multiply the lowest Fourier modes of a field by a matrix each.

        y = F^-1( R(k) (F x)(k) ) + b        k_d in {0, ..., m_d - 1, -m_d, ..., -1},  of the last dim {0, ..., m - 1}

    F carries the scale 1/N, so that the same parameters serve any resolution that holds the modes.

    Parameters
    ----------
    domain : Domain
        Of x and y, of 1 to 3 dims, periodic or not: the transform takes the field as periodic.
    in_channels, out_channels : int
        Channels of x and y.
    modes : int or sequence of int
        m_d; one number means every dim.
    bias : bool
        Whether there is a b, one number per channel.

    Attributes
    ----------
    weight : Parameter
        R, (in_channels, out_channels, 2 m_0, ..., 2 m_{D-2}, m_{D-1}, 2): all modes, in the order above, on every rank, as pairs of real
        numbers, which optimisers, autocast and loss scaling take like any others. A state dict with complex numbers loads as well.
    bias : Parameter or None
        (out_channels,).

    Raises
    ------
    ConfigError
        For modes above the Nyquist frequency.
    ShapeError
        For a tensor that is not this rank's block.

    Communication
    -------------
    Forward: that of `hpcml.fields.low_modes.LowModes` there and back, about 2 m / N of the field each way; every rank multiplies its own
    modes only. Backward: the same, and one all-reduce over domain.world_comm of the parameters' gradients.

    Notes
    -----
    A field of 16 bits is transformed in float32 and, but for autocast, rounded at the end.

    References
    ----------
    Z. Li et al., Fourier neural operator for parametric partial differential equations, arXiv:2010.08895.
    """

    def __init__(self, domain: Domain, in_channels: int, out_channels: int, modes: int | Sequence[int], bias: bool = True) -> None:
        super().__init__()
        self.domain = self.domain_out = domain
        self.modes = (modes,) * domain.num_dims if isinstance(modes, int) else tuple(modes)
        shape = low_modes(domain, self.modes).shape
        dtype = torch.get_default_dtype()
        # Small, so that a network starts from what it does to each cell alone: it then learns what holds between the samples it has seen.
        scale = 0.1 * (2 / (in_channels + out_channels)) ** 0.5
        self.weight = nn.Parameter(torch.view_as_real(scale * torch.randn(in_channels, out_channels, *shape, dtype=dtype.to_complex())))
        self.bias = nn.Parameter(torch.zeros(out_channels, dtype=dtype)) if bias else None
        share_parameters(self, domain.world_comm)

    takes_wide = True

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Take complex weights too, as earlier versions have saved them."""
        name = f"{prefix}weight"
        if name in state_dict and state_dict[name].is_complex():
            state_dict[name] = torch.view_as_real(state_dict[name].resolve_conj())
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        channels = self.weight.shape[:2]
        return f"{channels[0]}, {channels[1]}, modes={self.modes}, bias={self.bias is not None}"

    def forward(self, x: Tensor) -> Tensor:
        """Output (batch, out_channels, *local) for x of (batch, in_channels, *local)."""
        check_field(x, self.domain, self.weight.shape[0], "SpectralConv", self.weight, mixed=True)
        transform = low_modes(self.domain, self.modes)
        parameters = [self.weight] if self.bias is None else [self.weight, self.bias]
        weight, *bias = replicated_wide(self.domain.world_comm, *parameters)
        autocast = is_autocast(x.device)
        with no_autocast(x.device):
            u = x.to(torch.promote_types(x.dtype, torch.float32))
            y = transform.cells(multiply_modes(transform.modes(u), weight, transform.block))
            y = y + bias[0].view(-1, *(1,) * self.domain.num_dims) if bias else y
            return y if autocast else y.to(x.dtype)  # autocast leaves the output of a Fourier transform in float32
