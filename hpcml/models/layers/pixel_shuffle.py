"""Channels into cells and cells into channels, for a field that many ranks share: torch's layers on one rank, in 1 to 3 dims.

shuffle      (batch, c r^D, n_1, ..., n_D)  ->  (batch, c, n_1 r, ..., n_D r)
unshuffle    the other way
"""

from dataclasses import dataclass

from torch import Tensor, nn

from hpcml.core.errors import ShapeError
from hpcml.fields.domain import Domain
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.reach import Stencil, check_field, read_inputs
from hpcml.parallel.layout import Range


@dataclass(frozen=True, slots=True)
class Parent:
    """Reach of a refinement: output o reads input o div factor."""

    factor: int

    def __call__(self, outputs: Range) -> Range:
        return outputs[0] // self.factor, (outputs[1] - 1) // self.factor + 1


@numbered
class PixelShuffle(nn.PixelShuffle):
    """`torch.nn.PixelShuffle` on a domain, in 1 to 3 dims.

    Parameters
    ----------
    domain : Domain
        Of the input.
    upscale_factor : int
        r.

    Attributes
    ----------
    domain_out : Domain
        Of the output.

    Communication
    -------------
    Neighbors, one message per peer each way, where r times the blocks of the input are not the blocks of the output.
    """

    def __init__(self, domain: Domain, upscale_factor: int) -> None:
        super().__init__(upscale_factor)
        self.domain = domain
        self.domain_out = domain.with_shape([n * upscale_factor for n in domain.global_shape])

    def forward(self, x: Tensor) -> Tensor:
        """Spread the channels of this rank's block (batch, c r^D, *local_shape) over the cells of ``domain_out``."""
        check_field(x, self.domain)
        r, num_dims = self.upscale_factor, self.domain.num_dims
        if x.shape[1] % r**num_dims:
            raise ShapeError(f"PixelShuffle: {x.shape[1]} channels cannot be dealt to {r}^{num_dims} cells: a multiple of {r**num_dims}")
        rules = ("zero",) * num_dims
        x = read_inputs(x, self.domain, self.domain_out, (Parent(r),) * num_dims, rules, copy=r == 1)
        y = x.unflatten(1, (-1, *(r,) * num_dims))
        cells = [axis for d in range(num_dims) for axis in (2 + num_dims + d, 2 + d)]
        y = y.permute(0, 1, *cells).reshape(x.shape[0], -1, *(n * r for n in x.shape[2:]))
        cut = tuple(slice(owned.start % r, owned.start % r + owned.size) for owned in self.domain_out.block)
        return y if y.shape[2:] == self.domain_out.local_shape else y[(..., *cut)].contiguous()


@numbered
class PixelUnshuffle(nn.PixelUnshuffle):
    """`torch.nn.PixelUnshuffle` on a domain, in 1 to 3 dims.

    Parameters
    ----------
    domain : Domain
        Of the input.
    downscale_factor : int
        r.

    Attributes
    ----------
    domain_out : Domain
        Of the output.

    Raises
    ------
    ShapeError
        If r does not divide the field.

    Communication
    -------------
    Neighbors, one message per peer each way, where r times the blocks of the output are not the blocks of the input.
    """

    def __init__(self, domain: Domain, downscale_factor: int) -> None:
        super().__init__(downscale_factor)
        if any(n % downscale_factor for n in domain.global_shape):
            raise ShapeError(f"PixelUnshuffle: {domain.global_shape} cells cannot be cut into blocks of {downscale_factor}: pad first")
        self.domain = domain
        self.domain_out = domain.with_shape([n // downscale_factor for n in domain.global_shape])

    def forward(self, x: Tensor) -> Tensor:
        """Gather cells of this rank's block (batch, c, *local_shape) into the channels of ``domain_out``."""
        check_field(x, self.domain)
        r, num_dims = self.downscale_factor, self.domain.num_dims
        rules = ("zero",) * num_dims
        x = read_inputs(x, self.domain, self.domain_out, (Stencil(r, r),) * num_dims, rules, copy=r == 1)
        y = x.reshape(*x.shape[:2], *(size for n in x.shape[2:] for size in (n // r, r)))
        inner, outer = range(3, 3 + 2 * num_dims, 2), range(2, 2 + 2 * num_dims, 2)
        return y.permute(0, 1, *inner, *outer).flatten(1, 1 + num_dims)
