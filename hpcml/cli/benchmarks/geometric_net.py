"""A MeshGraphNet written with PyTorch Geometric's MessagePassing, on one rank: what `hpcml.models.MeshGraphNet` is compared with."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from hpcml.core.optional_module import optional_module


def geometric_net(in_channels: int, edge_channels: int, out_channels: int, channels: int, steps: int) -> nn.Module:
    """MeshGraphNet of two hidden layers, called with ``(x, edge_index, edges)``, as a user of PyTorch Geometric writes it.

    What an edge is given is put together by ``edge_updater``, in one tensor of three times the channels, and summed by ``propagate``.

    Raises
    ------
    ConfigError
        Without the package torch_geometric.

    Communication
    -------------
    None.

    References
    ----------
    T. Pfaff and others, International Conference on Learning Representations 2021, arXiv:2010.03409; M. Fey and J. E. Lenssen,
    arXiv:1903.02428.
    """
    passing: Any = optional_module("torch_geometric.nn", "the other MeshGraphNet needs its package", "torch_geometric").MessagePassing

    class Step(passing):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(aggr="sum")
            self.edges, self.nodes = _mlp(3 * channels, channels), _mlp(2 * channels, channels)

        def forward(self, v, edge_index, e):  # type: ignore[no-untyped-def]
            e = self.edge_updater(edge_index, v=v, e=e)
            aggregated = self.propagate(edge_index, e=e, size=(len(v), len(v)))
            return v + self.nodes(torch.cat([v, aggregated], -1)), e

        def edge_update(self, v_i, v_j, e):  # type: ignore[no-untyped-def]
            return e + self.edges(torch.cat([e, v_j, v_i], -1))

        def message(self, e):  # type: ignore[no-untyped-def]
            return e

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode_nodes, self.encode_edges = _mlp(in_channels, channels), _mlp(edge_channels, channels)
            self.steps = nn.ModuleList(Step() for _ in range(steps))
            self.decode = _mlp(channels, channels, out_channels)[:-1]

        def forward(self, x: Tensor, edge_index: Tensor, edges: Tensor) -> Tensor:
            v, e = self.encode_nodes(x), self.encode_edges(edges)
            for step in self.steps:
                v, e = step(v, edge_index, e)
            decoded: Tensor = self.decode(v)
            return decoded

    return Net()


def _mlp(inputs: int, channels: int, outputs: int = 0) -> nn.Sequential:
    layers: list[nn.Module] = []
    widths = inputs, channels, channels, outputs or channels
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.LayerNorm(widths[-1]))
