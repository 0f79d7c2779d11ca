"""A multi-layer perceptron from a few numbers to a whole field."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpcml.core.config import Depth, Width
from hpcml.core.errors import ConfigError
from hpcml.fields.domain import Domain
from hpcml.models.layers.parameters import place, share_parameters
from hpcml.models.layers.reach import check_field
from hpcml.parallel.replicated import replicated


class ParameterMLP(nn.Module):
    """Map channels that are the same in every cell, such as parameters and a time, to a field.

        h_0 = p        h_l = relu(W_l h_{l-1} + b_l)        u = W_L h_{L-1} + b_L, one row for each cell and channel

    Parameters
    ----------
    domain : Domain
        Of the field.
    in_channels, out_channels : int
        Numbers, and channels of the field.
    width : int
        Of h.
    layers : int
        Layers of that width.

    Raises
    ------
    ConfigError
        At the first call, for channels that are not the same in every cell.
    ShapeError
        For a tensor that is not this rank's block.

    Communication
    -------------
    Forward: local, each rank makes its own cells. Backward: one all-reduce over domain.world_comm for all parameters together.

    Notes
    -----
    It knows one grid: its parameters grow with the cells, and a state dict loads for the same grid only.

    References
    ----------
    L. Meyer, M. Schouler, R. A. Caulk, A. Ribes, B. Raffin, Training deep surrogate models with large scale online learning, ICML 2023,
    arXiv:2306.16133.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> model = ParameterMLP(decompose(Grid((8, 8)), MPI.COMM_SELF), in_channels=6, width=16)
    >>> model(torch.ones(2, 6, 8, 8)).shape
    torch.Size([2, 1, 8, 8])
    """

    def __init__(self, domain: Domain, in_channels: int = 1, out_channels: int = 1, width: Width = 256, layers: Depth = 2) -> None:
        super().__init__()
        self.domain = self.domain_out = domain
        self._in_channels, self._out_channels, self._checked = in_channels, out_channels, False
        widths = [in_channels, *[width] * layers]
        self.hidden = nn.ModuleList(nn.Linear(n, m) for n, m in itertools.pairwise(widths))
        self.last = nn.Linear(widths[-1], out_channels * domain.num_points_global)
        share_parameters(self, domain.world_comm)
        place(self, domain.device)

    def forward(self, x: Tensor) -> Tensor:
        """Field of out_channels, (batch, channel, *local), for numbers as channels."""
        check_field(x, self.domain, self._in_channels, "ParameterMLP", self.last.weight)
        cells = x.flatten(2)
        h = cells[:, :, 0]
        if not self._checked:
            if not torch.equal(cells, h.unsqueeze(2).expand_as(cells)):
                raise ConfigError("parameter_mlp maps numbers to fields, and its input differs from cell to cell: choose fno or unet")
            self._checked = True
        layers = [*self.hidden, self.last]
        used = replicated(self.domain.world_comm, *(p for layer in layers for p in (layer.weight, layer.bias)))
        for weight, bias in zip(used[:-2:2], used[1:-2:2], strict=True):
            h = F.relu(F.linear(h, weight, bias))
        weight, bias = used[-2:]
        if self.domain.comm.size > 1:
            rows = self._rows()
            weight, bias = weight[rows], bias[rows]
        return F.linear(h, weight, bias).view(len(x), self._out_channels, *self.domain.local_shape)

    def _rows(self) -> Tensor:
        """Rows of the last matrix that make this rank's cells."""
        cells = self.domain.point_index.flatten()
        starts = torch.arange(self._out_channels, device=cells.device) * self.domain.num_points_global
        return (starts[:, None] + cells).flatten()
