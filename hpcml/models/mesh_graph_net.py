"""MeshGraphNet: values at the nodes of a mesh, by messages along its edges.

T. Pfaff and others, International Conference on Learning Representations 2021, arXiv:2010.03409.
"""

from functools import partial
from itertools import pairwise, zip_longest
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpcml.core.config import Depth, FewOrZero, Lengths, NonNegative, Width
from hpcml.graphs.aggregation import Taken
from hpcml.graphs.graph import Graph
from hpcml.graphs.overlapping import on_edges
from hpcml.models.in_turn import Part, State, in_turn
from hpcml.models.layers.ewald import Ewald
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import a_parameter, replicated_together, share_parameters
from hpcml.models.layers.reach import check_field
from hpcml.models.layers.row_mlp import row_mlp
from hpcml.models.layers.tilewise import tilewise


@numbered
class MeshGraphNet(nn.Module):
    """Encode nodes and edges, let them change each other some times, decode the nodes.

        e' = e + MLP(e, v_begin, v_end)        v' = v + MLP(v, sum of e' over the edges that end there)

    Parameters
    ----------
    graph : Graph
        Where its fields live. Edges know how their ends lie to each other: the difference of the positions, and its length.
    in_channels, out_channels : int
        Of fields.
    channels : int
        Of what lies on nodes and edges inside.
    steps : int
        Rounds of messages, each with weights of its own: so many edges far a node is seen.
    hidden_layers : int
        Of each MLP, each of ``channels`` neurons.
    differences : float
        Factor with which edges also know how the input differs between their ends, what derivatives are made of; 0 if they do not. Good
        values bring the differences to a deviation of about 1.
    cutoff : float
        Longest wave vector of an `hpcml.models.layers.Ewald` layer beside each round, radians per unit of length; 0 for none.
    period : sequence of float, optional
        Lengths of a periodic box, for the Ewald layers; default the graph's.

    Communication
    -------------
    Forward: ghosts of ``channels`` numbers once for each step, between neighbors, and with ``differences`` those of the input. Backward: as
    much, and one all-reduce of the gradients of all parameters over graph.world_comm. With a cutoff a sum over graph.comm for each step, of
    a size that does not depend on the mesh.

    Notes
    -----
    Good values: the defaults, with inputs and targets of mean 0 and deviation 1, Adam at a learning rate of 1e-4, and noise on the inputs.

    Examples
    --------
    >>> import numpy as np
    >>> from mpi4py import MPI
    >>> graph = Graph.deal(np.array([[0.0], [1.0], [2.0]]), np.array([[0, 2], [1, 1]]), MPI.COMM_SELF)
    >>> MeshGraphNet(graph, 2, 1, channels=8, steps=2)(torch.zeros(4, 3, 2)).shape
    torch.Size([4, 3, 1])
    """

    shares_gradients = same_bits = True

    def __init__(
        self,
        graph: Graph,
        in_channels: int,
        out_channels: int,
        channels: Width = 128,
        steps: Depth = 15,
        hidden_layers: FewOrZero = 2,
        differences: NonNegative = 0.0,
        cutoff: NonNegative = 0.0,
        period: Lengths | None = None,
    ) -> None:
        super().__init__()
        self.space, self._in_channels, self._differences = graph, in_channels, differences
        widths = [channels] * (hidden_layers + 1)
        self.encode_nodes = _mlp(in_channels, *widths)
        self.encode_edges = _mlp(graph.positions.shape[1] + 1 + (in_channels if differences else 0), *widths)
        self.steps = nn.ModuleList(MessageStep(graph, channels, hidden_layers) for _ in range(steps))
        self.far = nn.ModuleList(Ewald(graph, channels, cutoff, period) for _ in range(steps if cutoff else 0))
        self.decode = nn.Sequential(*list(_mlp(channels, *widths[:-1], out_channels))[:-1])  # without the norm
        share_parameters(self, graph.world_comm)

    def forward(self, x: Tensor) -> Tensor:
        """Field ([sample,] node, out_channels) for x of ([sample,] node, in_channels)."""
        check_field(x, self.space, self._in_channels, "MeshGraphNet", a_parameter(self))
        with replicated_together(self, self.space.world_comm, self.space.tiles):
            return in_turn(self.parts(x), x)[0]

    def parts(self, x: Tensor) -> list[Part]:
        """What `hpcml.models.in_turn` makes the output of, for an input like x; nodes and edges lie between two of them."""
        waves = cast(Ewald, self.far[0]).waves().to(x.dtype) if self.far else None

        def encode(x: Tensor) -> State:
            v = tilewise(self.space, partial(self._rows, self.encode_nodes), x, of=self.encode_nodes)
            return v, tilewise(self.space, partial(self._rows, self.encode_edges), self._of_edges(x), of=self.encode_edges, on="edges")

        def exchange(step: nn.Module, far: nn.Module | None, v: Tensor, e: Tensor) -> State:
            message = far(v, waves) if far else None
            v, e = step(v, e)
            return v if message is None else v + message, e

        rounds = [partial(exchange, step, far) for step, far in zip_longest(self.steps, self.far)]
        return [encode, *rounds, lambda v, e: tilewise(self.space, partial(self._rows, self.decode), v, of=self.decode)]

    def _rows(self, mlp: nn.Sequential, x: Tensor) -> Tensor:
        return row_mlp(mlp, [(x, cast(nn.Linear, mlp[0]).weight)], blocks=self.space.tiles is None)

    def _of_edges(self, x: Tensor) -> Tensor:
        """What edges know at first, ([sample,] edge, channel)."""
        along = self.space.along
        lie = torch.cat([along, along.norm(dim=-1, keepdim=True)], -1).to(x.dtype)
        if not self._differences:
            return lie
        between = self._differences * (self.space.at_begins(x) - self.space.at_ends(x))
        return torch.cat([lie.expand(*between.shape[:-1], -1), between], -1)


