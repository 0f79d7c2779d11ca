"""An error of any rank is raised on all of them."""

import pytest

from hpcml.core.errors import CheckpointError, CommunicationError, ShapeError
from hpcml.mpi.agreement import agree_on_error, raise_together

SIZES = [1, 2, 3]


@pytest.mark.parallel(SIZES)
def test_no_error_is_no_error(comm):
    agree_on_error(None, comm)
    with raise_together(comm):
        pass


@pytest.mark.parallel([2, 3])
@pytest.mark.parametrize("kind", [ShapeError, FileNotFoundError, CheckpointError])
def test_the_error_of_one_rank_is_that_of_all(comm, kind):
    last = comm.size - 1
    with pytest.raises(kind, match=rf"^rank {last}: no such block$"):
        agree_on_error(kind("no such block") if comm.rank == last else None, comm)


@pytest.mark.parallel([3, 4])
def test_the_lowest_rank_speaks_for_several(comm):
    with pytest.raises(ValueError, match=rf"^rank 1: value 1 \(and {comm.size - 2} more of {comm.size} ranks\)$"):
        agree_on_error(ValueError(f"value {comm.rank}") if comm.rank else None, comm)


@pytest.mark.parallel(SIZES)
def test_the_same_error_of_all_ranks_stays_as_it_is(comm):
    error = ShapeError("the field is too wide")
    with pytest.raises(ShapeError) as caught:
        agree_on_error(error, comm)
    assert caught.value is error


@pytest.mark.parallel([2, 3])
def test_an_error_that_cannot_be_rebuilt_keeps_its_name_and_text(comm):
    def decode():
        b"\xff".decode("utf-8")

    with pytest.raises(CommunicationError, match=r"UnicodeDecodeError on rank 0: .*can't decode byte 0xff"), raise_together(comm):
        if comm.rank == 0:
            decode()


@pytest.mark.parallel([2, 3])
def test_an_error_of_a_local_class_keeps_its_name(comm):
    class LocalError(Exception):
        pass

    with pytest.raises(CommunicationError, match=r"rank 0: here only"):
        agree_on_error(LocalError("here only") if comm.rank == 0 else None, comm)


@pytest.mark.parallel(SIZES)
def test_a_block_is_left_by_all_or_by_none(comm):
    with pytest.raises(ZeroDivisionError), raise_together(comm):
        1 / (comm.size - 1 - comm.rank)
    assert comm.allreduce(1) == comm.size
