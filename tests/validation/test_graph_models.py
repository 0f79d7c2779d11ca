"""Every model of graphs over ranks is what it is on one, differentiated twice: three partitions, two and three dims, one and two hops."""

import pytest
import torch
from torch.func import functional_call

from hpcml.graphs import power
from hpcml.models import GraphMixer, MeshGraphNet, MeshTransformer, PhysicsAttentionNet
from hpcml.models.verification.serial_twin import serial_twin
from tests.models.twins import check_twin, deal, draw, mesh, shake

MODELS = {
    "MeshGraphNet": lambda g: MeshGraphNet(g, 2, 2, channels=8, steps=2, differences=2.0),
    "MeshGraphNet, two hops": lambda g: MeshGraphNet(power(g, 2), 2, 2, channels=8, steps=2),
    "mesh transformer": lambda g: MeshTransformer(g, 2, 2, channels=24, layers=2, heads=2, tokens=2, rotary=2.0, hops=(1, 2)),
    "physics attention": lambda g: PhysicsAttentionNet(g, 2, 2, channels=8, layers=2, heads=2, slices=6, attention="adaptive"),
    "FLARE": lambda g: PhysicsAttentionNet(g, 2, 2, channels=8, layers=2, heads=2, slices=6, attention="latents"),
    "Ewald": lambda g: MeshGraphNet(g, 2, 2, channels=8, steps=2, cutoff=9.0),
    "mixer": lambda g: GraphMixer(g, 2, 2, channels=8, layers=1, patches=6),
}


@pytest.mark.parallel([1, 2, 3, 4, 6])
@pytest.mark.parametrize(("way", "dims"), [("bisection", 2), ("curve", 3), ("metis", 3)])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_itself_over_ranks(comm, name, way, dims):
    with deal(comm, *mesh(dims), way) as graph:
        torch.manual_seed(comm.rank)  # parameters are those of rank 0
        model = shake(MODELS[name](graph).double()).eval()  # without the noise of attention
        alone = serial_twin(model)
        check_twin(graph, model, lambda x: functional_call(alone, dict(model.named_parameters()), (x,)), draw(graph, 2))
