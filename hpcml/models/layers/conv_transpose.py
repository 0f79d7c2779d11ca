"""Transposed convolution of a field that many ranks share: torch's layer on one rank, its exact equal on any number.

y[o] = b + sum_{i, j: i s - pad + dil j = o}  w[j] x[i]        along each dim, for global indices o
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields.domain import Domain
from hpcml.models.layers.convolution import Convolution
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.padding import periodic_dims
from hpcml.models.layers.parameters import share_parameters, weight_and_bias
from hpcml.models.layers.reach import Everything, Reach, check_field, check_num_dims, output_domain, window_plan
from hpcml.models.layers.windowed_convolution import windowed_convolution
from hpcml.parallel.layout import Range


@dataclass(frozen=True, slots=True)
class Spread:
    """Reach of a transposed convolution: the inputs that have a part in a run of outputs, and one at or below the first."""

    kernel: int
    stride: int
    dilation: int
    padding: int

    def __call__(self, outputs: Range) -> Range:
        first, last = outputs[0] + self.padding, outputs[1] - 1 + self.padding
        lowest = -((self.dilation * (self.kernel - 1) - first) // self.stride)
        return min(lowest, first // self.stride), last // self.stride + 1

    def margins(self, outputs: Range) -> Range:
        """Outputs to cut off below and above those that these inputs make by themselves; above may be negative: to add."""
        start, stop = self(outputs)
        made = start * self.stride - self.padding, (stop - 1) * self.stride - self.padding + self.dilation * (self.kernel - 1) + 1
        return outputs[0] - made[0], made[1] - outputs[1]


@numbered
class _ConvTranspose(_ConvTransposeNd):
    """What the transposed convolutions of 1 to 3 dims share."""

    domain: Domain
    domain_out: Domain
    padding: tuple[int, ...]

    def __init__(self, domain: Domain, *args: Any, periodic: bool | Sequence[bool] = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name = type(self).__name__
        check_num_dims(name, domain, len(self.kernel_size))
        for extra, stride, dil in zip(self.output_padding, self.stride, self.dilation, strict=True):
            if extra >= max(stride, dil):
                raise ConfigError(
                    f"{name}: output_padding {self.output_padding} must be smaller than stride {self.stride} or dilation {self.dilation}"
                )
        self.domain, self.periodic = domain, periodic_dims(name, periodic, domain)
        sizes = [self._size_out(d, n) for d, n in enumerate(domain.global_shape)]
        self._check_period(name, sizes)
        self.domain_out = output_domain(name, domain, sizes)
        self._deal()
        share_parameters(self, domain.world_comm)

    def _deal(self) -> None:
        """Work out windows, what torch's operator is told about them, and what of its result belongs to this rank."""
        reaches: list[Reach] = []
        padding, extra, cut = [], [], []
        for d, owned in enumerate(self.domain_out.block):
            if self.domain.process_grid.dims[d] == 1 and not self.periodic[d]:
                reaches.append(Everything(self.domain.global_shape[d]))
                padding.append(self.padding[d])
                extra.append(self.output_padding[d])
                cut.append(slice(None))
                continue
            spread = Spread(self.kernel_size[d], self.stride[d], self.dilation[d], self.padding[d])
            lower, upper = spread.margins((owned.start, owned.stop))
            native = max(min(lower, upper), 0)
            reaches.append(spread)
            padding.append(native)
            extra.append(max(-upper, 0))
            cut.append(slice(lower - native, lower - native + owned.size))
        self._reaches = tuple(reaches)
        self._cut: tuple[Any, ...] = (..., *cut)
        self._convolution = Convolution(self.kernel_size, self.stride, tuple(padding), self.dilation, self.groups, True, tuple(extra))

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Spread this rank's block (batch, in_channels, *local_shape) to that of ``domain_out``."""
        if output_size is not None:
            raise ConfigError(f"{type(self).__name__}: the output's size is fixed at construction: give output_padding there")
        domain = self.domain
        check_field(x, domain, self.in_channels, type(self).__name__, self.weight)
        if domain.comm.size == 1 and not any(self.periodic):
            whole = Convolution(self.kernel_size, self.stride, self.padding, self.dilation, self.groups, True, self.output_padding)
            return whole.forward_any(x, *weight_and_bias(self, domain.world_comm))
        plan = window_plan(domain, self.domain_out, self._reaches, tuple("periodic" if p else "zero" for p in self.periodic))
        y = windowed_convolution(plan, domain.world_comm, self._convolution, x, self.weight, self.bias)
        return y if y.shape[2:] == self.domain_out.local_shape else y[self._cut].contiguous()

    def _check_period(self, name: str, sizes: Sequence[int]) -> None:
        for d, (n, size) in enumerate(zip(self.domain.global_shape, sizes, strict=True)):
            if self.periodic[d] and size != n * self.stride[d]:
                raise ShapeError(
                    f"{name}: {n} periodic cells of dim {d} with stride {self.stride[d]} make {n * self.stride[d]}, but kernel, padding "
                    f"and output_padding leave {size}: choose kernel - 2 padding + output_padding = stride, or periodic=False"
                )

    def _size_out(self, d: int, n: int) -> int:
        made = (n - 1) * self.stride[d] + self.dilation[d] * (self.kernel_size[d] - 1) + 1
        return made - 2 * self.padding[d] + self.output_padding[d]


class ConvTranspose1d(_ConvTranspose, nn.ConvTranspose1d):
    """`torch.nn.ConvTranspose1d` on a domain; see `ConvTranspose2d`."""


class ConvTranspose2d(_ConvTranspose, nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` on a domain.

    Parameters
    ----------
    domain : Domain
        Of the input.
    *args, **kwargs
        Those of `torch.nn.ConvTranspose2d`, all of them: any kernel, stride, padding, output_padding, groups, bias, dilation.
    periodic : bool or sequence of bool
        Along which dims what is spread beyond one end arrives at the other; the output then has stride times the input's cells there.
        ``domain.grid.periodic`` is what the grid is; the default is torch's rule.

    Attributes
    ----------
    domain_out : Domain
        Of the output.

    Raises
    ------
    ConfigError
        For an ``output_padding`` that torch would refuse, or ``output_size`` at a call.
    ShapeError, TopologyError
        As for `hpcml.models.layers.Conv2d`.

    Communication
    -------------
    As for `hpcml.models.layers.Conv2d`; no message in the forward pass where kernel and stride are equal and blocks fit them.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> domain = decompose(Grid((8, 8)), MPI.COMM_SELF)
    >>> ConvTranspose2d(domain, 4, 1, 4, stride=2, padding=1).domain_out.global_shape
    (16, 16)
    """


class ConvTranspose3d(_ConvTranspose, nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` on a domain; see `ConvTranspose2d`."""
