"""Pairs from files are those of the same fields in memory, read once and ahead of time; mistakes are told on every rank."""

import threading

import numpy as np
import pytest
import torch

from hpcml.core import case
from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.data.epochs import Epochs
from hpcml.data.samples import Pairs
from hpcml.data.schedule import Schedule
from hpcml.data.stored_pairs import open_pairs
from hpcml.io.dataset import Description, Field, create_dataset

FIELDS = (Field("u"), Field("v"), Field("bed", varies_in_time=False))


@pytest.fixture
def values(rng, comm, shared_path):
    """Values (trajectory, time, channel, *cells) of a.hdf5; steady.hdf5 has their first times."""
    drawn = rng.standard_normal((4, 6, 3, 8, 6)).astype("f4")
    drawn[:, :, 2] = drawn[:, :1, 2]
    centres = tuple(tuple((i + 0.5) / 4 for i in range(n)) for n in (8, 6))
    for name, times in (("a.hdf5", 6), ("steady.hdf5", 1)):
        space = Description("demo", FIELDS, 4, tuple(t / 4 for t in range(times)), centres, (True, False))
        with create_dataset(shared_path / name, "the-well", space, comm) as dataset:
            for trajectory in range(comm.rank, 4, comm.size):
                dataset.write(trajectory, 0, drawn[trajectory, :times])
    comm.Barrier()
    return drawn


def opened(path, comm, grid=None, **options):
    return open_pairs(str(path), case.Dataset(kind="dataset", path=str(path), **options), grid, case.Ranks(), comm, torch.float32)


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_they_are_the_pairs_of_the_same_fields_in_memory(stride, comm, shared_path, values):
    pairs = opened(shared_path / "a.hdf5", comm, stride=stride, layout="the-well")
    assert pairs.domain.grid.extent == (2.0, 1.5) and pairs.domain.grid.periodic == (True, False)
    local = torch.from_numpy(values)[pairs.domain.index][:, :, :2]
    memory = Pairs(pairs.domain, local[:, :-stride].flatten(0, 1), local[:, stride:].flatten(0, 1))
    assert pairs.num_samples == memory.num_samples and pairs.num_channels == memory.num_channels
    for found, expected in zip(pairs.take(torch.arange(pairs.num_samples)), (memory.inputs, memory.targets), strict=True):
        assert torch.equal(found, expected)
    assert torch.equal(pairs.typical()[1], memory.targets)
    pairs.close()


@pytest.mark.parallel([1, 2])
def test_several_steps_are_targets_at_equal_distances_and_statistics_are_those_of_one(comm, shared_path, values):
    spec = case.Dataset(kind="dataset", path="", stride=2)
    pairs, one = (open_pairs(str(shared_path / "a.hdf5"), spec, None, case.Ranks(), comm, torch.float32, steps=n) for n in (2, 1))
    local = torch.from_numpy(values)[pairs.domain.index][:, :, :2]
    later = torch.stack([local[:, 2:4], local[:, 4:6]], 2).flatten(0, 1)
    assert pairs.num_samples == 4 * 2 and pairs.num_channels == one.num_channels
    for parts in pairs.ahead(Schedule(pairs.num_samples, 3, 1, 1, 0, seed=3).updates(0)):
        for batch in parts:
            x, y = pairs.take(batch.samples)
            assert torch.equal(x, local[:, :2].flatten(0, 1)[batch.samples]) and torch.equal(y, later[batch.samples])
    assert all(torch.equal(a, b) for a, b in zip(pairs.typical(), one.typical(), strict=True))
    pairs.close(), one.close()


@pytest.mark.parallel([1, 2])
def test_fields_are_chosen_by_name_and_steady_problems_pair_one_time(comm, shared_path, values):
    steady = opened(shared_path / "steady.hdf5", comm, stride=0)
    x, y = steady.take(torch.tensor([3, 1]))
    local = torch.from_numpy(values)[steady.domain.index]
    assert torch.equal(x, local[[3, 1], 0, 2:]) and torch.equal(y, local[[3, 1], 0, :2])
    chosen = opened(shared_path / "a.hdf5", comm, inputs=("bed", "v"), targets=("u",))
    x, y = chosen.take(torch.tensor([7]))  # trajectory 1, time 2
    assert torch.equal(x[0], local[1, 2, [2, 1]]) and torch.equal(y[0], local[1, 3, :1])
    steady.close(), chosen.close()


