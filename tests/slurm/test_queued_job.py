"""Answers of Slurm: that of 22.05 as it gave it, those of later versions by their published schemas."""

from dataclasses import replace
from pathlib import Path

import pytest

from hpcml.core.errors import ConfigError
from hpcml.slurm.queued_job import parse_jobs

ANSWERS = sorted((Path(__file__).parent / "answers").glob("*.json"))


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: path.stem)
def test_every_version_says_the_same(path):
    assert len(ANSWERS) == 4
    failed, running, waiting = parse_jobs(path.read_text())
    assert (failed.id, failed.state, failed.exit_status, failed.signal, failed.restarts) == ("5_3", "FAILED", 85, None, 2)
    assert failed.limit == 300 and failed.start and failed.folder == "/scratch/me" and not (failed.runs or failed.waits)
    assert (running.id, running.state, running.reason, running.nodes) == ("8", "RUNNING", "", "n[1-2]") and running.runs
    assert (waiting.state, waiting.reason, waiting.nodes, waiting.start, waiting.limit) == ("PENDING", "Resources", "", None, None)
    assert waiting.waits
    script = "" if path.stem.startswith("sacct") else "/scratch/me/runs/case/job.sh"
    assert failed.script == script and replace(failed, id="") != running


def test_a_state_is_told_from_what_is_said_beside_it():
    (job,) = parse_jobs(
        '{"jobs": [{"job_id": 1, "job_state": ["COMPLETING", "TIMEOUT"], "exit_code": {"return_code": {"set": true, "number": 0}}}]}'
    )
    assert job.state == "TIMEOUT"
    (job,) = parse_jobs('{"jobs": [{"job_id": 1, "job_state": "FAILED", "exit_code": 11}]}')
    assert (job.exit_status, job.signal) == (0, 11)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"jobs": [{}]}', '{"jobs": [3]}', '{"jobs": [{"job_id": 1, "job_state": []}]}'])
def test_what_is_no_such_answer_is_refused(text):
    with pytest.raises(ConfigError, match="--json"):
        parse_jobs(text)
