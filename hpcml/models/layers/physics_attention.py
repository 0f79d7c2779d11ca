"""Physics attention: points are gathered into few slices, the slices attend to one another, and the points take back what came of it.

H. Wu et al., International Conference on Machine Learning 2024, arXiv:2402.02366 (Transolver); H. Luo et al., arXiv:2502.02414
(Transolver++).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpcml.core.errors import ConfigError
from hpcml.fields.domain import Domain
from hpcml.models.layers import conv
from hpcml.models.layers.keyed import Keyed
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.padding import padding_modes
from hpcml.models.layers.parameters import replicated_together, share_parameters
from hpcml.models.layers.point_attention import weighted_sums
from hpcml.models.layers.reach import check_field
from hpcml.models.layers.tilewise import alike, tilewise
from hpcml.parallel.space import Space

EMPTY = 1e-5
"""Added to the weight of a slice: of the paper's code. A slice that no point belongs to gives zeros."""
COLDEST, WARMEST = 0.1, 5.0
"""Temperatures that the layer keeps to, of the paper's code for grids: at 0 the weights would have no gradient."""
COLDEST_POINT = 0.01
"""The same of a point's own temperature, of Transolver++."""
START = 0.5


@numbered
class PhysicsAttention(nn.Module):
    """Attention between slices of all points, for any number of points, on grids and graphs alike.

        w_i = softmax((u_i W_s + b_s) / T)        s_g = sum_i w_ig f_i / sum_i w_ig        y_i = (sum_g w_ig Attention(s)_g) W_o + b_o

    for each head, where f and u are linear maps of x, and the sums go over the points of all ranks.

    Parameters
    ----------
    space : Space
        Where the fields live.
    channels : int
        Of x and y.
    heads : int
        A divisor of the channels.
    slices : int
        g, of each head.
    adaptive : bool
        As Transolver++ has it: u = f, a temperature of each point, T_i = max(0.01, b + gelu(gelu(u_i W_1) W_2)), and in training Gumbel
        noise in the scores.
    window : int
        On grids f and u may be convolutions of so many cells along each dim, an odd number; 1 for linear maps.

    Raises
    ------
    ConfigError
        For heads that do not divide the channels, and for a window of a space that is no grid, or that is even.
    ShapeError
        For a tensor that is not this rank's part of a field.

    Communication
    -------------
    Forward: one all-reduce of heads x slices x (channels / heads + 1) numbers for each sample over space.comm, whatever the number of
    points; with a window a halo exchange of (window - 1) / 2 cells. Backward: as much, and one all-reduce over space.world_comm for all
    parameters together. Deterministic.

    Notes
    -----
    The noise is keyed by a seed of the layer, the number of the call and the number of the point among all: it does not depend on ranks.
    In `eval` there is none. Good values: 8 heads, 64 slices, 32 where samples are few.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> layer = PhysicsAttention(decompose(Grid((8, 8)), MPI.COMM_SELF), 16, heads=4, slices=8)
    >>> layer(torch.zeros(2, 16, 8, 8)).shape
    torch.Size([2, 16, 8, 8])
    """

    shares_gradients = same_bits = True

    def __init__(self, space: Space, channels: int, heads: int = 8, slices: int = 64, adaptive: bool = False, window: int = 1) -> None:
        super().__init__()
        width = head_width("physics attention", channels, heads)
        self.space, self.heads, self.adaptive, self._channels = space, heads, adaptive, channels
        self.values = _projection(space, channels, window)
        self.keys = None if adaptive else _projection(space, channels, window)
        self.slices = nn.Linear(width, slices)
        nn.init.orthogonal_(self.slices.weight)
        self.temperature = nn.Parameter(torch.full((heads,), START))
        self.warmth = nn.Sequential(nn.Linear(width, slices), nn.GELU(), nn.Linear(slices, 1), nn.GELU()) if adaptive else None
        self.noise = Keyed().key(space) if adaptive else None
        self.attend = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(channels, channels)
        share_parameters(self, space.world_comm)

    def forward(self, x: Tensor) -> Tensor:
        """Field of as many channels as x, a field."""
        check_field(x, self.space, self._channels, "PhysicsAttention", self.out.weight)
        space = self.space
        with replicated_together(self, space.world_comm, space.tiles):
            given = space.points(x) if isinstance(self.values, nn.Linear) else x
            drawn = [] if self.noise is None or not self.training else [self._drawn(self.noise, len(given))]
            f, w = tilewise(space, self._gathered, given, *drawn, of=self, on="points", keep=True)
            between = alike(space, self._between_slices, *weighted_sums(w, f, space), of=self.attend)
            y = tilewise(space, self._left, w, of=self.out, on="points", shared=[between], keep=True)
            return space.as_field_of(y, x)

    def _gathered(self, x: Tensor, *drawn: Tensor) -> tuple[Tensor, Tensor]:
        """What points give to slices, and how much to which."""
        f = self._heads(self.values, x)
        return f, torch.softmax(self._scores(f if self.keys is None else self._heads(self.keys, x), *drawn), -1)

    def _left(self, w: Tensor, between: Tensor) -> Tensor:
        """What points take back, (sample, point, channel)."""
        y: Tensor = self.out(torch.matmul(w, between.to(w.dtype)).transpose(1, 2).flatten(2))
        return y

    def _heads(self, projection: nn.Module, x: Tensor) -> Tensor:
        """Linear map of points or of a field, (sample, head, point, channel of a head)."""
        points = projection(x) if isinstance(projection, nn.Linear) else self.space.points(projection(x))
        return points.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def _drawn(self, noise: Keyed, samples: int) -> Tensor:
        """Random numbers, (sample, head, point, slice)."""
        drawn = noise.draw("physics attention", samples, self.heads * self.slices.out_features).flatten(2)
        return drawn.unflatten(1, (self.heads, -1)).mT

    def _scores(self, u: Tensor, drawn: Tensor | None = None) -> Tensor:
        """How much each point belongs to each slice, (sample, head, point, slice), for (sample, head, point, channel)."""
        weight, bias = self.slices.weight, self.slices.bias
        if self.warmth is None:
            cold = self.temperature.clamp(COLDEST, WARMEST).reciprocal().view(-1, 1, 1)
            return torch.matmul(u, cold * weight.mT) + (cold * bias).to(u.dtype)  # nothing of the size of the scores is kept for T
        scores = F.linear(u, weight, bias)
        if drawn is not None:
            drawn = drawn.to(torch.promote_types(scores.dtype, drawn.dtype))  # logarithms of float32 differ between CPU and GPU
            scores = scores - torch.log(1e-8 - torch.log(drawn + 1e-8)).to(scores.dtype)  # Gumbel's noise
        return scores / (self.temperature.view(-1, 1, 1) + self.warmth(u)).clamp(min=COLDEST_POINT).to(scores.dtype)

    def _between_slices(self, total: Tensor, weight: Tensor) -> Tensor:
        """What the slices of each head, (sample, head, slice, channel), say to one another: computed alike on every rank."""
        s = (total / (weight + EMPTY)).to(self.attend.weight.dtype)
        q, k, v = self.attend(s).chunk(3, -1)
        return torch.matmul(torch.softmax(torch.matmul(q, k.mT) * q.shape[-1] ** -0.5, -1), v)


def head_width(layer: str, channels: int, heads: int) -> int:
    """Channels of each head.

    Raises
    ------
    ConfigError
        If the heads do not divide the channels.

    Communication
    -------------
    Local.
    """
    if heads < 1 or channels % heads:
        raise ConfigError(f"{layer}: {channels} channels cannot be cut into {heads} heads: choose a divisor of {channels}")
    return channels // heads


def _projection(space: Space, channels: int, window: int) -> nn.Module:
    if window == 1:
        return nn.Linear(channels, channels)
    if not isinstance(space, Domain) or window % 2 == 0:
        raise ConfigError(
            f"physics attention: window={window} on a {type(space).__name__}: expected 1, or an odd number of cells of a grid"
        )
    layer: Any = getattr(conv, f"Conv{space.num_dims}d")
    return layer(space, channels, channels, window, padding=window // 2, padding_mode=padding_modes("grid", space))  # type: ignore[no-any-return]
