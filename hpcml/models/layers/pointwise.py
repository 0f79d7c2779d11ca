"""Any module that acts on each point alone, over many ranks."""

from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import replicated_together, share_parameters
from hpcml.models.layers.tilewise import tilewise
from hpcml.mpi.agreement import raise_together
from hpcml.parallel.replicated import replicated
from hpcml.parallel.space import Space


@numbered
class Pointwise(nn.Module):
    """Apply a module whose output at a point depends on the input at that point only; its parameters get the gradient of all ranks.

        y[b, :, i] = module(x[b, :, i])

    Parameters
    ----------
    space : Space
        Where the fields live.
    module : Module
        Of plain torch: a 1x1 convolution, an activation with parameters, an embedding; any module of the user's own that does not look at
        neighbors. `hpcml.verify` finds out whether it does.
    channels_last : bool
        Hand the module (batch, *local, channel) and take the same back: for layers that act on the last dim, such as `torch.nn.Linear` and
        `torch.nn.LayerNorm` over channels. Where the space has channels last anyway, the module always gets fields as they are.
    on : str, optional
        ``field``, the default, or ``edges`` for values on the edges of a graph; it matters where the space has tiles, and must be said
        there if there are as many edges as nodes.

    Raises
    ------
    ConfigError
        For a bare `torch.nn.Linear` without ``channels_last``: it would mix the cells of the last dim. For ``on`` left out where it must be
        said.
    ShapeError
        On every rank, in a call: for other rows than ``on`` says, where the space has tiles.

    Communication
    -------------
    Forward: local. Backward: one all-reduce over space.world_comm for all parameters together.

    Notes
    -----
    The state dict is the module's, under ``module.``.

    Examples
    --------
    >>> import torch
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> layer = Pointwise(decompose(Grid((8, 8)), MPI.COMM_SELF), torch.nn.Linear(3, 5), channels_last=True)
    >>> layer(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 5, 8, 8])
    """

    shares_gradients = same_bits = True

    def __init__(self, space: Space, module: nn.Module, channels_last: bool = False, on: str | None = None) -> None:
        super().__init__()
        if isinstance(module, nn.Linear | nn.Bilinear) and not channels_last and space.channel_dim == 1:
            raise ConfigError(f"{module} acts on the last dim, which is one of space: say Pointwise(..., channels_last=True) for channels")
        if space.tiles is not None and on is None and getattr(space, "num_edges_global", None) == space.num_points_global:
            raise ConfigError("the graph has as many edges as nodes: say Pointwise(..., on='field') for nodes or on='edges'")
        self.space, self.on = space, on or "field"
        self.module = module
        self.channels_last = channels_last and space.channel_dim == 1
        share_parameters(module, space.world_comm)

    def forward(self, *fields: Tensor) -> Any:
        """The module's output for one or more fields."""
        if self.space.tiles is not None:
            with replicated_together(self, self.space.world_comm, self.space.tiles):
                self._check_rows(fields)
                return tilewise(self.space, self._module, *fields, of=self, on=self.on)
        if self.channels_last:
            fields = tuple(x.movedim(1, -1) for x in fields)
        parameters = dict(self.module.named_parameters())
        if parameters:
            used = replicated(self.space.world_comm, *parameters.values())
            y = functional_call(self.module, dict(zip(parameters, used, strict=True)), fields)
        else:
            y = self.module(*fields)
        return y.movedim(-1, 1) if self.channels_last else y

    def _module(self, *rows: Tensor) -> Any:
        y = self.module(*(x.movedim(1, -1) for x in rows) if self.channels_last else rows)
        return y.movedim(-1, 1) if self.channels_last else y

    def _check_rows(self, fields: tuple[Tensor, ...]) -> None:
        expected, dim = sum(self.space.tile_sizes[self.on]), self.space.tile_dim
        with raise_together(self.space.comm):
            found = [x.shape[dim] for x in fields]
            if set(found) != {expected}:
                raise ShapeError(f"Pointwise on {self.on}: expected {expected} rows, got {found}: say on='edges' for a module on edges")
