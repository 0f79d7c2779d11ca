"""Chunks of a graph in a pipeline: exact where nothing is stale, and the values that they should be where something is."""

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import ConfigError
from hpcml.data import Pairs
from hpcml.graphs import Graph
from hpcml.models import FNO, MeshGraphNet, MeshTransformer
from hpcml.parallel import Stages
from hpcml.training import Trainer
from hpcml.training.bubble import bubble_share
from hpcml.training.pipelining import pipeline
from tests.graphs.test_graph import NODES, block, triangulation
from tests.training.test_pipelining import on_grid, on_mesh, run, scaled, stage_counts, whole_batch

CUT = 3


def two_islands(comm):
    """A mesh and a copy of it far away: bisection cuts between them, and no edge is cut."""
    points, edges = triangulation()
    points, edges = np.concatenate([points, points + np.array([9.0, 0.0])]), np.concatenate([edges, edges + NODES], 1)
    return Graph.deal(points[block(2 * NODES, comm)], edges[:, block(edges.shape[1], comm)], comm, "curve")


MODELS = {
    "mesh graph net": lambda s: MeshGraphNet(s, 2, 1, channels=6, steps=3, hidden_layers=1, differences=1.5),
    "transformer": lambda s: MeshTransformer(s, 2, 1, channels=8, layers=3, heads=2),
}


def serial(make_space, make):
    with make_space(MPI.COMM_SELF) as alone:
        torch.manual_seed(0)
        model = make(alone).double()
        return model.state_dict(), whole_batch(alone, 1, 1), run(alone, model, whole_batch(alone, 1, 1))


def close(space, found, expected):
    for k in range(2):
        scaled(found[k], expected[k][space.index])
    scaled(found[2], expected[2])


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("make_space", "chunks"), [(on_mesh, 1), (two_islands, 2)], ids=["one chunk", "no edge between chunks"])
def test_without_edges_between_chunks_and_on_the_first_visit_it_is_exact(comm, name, make_space, chunks):
    state, weight, expected = serial(make_space, MODELS[name])
    for number in stage_counts(comm.size):
        if chunks > 1 and number < comm.size:
            continue  # a rank of several cuts its own nodes, and not between the islands
        with Stages(comm, number) as stages, make_space(stages.comm) as space:
            model = MODELS[name](space).double()
            model.load_state_dict(state)
            pipeline(model, stages, chunks=chunks)
            for _ in range(3):
                space.visit(range(len(weight)))
                model.zero_grad()
                close(space, run(space, model, weight), expected)


@pytest.mark.parallel([1, 2, 4])
def test_values_are_exact_and_gradients_leave_out_what_is_stale_while_parameters_stand_still(comm):
    state, weight, expected = serial(on_mesh, MODELS["mesh graph net"])
    for number in stage_counts(comm.size)[-2:]:
        with Stages(comm, number) as stages, on_mesh(stages.comm) as space:
            model = MODELS["mesh graph net"](space).double()
            model.load_state_dict(state)
            steps = pipeline(model, stages, chunks=CUT)
            space.visit(range(len(weight)))
            close(space, run(space, model, weight), expected)  # the first visit
            model.zero_grad()
            found = run(space, model, weight)
            scaled(found[0], expected[0][space.index])
            assert len(steps.done) == 2 * CUT
            flat, true = (torch.cat([g[key].flatten() for key in sorted(g)]) for g in (found[2], expected[2]))
            assert 1e-9 < float((flat - true).norm() / true.norm()) < 0.9
            share = bubble_share(comm.allgather(steps.done)[:: stages.comm.size])
            assert share == pytest.approx((number - 1) / (CUT + number - 1), abs=1e-12)


@pytest.mark.parallel([1, 2])
def test_gradients_are_those_of_a_network_in_which_what_is_stale_is_constant(comm):
    """Numerically, on one stage: change a parameter, and let chunks go again in the same order with the same memory."""
    with on_mesh(comm) as space, Stages(comm, 1) as stages:
        torch.manual_seed(0)
        model = MeshGraphNet(space, 2, 1, channels=4, steps=2, hidden_layers=1).double()
        steps = pipeline(model, stages, chunks=CUT)
        weight, maker = whole_batch(space, 1, 1), steps._chunks
        space.visit(range(len(weight)))
        run(space, model, weight)

        def loss():
            maker._visits = 3
            kept = {place: dict(there) for place, there in maker._schedule.history._values.items()}
            model.zero_grad()
            y = run(space, model, weight)[0]
            maker._schedule.history._values = kept
            return comm.allreduce(float((weight[space.index] * y.square()).sum()))

        loss()
        parameter = model.steps[0].nodes[0].weight
        slope, step = float(parameter.grad[0, 0]), 1e-5
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter[0, 0] += sign * step
            values.append(loss())
            with torch.no_grad():
                parameter[0, 0] -= sign * step
        assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-6)


@pytest.mark.parallel([1, 2])
def test_it_learns_as_well_as_without_chunks(comm):
    losses = []
    for chunks in (None, CUT):
        with Stages(comm, comm.size) as stages, on_mesh(stages.comm) as space:
            torch.manual_seed(0)
            model = MeshGraphNet(space, 1, 1, channels=8, steps=2, differences=2.0).double()
            if chunks:
                pipeline(model, stages, chunks=chunks)
            x = torch.randn(4, NODES, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)[space.index]
            y = space.aggregate(space.at_begins(x) - space.at_ends(x), "mean")
            losses.append(Trainer(model, Pairs(space, x, y), learning_rate=5e-3, batch_size=2, schedule="constant").fit(epochs=12))
    assert losses[0] < 0.5 and abs(losses[1] - losses[0]) < 0.01 + 0.25 * losses[0]


@pytest.mark.parallel([1, 2])
def test_what_chunks_cannot_do_is_refused_on_every_rank(comm):
    with Stages(comm, 1) as stages, on_grid(stages.comm) as grid, on_mesh(stages.comm) as mesh:
        with pytest.raises(ConfigError, match="chunks are cut of one graph"):
            pipeline(FNO(grid, 1, 1, channels=4, modes=2), stages, chunks=2)
        with pytest.raises(ConfigError, match="1 chunk or more"):
            pipeline(MeshGraphNet(mesh, 1, 1, channels=4), stages, chunks=0)
        model = MeshTransformer(mesh, 1, 1, channels=4, layers=2, heads=1, tokens=1).double()
        pipeline(model, stages, chunks=2)
        x = torch.zeros(2, len(mesh.nodes), 1, dtype=torch.float64)
        with pytest.raises(ConfigError, match="nobody has numbered"):
            model(x)
        mesh.visit([0, 1])
        with pytest.raises(ConfigError, match="a layer sums over all nodes"):
            model(x)
