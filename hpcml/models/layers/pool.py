"""Average and max pooling of a field that many ranks share: torch's layers on one rank, their exact equals on any number.

average   y[o] = sum_{j < k} x[o s - pad + j] / count(o)        max   y[o] = max_{j < k} x[o s - pad + dil j]
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.utils import _ntuple

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields.domain import Domain
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.padding import periodic_dims
from hpcml.models.layers.reach import Everything, Reach, Stencil, check_field, check_num_dims, output_domain, read_inputs

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class _Pool(nn.Module):
    """What all poolings share: window geometry along every dim."""

    num_dims: ClassVar[int]
    domain: Domain
    domain_out: Domain

    def _deal(self, domain: Domain, periodic: bool | Sequence[bool]) -> None:
        name = type(self).__name__
        self.periodic = periodic_dims(name, periodic, domain)
        check_num_dims(name, domain, self.num_dims)
        every = _ntuple(self.num_dims)
        self._kernel: tuple[int, ...] = every(self.kernel_size)
        self._stride: tuple[int, ...] = every(self.stride)
        self._dilation: tuple[int, ...] = every(getattr(self, "dilation", 1))
        self._padding: tuple[int, ...] = every(self.padding)
        if any(2 * p > dil * (k - 1) + 1 for k, dil, p in zip(self._kernel, self._dilation, self._padding, strict=True)):
            raise ShapeError(f"{name}: padding {self._padding} is more than half of kernel {self._kernel}, as torch too refuses: pad less")
        self.domain = domain
        self.domain_out = output_domain(name, domain, [self._size_out(d, n) for d, n in enumerate(domain.global_shape)])
        split = [p > 1 or wraps for p, wraps in zip(domain.process_grid.dims, self.periodic, strict=True)]
        self._native_padding = tuple(0 if cut else p for cut, p in zip(split, self._padding, strict=True))
        self._reaches = tuple(self._reach(d) if cut else Everything(domain.global_shape[d]) for d, cut in enumerate(split))

    def _wide(self, x: Tensor, outside: str, fill: float = 0.0) -> Tensor:
        rules = tuple("periodic" if wraps else outside for wraps in self.periodic)
        return read_inputs(x, self.domain, self.domain_out, self._reaches, rules, fill)

    def _size_out(self, d: int, n: int) -> int:
        span = n + 2 * self._padding[d] - self._dilation[d] * (self._kernel[d] - 1) - 1
        if not self.ceil_mode:
            return span // self._stride[d] + 1
        size = -(-span // self._stride[d]) + 1
        return size - ((size - 1) * self._stride[d] >= n + self._padding[d])  # no window starts in the upper padding

    def _reach(self, d: int) -> Reach:
        return Stencil(self._kernel[d], self._stride[d], self._dilation[d], self._padding[d])


@numbered
class _AvgPool(_Pool):
    def __init__(self, domain: Domain, *args: Any, periodic: bool | Sequence[bool] = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deal(domain, periodic)
        self._scales = self._corrections()

    def forward(self, x: Tensor) -> Tensor:
        """Average this rank's windows of (batch, channel, *local_shape)."""
        check_field(x, self.domain, layer=type(self).__name__)
        if self.domain.comm.size == 1 and not any(self.periodic):
            return super().forward(x)
        # In 16 bits what is mended below would be rounded twice.
        wide = self._wide(x.to(torch.promote_types(x.dtype, torch.float32)) if self._scales else x, "zero")
        pool = getattr(functional, f"avg_pool{self.num_dims}d")
        override = {} if self.num_dims == 1 else {"divisor_override": self.divisor_override}
        y: Tensor = pool(wide, self._kernel, self._stride, self._native_padding, self.ceil_mode, self.count_include_pad, **override)
        for scale in self._scales:
            y = y * scale.to(y)
        return y.to(x.dtype)

    def _corrections(self) -> list[Tensor]:
        """The local operator divides by the whole kernel along a dim that is split; what mends that at the ends of the field, per dim."""
        if getattr(self, "divisor_override", None):
            return []
        scales = []
        for d, owned in enumerate(self.domain_out.block):
            if isinstance(self._reaches[d], Everything) or self.periodic[d]:
                continue
            k, pad, n = self._kernel[d], self._padding[d], self.domain.global_shape[d]
            start = torch.arange(owned.start, owned.stop) * self._stride[d] - pad
            margin = pad if self.count_include_pad else 0
            count = (start + k).clamp(max=n + margin) - start.clamp(min=-margin)
            if not torch.all(count == k):
                scales.append((k / count.double()).view(-1, *(1,) * (self.num_dims - d - 1)).to(self.domain.device))
        return scales


