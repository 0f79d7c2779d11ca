"""Convolution of a field that many ranks share: torch's layer on one rank, its exact equal on any number.

y[o] = b + sum_{j < k}  w[j] x[o s - pad + dil j]        along each dim, for global indices o
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from hpcml.fields.domain import Domain
from hpcml.kernels.conv_choice import TORCH, conv_choice
from hpcml.models.layers.convolution import Convolution
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.padding import boundary_rules, padding_modes
from hpcml.models.layers.parameters import share_parameters, weight_and_bias
from hpcml.models.layers.reach import Everything, Reach, Stencil, check_field, check_num_dims, output_domain, window_plan
from hpcml.models.layers.windowed_convolution import windowed_convolution

PADDING_MODE = 8
"""Its place among the arguments of torch's layers."""


@numbered
class _Conv(_ConvNd):
    """What the convolutions of 1 to 3 dims share."""

    sums_gradients_itself = True
    domain: Domain
    domain_out: Domain

    def __init__(self, domain: Domain, *args: Any, padding_mode: str | Sequence[str] = "zeros", **kwargs: Any) -> None:
        name = type(self).__name__
        modes = padding_modes(args[PADDING_MODE] if len(args) > PADDING_MODE else padding_mode, domain)
        plain: Any = super().__init__  # torch's layer knows one mode for all dims; what it prepares is the same for every mode
        plain(*args[:PADDING_MODE], **dict(zip(("device", "dtype"), args[PADDING_MODE + 1 :], strict=False)), **kwargs)
        self.padding_mode: Any = modes[0] if len(set(modes)) == 1 else modes
        check_num_dims(name, domain, len(self.kernel_size))
        lower, upper = self._reversed_padding_repeated_twice[-2::-2], self._reversed_padding_repeated_twice[::-2]
        widths = tuple(zip(lower, upper, strict=True))
        self.domain = domain
        self.domain_out = output_domain(name, domain, [self._size_out(d, n, widths[d]) for d, n in enumerate(domain.global_shape)])
        self._boundary = boundary_rules(name, modes, widths, domain.global_shape)
        self._reaches = tuple(self._reach(d, widths[d]) for d in range(domain.num_dims))
        native = (pad[0] if isinstance(reach, Everything) else 0 for pad, reach in zip(widths, self._reaches, strict=True))
        choice = conv_choice(domain.world_comm, domain.global_shape) if domain.comm.size > 1 else TORCH
        self._convolution = Convolution(self.kernel_size, self.stride, tuple(native), self.dilation, self.groups, choice=choice)
        share_parameters(self, domain.world_comm)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve this rank's block (batch, in_channels, *local_shape) to that of ``domain_out``."""
        domain = self.domain
        check_field(x, domain, self.in_channels, type(self).__name__, self.weight)
        if domain.comm.size == 1 and isinstance(self.padding_mode, str):
            return self._conv_forward(x, *weight_and_bias(self, domain.world_comm))
        plan = window_plan(domain, self.domain_out, self._reaches, self._boundary)
        return windowed_convolution(plan, domain.world_comm, self._convolution, x, self.weight, self.bias)

    def _size_out(self, d: int, n: int, pad: tuple[int, int]) -> int:
        return (n + sum(pad) - self.dilation[d] * (self.kernel_size[d] - 1) - 1) // self.stride[d] + 1

    def _reach(self, d: int, pad: tuple[int, int]) -> Reach:
        """Zero padding of a dim that is not split costs nothing when torch does it, and a copy when we do."""
        if self.domain.process_grid.dims[d] == 1 and self._boundary[d] == "zero" and pad[0] == pad[1]:
            return Everything(self.domain.global_shape[d])
        return Stencil(self.kernel_size[d], self.stride[d], self.dilation[d], pad[0])


class Conv1d(_Conv, nn.Conv1d):
    """`torch.nn.Conv1d` on a domain; see `Conv2d`."""


class Conv2d(_Conv, nn.Conv2d):
    """`torch.nn.Conv2d` on a domain.

    Parameters
    ----------
    domain : Domain
        Of the input.
    *args, **kwargs
        Those of `torch.nn.Conv2d`, all of them: any kernel (even ones too), stride, dilation, ``padding`` as number, tuple, ``'same'`` or
        ``'valid'``, groups, bias, device, dtype.
    padding_mode : str or sequence of str
        One of torch's; one for each dim; or ``grid``, which is ``circular`` along the periodic dims of the grid and ``zeros`` along others.

    Attributes
    ----------
    domain_out : Domain
        Of the output.

    Raises
    ------
    ShapeError
        On every rank alike: a domain of another number of dims, no output, or padding that torch would refuse; at a call, a tensor that is
        not this rank's block.
    TopologyError
        If a rank would own no cell of the output.

    Communication
    -------------
    Construction: one broadcast per parameter, so that all ranks start from rank 0's. Forward: one message per neighbor, none where
    windows are blocks. Backward: the same the other way, and one all-reduce of the parameters' gradients, which are those of the whole
    field on every rank.

    Notes
    -----
    A halo may be wider than a block. On one rank the result is torch's, bit for bit.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> domain = decompose(Grid((8, 8)), MPI.COMM_SELF)
    >>> Conv2d(domain, 1, 4, 3, stride=2, padding=1, padding_mode="circular").domain_out.global_shape
    (4, 4)
    """


class Conv3d(_Conv, nn.Conv3d):
    """`torch.nn.Conv3d` on a domain; see `Conv2d`."""
