"""The mixer of patches is its equations in plain torch; patches, and so the network, do not depend on ranks."""

import pytest
import torch
from mpi4py import MPI
from torch import nn

import hpcml
from hpcml.cli.benchmarks.memory import kept_fields
from hpcml.core.errors import ConfigError
from hpcml.core.options import Choice
from hpcml.graphs import Cloud, Within
from hpcml.graphs.patches import patches_of
from hpcml.models import GraphMixer
from hpcml.models.factory import build_network
from hpcml.topology.bisection import recursive_bisection
from hpcml.topology.block import block_range
from hpcml.training.recomputation import recompute
from tests.models.twins import NODES, SPACES, check_autocast, check_twin, counted_sums, deal, draw, mesh, shake

RANKS = pytest.mark.parallel([1, 2, 3])
MIXING = pytest.mark.parametrize("mixing", ["mlp", "attention"])
OPTIONS = {"channels": 8, "layers": 2, "patches": 5, "heads": 2, "hidden_layers": 1}


class Plain(nn.Module):
    """The network as one writes it, with rows that are taken for every edge."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        positions, edges = mesh()
        self.positions, self.edges = torch.from_numpy(positions), torch.from_numpy(edges)
        self.patch = torch.from_numpy(recursive_bisection(positions, torch.arange(NODES).numpy(), 5, MPI.COMM_SELF))

    def mixed(self, mixer, t):
        h = mixer.norms[0](t)
        if mixer._heads:
            q, k, v = (part.unflatten(-1, (mixer._heads, -1)).transpose(1, 2) for part in mixer.attend(h).chunk(3, -1))
            weights = torch.softmax(q @ k.transpose(2, 3) / q.shape[-1] ** 0.5, -1)
            t = t + mixer.leave((weights @ v).transpose(1, 2).flatten(2))
        else:
            t = t + mixer.over_patches(h.transpose(1, 2)).transpose(1, 2)
        t = t + mixer.over_channels(mixer.norms[1](t))
        return mixer.to_nodes(mixer.norms[2](t))

    def forward(self, x):
        m, (begin, end) = self.model, self.edges
        along = self.positions[begin] - self.positions[end]
        v = m.encode_nodes(x)
        e = m.encode_edges(torch.cat([along, along.norm(dim=1, keepdim=True)], 1).to(x.dtype)).expand(len(x), -1, -1)
        for step, mixer in zip(m.steps, m.mixers, strict=True):
            e = e + step.edges(torch.cat([e, v[:, begin], v[:, end]], -1))
            v = v + step.nodes(torch.cat([v, torch.zeros_like(v).index_add(1, end, e.to(v.dtype))], -1))
            t = torch.stack([v[:, self.patch == p].mean(1) for p in range(5)], 1)
            v = v + self.mixed(mixer, t)[:, self.patch]
        return m.decode(v)


def build(graph, **options):
    torch.manual_seed(graph.comm.rank)  # parameters are those of rank 0
    return shake(GraphMixer(graph, 3, 2, **OPTIONS | options).double())


@RANKS
@MIXING
@pytest.mark.parametrize("way", ["bisection", "uneven"])
def test_it_computes_the_equations(comm, mixing, way):
    with deal(comm, *mesh(), way) as graph:
        model = build(graph, mixing=mixing)
        check_twin(graph, model, Plain(model), draw(graph, 3))


@RANKS
@MIXING
def test_it_is_the_same_over_ranks_in_three_dims(comm, mixing):
    with SPACES["curve"](comm) as graph:
        report = hpcml.verify(build(graph, mixing=mixing), draw(graph, 3), tolerance=1e-12)
        assert report.ok, str(report)


@pytest.mark.parallel([1, 2, 3])
def test_patches_follow_points_that_move(comm):
    mine = block_range(NODES, comm.size, comm.rank)
    with Cloud.of(mesh()[0][mine.start : mine.stop], Within(0.2), comm) as cloud:
        model = build(cloud)
        for move in (False, True):
            if move:
                cloud.move(1.5 - cloud.positions)
            expected = recursive_bisection(cloud.serial().positions.numpy(), torch.arange(NODES).numpy(), 5, MPI.COMM_SELF)
            assert patches_of(cloud, 5).of_node.tolist() == expected[cloud.nodes.numpy()].tolist()
            assert hpcml.verify(model, draw(cloud, 3), tolerance=1e-12).ok


@pytest.mark.parallel([2, 3])
def test_a_layer_sums_once_there_and_once_back(comm, monkeypatch):
    with deal(comm, *mesh()) as graph:
        model, x = build(graph), draw(graph, 3)[graph.index]
        model(x)
        with counted_sums(monkeypatch) as sums:
            model(x.requires_grad_()).sum().backward()
        tokens = 2 * OPTIONS["patches"] * (OPTIONS["channels"] + 1)
        assert sums == [tokens] * 2 * OPTIONS["layers"] + [sum(p.numel() for p in model.parameters())]


@RANKS
def test_in_16_bits_it_is_as_good_as_plain_torch(comm):
    with deal(comm, *mesh(), "uneven") as graph:
        check_autocast(graph, lambda g: GraphMixer(g, 3, 2, **OPTIONS), Plain, 3)


def test_it_keeps_no_more_than_plain_torch_and_half_of_it_when_recomputed():
    with deal(MPI.COMM_SELF, *mesh()) as graph:
        model, x = GraphMixer(graph, 3, 2, **OPTIONS | {"channels": 32, "layers": 8}), draw(graph, 3).float()
        assert torch.allclose(model(x), Plain(model)(x), atol=1e-5)
        of_plain = kept_fields(Plain(model), x)
        assert kept_fields(model, x) <= 1.05 * of_plain
        recompute(model)
        assert kept_fields(model, x) <= 0.5 * of_plain


def test_a_case_names_it_and_what_cannot_be_is_refused():
    with deal(MPI.COMM_SELF, *mesh()) as graph:
        assert isinstance(build_network(Choice(name="graph_mixer", **OPTIONS), graph, 3, 2), GraphMixer)
        for options, words in (
            ({"mixing": "sum"}, "mlp, attention"),
            ({"patches": 51}, "50 nodes cannot be cut into 51"),
            ({"mixing": "attention", "heads": 3}, "divisor of 8"),
        ):
            with pytest.raises(ConfigError, match=words):
                GraphMixer(graph, 3, 2, **OPTIONS | options)
