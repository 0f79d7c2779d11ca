"""Data of PyTorch Geometric are dealt with everything at their nodes and edges, and come back as they were."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.graphs import DataGraph

NODES, EDGES = 25, 90


class Data(dict):
    """What of torch_geometric.data.Data is used, where it is not installed."""

    num_nodes = NODES

    def is_node_attr(self, key):
        return len(self[key]) == NODES if isinstance(self[key], torch.Tensor) else False

    def is_edge_attr(self, key):
        dim = self.__cat_dim__(key, self[key])
        return isinstance(self[key], torch.Tensor) and self[key].dim() > 0 and self[key].shape[dim] == EDGES

    def __cat_dim__(self, key, value):
        return -1 if "index" in key else 0


def content():
    """Values of every kind at nodes and edges, types among them; edges one way, some of them twice."""
    rng = torch.Generator().manual_seed(0)
    ends = torch.randint(NODES, (2, EDGES - 5), generator=rng)
    return {
        "pos": torch.rand(NODES, 2, generator=rng),
        "edge_index": torch.cat([ends, ends[:, :5]], 1),
        "x": torch.rand(NODES, 3, 2, generator=rng).to(torch.bfloat16),
        "node_type": torch.randint(4, (NODES,), generator=rng),
        "train_mask": torch.rand(NODES, generator=rng) > 0.5,
        "edge_attr": torch.rand(EDGES, 4, generator=rng, dtype=torch.float64),
        "other_index": torch.randint(NODES, (2, EDGES), generator=rng),  # of nodes, joined along the last dim as pairs are
        "edge_type": torch.randint(3, (EDGES,), generator=rng, dtype=torch.int32),
        "y": torch.tensor([[1.5]]),
        "name": "ring",
    }


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("made", ["of torch_geometric", "by others"])
def test_values_go_with_their_nodes_and_edges(comm, made, monkeypatch):
    if made == "by others":
        monkeypatch.setitem(sys.modules, "torch_geometric.data", SimpleNamespace(Data=Data))
    kind = Data if made == "by others" else pytest.importorskip("torch_geometric.data").Data
    whole = content()
    for method in ("bisection", "curve", np.arange(NODES) % max(comm.size - 1, 1)):  # the last of several ranks has no node
        part = DataGraph.of(kind(**whole) if comm.rank == 0 else None, comm, method)
        with part.graph as graph:
            assert part.nodes.keys() == {"pos", "x", "node_type", "train_mask"} and part.edges.keys() == {
                "edge_attr",
                "edge_type",
                "other_index",
            }
            for values, numbers in ((part.nodes, graph.nodes), (part.edges, graph.edges)):
                for key, value in values.items():
                    expected = whole[key][..., numbers] if "index" in key else whole[key][numbers]
                    assert value.dtype == whole[key].dtype and torch.equal(value, expected)
            names = torch.cat([graph.nodes, graph.ghosts])
            ends = torch.stack([names[graph.edge_index[0]], graph.nodes[graph.edge_index[1]]])
            assert torch.equal(ends, whole["edge_index"][:, graph.edges]) and part.rest["name"] == "ring"
            assert torch.equal(part.rest["y"], whole["y"]) and sum(comm.allgather(len(graph.nodes))) == NODES
            again = part.to_data()
            assert (again is None) == (comm.rank > 0)
            for key in whole if again is not None else ():
                assert again[key] == whole[key] if key == "name" else torch.equal(again[key], whole[key])


@pytest.mark.parallel([1, 2])
def test_data_without_places_are_dealt_by_numbers(comm):
    whole = {key: value for key, value in content().items() if key != "pos"}
    part = DataGraph.of(Data(**whole) if comm.rank == 0 else None, comm)
    with part.graph as graph:
        assert torch.equal(part.nodes["node_type"], whole["node_type"][graph.nodes]) and len(graph.nodes) >= NODES // comm.size


@pytest.mark.parallel([1, 2])
def test_what_is_wrong_is_said_on_every_rank(comm, monkeypatch):
    class Hetero:
        node_types = ()

    without = {key: value for key, value in content().items() if key != "edge_index"}
    outside = content() | {"edge_index": torch.full((2, EDGES), NODES)}
    for words, data in {
        "a Hetero: expected .*to_homogeneous": Hetero(),
        "a NoneType: expected": None,
        "no edge_index, but pos": Data(**without),
        f"expected global numbers below {NODES}": Data(**outside),
    }.items():
        with pytest.raises(ShapeError, match=words):
            DataGraph.of(data if comm.rank == 0 else None, comm)
    with pytest.raises(ShapeError, match="map of 25 nodes"):
        DataGraph.of(Data(**content()) if comm.rank == 0 else None, comm, np.zeros(3, int))
    monkeypatch.setitem(sys.modules, "torch_geometric.data", None)
    with DataGraph.of(Data(**content()) if comm.rank == 0 else None, comm).graph as graph, pytest.raises(ConfigError, match="pip install"):
        DataGraph(graph, {}, {}, {}).to_data()
