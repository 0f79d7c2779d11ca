"""Messages on a mesh, and between its patches: a network of two scales.

    v, e = step(v, e)        t_p = mean of v over patch p        t = mix(t)        v_i' = v_i + U t_{p(i)}

The tokens t of all patches are mixed by perceptrons over the patches and over the channels, or by attention.

X. He and others, International Conference on Machine Learning 2023, arXiv:2212.13350.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from hpcml.core.config import Count, Depth, Few, Width
from hpcml.core.errors import ConfigError
from hpcml.graphs.graph import Graph
from hpcml.graphs.patches import patches_of
from hpcml.models.in_turn import Part, State, in_turn
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import a_parameter, replicated_together, share_parameters
from hpcml.models.layers.physics_attention import head_width
from hpcml.models.layers.reach import check_field
from hpcml.models.mesh_graph_net import MessageStep
from hpcml.models.replicas import compare_at_first_use

MIXINGS = ("mlp", "attention")


@numbered
class GraphMixer(nn.Module):
    """Graph MLP-Mixer, or Graph ViT, for fields on a mesh.

    Parameters
    ----------
    graph : Graph
        Where its fields live.
    in_channels, out_channels : int
        Channels of fields.
    channels : int
        Of what lies on nodes, edges and patches inside.
    layers : int
        Rounds of messages, each followed by a mixing of the patches.
    patches : int
        Parts that recursive bisection cuts the nodes into, whatever the number of ranks.
    mixing : str
        ``mlp``, perceptrons over the patches and over the channels, or ``attention`` among the patches.
    heads : int
        Of the attention, a divisor of ``channels``.
    hidden_layers : int
        Of the MLPs of messages.

    Raises
    ------
    ConfigError
        For another mixing, heads that do not divide the channels, or more patches than nodes.
    ShapeError
        For a tensor that is not this rank's part of a field.

    Communication
    -------------
    Forward: for each layer ghosts of ``channels`` numbers, between neighbors, and one all-reduce of patches x (channels + 1) numbers for
    each sample over graph.comm. Backward: as much, and one all-reduce of the gradients of all parameters over graph.world_comm. Built, and
    where points have moved: that of `hpcml.graphs.patches.Patches`. At the first call: that of `hpcml.check_parameters` over graph.comm.

    Notes
    -----
    The published network cuts the graph at the patches and lets these overlap by one hop; here messages cross from patch to patch, as from
    rank to rank. With ``mlp`` a network is bound to its number of patches, and to where these lie.

    Examples
    --------
    >>> import numpy as np
    >>> from mpi4py import MPI
    >>> graph = Graph.deal(np.array([[0.0], [1.0], [2.0]]), np.array([[0, 2], [1, 1]]), MPI.COMM_SELF)
    >>> GraphMixer(graph, 2, 1, channels=8, layers=2, patches=2)(torch.zeros(4, 3, 2)).shape
    torch.Size([4, 3, 1])
    """

    shares_gradients = True

    def __init__(
        self,
        graph: Graph,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: Width = 64,
        layers: Depth = 4,
        patches: Count = 32,
        mixing: Literal["mlp", "attention"] = "mlp",
        heads: Count = 4,
        hidden_layers: Few = 2,
    ) -> None:
        super().__init__()
        if mixing not in MIXINGS:
            raise ConfigError(f"unknown mixing {mixing!r}: expected one of {', '.join(MIXINGS)}")
        patches_of(graph, patches)
        self.space, self._in_channels, self._patches = graph, in_channels, patches
        self.encode_nodes = _perceptron(in_channels, channels, channels)
        self.encode_edges = _perceptron(graph.positions.shape[1] + 1, channels, channels)
        self.steps = nn.ModuleList(MessageStep(graph, channels, hidden_layers) for _ in range(layers))
        self.mixers = nn.ModuleList(PatchMixer(channels, patches, heads if mixing == "attention" else 0) for _ in range(layers))
        self.decode = _perceptron(channels, channels, out_channels)
        share_parameters(self, graph.world_comm)

    def forward(self, x: Tensor) -> Tensor:
        """Field ([sample,] node, out_channels) for x of ([sample,] node, in_channels)."""
        graph = self.space
        check_field(x, graph, self._in_channels, "GraphMixer", a_parameter(self))
        compare_at_first_use(self, graph.comm)
        with replicated_together(self, graph.world_comm):
            return in_turn(self.parts(x), x)[0]

    def parts(self, x: Tensor) -> list[Part]:
        """What `hpcml.models.in_turn` makes the output of, for an input like x; nodes and edges lie between two of them."""
        graph = self.space
        along, patches = graph.along, patches_of(graph, self._patches)

        def encode(x: Tensor) -> State:
            lie = torch.cat([along, along.norm(dim=-1, keepdim=True)], -1).to(x.dtype)
            return self.encode_nodes(graph.points(x)), self.encode_edges(lie)

        def mix(step: nn.Module, mixer: nn.Module, v: Tensor, e: Tensor) -> State:
            v, e = step(v, e)
            return v + patches.at_nodes(mixer(patches.means(v))), e

        def decode(v: Tensor, e: Tensor) -> Tensor:
            return graph.as_field_of(self.decode(v), x)

        return [encode, *(partial(mix, *pair) for pair in zip(self.steps, self.mixers, strict=True)), decode]


class PatchMixer(nn.Module):
    """What patches say to one another, computed alike on every rank, and a map of it for their nodes; attention if there are heads.

    t' = t + (MLP (norm t)^T)^T, or t + Attention(norm t)        t'' = t' + MLP norm t'        U norm t''
    """

    def __init__(self, channels: int, patches: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        if heads:
            head_width("graph mixer", channels, heads)
            self.attend, self.leave = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        else:
            self.over_patches = _perceptron(patches, 2 * patches, patches)
        self.over_channels = _perceptron(channels, 2 * channels, channels)
        self.to_nodes = nn.Linear(channels, channels)

    def forward(self, t: Tensor) -> Tensor:
        """(sample, patch, channel) for such."""
        h = self.norms[0](t)
        t = t + (self._attention(h) if self._heads else self.over_patches(h.mT).mT)
        t = t + self.over_channels(self.norms[1](t))
        y: Tensor = self.to_nodes(self.norms[2](t))
        return y

    def _attention(self, h: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (self._heads, -1)).transpose(1, 2) for part in self.attend(h).chunk(3, -1))
        weights = torch.softmax(torch.matmul(q, k.mT) * q.shape[-1] ** -0.5, -1)
        y: Tensor = self.leave(torch.matmul(weights, v).transpose(1, 2).flatten(2))
        return y


def _perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))