@numbered
class _MaxPool(_Pool):
    def __init__(self, domain: Domain, *args: Any, periodic: bool | Sequence[bool] = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.return_indices:
            raise ConfigError(f"{type(self).__name__}: return_indices=True is not offered over ranks: leave it out")
        self._deal(domain, periodic)

    def forward(self, x: Tensor) -> Tensor:
        """Largest value of this rank's windows of (batch, channel, *local_shape)."""
        check_field(x, self.domain)
        if self.domain.comm.size == 1 and not any(self.periodic):
            return super().forward(x)
        lowest = torch.iinfo(x.dtype).min if x.dtype in INTEGERS else -math.inf
        wide = self._wide(x, "constant", lowest)
        pool = getattr(functional, f"max_pool{self.num_dims}d")
        return pool(wide, self._kernel, self._stride, self._native_padding, self._dilation, self.ceil_mode)


class AvgPool1d(_AvgPool, nn.AvgPool1d):
    """`torch.nn.AvgPool1d` on a domain; see `AvgPool2d`."""

    num_dims = 1


class AvgPool2d(_AvgPool, nn.AvgPool2d):
    """`torch.nn.AvgPool2d` on a domain.

    Parameters
    ----------
    domain : Domain
        Of the input.
    *args, **kwargs
        Those of `torch.nn.AvgPool2d`, all of them.
    periodic : bool or sequence of bool
        Along which dims the padding holds the cells of the other end; ``domain.grid.periodic`` is what the grid is. The default is torch's
        rule: nothing lies there.

    Attributes
    ----------
    domain_out : Domain
        Of the output.

    Raises
    ------
    ShapeError, TopologyError
        As for `hpcml.models.layers.Conv2d`.

    Communication
    -------------
    Neighbors, one message per peer each way; none where windows end at the ends of blocks.
    """

    num_dims = 2


class AvgPool3d(_AvgPool, nn.AvgPool3d):
    """`torch.nn.AvgPool3d` on a domain; see `AvgPool2d`."""

    num_dims = 3


class MaxPool1d(_MaxPool, nn.MaxPool1d):
    """`torch.nn.MaxPool1d` on a domain; see `MaxPool2d`."""

    num_dims = 1


class MaxPool2d(_MaxPool, nn.MaxPool2d):
    """`torch.nn.MaxPool2d` on a domain.

    Parameters
    ----------
    domain : Domain
        Of the input.
    *args, **kwargs
        Those of `torch.nn.MaxPool2d` but ``return_indices``.
    periodic : bool or sequence of bool
        As for `AvgPool2d`.

    Attributes
    ----------
    domain_out : Domain
        Of the output.

    Raises
    ------
    ConfigError
        For ``return_indices=True``.
    ShapeError, TopologyError
        As for `hpcml.models.layers.Conv2d`.

    Communication
    -------------
    Neighbors, one message per peer each way; none where windows end at the ends of blocks.
    """

    num_dims = 2


class MaxPool3d(_MaxPool, nn.MaxPool3d):
    """`torch.nn.MaxPool3d` on a domain; see `MaxPool2d`."""

    num_dims = 3
