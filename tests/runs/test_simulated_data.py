"""What a run simulates is made once, on any number of ranks, through any stop; and without room it is not begun."""

import signal
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core.case import Case
from hpcml.core.errors import CheckpointError
from hpcml.core.named import complete_config
from hpcml.io import StopSignal, open_dataset
from hpcml.runs import generate, room, simulated_data
from hpcml.runs.check_case import check_case
from hpcml.runs.experiment import open_experiment
from hpcml.runs.simulated_data import write_snapshots


def case_of(equation="shallow_water", ranks=None, **tables):
    data = {"kind": "simulation", "trajectories": 4, "held_out": 1, "snapshots": 3, "interval": 0.01}
    grid = {"shape": [12, 10], "periodic": equation != "darcy"}
    model = {"name": "fno", "modes": 2, "channels": 2, "layers": 1}
    rest = {"ranks": ranks or {}, "model": model, "training": {"batch_size": 4}} | tables
    return complete_config({"grid": grid, "equation": {"name": equation}, "data": data} | rest, Case, "test")


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("equation", ["shallow_water", "darcy"])
def test_it_is_made_once_and_is_the_same_on_any_ranks(world, shared_path, tmp_path, monkeypatch, equation):
    case = case_of(equation)
    paths = simulated_data.simulated_data(case, shared_path / "run", world)
    alone = SimpleNamespace(comm=MPI.COMM_SELF, rank=0, size=1)
    mine = simulated_data.simulated_data(case_of(equation, {"domain": [1, 1]}), tmp_path / f"alone-{world.rank}", alone)
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in mine]
    monkeypatch.setattr(simulated_data, "generate", None)  # cannot be called again
    assert simulated_data.simulated_data(case, shared_path / "run", world) == paths
    stored, in_memory = open_experiment(case, world.comm, paths), open_experiment(case, world.comm)
    assert stored.train.num_samples == in_memory.train.num_samples and stored.train.num_channels == in_memory.train.num_channels
    for ours, theirs in zip(stored.train.take(torch.arange(2)), in_memory.train.take(torch.arange(2)), strict=True):
        # stored in float32; the flows in memory share their steps, which differ from those of a flow alone
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))
    stored.close()


@pytest.mark.parallel([1, 2, 3])
def test_a_stop_is_heeded_at_the_next_step_and_what_is_complete_stays(world, shared_path, monkeypatch):
    """One rank is asked, in its second trajectory or, where it has only one, in its first; the others work on theirs."""
    case, steps, real = case_of(data=case_of().data.model_dump() | {"trajectories": 6, "interval": 0.1}), [], generate.trajectories

    def asked(*arguments):
        *rest, heed, _solver = arguments

        def counted():
            steps.append(0)
            if world.rank == world.size - 1 and len(steps) == 8:
                signal.raise_signal(signal.SIGUSR1)
            heed()

        return real(*rest, counted)

    whole = simulated_data.simulated_data(case, shared_path / "whole", world)
    with StopSignal(world.comm) as stop, monkeypatch.context() as patch:
        patch.setattr(generate, "trajectories", asked)
        assert simulated_data.simulated_data(case, shared_path / "run", world, stop) is None
        if world.rank == world.size - 1:
            assert len(steps) == 8
    with StopSignal(world.comm) as stop:
        paths = simulated_data.simulated_data(case, shared_path / "run", world, stop)
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in whole]


@pytest.mark.parallel([1, 2])
def test_another_case_is_simulated_beside(world, shared_path):
    first = simulated_data.simulated_data(case_of("heat"), shared_path / "run", world)
    other = case_of("heat", data=case_of().data.model_dump() | {"seed": 1})
    assert set(simulated_data.simulated_data(other, shared_path / "run", world)).isdisjoint(first)


@pytest.mark.parallel([1, 2])
def test_without_room_nothing_is_begun(world, shared_path, monkeypatch):
    monkeypatch.setattr(room.shutil, "disk_usage", lambda folder: SimpleNamespace(free=4 * 5 * 3 * 3 * 120 - 1))
    with pytest.raises(CheckpointError, match=r"take 2\.16e-05 GB, and .*run has 2\.16e-05 GB left: free some space, choose"):
        simulated_data.simulated_data(case_of(), shared_path / "run", world)
    world.comm.Barrier()
    assert not list((shared_path / "run").iterdir())


@pytest.mark.parallel([1, 2])
def test_it_is_shown_as_snapshots(world, shared_path):
    (path, _) = simulated_data.simulated_data(case_of(), shared_path / "run", world)
    write_snapshots(case_of(), path, shared_path / "run" / "simulation.h5", world)
    with h5py.File(shared_path / "run" / "simulation.h5", locking=False) as file, open_dataset(path) as dataset:
        assert np.array_equal(file["momentum_1"][2, 3].T, dataset.read(3)[2, 2])  # readers of the format name y before x


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize(
    "tables, message",
    [
        ({"model": {"name": "fno", "modes": 9}}, "above the Nyquist frequency"),
        ({"model": {"name": "unet", "levels": 9}}, "levels"),
        ({"training": {"batch_size": 1, "accumulate": 2}}, "raise training.batch_size"),
        ({"equation": "navier_stokes", "grid": {"shape": [8, 8], "periodic": False}}, "periodic"),
        ({"equation": "navier_stokes", "grid": {"shape": [8]}}, "dims"),
    ],
)
def test_what_can_be_known_is_known_before(world, monkeypatch, tables, message):
    check_case(case_of(), world.comm)
    monkeypatch.setattr("hpcml.equations.Equation.initial_state", None)  # nothing is computed
    with pytest.raises(Exception, match=message):
        check_case(case_of(**tables), world.comm)