@pytest.mark.parallel([1, 2, 3, 4])
def test_a_rank_reads_its_share_of_the_values_once(comm, shared_path, values):
    pairs = opened(shared_path / "a.hdf5", comm)
    schedule = Schedule(pairs.num_samples, 5, 1, 1, 0, seed=3)
    for epoch in range(3):
        for parts in pairs.ahead(schedule.updates(epoch)):
            for batch in parts:
                pairs.take(batch.samples)
    share = np.prod(pairs.domain.local_shape) / 48
    assert pairs.dataset.bytes_read == share * 4 * 6 * 2 * 48 * 4  # u and v of 4 trajectories and 6 times, in float32; bed is not asked for
    assert f"{100 * pairs.dataset.bytes_read / pairs.dataset.num_bytes:.1f} % of the" in pairs.traffic
    pairs.close()


@pytest.mark.parallel([1, 2])
def test_without_memory_every_state_is_read_again(comm, shared_path, values):
    pairs = opened(shared_path / "a.hdf5", comm, memory=0)
    for _ in range(2):
        pairs.take(torch.tensor([0]))
    assert pairs.dataset.bytes_read == 2 * 2 * 2 * np.prod(pairs.domain.local_shape) * 4
    pairs.close()


def test_what_comes_next_is_read_while_one_computes(comm, shared_path, values, monkeypatch):
    pairs = opened(shared_path / "a.hdf5", comm)
    updates = list(Schedule(pairs.num_samples, 1, 1, 1, 0, 0).updates(0))[:8]
    wanted = {int(batch.samples) // 5 * 6 + int(batch.samples) % 5 for (batch,) in updates[:3]}  # states that the first three start from
    read, all_came = pairs.dataset.read, threading.Event()

    def watched(trajectory, times, *rest):
        wanted.discard(trajectory * 6 + times[0])
        if not wanted:
            all_came.set()
        return read(trajectory, times, *rest)

    monkeypatch.setattr(pairs.dataset, "read", watched)
    next(pairs.ahead(updates))
    assert all_came.wait(10)  # although nothing has been taken yet
    pairs.close()


@pytest.mark.parallel([1, 2, 3])
def test_epochs_go_on_from_any_update(comm, shared_path, values):
    def all_from(state, count):
        pairs = opened(shared_path / "a.hdf5", comm)
        loader = Epochs(pairs, batch_size=6, accumulate=2, seed=1)
        loader.load_state_dict(state)
        seen = []
        while len(seen) < count:
            for parts in loader:
                seen.append(list(parts))
                if len(seen) == count:
                    break
        pairs.close()
        return seen, loader.state_dict()

    whole, end = all_from({"epoch": 0, "update": 0}, 7)
    first, state = all_from({"epoch": 0, "update": 0}, 3)
    rest, same_end = all_from(state, 4)
    assert state == {"epoch": 0, "update": 3} and end == same_end == {"epoch": 1, "update": 3}
    for one, other in zip(whole, first + rest, strict=True):
        for (x, y, weight), (x2, y2, weight2) in zip(one, other, strict=True):
            assert torch.equal(x, x2) and torch.equal(y, y2) and weight == weight2


@pytest.mark.parallel([1, 2, 3])
def test_mistakes_are_told_on_every_rank(comm, shared_path, values):
    for name, options, kind, message in [
        ("steady.hdf5", {}, ConfigError, "has 1 times, too few for pairs with data.stride = 1, which need 2; a steady problem has"),
        ("a.hdf5", {"inputs": ("w",)}, ConfigError, "has no field 'w': it has u, v, bed"),
        ("none.hdf5", {}, CheckpointError, "there is no dataset"),
        ("a.hdf5", {"layout": "pdebench"}, ConfigError, "is of the layout the-well, not data.layout = 'pdebench': leave"),
        ("a.hdf5", {"grid": case.Grid(shape=(8,))}, ConfigError, r"is on a grid of \(8, 6\) cells"),
    ]:
        with pytest.raises(kind, match=message):
            opened(shared_path / name, comm, **options)


def test_a_dataset_without_such_fields_is_named(tmp_path, comm):
    space = Description("demo", FIELDS[:1], 1, (0.0,), ((0.5, 1.5),), (True,))
    create_dataset(tmp_path / "a.hdf5", "the-well", space).close()
    with pytest.raises(ConfigError, match="has no fields that are constant in time: name data.inputs"):
        opened(tmp_path / "a.hdf5", comm, stride=0)
