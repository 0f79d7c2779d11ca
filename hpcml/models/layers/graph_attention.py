"""Attention of each node to the nodes at which its edges begin, and to global tokens that attend to all nodes.

The mask of a transformer on a mesh is the mesh: P. Garnier, J. Viquerat, E. Hachem, arXiv:2508.18051. Positions as rotations: J. Su et al.,
arXiv:2104.09864.
"""

import torch
from torch import Tensor, nn

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.graphs.edge_attention import edge_products, weighted_sum
from hpcml.graphs.graph import Graph
from hpcml.graphs.hops import power
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import a_parameter, replicated_together, share_parameters
from hpcml.models.layers.physics_attention import head_width
from hpcml.models.layers.point_attention import attend_to_points
from hpcml.models.layers.reach import check_field
from hpcml.models.layers.tiled_attention import attend_by_tiles, turned
from hpcml.models.layers.tilewise import tilewise
from hpcml.mpi.agreement import agree

SLOWEST = 1e-4
"""Slowest of the rotations over the fastest: the choice of the paper on rotations."""

_OTHER_NODES = "graph attention: the graph along whose edges nodes attend has other nodes, or they are dealt otherwise"


@numbered
class GraphAttention(nn.Module):
    """Multi-head attention along the edges of a graph.

        y_i = W_o sum_j softmax_j(q_i k_j / sqrt(d)) v_j        j: where the edges into i begin, and the global tokens
        t'  = W_o sum_j softmax_j(q_t k_j / sqrt(d)) v_j        j: all nodes of all ranks, and the global tokens

    where q, k and v are linear maps of x, or of t.

    Parameters
    ----------
    graph : Graph
        Where the fields live.
    channels : int
        Of x and y.
    heads : int
        A divisor of the channels.
    rotary : float
        Turn queries and keys by the positions of their nodes, so that scores depend on how these lie to each other: radians per unit of
        length of the fastest rotation, 0 for none. Half the channels of a head must be divisible by the number of coordinates.
    gated : bool
        Multiply what comes to a node by the sigmoid of a linear map of x.
    hops : int
        Attend to all nodes that so many edges at most lead from, and to itself where the graph says so, see `hpcml.graphs.power`.
    along : Graph, optional
        Whose edges say who attends to whom, in place of that: any graph of the same nodes, dealt alike.

    Raises
    ------
    ConfigError
        For heads that do not divide the channels, channels of a head that cannot be turned, or tiles of one graph alone.
    ShapeError
        On every rank, for a graph of other nodes; and for a tensor that is not this rank's part of a field.

    Communication
    -------------
    Forward: ghosts of 2 channels, keys and values, once, between neighbors; with tokens that of
    `hpcml.models.layers.point_attention.attend_to_points` for heads x tokens queries. Backward: as much, and one all-reduce of the
    gradients of all parameters over graph.world_comm. Where ``along`` is given, built and at the first call after points have moved: an
    agreement.

    Notes
    -----
    Kept for the backward pass are values of nodes, and of edges one number for each head. A node without edges gets zeros, before W_o.

    Examples
    --------
    >>> import numpy as np
    >>> from mpi4py import MPI
    >>> graph = Graph.deal(np.array([[0.0], [1.0], [2.0]]), np.array([[0, 2], [1, 1]]), MPI.COMM_SELF)
    >>> GraphAttention(graph, 8, heads=2)(torch.zeros(4, 3, 8)).shape
    torch.Size([4, 3, 8])
    """

    shares_gradients = same_bits = True

    def __init__(
        self,
        graph: Graph,
        channels: int,
        heads: int = 4,
        rotary: float = 0.0,
        gated: bool = False,
        hops: int = 1,
        along: Graph | None = None,
    ) -> None:
        super().__init__()
        width, dims = head_width("graph attention", channels, heads), graph.positions.shape[1]
        if rotary and width % (2 * dims):
            raise ConfigError(f"graph attention: {width} channels of a head cannot turn in {dims} dims: use a multiple of {2 * dims}")
        if rotary and any(graph.box or ()):
            raise ConfigError("graph attention: rotary turns by positions, which a periodic box has not: leave it out")
        self.space, self.hops, self.given = graph, hops, along
        self._compared: tuple[Tensor, Tensor] | None = None
        along = self._along_same_nodes()
        if (along.tiles is None) != (graph.tiles is None):
            raise ConfigError("graph attention: the graph along whose edges nodes attend and that of the fields: give same_bits to both")
        self.heads, self.rotary, self._channels = heads, rotary, channels
        self.attend = nn.Linear(channels, 3 * channels)
        self.gate = nn.Linear(channels, channels) if gated else None
        self.out = nn.Linear(channels, channels)
        share_parameters(self, graph.world_comm)

    def forward(
        self, x: Tensor, tokens: Tensor | None = None, turns: tuple[Tensor, Tensor] | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Field of as many channels as x; with tokens, (sample, token, channel), the same on every rank, also what becomes of them.

        ``turns``, of `turns_of`, spare many layers to compute them again.
        """
        check_field(x, self.space, self._channels, "GraphAttention", a_parameter(self))
        space, along = self.space, self._along_same_nodes()
        with replicated_together(self, space.world_comm, space.tiles):
            points = space.points(x)
            if space.tiles is not None:
                turns = turns_of(space, points.shape[-1] // self.heads, self.rotary, x.dtype) if self.rotary and turns is None else turns
                y, t = attend_by_tiles(self, points, tokens, turns)
                return space.as_field_of(y, x) if t is None else (space.as_field_of(y, x), t)
            q, k, v = self.projected(points)
            near_q, near_k = q, k  # to a token, which lies nowhere, nothing turns
            if self.rotary:
                cos, sin = turns_of(space, q.shape[-1], self.rotary, x.dtype) if turns is None else turns
                near_q, near_k = turned(q, cos, sin), turned(k, cos, sin)
            known = along.with_ghosts(torch.cat([near_k.flatten(2), v.flatten(2)], -1))
            k_all, v_all = (part.unflatten(-1, (self.heads, -1)) for part in known.chunk(2, -1))
            scores = edge_products(along, near_q, k_all)
            if tokens is None:
                return space.as_field_of(self.leave(_normalised(along, scores, v_all), points), x)
            t_q, t_k, t_v = self.projected(tokens)
            y = _normalised(along, scores, v_all, torch.einsum("snhd,sthd->snht", q, t_k), t_v)
            to_points, to_tokens = (torch.einsum("snhd,sthd->shnt", part, t_q) for part in (k, t_k))
            t = attend_to_points(to_points, v.transpose(1, 2), space, (to_tokens, t_v.transpose(1, 2))).transpose(1, 2)
            return space.as_field_of(self.leave(y, points), x), self.leave(t, tokens)

    @property
    def along(self) -> Graph:
        """Graph whose edges say who attends to whom now."""
        if self.given is not None:
            return self.given
        return self.space if self.hops == 1 else power(self.space, self.hops)

    def _along_same_nodes(self) -> Graph:
        """`along`; compared anew by all ranks where points have moved on all of them since."""
        along, nodes = self.along, self.space.nodes
        before = self._compared or (None, None)
        if along is not self.space and (along.nodes is not before[0] or nodes is not before[1]):
            if not agree(torch.equal(along.nodes, nodes), self.space.comm):
                raise ShapeError(_OTHER_NODES)
            self._compared = along.nodes, nodes
        return along

    def projected(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, (sample, point, head, channel), the first divided by the root of their length."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in self.attend(x).chunk(3, -1))
        return q * q.shape[-1] ** -0.5, k, v

    def leave(self, y: Tensor, x: Tensor) -> Tensor:
        """What comes to points, (sample, point, head, channel), as a field is changed by it."""
        y = y.flatten(2).to(x.dtype)
        result: Tensor = self.out(y if self.gate is None else y * torch.sigmoid(self.gate(x)))
        return result


def turns_of(graph: Graph, width: int, rotary: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine by which the channels of a head are turned at each node, (node, 1, width / 2) each.

    Communication
    -------------
    Local.
    """
    positions = graph.positions
    each = width // (2 * positions.shape[1])
    rates = rotary * SLOWEST ** (torch.arange(each, dtype=torch.float64, device=positions.device) / each)
    angles = (positions.unsqueeze(-1) * rates).flatten(1)
    cos, sin = tilewise(graph, lambda a: (torch.cos(a).to(dtype), torch.sin(a).to(dtype)), angles, on="points")
    return cos.unsqueeze(1), sin.unsqueeze(1)


def _normalised(graph: Graph, scores: Tensor, v: Tensor, of_tokens: Tensor | None = None, t_v: Tensor | None = None) -> Tensor:
    """Mean of values, (sample, node, head, channel), by the softmax of scores of edges and, if there are any, of tokens."""
    with torch.no_grad():  # a softmax does not depend on what is subtracted
        highest = graph.aggregate(scores, "max")
        if of_tokens is not None:
            alone = (graph.degrees == 0).unsqueeze(-1)
            highest = torch.maximum(highest.masked_fill(alone, -torch.inf), of_tokens.amax(-1))
    weights = torch.exp(scores - graph.at_ends(highest))
    total, count = weighted_sum(graph, weights, v), graph.aggregate(weights)
    if of_tokens is not None and t_v is not None:
        more = torch.exp(of_tokens - highest.unsqueeze(-1))
        total, count = total + torch.einsum("snht,sthd->snhd", more, t_v.to(more.dtype)), count + more.sum(-1)
    return total / torch.where(count == 0, 1, count).unsqueeze(-1)
