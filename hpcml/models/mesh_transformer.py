"""A transformer on a mesh: each node attends to the nodes around it, and through global tokens to all others.

    v_0 = encode(u, x)        v' = v + Attention(norm v; edges, tokens)        v_{l+1} = v' + GatedMLP(norm v')        y = decode(v_L)

P. Garnier, J. Viquerat, E. Hachem, arXiv:2508.18051.
"""

from functools import partial
from itertools import cycle, islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpcml.core.config import Count, CountOrZero, Depth, Hops, Lengths, NonNegative, Ratio, Width
from hpcml.graphs.graph import Graph
from hpcml.models.in_turn import Part, State, in_turn
from hpcml.models.layers.ewald import Ewald
from hpcml.models.layers.graph_attention import GraphAttention, turns_of
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import a_parameter, replicated_together, share_parameters
from hpcml.models.layers.reach import check_field
from hpcml.models.layers.tilewise import alike, tilewise
from hpcml.models.replicas import compare_at_first_use


@numbered
class MeshTransformer(nn.Module):
    """Map fields on the nodes of a mesh to such fields, by attention that the edges mask.

    Parameters
    ----------
    graph : Graph
        Where its fields live. A node attends to those at which the edges that end there begin: give each node an edge to itself, if it is
        to attend to itself.
    in_channels, out_channels : int
        Channels of fields.
    channels : int
        Width of v.
    layers : int
        Blocks.
    heads : int
        Of each attention, a divisor of ``channels``.
    tokens : int
        Global tokens, which all nodes attend to and which attend to all nodes.
    rotary : float
        Turn queries and keys by positions, see `hpcml.models.layers.GraphAttention`; 0 for none.
    gated : bool
        Gate each attention by its input.
    mlp_ratio : float
        Hidden channels of the gated MLP over ``channels``.
    positions : bool
        Append the positions of the nodes to the input.
    cutoff : float
        Longest wave vector of an `hpcml.models.layers.Ewald` layer beside each attention, radians per unit of length; 0 for none.
    period : sequence of float, optional
        Lengths of a periodic box, for the Ewald layers; default the graph's.
    hops : sequence of int
        How many edges far nodes attend, block by block, in turn, see `hpcml.graphs.power`. With 1 edges are as the graph has them.
    along : sequence of Graph, optional
        Graphs of the same nodes, dealt alike, whose edges the blocks take in turn in place of that: dilated or random ones.

    Raises
    ------
    ConfigError
        For heads that do not divide the channels, or channels of a head that cannot be turned.
    ShapeError
        For a graph of other nodes, or a tensor that is not this rank's part of a field.

    Communication
    -------------
    Forward: for each block ghosts of 2 channels, once, between neighbors; with tokens a maximum and a sum over graph.comm, with a cutoff a
    sum, of sizes that do not depend on the mesh. Backward: as much, and one all-reduce of the gradients of all parameters over
    graph.world_comm. At the first call: that of `hpcml.check_parameters` over graph.comm.

    Notes
    -----
    Good values: the defaults, AdamW with betas of 0.9 and 0.95, a learning rate of 1e-3 that warms up and falls as a cosine, noise on the
    inputs.

    Examples
    --------
    >>> import numpy as np
    >>> from mpi4py import MPI
    >>> graph = Graph.deal(np.array([[0.0], [1.0], [2.0]]), np.array([[0, 2], [1, 1]]), MPI.COMM_SELF)
    >>> MeshTransformer(graph, 2, 1, channels=8, layers=2, tokens=1)(torch.zeros(4, 3, 2)).shape
    torch.Size([4, 3, 1])
    """

    shares_gradients = same_bits = True

    def __init__(
        self,
        graph: Graph,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: Width = 64,
        layers: Depth = 10,
        heads: Count = 4,
        tokens: CountOrZero = 0,
        rotary: NonNegative = 0.0,
        gated: bool = False,
        mlp_ratio: Ratio = 3.0,
        positions: bool = True,
        cutoff: NonNegative = 0.0,
        period: Lengths | None = None,
        hops: Hops = (1,),
        along: tuple[Graph, ...] | None = None,
    ) -> None:
        super().__init__()
        self.space, self._in_channels, self._positions = graph, in_channels, positions
        self._turned = (channels // heads, rotary)
        inputs = in_channels + (graph.positions.shape[1] if positions else 0)
        self.encode = nn.Sequential(nn.Linear(inputs, channels), nn.GELU(), nn.Linear(channels, channels))
        self.tokens = nn.Parameter(torch.randn(tokens, channels)) if tokens else None
        hidden = max(1, round(mlp_ratio * channels))
        self.blocks = nn.ModuleList(
            MeshTransformerBlock(
                channels,
                hidden,
                GraphAttention(graph, channels, heads, rotary, gated, *edges),
                Ewald(graph, channels, cutoff, period) if cutoff else None,
            )
            for edges in islice(cycle([(1, each) for each in along] if along else [(each, None) for each in hops]), layers)
        )
        self.decode = nn.Sequential(nn.RMSNorm(channels), nn.Linear(channels, channels), nn.GELU(), nn.Linear(channels, out_channels))
        share_parameters(self, graph.world_comm)

    def forward(self, x: Tensor) -> Tensor:
        """Field ([sample,] node, out_channels) for x of ([sample,] node, in_channels)."""
        graph = self.space
        check_field(x, graph, self._in_channels, "MeshTransformer", a_parameter(self))
        compare_at_first_use(self, graph.comm)
        with replicated_together(self, graph.world_comm, graph.tiles):
            return in_turn(self.parts(x), x)[0]

    def parts(self, x: Tensor) -> list[Part]:
        """What `hpcml.models.in_turn` makes the output of, for an input like x; nodes and tokens lie between two of them."""
        graph, far = self.space, self.blocks[0].far
        turns = turns_of(graph, *self._turned, x.dtype) if self._turned[1] else None
        waves = far.waves().to(x.dtype) if isinstance(far, Ewald) else None

        def encode(x: Tensor) -> State:
            points = graph.points(x)
            if self._positions:
                points = torch.cat([points, graph.positions.to(x.dtype).expand(len(points), -1, -1)], -1)
            v = tilewise(graph, self.encode, points, of=self.encode, on="points")
            return (v,) if self.tokens is None else (v, alike(graph, lambda: self._expanded(len(points)), of=self))

        def attend(block: nn.Module, v: Tensor, tokens: Tensor | None = None) -> State:
            v, tokens = block(v, tokens, turns, waves)
            return (v,) if tokens is None else (v, tokens)

        def decode(v: Tensor, tokens: Tensor | None = None) -> Tensor:
            return graph.as_field_of(tilewise(graph, self.decode, v, of=self.decode, on="points"), x)

        return [encode, *(partial(attend, block) for block in self.blocks), decode]

    def _expanded(self, samples: int) -> Tensor:
        assert self.tokens is not None
        return self.tokens.expand(samples, -1, -1)


class MeshTransformerBlock(nn.Module):
    """One block: an attention and a gated perceptron, each of what a norm gives, each added, for nodes and tokens alike."""

    def __init__(self, channels: int, hidden: int, attention: GraphAttention, far: Ewald | None) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(channels) for _ in range(2))
        self.attention, self.far, self.mlp = attention, far, GatedMLP(channels, hidden)

    def forward(
        self, v: Tensor, tokens: Tensor | None, turns: tuple[Tensor, Tensor] | None, waves: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Nodes and tokens of such."""
        graph = self.attention.space
        h = tilewise(graph, self.norms[0], v, of=self.norms, on="points", keep=True)
        if tokens is None:
            to_v = self.attention(h, None, turns)
        else:
            to_v, to_tokens = self.attention(h, alike(graph, self.norms[0], tokens, of=self.norms), turns)
            tokens = alike(graph, self._perceptron, tokens + to_tokens, of=self)
        v = v + to_v if self.far is None else v + to_v + self.far(h, waves)
        return tilewise(graph, self._perceptron, v, of=self, on="points"), tokens

    def _perceptron(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.mlp(self.norms[1](x))
        return y


class GatedMLP(nn.Module):
    """A perceptron on the last dim whose hidden layer is a product of two.

    y = W_2 (gelu(W_0 x) * W_1 x)
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(channels, 2 * hidden), nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of x."""
        gate, value = self.first(x).chunk(2, -1)
        y: Tensor = self.second(F.gelu(gate) * value)
        return y
