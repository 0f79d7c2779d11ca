"""A transformer whose attention looks at all points of a grid or a mesh through few slices or latent tokens.

    v_0 = lift(u, x) + p        v' = v + Attention(norm v)        v_{l+1} = v' + MLP(norm v')        y = project(norm v_L)

H. Wu et al., arXiv:2402.02366; H. Luo et al., arXiv:2502.02414; V. Puri et al., arXiv:2508.12594.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from hpcml.core.config import Count, Depth, Few, Ratio, Share, Width
from hpcml.core.errors import ConfigError
from hpcml.models.in_turn import Part, in_turn
from hpcml.models.layers.dropout import Dropout
from hpcml.models.layers.latent_attention import LatentAttention
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import a_parameter, replicated_together, share_parameters
from hpcml.models.layers.physics_attention import PhysicsAttention
from hpcml.models.layers.point_coordinates import coordinates
from hpcml.models.layers.reach import check_field
from hpcml.models.layers.tilewise import tilewise
from hpcml.models.replicas import compare_at_first_use
from hpcml.parallel.space import Space

ATTENTIONS = ("slices", "adaptive", "latents")


@numbered
class PhysicsAttentionNet(nn.Module):
    """Map fields to fields, each value of the output depending on all of the input, at a cost that grows as the number of points.

    Parameters
    ----------
    space : Space
        Of input and output: a grid, a graph, whose edges do not matter, or points of one's own.
    in_channels, out_channels : int
        Channels of fields.
    channels : int
        Width of v.
    layers : int
        Blocks.
    heads : int
        Of each attention, a divisor of ``channels``.
    slices : int
        Slices, or latent tokens, of each head.
    attention : str
        ``slices`` (Transolver), ``adaptive`` (Transolver++: half the projections, a temperature of each point, noise in training) or
        ``latents`` (FLARE).
    window : int
        On grids ``slices`` and ``adaptive`` may see so many cells along each dim, an odd number: published results on grids are of 3.
    mlp_ratio : float
        Hidden channels of MLP over ``channels``.
    dropout : float
        Share of the attention's output that is dropped in training.
    positions : bool
        Append where a point lies to the input, see `hpcml.models.layers.coordinates`.

    Raises
    ------
    ConfigError
        For another attention, heads that do not divide the channels, or a window that there cannot be.
    ShapeError
        For a tensor that is not this rank's part of a field.

    Communication
    -------------
    For each block that of its attention: `hpcml.models.layers.PhysicsAttention` or `hpcml.models.layers.LatentAttention`, of a size that
    does not depend on the number of points. Backward: as much, and one all-reduce over space.world_comm for all parameters together, but
    for those of convolutions, which have one each. At the first call: that of `hpcml.check_parameters` over space.comm.

    Notes
    -----
    Good values: the defaults, AdamW at 1e-3 with one cycle of the learning rate, gradients clipped at 0.1 to 1; positions of order one.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> model = PhysicsAttentionNet(decompose(Grid((16, 16)), MPI.COMM_SELF), 3, 1, channels=16, layers=2, heads=4, slices=8)
    >>> model(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 1, 16, 16])
    """

    shares_gradients = same_bits = True

    def __init__(
        self,
        space: Space,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: Width = 128,
        layers: Depth = 8,
        heads: Count = 8,
        slices: Count = 64,
        attention: Literal["slices", "adaptive", "latents"] = "slices",
        window: Few = 1,
        mlp_ratio: Ratio = 1.0,
        dropout: Share = 0.0,
        positions: bool = True,
    ) -> None:
        super().__init__()
        self.space = space
        self._in_channels, self._positions = in_channels, positions
        known = coordinates(space).shape[1] if positions else 0
        self.lift = nn.Sequential(nn.Linear(in_channels + known, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))
        self.placeholder = nn.Parameter(torch.rand(channels) / channels)
        hidden = max(1, round(mlp_ratio * channels))
        self.blocks = nn.ModuleList(
            AttentionBlock(space, channels, hidden, _attention(attention, space, channels, heads, slices, window), dropout)
            for _ in range(layers)
        )
        self.project = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, out_channels))
        share_parameters(self, space.world_comm)

    def forward(self, x: Tensor) -> Tensor:
        """Field of out_channels for x, a field of in_channels."""
        check_field(x, self.space, self._in_channels, "PhysicsAttentionNet", a_parameter(self))
        compare_at_first_use(self, self.space.comm)
        space = self.space
        with replicated_together(self, space.world_comm, space.tiles):
            return in_turn(self.parts(x), x)[0]

    def parts(self, x: Tensor) -> list[Part]:
        """What `hpcml.models.in_turn` makes the output of, for an input like x; a field lies between two of them."""
        space = self.space

        def lift(x: Tensor) -> Tensor:
            points = space.points(x)
            if self._positions:
                where = coordinates(space).to(x.dtype)
                points = torch.cat([points, where.expand(len(points), *where.shape)], -1)
            return space.as_field_of(tilewise(space, self._lifted, points, of=self, on="points", keep=True), x)

        def project(v: Tensor) -> Tensor:
            return space.as_field_of(tilewise(space, self.project, space.points(v), of=self.project, on="points"), x)

        return [lift, *self.blocks, project]

    def _lifted(self, points: Tensor) -> Tensor:
        v: Tensor = self.lift(points) + self.placeholder
        return v


class AttentionBlock(nn.Module):
    """One block: an attention and a perceptron, each of what a norm over the channels gives, each added to the field.

    v' = v + Dropout(Attention(norm v))        v' + MLP(norm v')
    """

    def __init__(self, space: Space, channels: int, hidden: int, attention: nn.Module, dropout: float) -> None:
        super().__init__()
        self.space = space
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.attention = attention
        self.dropout = Dropout(space, dropout) if dropout else nn.Identity()
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))

    def forward(self, v: Tensor) -> Tensor:
        """Field of one such."""
        space = self.space
        normed = tilewise(space, self.norms[0], space.points(v), of=self.norms[0], on="points", keep=True)
        attended = self.dropout(self.attention(space.as_field_of(normed, v)))
        return space.as_field_of(
            tilewise(space, self._perceptron, space.points(v), space.points(attended), of=self, on="points", keep=True), v
        )

    def _perceptron(self, points: Tensor, attended: Tensor) -> Tensor:
        points = points + attended
        y: Tensor = points + self.mlp(self.norms[1](points))
        return y


def _attention(kind: str, space: Space, channels: int, heads: int, slices: int, window: int) -> Any:
    if kind not in ATTENTIONS:
        raise ConfigError(f"unknown attention {kind!r}: expected one of {', '.join(ATTENTIONS)}")
    if kind != "latents":
        return PhysicsAttention(space, channels, heads, slices, kind == "adaptive", window)
    if window != 1:
        raise ConfigError(f"attention = 'latents' has no window, got window={window}: leave it out")
    return LatentAttention(space, channels, heads, slices)
