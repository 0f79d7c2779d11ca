"""``hpcml bench graph``: its figures at sizes that take no time, what it counts, and what it says without PyTorch Geometric."""

import json
import sys
import types

import pytest
import torch

from hpcml.cli.benchmarks import graph
from hpcml.cli.benchmarks.geometric_net import geometric_net
from hpcml.cli.benchmarks.graph_exchange import measure_exchange
from hpcml.cli.main import main

SIZES = {"side": 6, "features": 4, "samples": 3, "nodes": 40, "compared-nodes": 40, "channels": 8, "steps": 2, "repeats": 1}
TINY = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]


@pytest.mark.parallel([4])
@pytest.mark.parametrize("installed", [False, True])
def test_figures(comm, capsys, monkeypatch, installed):
    def other(in_channels, edge_channels, out_channels, channels, steps):
        layer = torch.nn.Linear(in_channels, out_channels)
        layer.forward = lambda x, edge_index, edges: x @ layer.weight.T
        return layer

    monkeypatch.setattr(graph, "geometric_net", other)
    monkeypatch.setattr(graph, "find_spec", lambda name: object() if installed else None)
    assert main(["bench", "graph", "--json", *TINY]) == 0
    if comm.rank == 0:
        figures = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert figures["bytes_vs_true_halo"] == 1 and min(figures["weak_efficiency"], figures["weak_efficiency_processor"]) > 0
        assert figures["latency_vs_gloo"] == max(figures["latency_vs_gloo_2"], figures["latency_vs_gloo_4"]) > 0
        assert (figures["step_vs_pyg"] or 0) > 0 if installed else "hpcml[geometric]" in figures["step_vs_pyg_note"]
        assert {"processor", "compiler", "mpi"} <= set(figures["machine"])


@pytest.mark.parallel([1, 2, 3, 4])
def test_bytes_are_those_of_the_ghosts(comm):
    found = measure_exchange(comm, 7, 3, 2)
    assert found["bytes"] == found["true_bytes"]
    if comm.size == 2:  # bisection of 49 nodes cuts between two columns, or one node beside
        assert found["true_bytes"] in {2 * 4 * 3 * both for both in (14, 15, 16)}


def test_the_other_network_is_the_same_one(monkeypatch):
    """With PyTorch Geometric where it is, else with as much of its class as the network uses."""
    if "torch_geometric" not in sys.modules and graph.find_spec("torch_geometric") is None:
        monkeypatch.setitem(sys.modules, "torch_geometric", types.ModuleType("torch_geometric"))
        monkeypatch.setitem(sys.modules, "torch_geometric.nn", types.SimpleNamespace(MessagePassing=MessagePassing))
    from mpi4py import MPI

    from tests.models.twins import deal, mesh

    torch.manual_seed(0)
    with deal(MPI.COMM_SELF, *mesh()) as space:
        ours = graph.MeshGraphNet(space, 3, 2, 8, 2).double()
        theirs = geometric_net(3, 3, 2, 8, 2).double()
        theirs.load_state_dict(ours.state_dict())
        x = torch.randn(len(space.nodes), 3, dtype=torch.float64)
        lie = torch.cat([space.along, space.along.norm(dim=-1, keepdim=True)], -1)
        torch.testing.assert_close(theirs(x, space.edge_index, lie), ours(x), rtol=1e-12, atol=1e-12)


class MessagePassing(torch.nn.Module):
    """Values of both ends for ``edge_update``, and a sum."""

    def __init__(self, aggr):
        super().__init__()
        assert aggr == "sum"

    def edge_updater(self, edge_index, v, e):
        return self.edge_update(v[edge_index[1]], v[edge_index[0]], e)

    def propagate(self, edge_index, e, size):
        return e.new_zeros(size[1], e.shape[1]).index_add(0, edge_index[1], self.message(e))
