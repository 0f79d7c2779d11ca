"""The ranks of a node share its cores, unless the user has said otherwise."""

import pytest

SHARE = """
import os, sys
import hpcml.mpi
world = hpcml.mpi.world()
masks = world.comm.allgather(tuple(sorted(os.sched_getaffinity(0))))
share = max(1, len(masks[world.rank]) // masks.count(masks[world.rank]))
import torch
assert (world.threads, torch.get_num_threads()) == (share, share), (world.threads, torch.get_num_threads(), share)
print("held")
"""
SOME = """
import os
from hpcml.mpi.launcher import detect
os.environ["OMP_NUM_THREADS"] = "7" if detect().rank == 0 else ""
import hpcml.mpi
world = hpcml.mpi.world()
print("held", world.threads == 7, world.rank)
"""
USERS = """
import os
import torch
before = torch.get_num_threads()
import hpcml.mpi
assert hpcml.mpi.world().threads == 7 and os.environ["OMP_NUM_THREADS"] == "7" and torch.get_num_threads() == before
print("held")
"""


@pytest.mark.parametrize("script", [SHARE, "import torch\n" + SHARE], ids=["torch-later", "torch-first"])
def test_ranks_share_the_cores(mpiexec, script):
    result = mpiexec(2, "-c", script, env={"OMP_NUM_THREADS": "", "MKL_NUM_THREADS": ""})
    assert result.stdout.count("held") == 2, result.stderr


def test_what_the_user_has_set_stays(mpiexec):
    result = mpiexec(1, "-c", USERS, env={"OMP_NUM_THREADS": "7"})
    assert result.stdout.count("held") == 1, result.stderr


def test_ranks_of_whom_some_have_it_set_do_not_wait_for_each_other(mpiexec):
    result = mpiexec(2, "-c", SOME, env={"OMP_NUM_THREADS": ""})
    assert sorted(result.stdout.splitlines()) == ["held False 1", "held True 0"], result.stderr
