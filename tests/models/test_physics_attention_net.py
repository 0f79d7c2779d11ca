"""The network of physics attention is its blocks in plain torch; over ranks it is itself on one; a case can name it."""

import pytest
import torch
from mpi4py import MPI
from torch import nn

import hpcml
from hpcml.cli.benchmarks.memory import kept_fields
from hpcml.core.errors import ConfigError
from hpcml.core.options import Choice
from hpcml.models.factory import build_network
from hpcml.models.layers.physics_attention import START
from hpcml.models.physics_attention_net import ATTENTIONS, PhysicsAttentionNet
from hpcml.training.recomputation import recompute
from tests.models.twins import SPACES, check_autocast, check_twin, draw, mesh, shake

RANKS = pytest.mark.parallel([1, 2, 3])
OPTIONS = {"channels": 8, "layers": 2, "heads": 2, "slices": 5, "mlp_ratio": 2.0}


def build(space, **options):
    torch.manual_seed(space.comm.rank)  # parameters are those of rank 0
    return shake(PhysicsAttentionNet(space, 3, 2, **OPTIONS | options).double())


def plain(model, alone, x):
    """The blocks, of torch's layers and of attentions on one rank, which `tests/models/layers` compare with the equations."""
    v = model.lift(torch.cat([x, torch.from_numpy(mesh()[0]).expand(len(x), -1, -1)], -1)) + model.placeholder
    for block, attention in zip(model.blocks, alone, strict=True):
        with_own = {name.removeprefix("attention."): p for name, p in block.named_parameters() if name.startswith("attention.")}
        v = v + torch.func.functional_call(attention, with_own, block.norms[0](v))
        v = v + block.mlp(block.norms[1](v))
    return model.project(v)


@RANKS
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_it_computes_its_blocks(comm, attention):
    with SPACES["empty rank"](comm) as graph:
        model = build(graph, attention=attention).eval()
        alone = [block.attention for block in build(graph.serial(), attention=attention).eval().blocks]
        check_twin(graph, model, lambda x: plain(model, alone, x), draw(graph, 3))


@RANKS
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("space", ["grid", "curve"])
def test_it_is_the_same_over_ranks_in_training_too(comm, attention, space):
    with SPACES[space](comm) as points:
        model = build(points, attention=attention, dropout=0.2, window=3 if space == "grid" and attention != "latents" else 1)
        with torch.no_grad():  # as training begins: where shaking has put one at its least, 0.01, round-off counts a hundredfold
            for name, parameter in model.named_parameters():
                if name.endswith("temperature"):
                    parameter.fill_(START)
        report = hpcml.verify(model, draw(points, 3), tolerance=1e-12)
        assert report.ok, str(report)


def test_a_case_names_it():
    with SPACES["grid"](MPI.COMM_SELF) as domain:
        model = build_network(Choice(name="physics_attention", **OPTIONS), domain, 3, 2)
        assert isinstance(model, PhysicsAttentionNet) and model.space is domain


@pytest.mark.parametrize(
    ("options", "words"),
    [({"attention": "linear"}, "slices, adaptive, latents"), ({"attention": "latents", "window": 3}, "no window")],
)
def test_what_cannot_be_is_refused(options, words):
    with SPACES["grid"](MPI.COMM_SELF) as domain, pytest.raises(ConfigError, match=words):
        PhysicsAttentionNet(domain, **OPTIONS | options)


class Plain(nn.Module):
    """The network of the paper on one rank, as one writes it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        m = self.model
        v = m.lift(torch.cat([x, torch.from_numpy(mesh()[0]).to(x.dtype).expand(len(x), -1, -1)], -1)) + m.placeholder
        for block in m.blocks:
            a, h = block.attention, block.norms[0](v)
            f, u = (part(h).unflatten(2, (a.heads, -1)).transpose(1, 2) for part in (a.values, a.keys))
            w = torch.softmax(a.slices(u) / a.temperature.view(-1, 1, 1).clamp(0.1, 5), -1)
            s = torch.einsum("bhng,bhnd->bhgd", w, f) / (w.sum(2)[..., None] + 1e-5)
            q, k, value = a.attend(s).chunk(3, -1)
            s = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, -1) @ value
            v = v + a.out(torch.einsum("bhng,bhgd->bhnd", w, s).transpose(1, 2).flatten(2))
            v = v + block.mlp(block.norms[1](v))
        return m.project(v)


@RANKS
def test_in_16_bits_it_is_as_good_as_plain_torch(comm):
    with SPACES["empty rank"](comm) as graph:
        check_autocast(graph, lambda g: PhysicsAttentionNet(g, 3, 2, 32, 3, heads=4, slices=16), Plain, 3, seeds=12)


@pytest.mark.parametrize("samples", [1, 2])
def test_it_keeps_no_more_than_plain_torch_and_half_of_it_when_recomputed(samples):
    with SPACES["bisection"](MPI.COMM_SELF) as graph:
        model = PhysicsAttentionNet(graph, 3, 2, 32, 8, heads=4, slices=16)
        x = draw(graph, 3, samples).float()
        assert torch.allclose(model(x), Plain(model)(x), atol=1e-5)
        kept = kept_fields(model, x)
        assert kept <= 1.05 * kept_fields(Plain(model), x)
        recompute(model)
        assert kept_fields(model, x) <= 0.5 * kept
