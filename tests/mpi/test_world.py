"""A world is a clone of the communicator that it is made of, and knows where each rank sits."""

import os
import subprocess
import sys

import pytest

import hpcml.mpi


@pytest.mark.parallel([1, 2, 3])
def test_the_world_is_a_clone_of_all_ranks(world):
    from mpi4py import MPI

    assert MPI.Comm.Compare(world.comm, MPI.COMM_WORLD) == MPI.CONGRUENT
    assert (world.rank, world.size) == (MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size)
    assert hpcml.mpi.world() is world


@pytest.mark.parallel([1, 2, 3])
def test_local_ranks_are_counted_on_each_node(world):
    places = world.comm.allgather((os.uname().nodename, world.local_rank))
    assert world.num_nodes == len({node for node, _ in places})
    assert sorted(places) == sorted((node, i) for node in {n for n, _ in places} for i in range(sum(n == node for n, _ in places)))


@pytest.mark.parallel([1, 3])
def test_a_callers_communicator_is_cloned_and_left_alone(world):
    from mpi4py import MPI

    half = world.comm.Split(world.rank % 2)
    with hpcml.mpi.World.of(half) as part:
        assert part.size == len(range(world.rank % 2, world.size, 2))
        assert MPI.Comm.Compare(part.comm, half) == MPI.CONGRUENT
    assert part.comm == MPI.COMM_NULL and half.size == part.size
    part.close()
    half.Free()


def test_a_closed_world_is_opened_anew():
    with hpcml.mpi.world() as first:
        assert hpcml.mpi.world() is first
    with hpcml.mpi.world() as second:
        assert second is not first and second.comm.size == 1


def test_an_error_in_the_block_leaves_the_communicator_for_others_to_find():
    with pytest.raises(ZeroDivisionError), hpcml.mpi.world() as world:
        1 / 0  # noqa: B018
    assert world.comm.size == 1
    world.close()


@pytest.mark.parametrize("launch", [{"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"}, {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "4"}])
def test_a_launcher_of_another_mpi_is_named_once(mpiexec, launch):
    """Four processes, each a world of one: the first speaks."""
    results = [
        subprocess.run(
            [sys.executable, "-c", "import hpcml.mpi; hpcml.mpi.world()"],
            env=mpiexec.env | launch | {"SLURM_JOB_ID": "7", "SLURM_PROCID": str(rank)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        for rank in range(2)
    ]
    assert [result.returncode for result in results] == [2, 2]
    assert results[0].stderr.startswith("hpcml: error: srun launched 4 ranks, but ") and "sees a world of 1" in results[0].stderr
    assert results[1].stderr == ""
