"""What the disk has no room for is not begun."""

from types import SimpleNamespace

import pytest
from mpi4py import MPI

from hpcml.core.case import Case, Generation
from hpcml.core.errors import CheckpointError
from hpcml.core.named import complete_config
from hpcml.runs import rollout_case
from hpcml.runs.generate import generate
from hpcml.runs.room import check_room

DATA = {"kind": "simulation", "snapshots": 2**31 - 1, "trajectories": 10**6}
TABLES = {"grid": {"shape": [1000] * 3}, "equation": {"name": "heat"}, "data": DATA}


def test_a_folder_that_is_not_there_yet_is_on_the_disk_of_one_that_is(tmp_path):
    check_room(tmp_path / "a" / "b", 1, "the states", "take fewer")
    with pytest.raises(CheckpointError, match=r"the states take 1e\+21 GB, and .*b has .* GB left: free some space, .* or take fewer"):
        check_room(tmp_path / "a" / "b", 10**30, "the states", "take fewer")


def test_a_dataset_larger_than_the_disk_is_not_begun(tmp_path):
    world = SimpleNamespace(comm=MPI.COMM_SELF, rank=0, size=1)
    with pytest.raises(CheckpointError, match="the trajectories of this case take .* or lower data.trajectories or data.snapshots"):
        generate(complete_config(TABLES, Generation, "c"), tmp_path / "data", world)
    assert not list(tmp_path.iterdir())


def test_a_roll_out_larger_than_the_disk_is_not_begun(tmp_path):
    case = complete_config(TABLES | {"model": {"name": "fno"}}, Case, "c")
    truth = SimpleNamespace(channels=("u",), times=range(10**6), space=SimpleNamespace(global_shape=(1000,) * 3))
    with pytest.raises(CheckpointError, match="the states of this roll-out take .* or take fewer --steps or --trajectories, or a larger"):
        rollout_case._check_room(tmp_path, case, truth, 4)
