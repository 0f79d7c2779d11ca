"""Padding a field that many ranks share: torch's pad on one rank, its exact equal on any number."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields.domain import Domain
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.padding import boundary_rules
from hpcml.models.layers.reach import Shifted, check_field, output_domain, read_inputs


@numbered
class Pad(nn.Module):
    """`torch.nn.functional.pad` of all spatial dims of a field.

    Parameters
    ----------
    domain : Domain
        Of the input.
    pad : int or sequence of int
        Cells to add, or with a minus to cut off: one number for all sides, or as in torch (lower, upper) of the last dim, then of the one
        before, and so on for as many dims as wanted.
    mode : str
        ``constant``, ``reflect``, ``replicate`` or ``circular``.
    value : float
        For ``constant``.

    Attributes
    ----------
    domain_out : Domain
        Of the output: a field of its own, dealt to all ranks by the ownership rule.

    Raises
    ------
    ConfigError
        For an unknown mode or a wrong number of widths.
    ShapeError
        For widths that torch would refuse.

    Communication
    -------------
    All ranks that hold the cells of this rank's part of the output, one message each; the backward pass sends them back.
    """

    def __init__(self, domain: Domain, pad: int | Sequence[int], mode: str = "constant", value: float = 0.0) -> None:
        super().__init__()
        given = (pad,) * (2 * domain.num_dims) if isinstance(pad, int) else tuple(pad)
        if len(given) % 2 or len(given) > 2 * domain.num_dims:
            raise ConfigError(f"Pad: {given} are not two widths for each of up to {domain.num_dims} dims, the last dim first")
        lower = (given[::2] + (0,) * domain.num_dims)[: domain.num_dims][::-1]
        upper = (given[1::2] + (0,) * domain.num_dims)[: domain.num_dims][::-1]
        if mode == "zeros":
            raise ConfigError("Pad: mode 'zeros' is called 'constant' here, as torch's pad calls it")
        widths = tuple(zip(lower, upper, strict=True))
        if mode != "constant" and min(given) < 0:
            raise ShapeError(f"Pad: only constant padding can cut off cells, got {given} in mode {mode!r}: cut with Slice first")
        self._boundary = boundary_rules("Pad", mode, widths, domain.global_shape)
        self._reaches = tuple(Shifted(width) for width in lower)
        self.domain = domain
        self.domain_out = output_domain("Pad", domain, [n + sum(w) for n, w in zip(domain.global_shape, widths, strict=True)])
        self.pad = tuple(width for pair in reversed(widths) for width in pair)
        self.mode, self.value = mode, value

    def forward(self, x: Tensor) -> Tensor:
        """Pad this rank's block (batch, channel, *local_shape) to that of ``domain_out``."""
        check_field(x, self.domain)
        if self.domain.comm.size == 1:
            return functional.pad(x, self.pad, self.mode, self.value if self.mode == "constant" else None)
        return read_inputs(x, self.domain, self.domain_out, self._reaches, self._boundary, self.value, copy=True)
