"""Edges computed while ghosts travel: the same values and derivatives as when they are waited for, and work in between."""

import numpy as np
import pytest
import torch
from mpi4py import MPI

import hpcml
from hpcml.core.errors import ConfigError
from hpcml.graphs import Graph, Overlapped, on_edges, power
from hpcml.graphs.ghost_plan import begin, end
from hpcml.models import GraphMixer, MeshGraphNet
from hpcml.mpi.reductions import all_sum
from hpcml.parallel.exchange import Exchange
from tests.graphs.test_graph import CHANNELS, NODES, SAME_BUT_FOR_THE_ORDER_OF_SUMS, block, layer_of, triangulation, ways


def dealt(comm, way="bisection", dims=2, **how):
    points, edges = triangulation(dims)
    return Graph.deal(points[block(NODES, comm)], edges[:, block(edges.shape[1], comm)], comm, ways(comm)[way], **how)


def network(graph, layer, x):
    """Two rounds of messages, the second of which nothing waits for before the first is done with."""
    lie = graph.along.expand(*x.shape[:-2], -1, -1)
    for _ in range(2):
        messages = on_edges(graph, lambda lie, begin, end: layer(torch.cat([begin, end, lie], -1)), x, x.sin(), lie)
        x = x + graph.aggregate(messages)
    return x


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("way", ["bisection", "map"])
@pytest.mark.parametrize("samples", [(), (2,)], ids=["one", "samples"])
def test_values_and_first_and_second_derivatives_are_those_of_the_synchronous_schedule(comm, way, samples):
    values, layer = torch.from_numpy(np.random.default_rng(0).standard_normal((*samples, NODES, CHANNELS))), layer_of(2)

    def run(graph):
        x = values[graph.index].requires_grad_()
        y = network(graph, layer, x)
        force = torch.autograd.grad(y.square().sum(), x, create_graph=True)[0]
        return y, torch.autograd.grad(y.square().sum() + force.square().sum(), [x, *layer.parameters()])

    with dealt(comm, way) as graph, dealt(comm, way) as plain:
        graph.schedule = Overlapped()
        found, slopes = run(graph)
        expected, expected_slopes = run(plain)
        torch.testing.assert_close(found, expected, **SAME_BUT_FOR_THE_ORDER_OF_SUMS)
        for k, (mine, all_of_it) in enumerate(zip(slopes, expected_slopes, strict=True)):
            summed = (lambda v: v) if k == 0 else (lambda v: all_sum(v, comm))
            scale = torch.tensor(max(comm.allgather(float(summed(all_of_it).abs().max() if all_of_it.numel() else 0.0))))
            torch.testing.assert_close(summed(mine) / scale, summed(all_of_it) / scale, rtol=0, atol=1e-12)


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("kind", [MeshGraphNet, GraphMixer])
def test_models_whose_edges_overlap_are_exact_over_ranks(comm, kind):
    with dealt(comm) as graph:
        graph.schedule = Overlapped()
        torch.manual_seed(0)
        model = kind(graph, 3, 2, channels=8).double()
        report = hpcml.verify(model, torch.randn(2, NODES, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
        assert report.ok, str(report)


@pytest.mark.parallel([2, 3])
def test_inner_edges_are_computed_between_the_two_halves_of_an_exchange_forward_and_backward(comm, monkeypatch):
    said = []
    for half in ("start", "wait"):
        plain = getattr(Exchange, half)
        monkeypatch.setattr(Exchange, half, lambda self, *args, half=half, plain=plain: (said.append(half), plain(self, *args))[1])

    class Told(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            said.append("edges")
            return x.clone()

        @staticmethod
        def backward(ctx, y):
            said.append("slopes")
            return y

    with dealt(comm) as graph:
        graph.schedule = Overlapped()
        x = torch.ones(len(graph.nodes), 1, dtype=torch.float64, requires_grad=True)
        y = on_edges(graph, lambda begin, end: Told.apply(begin + end), x, x)
        assert said == ["start", "edges", "wait", "edges"]
        said.clear()
        y.sum().backward()
        assert said == ["slopes", "start", "slopes", "wait"]


@pytest.mark.parallel([2])
def test_an_exchange_begun_is_ended_by_the_next_of_its_kind(comm):
    with dealt(comm) as graph:
        x = torch.arange(len(graph.nodes), dtype=torch.float64)[:, None]
        first = begin(graph._plan, x)
        second = begin(graph._plan, -x)
        expected = graph.with_ghosts(x)[len(x) :]
        torch.testing.assert_close(end(graph._plan, second), -expected, rtol=0, atol=0)
        torch.testing.assert_close(end(graph._plan, first), expected, rtol=0, atol=0)


@pytest.mark.parallel([1, 2])
def test_a_schedule_is_that_of_all_graphs_made_of_one_and_goes_with_no_tiles(comm):
    with dealt(comm) as graph, dealt(comm, same_bits=True) as tiled:
        graph.schedule = Overlapped()
        assert power(graph, 2).schedule is graph.schedule and not graph.serial().schedule.overlaps
        with pytest.raises(ConfigError, match="same_bits=True has one order of work"):
            tiled.schedule = Overlapped()


def test_without_a_schedule_it_is_a_function_of_all_edges_at_once():
    with Graph.deal(np.zeros((2, 1)), np.array([[0, 1], [1, 1]]), MPI.COMM_SELF) as graph:
        x, calls = torch.tensor([[2.0], [3.0]]), []
        y = on_edges(graph, lambda begin, end: (calls.append(len(begin)), begin - end)[1], x, x)
        assert y.tolist() == [[-1.0], [0.0]] and calls == [2]
