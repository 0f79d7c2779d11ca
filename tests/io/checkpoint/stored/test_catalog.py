"""What is complete, what may go, and that removing and committing cannot meet half way."""

import pytest

from hpcml.io.checkpoint.stored.catalog import COMMIT, describe_rank, folder_name, prune, rank_file, rank_record, remove, survey, try_commit
from hpcml.io.files.record import write_record

SESSION = "abc123"


def write(folder, step, ranks=2, commit=True, session=SESSION):
    path = folder / folder_name(step, session)
    path.mkdir()
    for rank in range(ranks):
        (path / rank_file(rank)).write_bytes(bytes(4096))
        write_record(path / rank_record(rank), describe_rank(rank, 4096, [0]))
    if commit:
        assert try_commit(path, {"step": step, "sequence": step, "session": session, "size": ranks, "written_by": "test"})
    return path


def steps(folder):
    return [checkpoint.step for checkpoint in survey(folder).complete]


def test_a_checkpoint_is_committed_when_its_last_rank_has_written(tmp_path):
    path = write(tmp_path, 1, ranks=1, commit=False)
    header = {"step": 1, "sequence": 1, "session": SESSION, "size": 2, "written_by": "test"}
    assert not try_commit(path, header) and survey(tmp_path).unfinished == [path]
    (path / rank_file(1)).write_bytes(bytes(4096))
    write_record(path / rank_record(1), describe_rank(1, 4096, [0]))
    assert try_commit(path, header) and steps(tmp_path) == [1]


def test_the_newest_stay_and_so_does_what_is_damaged_or_underway(tmp_path):
    paths = [write(tmp_path, step) for step in range(1, 6)]
    (paths[1] / rank_file(0)).unlink()
    underway, abandoned = write(tmp_path, 6, commit=False), write(tmp_path, 7, commit=False, session="0ldrun")
    prune(tmp_path, 2, SESSION, damaged={paths[4]})
    assert steps(tmp_path) == [5, 4, 3] and list(survey(tmp_path).damaged) == [paths[1]]
    assert underway.exists() and not abandoned.exists() and not paths[0].exists()


def test_what_is_left_of_a_dead_run_does_not_touch_what_its_restart_writes(tmp_path):
    paths = [write(tmp_path, step) for step in range(1, 4)]
    underway = write(tmp_path, 4, commit=False, session="ne3run")
    prune(tmp_path, 2, None)
    assert steps(tmp_path) == [3, 2] and underway.exists() and not paths[0].exists()


@pytest.mark.parametrize("meanwhile", ["committed", "removed"])
def test_what_changes_while_it_is_looked_at_is_not_called_damaged(tmp_path, monkeypatch, meanwhile):
    from hpcml.io.checkpoint.stored import catalog

    path = write(tmp_path, 1)

    def read_record(file, most):
        if meanwhile == "committed":
            raise FileNotFoundError(file)
        record = read(file, most)
        remove(path)
        return record

    read = catalog.read_record
    monkeypatch.setattr(catalog, "read_record", read_record)
    assert survey(tmp_path) == catalog.Catalog([], [path] if meanwhile == "committed" else [], {})


def test_what_is_being_removed_cannot_be_committed(tmp_path, monkeypatch):
    """Another process removes the checkpoint after its records were read and before the commit record is written."""
    from hpcml.io.checkpoint.stored import catalog

    path = write(tmp_path, 1, commit=False)

    def remove_meanwhile(target, record):
        remove(path)
        write_record(target, record)

    monkeypatch.setattr(catalog, "write_record", remove_meanwhile)
    with pytest.raises(FileNotFoundError):
        try_commit(path, {"step": 1, "sequence": 1, "session": SESSION, "size": 2})
    assert survey(tmp_path) == catalog.Catalog([], [], {}) and not list(tmp_path.rglob(COMMIT))


def test_a_removal_that_was_interrupted_is_finished(tmp_path, monkeypatch):
    from hpcml.io.checkpoint.stored import catalog

    path = write(tmp_path, 1)
    with monkeypatch.context() as context:
        context.setattr(catalog.shutil, "rmtree", lambda *args, **kwargs: None)
        remove(path)
    assert steps(tmp_path) == [] and len(list(tmp_path.iterdir())) == 1
    prune(tmp_path, 2, SESSION)
    assert list(tmp_path.iterdir()) == []
