"""Attention through few latent tokens: these gather from all points by a softmax over the points, and the points read them.

V. Puri et al., arXiv:2508.12594 (FLARE).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import replicated_together, share_parameters
from hpcml.models.layers.physics_attention import head_width
from hpcml.models.layers.point_attention import attend_to_points
from hpcml.models.layers.reach import check_field
from hpcml.models.layers.tilewise import tilewise
from hpcml.parallel.space import Space

UNSCALED = 8
"""Channels of a head up to which scores are taken as they are, and divided by the root of the channels above: the paper's choice."""


@numbered
class LatentAttention(nn.Module):
    """Attention of all points to all others, of a rank that the number of latent tokens bounds; on grids and graphs alike.

        z_g = sum_i softmax_i(c q_g k_i) v_i        y_i = (sum_g softmax_g(c k_i q_g) z_g) W_o + b_o

    for each head, where k and v are residual perceptrons of x, q are parameters, and the first sum goes over the points of all ranks.

    Parameters
    ----------
    space : Space
        Where the fields live.
    channels : int
        Of x and y.
    heads : int
        A divisor of the channels; the paper has channels / 8.
    tokens : int
        g, of each head.
    hidden_layers : int
        Of the perceptrons of keys and values.

    Raises
    ------
    ConfigError
        For heads that do not divide the channels.
    ShapeError
        For a tensor that is not this rank's part of a field.

    Communication
    -------------
    Forward: over space.comm an all-reduce of heads x tokens numbers for each sample, their maximum, and one of
    heads x tokens x (channels / heads + 1), their sum, whatever the number of points. Backward: the latter, and one all-reduce over
    space.world_comm for all parameters together.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> layer = LatentAttention(decompose(Grid((8, 8)), MPI.COMM_SELF), 16, heads=2, tokens=8)
    >>> layer(torch.zeros(2, 16, 8, 8)).shape
    torch.Size([2, 16, 8, 8])
    """

    shares_gradients = same_bits = True

    def __init__(self, space: Space, channels: int, heads: int = 8, tokens: int = 64, hidden_layers: int = 3) -> None:
        super().__init__()
        width = head_width("latent attention", channels, heads)
        self.space, self._channels = space, channels
        self._scale = 1.0 if width <= UNSCALED else width**-0.5
        self.keys, self.values = (ResidualPerceptron(channels, hidden_layers) for _ in range(2))
        self.queries = nn.Parameter(0.1 * torch.randn(heads, tokens, width))
        self.out = nn.Linear(channels, channels)
        share_parameters(self, space.world_comm)

    def forward(self, x: Tensor) -> Tensor:
        """Field of as many channels as x, a field."""
        check_field(x, self.space, self._channels, "LatentAttention", self.queries)
        space = self.space
        with replicated_together(self, space.world_comm, space.tiles):
            scores, v = tilewise(space, self._scores, space.points(x), of=self, on="points")
            z = attend_to_points(scores, v, space)
            return space.as_field_of(tilewise(space, self._read, scores, of=self.out, on="points", shared=[z]), x)

    def _scores(self, p: Tensor) -> tuple[Tensor, Tensor]:
        k, v = (part(p).unflatten(2, (len(self.queries), -1)).transpose(1, 2) for part in (self.keys, self.values))
        return torch.matmul(k, self._scale * self.queries.mT), v

    def _read(self, scores: Tensor, z: Tensor) -> Tensor:
        y: Tensor = self.out(torch.matmul(torch.softmax(scores, -1), z.to(scores.dtype)).transpose(1, 2).flatten(2))
        return y


class ResidualPerceptron(nn.Module):
    """A perceptron on the last dim, whose hidden layers each add to what came before.

    h = W_0 x        h += gelu(W_l h) for each hidden layer        y = W_L h
    """

    def __init__(self, channels: int, hidden_layers: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.hidden = nn.ModuleList(nn.Linear(channels, channels) for _ in range(hidden_layers))

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of x."""
        h = self.first(x)
        for layer in self.hidden:
            h = h + F.gelu(layer(h))
        y: Tensor = self.last(h)
        return y
