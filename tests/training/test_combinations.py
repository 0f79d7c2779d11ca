"""What cannot be trained together is refused on every rank before anything is computed."""

import pytest

from hpcml.core.errors import ConfigError
from hpcml.core.training_table import Training
from hpcml.graphs import Stale
from hpcml.models import MeshGraphNet, PhysicsAttentionNet, twins
from hpcml.parallel import Stages
from hpcml.training import Trainer, pipeline
from tests.data.test_several import samples_on


def net(graph):
    return MeshGraphNet(graph, 2, 2, channels=4, steps=2).double()


def random_net(graph):
    return PhysicsAttentionNet(graph, 2, 2, channels=8, layers=1, heads=2, slices=4, dropout=0.1).double()


@pytest.mark.parallel([2])
def test_random_layers_of_groups_on_several_meshes(comm):
    samples = samples_on(comm, 2)
    with pytest.raises(ConfigError, match="counts its calls"):
        Trainer(twins(random_net, samples.spaces), samples, dtype="float64")
    samples.close()


@pytest.mark.parallel([1, 2])
def test_stale_ghosts_of_several_meshes(comm):
    samples = samples_on(comm, 1)
    for graph in samples.spaces:
        graph.schedule = Stale()
    with pytest.raises(ConfigError, match="one mesh and one group"):
        Trainer(twins(net, samples.spaces), samples, dtype="float64")
    samples.close()


@pytest.mark.parallel([1, 2])
def test_stages_on_several_meshes(comm):
    samples = samples_on(comm, 1)
    with Stages(comm, 1) as stages:
        model = twins(net, samples.spaces)
        run = pipeline(model, stages)
        with pytest.raises(ConfigError, match="on one mesh"):
            Trainer(model, samples, dtype="float64")
        run.close()
    samples.close()


def test_chunks_and_several_steps(comm):
    samples = samples_on(comm, 1)
    part = samples.parts[0]
    with Stages(comm, 1) as stages:
        model = net(part.space)
        run = pipeline(model, stages, chunks=2)
        with pytest.raises(ConfigError, match=r"training\.steps = 2"):
            Trainer(model, part, spec=Training(steps=2, dtype="float64"))
        run.close()
    samples.close()
