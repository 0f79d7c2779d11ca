"""A damaged checkpoint is named and skipped; nothing whole means one clear error on every rank."""

import json
import mmap
import os

import numpy as np
import pytest

from hpcml.core.errors import CheckpointError
from hpcml.io import Blocked, Checkpointer, restore
from hpcml.io.checkpoint.keeper.kept import Kept
from hpcml.io.checkpoint.parity.parity_group import ParityGroup
from hpcml.io.files.record import read_record, write_record


@pytest.fixture
def run(comm, shared_path):
    """A run with checkpoints of steps 1 and 2."""
    with Checkpointer(shared_path, comm) as checkpointer:
        for step in (1, 2):
            block = Blocked(np.full((1, 40_000), float(step)), (comm.rank, 0), (comm.size, 40_000))
            checkpointer.save(step, {"field": block, "w": np.arange(50_000) + step})
            checkpointer.wait()
    return shared_path


def newest(run):
    (path,) = run.glob("step-000000002-*")
    return path


def cut_short(path):
    file = path / "rank-00000.h5"
    with file.open("r+b") as raw:
        raw.truncate(file.stat().st_size // 2)


def flip_a_bit(path):
    with (path / "rank-00000.h5").open("r+b") as raw:
        raw.seek(300_000)
        byte = raw.read(1)[0]
        raw.seek(300_000)
        raw.write(bytes([byte ^ 4]))


def lose_a_file(path):
    (path / "rank-00000.h5").unlink()


def change_the_record(path):
    file = path / "commit.json"
    file.write_text(file.read_text().replace('"step": 2', '"step": 9'))


def of_the_future(path):
    write_record(path / "commit.json", {**read_record(path / "commit.json"), "format_version": 99, "written_by": "7.0"})


def of_another_program(path):
    write_record(path / "commit.json", {"format": "soup"})


FAULTS = [
    (cut_short, "rank-00000.h5 holds .* bytes, .* were written"),
    (flip_a_bit, "rank-00000.h5 .rank 0. does not match its checksum between bytes 0 and"),
    (lose_a_file, "rank-00000.h5 is missing .rank 0 of"),
    (change_the_record, "does not match its own checksum"),
    (of_the_future, "format version 99, this hpcml reads up to 1: restart with hpcml 7.0"),
    (of_another_program, "not the record of an hpcml checkpoint: it says 'soup'"),
]


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize(("spoil", "what"), FAULTS, ids=[spoil.__name__ for spoil, _ in FAULTS])
def test_a_damaged_checkpoint_is_named_and_skipped(comm, run, spoil, what):
    if comm.rank == 0:
        spoil(newest(run))
    comm.Barrier()
    with Checkpointer(run, comm, keep=1) as checkpointer:
        restored = checkpointer.restore()
        assert restored.step == 1 and restored.level == "disk" and (restored.state["w"] == np.arange(50_000) + 1).all()
        checkpointer.save(3, {"w": np.zeros(2)})
    with pytest.raises(CheckpointError, match="no whole checkpoint(.|\n)*" + what):
        restore(run, comm, step=2)
    comm.Barrier()
    assert [path.name[:14] for path in sorted(run.glob("step-*"))] == ["step-000000002", "step-000000003"]


@pytest.mark.parallel([1, 2])
def test_nothing_whole_is_an_error_and_nothing_at_all_is_none(comm, run):
    if comm.rank == 0:
        for path in run.glob("step-*"):
            cut_short(path)
    comm.Barrier()
    with pytest.raises(CheckpointError, match="no whole checkpoint(.|\n)*step-000000001(.|\n)*step-000000002"):
        restore(run, comm)
    assert restore(run / "nowhere", comm) is None


@pytest.mark.parallel([1, 2])
def test_what_was_never_committed_is_not_seen_and_goes(comm, run):
    if comm.rank == 0:
        (newest(run) / "commit.json").unlink()
    comm.Barrier()
    restored = restore(run, comm)
    assert restored.step == 1 and restored.skipped == {}
    with pytest.raises(CheckpointError, match="no whole checkpoint of step 2; steps found: 1"):
        restore(run, comm, step=2)
    with Checkpointer(run, comm) as checkpointer:
        checkpointer.save(3, {"w": np.zeros(2)})
    assert {path.name[:14] for path in run.glob("step-*")} == {"step-000000001", "step-000000003"}


@pytest.mark.parallel([1])
def test_files_are_plain_hdf5(comm, run):
    import h5py

    with h5py.File(newest(run) / "rank-00000.h5") as file:
        assert file.attrs["format_version"] == 1
        assert (file["state/w"][:] == np.arange(50_000) + 2).all() and (file["state/field"][:] == 2).all()
        assert json.loads(file["values"][()].tobytes())["step"] == 2


@pytest.mark.parallel([1, 2])
def test_memory_that_cannot_be_read_does_not_hide_the_disk(comm, shared_path):
    with Checkpointer(shared_path, comm) as checkpointer:
        checkpointer.save(1, {"w": np.arange(3.0)})
    garbage = os.memfd_create("garbage")
    os.write(garbage, bytes(8192))
    header = {"step": 2, "session": "abc", "sequence": 99, "size": 1}
    restored = restore(shared_path, comm, kept=[Kept(0, 1, {("abc", 99): (header, garbage)})])
    assert (restored.step, restored.level) == (1, "disk")
    os.close(garbage)


@pytest.mark.parallel([2])
def test_what_parity_rebuilds_is_given_back(comm, shared_path):
    """Of a group of two, the parity of one copy is that copy."""
    with Checkpointer(shared_path, comm) as checkpointer:
        checkpointer.save(1, {"w": np.arange(3.0)})
    group = ParityGroup((0, 1), 1, (shared_path / next(shared_path.glob("step-*")) / "rank-00001.h5").stat().st_size)
    copies = [(next(shared_path.glob("step-*")) / f"rank-0000{rank}.h5").read_bytes() for rank in range(2)]
    header = {"step": 1, "session": "abc", "sequence": 99, "size": 2}
    parity = mmap.mmap(-1, 2 * group.segment)
    parity[: group.segment] = copies[1]
    copy = os.memfd_create("copy")
    os.write(copy, copies[0])
    kept = Kept(0, 2, {("abc", 99): (header, copy)}, group, 0, {("abc", 99): 0}, parity) if comm.rank == 0 else None
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    restored = restore(shared_path, comm, kept=[kept] if kept else [])
    assert restored.level == "parity" and restored.state["w"].tolist() == [0.0, 1.0, 2.0]
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    os.close(copy)
