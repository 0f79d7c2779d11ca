"""A multi-layer perceptron over the channels of each cell."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpcml.core.errors import ConfigError
from hpcml.fields.domain import Domain
from hpcml.models.layers.parameters import share_parameters
from hpcml.models.layers.reach import check_field
from hpcml.parallel.replicated import replicated


class ChannelMLP(nn.Module):
    """Linear maps of the channels with an activation between them, the same at every cell.

        h_0 = x        h_l = act(W_l h_{l-1} + b_l)        y = W_L h_{L-1} + b_L

    Parameters
    ----------
    domain : Domain
        Where the fields live, of 1 to 3 dims.
    in_channels : int
        Channels of x.
    hidden_channels, out_channels : int, optional
        Channels of h and y, default those of x.
    num_layers : int
        L, at least 1.
    activation : callable
        act.

    Raises
    ------
    ConfigError
        For less than one layer.
    ShapeError
        For a tensor that is not this rank's block.

    Communication
    -------------
    Forward: local. Backward: one all-reduce over domain.world_comm for all parameters together.
    """

    def __init__(
        self,
        domain: Domain,
        in_channels: int,
        hidden_channels: int | None = None,
        out_channels: int | None = None,
        num_layers: int = 2,
        activation: Callable[[Tensor], Tensor] = F.gelu,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ConfigError(f"a channel MLP has at least 1 layer, got num_layers={num_layers}")
        self.domain = self.domain_out = domain
        self.activation = activation
        hidden = [in_channels if hidden_channels is None else hidden_channels] * (num_layers - 1)
        widths = [in_channels, *hidden, in_channels if out_channels is None else out_channels]
        # On flattened cells one kind of convolution serves every number of dims.
        self.layers = nn.ModuleList(nn.Conv1d(n, m, 1) for n, m in itertools.pairwise(widths))
        share_parameters(self, domain.world_comm)

    def forward(self, x: Tensor) -> Tensor:
        """Fields (batch, out_channels, *local) of fields (batch, in_channels, *local)."""
        check_field(x, self.domain)
        parameters = replicated(self.domain.world_comm, *self.parameters())
        h = x.flatten(2)
        for k, (weight, bias) in enumerate(zip(parameters[::2], parameters[1::2], strict=True)):
            h = h if k == 0 else self.activation(h)
            # A product with the matrix of each sample is up to three times as fast as a convolution with a kernel of one cell.
            h = torch.baddbmm(bias[:, None], weight[..., 0].expand(len(h), -1, -1), h)
        return h.unflatten(2, x.shape[2:])
