"""Metrics survive a restart without a row twice and without a row lost."""

import csv
import errno
import os

import pytest

from hpcml.training import metrics as module
from hpcml.training.metrics import MetricsWriter


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]


def written(folder, *epochs, **options):
    with MetricsWriter(folder, **options) as metrics:
        for epoch in epochs:
            metrics.write({"step": epoch, "loss": float(epoch)})


def test_rows_are_on_disk_at_once(tmp_path):
    with MetricsWriter(tmp_path) as metrics:
        for epoch in (1, 2):
            metrics.write({"step": epoch, "loss": 0.5})
            assert rows(tmp_path)[-1] == (epoch, 0.5)


def test_a_run_that_comes_back_replaces_what_it_computes_again_row_by_row(tmp_path):
    written(tmp_path, 1, 2, 3)
    with MetricsWriter(tmp_path, resume_after=1) as metrics:
        assert rows(tmp_path) == [(1, 1.0), (2, 2.0), (3, 3.0)]  # a kill here loses nothing
        metrics.write({"step": 2, "loss": 20.0})
        assert rows(tmp_path) == [(1, 1.0), (2, 20.0), (3, 3.0)]
        metrics.write({"step": 3, "loss": 30.0})
        metrics.write({"step": 4, "loss": 40.0})
    assert rows(tmp_path) == [(1, 1.0), (2, 20.0), (3, 30.0), (4, 40.0)]


def test_a_run_that_begins_anew_drops_the_rows_of_the_other(tmp_path):
    written(tmp_path, 1, 2, 3)
    written(tmp_path, 1)
    assert rows(tmp_path) == [(1, 1.0)]


@pytest.mark.parametrize("end", [b"3,0.", b"3", b"\xff\x00", b"3,1,2,3\n"])
def test_a_torn_end_is_not_gone_on_with(tmp_path, end):
    written(tmp_path, 1, 2)
    whole = (tmp_path / "metrics.csv").read_bytes()
    (tmp_path / "metrics.csv").write_bytes(whole + end)
    with MetricsWriter(tmp_path, resume_after=2) as metrics:
        metrics.write({"step": 3, "loss": 3.0})
    assert rows(tmp_path) == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_column_more_keeps_the_rows(tmp_path):
    written(tmp_path, 1, 2)
    with MetricsWriter(tmp_path, resume_after=2) as metrics:
        metrics.write({"step": 3, "loss": 3.0, "valid": 4.0})
    assert rows(tmp_path) == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert (tmp_path / "metrics.csv").read_text().splitlines()[1:] == ["1,1.0,", "2,2.0,", "3,3.0,4.0"]


CALLS = {name: [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG] for name in ("write", "fsync", "open")}


@pytest.mark.parametrize("name, number", [(name, number) for name, numbers in CALLS.items() for number in numbers])
def test_what_the_disk_refuses_is_written_once_it_can_be(tmp_path, monkeypatch, caplog, name, number):
    """The call fails in every way of writing a row: appended, replaced, half of it written before."""
    real = getattr(os, name)

    def refuses(*arguments, **options):
        if name == "write":
            real(arguments[0], arguments[1][:3])
        raise OSError(number, os.strerror(number))

    written(tmp_path, 1, 2)
    with MetricsWriter(tmp_path, resume_after=2) as metrics:
        for epochs in ((3, 4), (5, 6)):
            with monkeypatch.context() as patch:
                patch.setattr(module.os, name, refuses)
                patch.setattr(module, "write_file", refuses_file(number))
                for epoch in epochs:
                    metrics.write({"step": epoch, "loss": float(epoch)})
            assert rows(tmp_path) == [(epoch, float(epoch)) for epoch in range(1, epochs[0])]
            if epochs == (3, 4):
                metrics.write({"step": 4, "loss": 4.0})
        metrics.finish()
    assert rows(tmp_path) == [(epoch, float(epoch)) for epoch in range(1, 7)]
    assert len(caplog.messages) == 2 and os.strerror(number) in caplog.messages[0], caplog.messages


def test_rows_that_the_disk_refused_go_on_with_the_state_that_follows_them(tmp_path, monkeypatch):
    """Else a restart that goes on from memory would never see them: they are not computed again."""
    written(tmp_path, 1, 2)
    with MetricsWriter(tmp_path, resume_after=2) as metrics, monkeypatch.context() as patch:
        patch.setattr(module.os, "open", refuses_file(errno.ENOSPC))
        patch.setattr(module, "write_file", refuses_file(errno.ENOSPC))
        saved = [metrics.write({"step": epoch, "loss": float(epoch)}) for epoch in (3, 4)]
    assert rows(tmp_path) == [(1, 1.0), (2, 2.0)]
    for end in (lambda metrics: metrics.write({"step": 5, "loss": 5.0}), lambda metrics: metrics.finish()):
        with MetricsWriter(tmp_path, resume_after=4, unwritten=saved[-1]) as metrics:
            assert not end(metrics)
        assert rows(tmp_path)[:4] == [(epoch, float(epoch)) for epoch in range(1, 5)]
        (tmp_path / "metrics.csv").unlink()
        written(tmp_path, 1, 2)


def refuses_file(number):
    def refuses(path, *_, **__):
        raise OSError(number, os.strerror(number))

    return refuses


@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for_and_neither_read_without_end(tmp_path):
    for put in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        put(tmp_path / "metrics.csv")
        with pytest.raises(OSError, match="not a file"):
            MetricsWriter(tmp_path, resume_after=1)
        with MetricsWriter(tmp_path) as metrics:  # of a run that begins anew: it is replaced
            metrics.write({"step": 1})
            (tmp_path / "metrics.csv").unlink()
            put(tmp_path / "metrics.csv")
            metrics.write({"step": 2})  # told, and written with the next row
            metrics.finish()
        assert (tmp_path / "metrics.csv").read_text().split() == ["step", "1", "2"]
        (tmp_path / "metrics.csv").unlink()
