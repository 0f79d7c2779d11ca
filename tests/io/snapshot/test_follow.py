"""Who follows gets every step once, and leaves when the writer has."""

import itertools

import pytest
from mpi4py import MPI

from hpcml.io import SnapshotWriter, follow


def test_every_step_comes_once_while_it_is_written(tmp_path, snapshots):
    path = tmp_path / "run.h5"
    with SnapshotWriter(path, snapshots.series(MPI.COMM_SELF), MPI.COMM_SELF) as writer:
        writer.append(0.0, snapshots.content(0))
        steps = follow(tmp_path, poll=0.01)
        seen = [next(steps)]
        for step in range(1, 4):
            writer.append(float(step), snapshots.content(step))
            seen.append(next(steps))
        for file, step in seen:
            assert float(file.read("p", (step, 0, 0))) == 1000 * step
    assert [step for _, step in seen] == [0, 1, 2, 3]
    assert list(steps) == []  # and does not wait for more


def test_a_file_that_is_written_anew_begins_again(tmp_path, snapshots):
    path = tmp_path / "run.h5"
    snapshots.write(path, MPI.COMM_SELF, 3)
    with SnapshotWriter(path, snapshots.series(MPI.COMM_SELF), MPI.COMM_SELF) as writer:
        steps = follow(path, poll=0.01)
        assert [step for _, step in itertools.islice(steps, 3)] == [0, 1, 2]
        writer.append(0.0, snapshots.content(0))
        assert next(steps)[1] == 0


@pytest.mark.parametrize("wait", [True, False])
def test_what_is_over_is_shown_and_left(wait, tmp_path, snapshots):
    for name in ("a", "b"):
        snapshots.write(tmp_path / f"{name}.h5", MPI.COMM_SELF, 2)
    assert [(file.view.path.stem, step) for file, step in follow(tmp_path, wait=wait)] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
