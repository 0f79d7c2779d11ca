"""Tags lie where MPI guarantees them, each belongs to one exchange, and one that was freed comes back late."""

import pytest
from mpi4py import MPI

from hpcml.core.errors import CommunicationError
from hpcml.mpi import message_tags
from hpcml.mpi.message_tags import GREETING, MOST, ROLL_CALL, STOP, MessageTags


def test_all_tags_differ_and_mpi_has_them():
    assert len({*range(MOST), STOP, GREETING, ROLL_CALL}) == MOST + 3 and max(STOP, GREETING, ROLL_CALL) < 32767


def test_one_that_is_in_use_is_passed_over(monkeypatch):
    monkeypatch.setattr(message_tags, "MOST", 4)
    tags = MessageTags()
    assert [tags.take() for _ in range(3)] == [0, 1, 2]
    tags.free(1)
    assert [tags.take(), tags.take()] == [3, 1]
    with pytest.raises(CommunicationError, match="4 exchanges are open"):
        tags.take()


def test_a_communicator_has_one_set():
    comm = MPI.COMM_SELF.Dup()
    assert MessageTags.of(comm) is MessageTags.of(comm) is not MessageTags.of(MPI.COMM_SELF)
    comm.Free()
