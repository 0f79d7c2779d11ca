"""A multi-layer perceptron over the channels of each point."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpcml.core.errors import ConfigError
from hpcml.models.layers.autocast import is_autocast
from hpcml.models.layers.cellwise_map import activated_map, cellwise_map
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import a_parameter, replicated_together, share_parameters
from hpcml.models.layers.reach import check_field
from hpcml.models.layers.tilewise import tilewise
from hpcml.parallel.space import Space


@numbered
class ChannelMLP(nn.Module):
    """Linear maps of the channels with an activation between them, the same at every point.

        h_0 = x        h_l = act(W_l h_{l-1} + b_l)        y = W_L h_{L-1} + b_L

    Parameters
    ----------
    space : Space
        Where the fields live: a domain, or any other.
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

    Attributes
    ----------
    layers : ModuleList
        The linear maps, each called as a module: it may be parametrised, hooked or replaced.

    Communication
    -------------
    Forward: local. Backward: one all-reduce over space.world_comm for all parameters together.
    """

    shares_gradients = same_bits = True

    def __init__(
        self,
        space: Space,
        in_channels: int,
        hidden_channels: int | None = None,
        out_channels: int | None = None,
        num_layers: int = 2,
        activation: Callable[[Tensor], Tensor] = F.gelu,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ConfigError(f"a channel MLP has at least 1 layer, got num_layers={num_layers}")
        self.space = space
        self.activation = activation
        self._in_channels = in_channels
        hidden = [in_channels if hidden_channels is None else hidden_channels] * (num_layers - 1)
        widths = [in_channels, *hidden, in_channels if out_channels is None else out_channels]
        # On flattened points one kind of convolution serves every number of dims.
        self.layers = nn.ModuleList(_PointwiseMap(n, m, space.channel_dim == -1) for n, m in itertools.pairwise(widths))
        share_parameters(self, space.world_comm)

    def forward(self, x: Tensor) -> Tensor:
        """Fields of out_channels of fields of in_channels, (batch, channel, *local) on a grid."""
        check_field(x, self.space, self._in_channels, "ChannelMLP", a_parameter(self), mixed=True)
        with replicated_together(self, self.space.world_comm, self.space.tiles):
            y: Tensor = tilewise(self.space, self._map, x, of=self)
            return y

    def _map(self, x: Tensor) -> Tensor:
        channels_last = self.space.channel_dim == -1
        h = x if channels_last else x.flatten(2)
        for k, layer in enumerate(self.layers):
            if k and self.activation is F.gelu and isinstance(layer, _PointwiseMap) and layer.can_activate(h):
                h = layer(h, activate=True)
            else:
                h = layer(h if k == 0 else self.activation(h))
        return h if channels_last else h.unflatten(2, x.shape[2:])


class _PointwiseMap(nn.Conv1d):
    """A matrix for the channels of each point: the parameters are those of a convolution of one cell.

    For tensors (batch, channel, points), or (..., channel) with ``channels_last``.
    """

    takes_wide = True

    def __init__(self, in_channels: int, out_channels: int, channels_last: bool) -> None:
        super().__init__(in_channels, out_channels, 1)
        self._channels_last = channels_last

    def can_activate(self, h: Tensor) -> bool:
        """Whether GELU may be left to this map: in one precision, and where no hook expects what comes after it."""
        hooks = (self._forward_hooks, self._forward_pre_hooks, self._backward_hooks, self._backward_pre_hooks)
        in_one = h.dtype == self.weight.dtype and h.dtype in (torch.float32, torch.float64) and not is_autocast(h.device)
        return in_one and not self._channels_last and not any(hooks)

    def forward(self, input: Tensor, activate: bool = False) -> Tensor:
        weight, bias = self.weight, self.bias
        if activate:
            return activated_map(input, weight, bias)
        autocast = is_autocast(input.device)
        if input.dtype in (torch.float16, torch.bfloat16) and weight.dtype == input.dtype and not autocast and not self._channels_last:
            return super().forward(input)  # adds up the gradients of samples before it rounds
        # Parameters in float32 beside a field of 16 bits: what the ranks' gradients are summed from is not rounded, see `replicated_wide`.
        wide = weight.dtype != input.dtype and not autocast
        h = input.to(weight.dtype) if wide else input
        y = F.linear(h, weight[..., 0], bias) if self._channels_last else cellwise_map(h, weight, bias)
        return y.to(input.dtype) if wide else y
