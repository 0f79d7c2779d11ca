"""Files of simulated trajectories hold what the solver gives, are made once, and belong to one case."""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core.case import Generation
from hpcml.core.errors import CheckpointError, ConfigError, SolverError, TopologyError
from hpcml.core.named import complete_config
from hpcml.equations import build_equation
from hpcml.fields import Grid, decompose
from hpcml.io.dataset import Field, open_dataset
from hpcml.io.dataset.storage import Storage
from hpcml.runs.generate import generate
from hpcml.runs.simulation import trajectories


def case_of(equation, domain="auto", **data):
    tables = {
        "grid": {"shape": [12, 10], "periodic": equation["name"] != "darcy"},
        "ranks": {"domain": domain},
        "equation": equation,
        "data": {"kind": "simulation", "trajectories": 4, "held_out": 1, "snapshots": 3, "interval": 0.01, **data},
        "training": {"epochs": 7},  # is not looked at
    }
    return complete_config(tables, Generation, "test")


def expected(case, sample):
    """States of one trajectory by the solver itself, on one rank."""
    with decompose(Grid((12, 10), 1.0, case.grid.periodic), MPI.COMM_SELF) as domain:
        states = trajectories(build_equation(case.equation), case.data, domain, range(sample, sample + 1), case.data.snapshots, False)
        return torch.cat(list(states)).numpy()


@pytest.mark.parallel([1, 2, 3])
def test_a_file_holds_what_the_solver_gives(world, shared_path):
    case = case_of({"name": "shallow_water", "coriolis": 2.0}, spin_up=0.015)
    paths = generate(case, shared_path / "waves", world)
    assert [path.relative_to(shared_path).as_posix() for path in paths] == [f"waves/data/{s}/waves.hdf5" for s in ("train", "valid")]
    for path, first, count in zip(paths, (0, 4), (4, 1), strict=True):
        with open_dataset(path, world.comm) as dataset:
            space = dataset.description
            assert space.fields == (Field("depth"), Field("momentum", 1)) and space.periodic == (True, True)
            assert space.times == pytest.approx((0.02, 0.03, 0.04)) and space.num_trajectories == count  # whole intervals of spin-up
            assert space.constants == {"gravity": (np.float32(9.81),), "depth_constant": (1.0,), "coriolis": (2.0,)}
            for trajectory in range(world.rank % count, count, world.size):
                assert np.array_equal(dataset.read(trajectory), expected(case, first + trajectory).astype("f4"))


@pytest.mark.parallel([1, 2])
def test_a_steady_problem_has_a_constant_coefficient(world, shared_path):
    case = case_of({"name": "darcy"})
    (path, _) = generate(case, shared_path / "flow", world)
    with open_dataset(path) as dataset:
        assert dataset.description.fields == (Field("coefficient", varies_in_time=False), Field("pressure"))
        assert dataset.description.num_times == 1 and dataset.description.periodic == (False, False)
        assert np.array_equal(dataset.read(2), expected(case, 2).astype("f4"))


@pytest.mark.parallel([2, 3, 4])
def test_two_ranks_share_a_trajectory_if_the_case_says_so(world, shared_path):
    case = case_of({"name": "gray_scott"}, domain=[2, 1])
    (path, _) = generate(case, shared_path / "spots", world)  # of three ranks one has nothing to do
    with open_dataset(path) as dataset:
        # round-off of float64, seen through float32
        np.testing.assert_allclose(dataset.read(3), expected(case, 3), rtol=1e-6, atol=1e-7)


@pytest.mark.parallel([1, 2])
def test_what_is_complete_stays_and_another_case_is_refused(world, shared_path):
    case = case_of({"name": "heat"})
    paths = generate(case, shared_path / "heat", world)
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in paths]
    assert generate(case, shared_path / "heat", world) == paths
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in paths] == before
    with pytest.raises(ConfigError, match="holds data of another case"):
        generate(case_of({"name": "heat"}, seed=1), shared_path / "heat", world)


@pytest.mark.parallel([1, 2, 3])
def test_what_an_error_left_is_gone_on_with_by_the_same_case_only(world, shared_path, monkeypatch):
    case = case_of({"name": "heat"})
    whole = generate(case, shared_path / "a" / "heat", world)

    def diverges_at_2(equation, data, domain, samples, *rest):
        if samples[0] == 2:
            raise SolverError("not finite")
        return trajectories(equation, data, domain, samples, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("hpcml.runs.generate.trajectories", diverges_at_2)
        with pytest.raises(SolverError, match="trajectory 2: not finite"):
            generate(case, shared_path / "b" / "heat", world)
    progress = shared_path / "b" / "heat" / "data" / "train" / "heat.hdf5.progress"
    marks = progress.read_bytes().splitlines()[-1]
    assert marks[2:3] == b"." and marks.count(b"x") >= 2  # with one rank those before it, with more also the other groups'
    world.comm.Barrier()
    with pytest.raises(ConfigError, match="unfinished data of another case"):
        generate(case_of({"name": "heat"}, seed=1), shared_path / "b" / "heat", world)
    parts = generate(case, shared_path / "b" / "heat", world)
    assert [path.read_bytes() for path in parts] == [path.read_bytes() for path in whole]
    assert not progress.exists()


@pytest.mark.parallel([1, 2])
def test_mistakes_are_told_on_every_rank(world, shared_path):
    for case, kind, message in [
        (case_of({"name": "heat"}, domain=[2, 2]), TopologyError, f"needs 4 ranks for each trajectory but there are {world.size}"),
        (case_of({"name": "heat"}, domain=[13, 1]), TopologyError, "dim 0 has 12 cells for 13 ranks"),
        (case_of({"name": "navier_stokes"}).model_copy(update={"grid": case_of({"name": "darcy"}).grid}), ConfigError, "periodic"),
    ]:
        with pytest.raises(kind, match=message):
            generate(case, shared_path / "none", world)
    world.comm.Barrier()
    assert not (shared_path / "none").exists()


def test_a_case_that_simulates_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"data\.kind"):
        complete_config({"grid": {"shape": [8]}, "equation": {"name": "heat"}, "data": {"kind": "dataset"}}, Generation, "test")


def test_the_origin_is_in_the_file(world, tmp_path):
    (path, _) = generate(case_of({"name": "heat", "diffusivity": 0.5}), tmp_path / "heat", SimpleNamespace(comm=world.comm, rank=0, size=1))
    with h5py.File(path) as file:
        assert "diffusivity = 0.5" in file.attrs["hpcml_case"] and "epochs" not in file.attrs["hpcml_case"]


@pytest.mark.parallel([2, 3, 4])
def test_a_rank_that_cannot_write_stops_its_group_and_every_rank_says_so(world, shared_path, monkeypatch):
    write = Storage.write

    def full_disk(self, *args):
        if world.rank == 1:
            raise CheckpointError("cannot write /t0_fields/temperature: the disk is full")
        write(self, *args)

    monkeypatch.setattr(Storage, "write", full_disk)
    with pytest.raises(CheckpointError, match="trajectory 0: rank 1: cannot write /t0_fields/temperature: the disk is full"):
        generate(case_of({"name": "heat"}, domain=[2, 1]), shared_path / "heat", world)
