import time

import pytest

from hpcml.mpi.patient_comm import patient
from hpcml.runs import node_speeds
from hpcml.runs.node_speeds import SIZES, clock_s, files_s, message_ms, pairs_of, product_ms, unseen


@pytest.mark.parametrize("nodes", range(2, 9))
def test_every_node_sends_in_two_rounds_and_to_one_other_at_a_time(nodes):
    rounds = [pairs_of(nodes, k) for k in (0, 1)]
    assert {node for pairs in rounds for pair in pairs for node in pair} == {*range(nodes)}
    for pairs in rounds:
        ends = [node for pair in pairs for node in pair]
        assert len(ends) == len({*ends})


@pytest.mark.parallel([2, 3])
def test_messages_of_a_pair_are_timed_and_the_other_rank_takes_no_part(comm):
    import torch

    found = message_ms(patient(comm), 0 if comm.rank < 2 else None, torch.device("cpu"))
    assert (found is None) == (comm.rank == 2) and (found is None or (len(found) == len(SIZES) and min(found) > 0))


@pytest.mark.parallel([2, 3])
def test_a_clock_that_is_before_is_found(comm, monkeypatch):
    before, now = 7.0 * (comm.rank == 1), time.time
    monkeypatch.setattr(node_speeds.time, "time", lambda: now() + before)
    found = clock_s(comm)
    assert abs(found - before) < 3.5  # half of an answer's time, however long the machine takes for the fastest of eight


def test_a_file_is_written_and_gone(tmp_path):
    seconds, refused = files_s(tmp_path)
    assert seconds > 0 and not refused and not [*tmp_path.iterdir()] and product_ms() > 0


def test_locks_that_are_refused_are_told(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(node_speeds.fcntl, "flock", refuse)
    assert "HDF5_USE_FILE_LOCKING=FALSE" in files_s(tmp_path)[1]


@pytest.mark.parallel([2])
def test_a_folder_of_this_node_alone_is_found(comm, shared_path, tmp_path):
    shared, mine = shared_path / "shared", tmp_path / f"own{comm.rank}"
    shared.mkdir(exist_ok=True)
    mine.mkdir()
    assert not unseen(shared, comm)
    comm.Barrier()
    assert not [*shared.iterdir()]
    assert unseen(mine, comm, patience=0.3) == (comm.rank == 1)