class MessageStep(nn.Module):
    """One round of messages of a `MeshGraphNet`.

    What an MLP's first layer does with the values of a node is done once for the node, not for each of its edges.
    """

    def __init__(self, graph: Graph, channels: int, hidden_layers: int) -> None:
        super().__init__()
        self.space = graph
        widths = [channels] * (hidden_layers + 1)
        self.edges, self.nodes = _mlp(3 * channels, *widths), _mlp(2 * channels, *widths)

    def forward(self, v: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes and edges after a round."""
        graph = self.space
        begin, end = tilewise(graph, self._for_edges, v, of=self.edges)
        work = partial(tilewise, graph, self._edges, of=self.edges, on="edges")
        e = on_edges(graph, work, begin, end, e, taken=graph.tiles is not None)
        return tilewise(graph, self._nodes, v, graph.aggregate(e), of=self.nodes), e

    def _for_edges(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """What nodes are for the edges that begin and that end there."""
        _, on_begin, on_end = cast(nn.Linear, self.edges[0]).weight.chunk(3, 1)
        return F.linear(v, on_begin), F.linear(v, on_end)

    def _edges(self, e: Tensor, begin: Tensor | Taken, end: Tensor | Taken) -> Tensor:
        on_edge, _, _ = cast(nn.Linear, self.edges[0]).weight.chunk(3, 1)
        return row_mlp(self.edges, [(e, on_edge)], [begin, end], residual=True, blocks=self.space.tiles is None)

    def _nodes(self, v: Tensor, aggregated: Tensor) -> Tensor:
        on_node, on_sum = cast(nn.Linear, self.nodes[0]).weight.chunk(2, 1)
        return row_mlp(self.nodes, [(v, on_node), (aggregated, on_sum)], residual=True, blocks=self.space.tiles is None)


def _mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them, and a norm over the channels of a node or an edge."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.LayerNorm(widths[-1]))
