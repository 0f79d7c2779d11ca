"""Noise belongs to samples, points and updates: neither ranks nor groups, parts of a batch, nor a restart change it."""

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import ConfigError
from hpcml.data import Epochs, Pairs, Stream
from hpcml.fields import Grid, decompose
from hpcml.graphs import Graph, triangulated
from hpcml.models import MeshGraphNet
from hpcml.models.layers import ChannelMLP
from hpcml.models.surrogate import Surrogate
from hpcml.topology import block_range
from hpcml.training import Noise, Trainer

SHAPE, NODES = (6, 4), 40


def graph_on(comm, **how):
    mesh = triangulated(np.random.default_rng(1).random((NODES, 2)))
    edges = mesh.edges()
    mine, share = (block_range(n, comm.size, comm.rank) for n in (NODES, edges.shape[1]))
    return Graph.deal(mesh.points[mine.start : mine.stop], edges[:, share.start : share.stop], comm, **how)


def numbers(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("on", ["grid", "mesh"])
def test_it_is_that_of_one_rank(comm, on):
    space = decompose(Grid(SHAPE), comm) if on == "grid" else graph_on(comm)
    whole = (3, 2, *SHAPE) if on == "grid" else (3, NODES, 2)
    steps = (3, 2, 1, *SHAPE) if on == "grid" else (3, 2, NODES, 1)
    x, y = numbers(*whole), numbers(*steps)
    dim = 1 if on == "grid" else -1
    with space:
        alone = space.serial()
        noise = Noise(0.25, 0.5, seed=7)
        ours = noise(space, torch.nn.Identity(), x[space.index], y[space.index], 4, [5, 0, 9])
        theirs = noise(alone, torch.nn.Identity(), x[alone.index], y[alone.index], 4, [5, 0, 9])
        for mine, whole_field in zip(ours, theirs, strict=True):
            assert torch.equal(mine, whole_field[space.index])
    added, moved = theirs[0] - x, theirs[1] - y
    assert torch.equal(added.select(dim, 1), torch.zeros_like(added.select(dim, 1)))  # the second channel is given
    torch.testing.assert_close(moved, 0.5 * added.narrow(dim, 0, 1).unsqueeze(1).expand_as(moved), rtol=1e-12, atol=1e-15)
    assert 0.15 < float(added.narrow(dim, 0, 1).std()) < 0.35 and not torch.equal(*added[:2])
    other = Noise(0.25, 0.5, seed=8)
    others = (each(alone, torch.nn.Identity(), x, y, update, [5, 0, 9])[0] for each, update in ((noise, 5), (other, 4)))
    assert not any(torch.equal(other, theirs[0]) for other in others)


def test_its_unit_is_the_deviation_of_the_data():
    with decompose(Grid((4000,)), MPI.COMM_SELF) as domain:
        model = Surrogate(torch.nn.Identity(), 2, 2, space=domain).double()
        model.input_std.copy_(torch.tensor([10.0, 1e-3]))
        x = numbers(1, 2, 4000)
        added = Noise((0.1, 0.5))(domain, model, x, x, 0, [0])[0] - x
    torch.testing.assert_close(added.std(-1)[0], torch.tensor([1.0, 5e-4], dtype=torch.float64), rtol=0.05, atol=0)  # of 4000 numbers: 1 %


def test_what_has_no_meaning_is_refused(comm):
    with decompose(Grid(SHAPE), comm) as domain:
        x = torch.zeros(1, 2, *domain.local_shape)
        with pytest.raises(ConfigError, match="a deviation for 3 channels, and an input has 2"):
            Noise((0.1, 0.1, 0.1))(domain, torch.nn.Identity(), x, x, 0, [0])
        with pytest.raises(ConfigError, match="there is noise in others"):
            Noise((0.1, 0.1), 1.0)(domain, torch.nn.Identity(), x, x[:, :1], 0, [0])


def trainer(space, folder=None, steps=1, **settings):
    torch.manual_seed(0)
    on_grid = space.channel_dim == 1
    model = ChannelMLP(space, 1, 4, 1) if on_grid else MeshGraphNet(space, 1, 1, channels=4, steps=1)
    states = numbers(2, 5, 1, *SHAPE) if on_grid else numbers(2, 5, NODES, 1)
    pairs = Pairs.of_trajectories(space, states, steps=steps)
    given = {"loss": "mse", "batch_size": 4, "noise": 0.3, "noise_in_targets": 0.5, "dtype": "float64", "learning_rate": 1e-2}
    return Trainer(model.double(), pairs, folder=folder, steps=steps, **{**given, **settings})


@pytest.mark.parallel([1, 2, 4])
@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"steps": 2, "push_forward": True}], ids=str)
def test_a_training_on_ranks_and_groups_is_that_of_one(comm, settings):
    data = 2 if comm.size > 1 else 1
    with decompose(Grid(SHAPE), comm, data=data) as domain:
        ours = trainer(domain, **settings)
        loss = ours.fit(epochs=2)
        alone = trainer(decompose(Grid(SHAPE), MPI.COMM_SELF), **settings)
        assert alone.fit(epochs=2) == pytest.approx(loss, rel=1e-10)
        silent = trainer(domain, **settings, noise=0.0)
        silent.fit(epochs=2)
    for p, q, without in zip(ours.model.parameters(), alone.model.parameters(), silent.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-11)  # Adam magnifies the order of sums
        assert not torch.equal(p, without)


