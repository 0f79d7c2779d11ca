import os
from dataclasses import replace
from pathlib import Path

import pytest

from hpcml.slurm import cause
from hpcml.slurm.cause import end_of, find_cause
from hpcml.slurm.queued_job import QueuedJob

JOB = QueuedJob("7", "case", "FAILED", nodes="n[1-2]", exit_status=1)
START = "job 7, start 2, on n[1-2], Mon Nov 30 10:19:07 UTC 2026\n"
FAILED = {"state": "failed", "message": ""}


@pytest.mark.parametrize(
    ("kind", "job", "status", "output"),
    [
        ("out of memory", replace(JOB, state="OUT_OF_MEMORY"), None, ""),
        ("out of memory", JOB, None, "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0."),
        ("out of memory", JOB, FAILED, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB"),
        ("time limit", replace(JOB, state="TIMEOUT"), None, "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT ... DUE TO TIME LIMIT ***"),
        ("node failure", replace(JOB, state="NODE_FAIL"), None, ""),
        ("node failure", None, None, "slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT ... DUE TO NODE FAILURE, SEE SLURMCTLD LOG ***"),
        ("preemption", replace(JOB, state="PREEMPTED"), None, ""),
        ("signal", JOB, None, "srun: error: n2: task 1: Segmentation fault"),
        ("signal", replace(JOB, exit_status=139), None, ""),
        ("signal", replace(JOB, exit_status=0, signal=9), None, ""),
        ("signal", replace(JOB, exit_status=85), {"state": "killed"}, "Fatal Python error: Aborted\nranks were lost: not started again"),
        ("lost rank", replace(JOB, exit_status=85), {"state": "killed"}, "ranks were lost before the first checkpoint of this start"),
        ("disk full", JOB, FAILED, "hpcml: error: no: [Errno 28] No space left on device"),
        ("disk full", JOB, {"state": "failed", "message": "cannot save: [Errno 122] Disk quota exceeded"}, ""),
        ("NaN", JOB, FAILED, "hpcml: error: training diverged at step 12: loss nan, gradient norm nan; the last checkpoint is of step 8."),
        ("hang", JOB, FAILED, "hpcml: error: rank 0 has waited 300 s in Conv2d (net.py:12) and waits for rank 1"),
        ("wrong launcher", JOB, None, "hpcml: error: srun launched 2 ranks, but Open MPI sees a world of 1: it belongs to another MPI"),
        ("no environment", replace(JOB, exit_status=127), None, "slurmstepd: error: execve(): hpcml: No such file or directory"),
        ("no environment", replace(JOB, exit_status=127), None, "/var/spool/slurm_script: line 66: nosuchlauncher: command not found"),
        ("wrong launcher", JOB, None, "srun: error: Invalid MPI type 'pmix', --mpi=list for acceptable types"),
        ("user's error", replace(JOB, exit_status=2), FAILED, "hpcml: error: case.toml: unknown key model.modse"),
        ("exception", JOB, FAILED, "Traceback (most recent call last):\n  File \"mine.py\", line 3\nZeroDivisionError: division by zero"),
        ("exception", JOB, {"state": "failed", "message": "rank 1: ZeroDivisionError: division by zero"}, ""),
        ("cancelled", replace(JOB, state="CANCELLED"), None, ""),
        ("cancelled", replace(JOB, state="CANCELLED", exit_status=85), {"state": "killed"}, ""),
        ("stopped as asked", replace(JOB, exit_status=85), {"state": "stopped", "message": "as asked"}, ""),
        ("it finished", replace(JOB, state="COMPLETED", exit_status=0), {"state": "finished"}, "a warning: out of memory soon"),
        ("it finished", replace(JOB, state="COMPLETED", exit_status=0), None, ""),
        ("it runs", replace(JOB, state="RUNNING"), None, START + "Segmentation fault\n" + START),
        ("it waits", replace(JOB, state="PENDING", reason="Resources"), None, ""),
        ("unknown", JOB, None, START),
        ("unknown", None, None, ""),
    ],
)  # fmt: skip
def test_the_cause_of_an_end_is_found(kind, job, status, output):
    found = find_cause(job, status, f"{START}{output}\n")
    assert found.kind == kind and found.evidence and found.remedy


def test_earlier_starts_do_not_count_but_the_last_one_does_while_the_job_waits():
    output = f"{START}Segmentation fault\n{START}hpcml: error: no such case\n"
    assert find_cause(JOB, None, output).kind == "user's error"
    waiting = replace(JOB, state="PENDING", reason="BeginTime", restarts=1)
    assert "two minutes" in find_cause(waiting, None, output).evidence and "no such case" in find_cause(waiting, None, output).evidence


def test_the_end_of_a_long_output_is_read_and_of_none_nothing(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"x" * (2 << 20) + b"\xff end")
    assert end_of(path).endswith(" end") and len(end_of(path)) <= 1 << 20
    assert end_of(None) == end_of(tmp_path / "nowhere") == ""


def test_every_cause_is_explained_in_the_how_to():
    page = (Path(__file__).parents[2] / "docs" / "howto" / "job_was_killed.md").read_text()
    explained = {name for line in page.splitlines() if line.startswith("| ") for name in line.split("|")[1].strip().split(", ")}
    assert {kind for kind, *_ in cause._BY_TEXT} | {kind for kind, _ in cause._BY_STATE.values()} <= explained


@pytest.mark.parametrize("who", ["", "[rank 1 of 2 on n1, alone] "])
def test_of_an_exception_its_own_line_is_told(who):
    text = f'{who}Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g()\n    ~^^\nKeyError: "x"\nafterwards\n'
    assert find_cause(None, None, f"job 7, start 1, on n1\n{text}").evidence == 'KeyError: "x"'
    assert find_cause(None, None, text[: len(who) + 40]).kind == "exception"


@pytest.mark.timeout(20)
def test_a_pipe_in_the_place_of_an_output_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "job.out")
    assert end_of(tmp_path / "job.out") == ""
