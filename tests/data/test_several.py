"""Samples on meshes of different size: who takes which, and gradients that are those of one rank over the same batch."""

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import ConfigError
from hpcml.data import Epochs, Pairs, Several
from hpcml.data.moments import moments
from hpcml.data.schedule import Schedule
from hpcml.data.shares import balanced
from hpcml.graphs import Graph, triangulated
from hpcml.models import MeshGraphNet, on_space, twins
from hpcml.parallel import Decomposition
from hpcml.topology import block_range
from hpcml.training import Trainer

NODES = (20, 45, 31)


def numbers(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def graph_of(count, comm, **how):
    mesh = triangulated(np.random.default_rng(count).random((count, 2)))
    edges = mesh.edges()
    mine, share = (block_range(n, comm.size, comm.rank) for n in (count, edges.shape[1]))
    return Graph.deal(mesh.points[mine.start : mine.stop], edges[:, share.start : share.stop], comm, **how)


def samples_on(comm, data, **how):
    """Two trajectories of each mesh, three times each, dealt to groups of ranks."""
    shared = Decomposition.of(comm, data)
    graphs = [graph_of(count, shared.comm, **how) for count in NODES]
    states = [numbers(count, 2, 3, count, 2) for count in NODES]
    return Several([Pairs.of_trajectories(graph, each) for graph, each in zip(graphs, states, strict=True)], comm, shared)


def trainer(samples, **settings):
    torch.manual_seed(0)
    model = twins(lambda graph: MeshGraphNet(graph, 2, 2, channels=4, steps=2).double(), samples.spaces)
    given = {"loss": "relative_l2", "batch_size": 8, "dtype": "float64", "schedule": "constant", "noise": 0.1}
    return Trainer(model, samples, samples, **{**given, **settings})


@pytest.mark.parallel([1, 2, 4])
@pytest.mark.parametrize("loss", ["relative_l2", "mse"])
@pytest.mark.parametrize("in_groups", [False, True])
def test_the_gradient_is_that_of_one_rank(comm, loss, in_groups):
    found = []
    for samples in (samples_on(comm, 1 + (in_groups and comm.size > 1)), samples_on(MPI.COMM_SELF, 1)):
        run = trainer(samples, loss=loss)
        value = run.update.gradient(next(iter(run.stream)), 0)
        found.append([value, *(p.grad for p in run.model.parameters())])
        samples.close()
    for ours, alone in zip(*found, strict=True):
        torch.testing.assert_close(ours, alone, rtol=1e-12, atol=1e-12 * float(alone.abs().max()))


@pytest.mark.parallel([1, 2])
def test_a_training_is_that_of_one_rank(comm):
    samples = samples_on(comm, comm.size)
    run, alone = trainer(samples, accumulate=2), trainer(samples_on(MPI.COMM_SELF, 1), accumulate=2)
    assert run.fit(epochs=2) == pytest.approx(alone.fit(epochs=2), rel=1e-9)
    for ours, expected in zip(run.model.parameters(), alone.model.parameters(), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-10)  # Adam magnifies the order of sums
    samples.close()


@pytest.mark.parallel([1, 2, 3])
def test_the_same_bits_stay_the_same(comm):
    runs = [trainer(samples_on(each, 1, same_bits=True)) for each in (comm, MPI.COMM_SELF)]
    for run in runs:
        run.fit(updates=3)
    assert all(torch.equal(p, q) for p, q in zip(*(run.model.parameters() for run in runs), strict=True))


@pytest.mark.parallel([2])
def test_what_is_wrong_in_one_group_is_told_in_all(comm):
    samples = samples_on(comm, 2)
    run = trainer(samples)
    if comm.rank == 1:
        run.update.loss = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        run.fit(updates=1)
    samples.close()


def test_groups_share_costs_rather_than_samples():
    costs = [100, 1, 1, 1, 60, 50, 1]
    whole = [Schedule(7, 7, 1, 2, group, 0, costs) for group in range(2)]
    taken = [next(each.updates(0))[0] for each in whole]
    loads = [sum(costs[number] for number in batch.samples) for batch in taken]
    assert sorted(number for batch in taken for number in batch.samples.tolist()) == list(range(7))
    assert abs(loads[0] - loads[1]) <= 6 and all(batch.weight == 1 and batch.of == 7 for batch in taken)
    assert sorted(balanced([1] * 4, 4).tolist()) == [0, 1, 2, 3]


def test_parts_of_a_batch_weigh_as_many_samples_as_they_have(comm):
    samples = samples_on(MPI.COMM_SELF, 1)
    for parts in Epochs(samples, 5):
        parts = list(parts)
        assert sum(weight for *_, weight in parts) == pytest.approx(1)
        assert all(x.shape[1] == part.space.num_points_global for part in parts for x in part[:1])
        assert len({id(part.space) for part in parts}) == len(parts)
    with pytest.raises(ConfigError, match="on several spaces"):
        samples.take(torch.tensor([0, 5]))


def test_all_points_count_alike_for_the_units_of_the_data():
    samples = samples_on(MPI.COMM_SELF, 1)
    every = [(space, x) for space, x, _ in samples.typical_on_each()]
    mean, std = moments(*every[0], *every[1:])
    whole = torch.cat([x.flatten(0, 1) for _, x in every])
    torch.testing.assert_close(mean, whole.mean(0), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(std, whole.std(0, correction=0), rtol=1e-12, atol=0)


def test_a_twin_is_the_model_as_it_is_now():
    samples = samples_on(MPI.COMM_SELF, 1)
    model = trainer(samples).model
    other = on_space(model, samples.spaces[1])
    assert other is not model and on_space(model, samples.spaces[0]) is model
    model.float().eval()
    again = on_space(model, samples.spaces[1])
    assert again is other and not other.training and all(p is q for p, q in zip(other.parameters(), model.parameters(), strict=True))
    assert len(list(model.parameters())) == len(set(model.parameters())) and len(model.state_dict()) == len(other.state_dict())


def test_what_does_not_go_together_is_refused(comm):
    graph = graph_of(20, MPI.COMM_SELF)
    parts = [Pairs.of_whole(graph, numbers(0, 2, 20, channels), numbers(1, 2, 20, 1)) for channels in (1, 2)]
    with pytest.raises(ConfigError, match="have channels"):
        Several(parts, MPI.COMM_SELF)
