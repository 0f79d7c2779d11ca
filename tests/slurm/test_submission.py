"""What lies at the names of a job's script and record is read or replaced only for what it should be."""

import json
import os

import pytest

from hpcml.core.errors import ConfigError
from hpcml.slurm import submission
from hpcml.slurm.submission import RECORD, Submission, read_submission, send

SENT = Submission("slurm", "17", "job.sh", ".", "job-%j.out", "now")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "put, said",
    [
        (os.mkfifo, "it is a pipe, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a symbolic link, not a file"),
        (lambda path: path.write_text("[" * 100_000), "nested too deeply"),
        (lambda path: path.write_text(json.dumps({name: 1 for name in SENT.__slots__})), "expected texts alone"),
        (lambda path: path.write_text("{}"), "missing"),
    ],
)
def test_what_is_no_record_is_one_sentence(put, said, tmp_path):
    put(tmp_path / RECORD)
    with pytest.raises(ConfigError, match=f"job.json is not as hpcml writes it: .*{said}.*; submit the job again"):
        read_submission(tmp_path)


@pytest.mark.timeout(20)
def test_a_pipe_in_the_place_of_the_record_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(submission, "ask", lambda *words: "18\n")
    os.mkfifo(tmp_path / RECORD)
    (tmp_path / "job.sh").touch()
    send(Submission("slurm", "", str(tmp_path / "job.sh"), ".", "job-%j.out", ""))
    assert read_submission(tmp_path).id == "18"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_script_of_another_user_is_not_submitted(kind, tmp_path, monkeypatch):
    """Which the record of a run of theirs names: it would run as whoever resumes it."""
    monkeypatch.setattr(submission, "ask", lambda *words: pytest.fail("it was submitted"))
    (tmp_path / "own.sh").touch()
    script = tmp_path / "job.sh"
    script.symlink_to("own.sh") if kind == "link" else script.touch()
    os.chown(script, 65534, 65534, follow_symlinks=False)
    with pytest.raises(ConfigError, match=r"job\.sh belongs to the user 65534 and would run as you"):
        send(Submission("slurm", "", str(script), ".", "job-%j.out", ""))
    with pytest.raises(ConfigError, match="cannot read .*none.sh: No such file or directory; submit the job again"):
        send(Submission("slurm", "", str(tmp_path / "none.sh"), ".", "job-%j.out", ""))
