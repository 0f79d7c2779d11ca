"""The mesh transformer is its equations in plain torch; over ranks it is itself on one; ghosts travel once a block."""

import numpy as np
import pytest
import torch
from mpi4py import MPI
from torch import nn
from torch.nn import functional as F

import hpcml
from hpcml.cli.benchmarks.memory import kept_fields
from hpcml.core.options import Choice
from hpcml.graphs import Cloud, Within, power
from hpcml.models import MeshTransformer
from hpcml.models.factory import build_network
from hpcml.parallel import traffic
from hpcml.topology.block import block_range
from hpcml.training.recomputation import recompute
from tests.models.twins import NODES, SPACES, check_autocast, check_twin, deal, draw, mesh, shake

RANKS = pytest.mark.parallel([1, 2, 3])
OPTIONS = {"channels": 16, "layers": 3, "heads": 2}


class Plain(nn.Module):
    """The network as one writes it, with rows that are taken for every edge."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.positions, self.edges = mesh()

    def softmax(self, scores, end):
        highest = scores.new_full((*scores.shape[:-2], NODES, scores.shape[-1]), -torch.inf)
        highest = highest.index_reduce(-2, end, scores.detach(), "amax")
        weights = torch.exp(scores - highest.index_select(-2, end))
        total = torch.zeros_like(highest).index_add(-2, end, weights)
        return weights / total.index_select(-2, end)

    def forward(self, x):
        m, (begin, end) = self.model, torch.from_numpy(self.edges)
        v = m.encode(torch.cat([x, torch.from_numpy(self.positions).to(x.dtype).expand(len(x), -1, -1)], -1))
        for block in m.blocks:
            a = block.attention
            q, k, value = (part.unflatten(-1, (a.heads, -1)) for part in a.attend(block.norms[0](v)).chunk(3, -1))
            scores = (q.index_select(1, end) * k.index_select(1, begin)).sum(-1) * q.shape[-1] ** -0.5
            messages = self.softmax(scores, end).unsqueeze(-1) * value.index_select(1, begin)
            v = v + a.out(torch.zeros_like(messages[:, :1]).expand(-1, NODES, -1, -1).index_add(1, end, messages).flatten(2))
            gate, value = block.mlp.first(block.norms[1](v)).chunk(2, -1)
            v = v + block.mlp.second(F.gelu(gate) * value)
        return m.decode(v)


def build(graph, **options):
    torch.manual_seed(graph.comm.rank)  # parameters are those of rank 0
    return shake(MeshTransformer(graph, 3, 2, **OPTIONS | options).double())


@RANKS
@pytest.mark.parametrize("way", ["bisection", "uneven"])
def test_it_computes_the_equations(comm, way):
    with deal(comm, *mesh(), way) as graph:
        model = build(graph)
        check_twin(graph, model, Plain(model), draw(graph, 3))


@RANKS
@pytest.mark.parametrize("space", ["bisection", "curve", "empty rank"])
def test_with_all_it_has_it_is_the_same_over_ranks(comm, space):
    far = np.random.default_rng(7).integers(0, NODES, (2, 200))
    way = {"empty rank": "uneven"}.get(space, space)
    dims = 3 if space == "curve" else 2
    with SPACES[space](comm) as graph, deal(comm, mesh(dims)[0], far, way) as along:
        model = build(graph, channels=24, tokens=2, rotary=2.0, gated=True, along=(graph, along), cutoff=9.0)
        report = hpcml.verify(model, draw(graph, 3), tolerance=1e-12)
        assert report.ok, str(report)


@pytest.mark.parallel([1, 2, 3])
def test_blocks_attend_so_many_hops_in_turn_also_when_points_move(comm):
    mine = block_range(NODES, comm.size, comm.rank)
    with Cloud.of(mesh()[0][mine.start : mine.stop], Within(0.2), comm) as cloud:
        model = build(cloud, hops=(1, 2), layers=2, channels=8)
        for move in (False, True):
            if move:
                cloud.move(1.5 - cloud.positions[:, [1, 0]])
            report = hpcml.verify(model, draw(cloud, 3), tolerance=1e-12)
            assert report.ok, str(report)
            assert [block.attention.along for block in model.blocks] == [cloud, power(cloud, 2)]
            x = draw(cloud, 3)[cloud.index].requires_grad_()
            node = cloud.nodes == 7
            (slope,) = torch.autograd.grad(model(x)[:, node].sum(), x)
            seen = set(cloud.nodes[(slope != 0).any(-1).any(0)].tolist())
            reached = {7} | {int(k) for part in comm.allgather(sorted(_within(cloud, 3))) for k in part}
            assert seen <= reached


def _within(graph, hops):
    """Nodes of this rank that so many edges at most lead from to node 7, counted on the whole graph."""
    whole, found = graph.serial().edge_index, {7}
    for _ in range(hops):
        found |= {int(begin) for begin, end in whole.T.tolist() if end in found}
    return found & set(graph.nodes.tolist())


@pytest.mark.parallel([2, 3])
def test_keys_and_values_of_ghosts_travel_once_a_block_and_come_back_once(comm):
    with deal(comm, *mesh()) as graph:
        model, x = build(graph), draw(graph, 3)[graph.index].requires_grad_()
        model(x).sum().backward()
        before = traffic.bytes
        y = model(x)
        of_ghosts = comm.allreduce(len(graph.ghosts)) * 2 * 2 * OPTIONS["channels"] * OPTIONS["layers"] * 8  # samples, keys and values
        assert comm.allreduce(traffic.bytes - before) == of_ghosts
        y.sum().backward()
        assert comm.allreduce(traffic.bytes - before) == 2 * of_ghosts


@RANKS
def test_in_16_bits_it_is_as_good_as_plain_torch(comm):
    with deal(comm, *mesh(), "uneven") as graph:
        check_autocast(graph, lambda g: MeshTransformer(g, 3, 2, **OPTIONS), Plain, 3)


@pytest.mark.parallel([1, 2])
def test_it_keeps_less_than_plain_torch_and_half_of_it_when_recomputed(comm):
    with deal(comm, *mesh()) as graph:
        model, x = MeshTransformer(graph, 3, 2, 32, 8), draw(graph, 3).float()
        own = x[graph.index]
        kept = kept_fields(model, own)
        if comm.size == 1:
            assert torch.allclose(model(x), Plain(model)(x), atol=1e-5)
            assert kept <= 0.65 * kept_fields(Plain(model), x)  # 0.57 with five edges a node, less with more
        recompute(model)
        assert kept_fields(model, own) <= 0.5 * kept


def test_a_case_names_it():
    with deal(MPI.COMM_SELF, *mesh()) as graph:
        model = build_network(Choice(name="mesh_transformer", **OPTIONS), graph, 3, 2)
        assert isinstance(model, MeshTransformer) and model.space is graph
