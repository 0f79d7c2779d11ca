"""Ranks that do different things learn so, all of them, before any number of theirs is mixed with another's."""

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import CommunicationError
from hpcml.mpi import all_max, all_sum, start_sum
from hpcml.mpi.call import calling
from hpcml.mpi.meeting import meet
from hpcml.parallel import all_gather, broadcast


@pytest.mark.parallel([1, 2, 3])
def test_ranks_that_mean_the_same_meet(comm):
    assert meet(comm, "sum", "float32", (3,))
    assert meet(comm, "sum", flag=comm.rank < comm.size)
    assert meet(comm, "sum", flag=comm.rank != comm.size - 1) == (comm.size == 0)


@pytest.mark.parallel([2, 3])
@pytest.mark.parametrize("reduce", [all_sum, all_max, lambda x, comm: start_sum(x, comm).wait()], ids=["sum", "max", "background"])
def test_another_precision_on_one_rank_is_one_error_on_all(comm, reduce):
    x = torch.ones(4, dtype=torch.float64 if comm.rank else torch.float32)
    with pytest.raises(CommunicationError, match=r"ranks? 0 in .* of float32 \(4,\).*ranks? 1.* in .* of float64 \(4,\)"):
        reduce(x, comm)
    assert all_sum(1, comm) == comm.size  # nothing is left pending


@pytest.mark.parallel([2, 3])
@pytest.mark.parametrize("shape", [(5,), (0, 4)], ids=["longer", "empty"])
def test_another_shape_on_one_rank_is_one_error_on_all(comm, shape):
    x = torch.ones(shape if comm.rank == comm.size - 1 else (4,))
    for operation in (lambda: all_sum(x, comm), lambda: all_gather(comm, x), lambda: broadcast(comm, x), lambda: all_sum(x.numpy(), comm)):
        with pytest.raises(CommunicationError, match="ranks disagree about what they are doing"):
            operation()


@pytest.mark.parallel([2, 3])
def test_calls_in_another_order_never_mix_their_numbers(comm):
    calls = [lambda: all_sum(np.ones(2), comm), lambda: all_max(np.ones(2), comm)]
    for call in calls if comm.rank else calls[::-1]:
        with pytest.raises(CommunicationError, match=r"test_meeting.py:\d+\)"):
            call()
    with calling("first" if comm.rank else "second"), pytest.raises(CommunicationError, match="rank 0 in second: sum"):
        all_sum(np.ones(2), comm)


@pytest.mark.parallel([2])
def test_who_comes_to_another_call_when_the_others_have_given_up_does_not_wait_for_them(comm, monkeypatch):
    monkeypatch.setenv("HPCML_PATIENCE_S", "0.1")
    ranks = MPI.COMM_WORLD.Dup()  # on which a meeting is left unfinished
    if comm.rank:
        with pytest.raises(CommunicationError, match="Barrier"):
            meet(ranks, "Barrier")
        monkeypatch.setenv("HPCML_PATIENCE_S", "60")
        MPI.COMM_WORLD.send(None, 0, tag=1)
    else:
        MPI.COMM_WORLD.recv(source=1, tag=1)
        monkeypatch.setenv("HPCML_PATIENCE_S", "3")  # for the meeting, which is complete
        with pytest.raises(CommunicationError, match="maximum"):
            meet(ranks, "maximum")
    MPI.COMM_WORLD.Barrier()  # one of MPI: on a communicator of hpcml a rank that hears that another has given up does so too
