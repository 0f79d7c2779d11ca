"""A communicator of hpcml does what one of MPI does, or ends with a name."""

import numpy as np
import pytest
from mpi4py import MPI

from hpcml.core.errors import CommunicationError
from hpcml.mpi.patient_comm import PatientComm, patient


@pytest.mark.parallel([1, 2, 3])
def test_it_does_what_one_of_mpi_does(comm):
    mine, total = np.full(2, comm.rank), np.empty(2, dtype=int)
    comm.Allreduce(mine, total)
    assert total.tolist() == [sum(range(comm.size))] * 2
    assert comm.allreduce(comm.rank, op=MPI.MAX) == comm.size - 1
    assert comm.bcast(comm.rank, root=comm.size - 1) == comm.size - 1
    assert comm.allgather(comm.rank) == list(range(comm.size))
    assert comm.scatter(list(range(comm.size)) if comm.rank == 0 else None) == comm.rank
    assert (comm.gather(comm.rank) is None) == (comm.rank > 0)
    for made in (comm.Dup(), comm.Split(0, 0), comm.Split_type(MPI.COMM_TYPE_SHARED)):
        assert isinstance(made, PatientComm) and made.size == comm.size
        made.Free()


@pytest.mark.parallel([2])
def test_the_view_of_a_communicator_is_one_object(comm):
    plain = MPI.Intracomm(MPI.COMM_WORLD.Dup())
    view = patient(plain)
    assert isinstance(view, PatientComm) and view == plain and patient(plain) is view and patient(view) is view
    view.Barrier()
    plain.Free()


@pytest.mark.parallel([2, 3])
def test_calls_that_differ_are_an_error_on_all_ranks(comm):
    with pytest.raises(CommunicationError, match="rank 0 in bcast.*ranks? 1.* in Barrier"):
        comm.bcast(1) if comm.rank == 0 else comm.Barrier()
    with pytest.raises(CommunicationError, match="Allreduce of 8.*Allreduce of 16"):
        comm.Allreduce(MPI.IN_PLACE, np.ones(1 if comm.rank == 0 else 2))