class Given(Stream):
    """Batches without numbers, of which each group has a share."""

    def __init__(self, space):
        self.space = space

    def __iter__(self):
        for update in range(3):
            x = numbers(3 + update, 1, *SHAPE)
            share = block_range(len(x), self.space.num_data, self.space.data_index)
            x = x[share.start : share.stop][self.space.index]
            yield [(x, 2 * x, 1.0)]

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


@pytest.mark.parallel([2, 4])
def test_a_stream_without_numbers_counts_the_samples_of_all_groups(comm):
    found = []
    with decompose(Grid(SHAPE), comm, data=2) as domain:
        for space in (domain, decompose(Grid(SHAPE), MPI.COMM_SELF)):
            torch.manual_seed(0)
            run = Trainer(ChannelMLP(space, 1, 4, 1).double(), Given(space), loss="mse", noise=0.5, dtype="float64")
            run.fit(updates=3)
            found.append(list(run.model.parameters()))
    for ours, alone in zip(*found, strict=True):
        torch.testing.assert_close(ours, alone, rtol=1e-9, atol=1e-11)


@pytest.mark.parallel([1, 2])
def test_after_a_restart_it_goes_on(comm, shared_path):
    with graph_on(comm) as graph:
        settings = {"schedule": "constant"}  # the others fall by the share of updates that are done
        whole, again = trainer(graph, **settings), trainer(graph, shared_path / "run", **settings)
        whole.fit(updates=6)
        again.fit(updates=4)
        again = trainer(graph, shared_path / "run", **settings)
        again.fit(updates=6)
    assert again.step == 6
    assert all(torch.equal(p, q) for p, q in zip(again.model.parameters(), whole.model.parameters(), strict=True))


@pytest.mark.parallel([1, 2, 3])
def test_the_same_bits_stay_the_same(comm):
    with graph_on(comm, same_bits=True) as graph, graph_on(MPI.COMM_SELF, same_bits=True) as alone:
        found = [trainer(space, dtype="float64") for space in (graph, alone)]
        for run in found:
            run.fit(updates=4)
    assert all(torch.equal(p, q) for p, q in zip(*(run.model.parameters() for run in found), strict=True))


def test_the_numbers_of_samples_are_known(comm):
    with decompose(Grid(SHAPE), comm) as domain:
        epochs = Epochs(Pairs.of_whole(domain, numbers(5, 1, *SHAPE), numbers(5, 1, *SHAPE)), 2)
        taken = [part for parts in epochs for part in parts]
    assert sorted(number for part in taken for number in part.numbers) == list(range(5))
    assert all(len(x) == len(part.numbers) for part in taken for x in part[:1])
