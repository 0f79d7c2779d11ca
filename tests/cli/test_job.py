import json
import re
import subprocess
import sys

import pytest

from hpcml.cli.main import main

CASE = """
[grid]
shape = [16]
[equation]
name = "heat"
[data]
kind = "simulation"
[model]
name = "fno"
modes = 4
"""


def hpcml(*words):
    return subprocess.run([sys.executable, "-m", "hpcml", *map(str, words)], capture_output=True, text=True, timeout=300)


def test_a_job_is_rendered_for_the_case_and_the_run_directory_of_train(tmp_path):
    case = tmp_path / "warm.toml"
    case.write_text(CASE)
    done = hpcml("job", "render", "train", case, "--nodes", 2, "--set", "training.epochs=3")
    assert f'run=runs/warm\ncommand=(hpcml train {case} --run "$run" --set training.epochs=3)\n' in done.stdout
    assert "#SBATCH --nodes=2\n" in done.stdout and done.returncode == 0


def test_a_mistake_in_the_case_is_found_before_the_job_waits_for_it(tmp_path):
    case = tmp_path / "warm.toml"
    case.write_text(CASE + "modse = 3\n")
    done = hpcml("job", "render", "train", case)
    assert done.returncode == 2 and "modse" in done.stderr and done.stdout == ""


def test_the_sites_are_listed():
    assert "perlmutter" in hpcml("job", "sites").stdout


ANSWER = {"job_id": 17, "name": "warm", "job_state": "RUNNING", "nodes": "n[1-2]", "time_limit": 60, "exit_code": 0, "restart_cnt": 0}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder with a case, and stand-ins for Slurm's commands that note what they are asked."""
    commands = {"sbatch": "echo '17;tiger'", "squeue": "/bin/cat answer.json", "scancel": "", "sacct": "exit 1"}
    for name, text in commands.items():
        (tmp_path / name).write_text(f'#!/bin/bash\necho "{name} $@" >> asked\n{text}\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "warm.toml").write_text(CASE)
    answer(tmp_path)
    return tmp_path


@pytest.fixture
def say(slurm, capsys):
    """The command, in this process."""

    def say(*words):
        status = main([*map(str, words)])
        said = capsys.readouterr()
        return subprocess.CompletedProcess(words, status, said.out, said.err)

    return say


def answer(folder, **changes):
    jobs = [ANSWER | {"command": f"{folder}/runs/warm/job.sh"} | changes] if changes else []
    (folder / "answer.json").write_text(json.dumps({"jobs": jobs}))


def asked(folder):
    return (folder / "asked").read_text().splitlines() if (folder / "asked").exists() else []


def test_a_job_is_submitted_once_and_its_script_and_number_are_kept(slurm, say):
    done = say("job", "submit", "train", "warm.toml", "--environment", "none")
    assert (done.stdout, done.stderr, done.returncode) == ("17\n", "", 0)
    script = slurm / "runs" / "warm" / "job.sh"
    assert script.read_text() == say("job", "render", "train", "warm.toml", "--environment", "none").stdout
    assert asked(slurm) == [f"sbatch --parsable --chdir={slurm} {script}"]
    assert json.loads((slurm / "runs" / "warm" / "job.json").read_text())["id"] == "17"
    answer(slurm, job_state="PENDING", state_reason="Resources")
    again = say("job", "submit", "train", "warm.toml")
    assert again.returncode == 2 and "job 17 of runs/warm is PENDING" in again.stderr
    assert say("job", "resume", "runs/warm").returncode == 2
    answer(slurm, job_state="FAILED")
    assert say("job", "resume", "runs/warm").stdout == "17\n"


def test_a_job_that_adds_to_a_run_leaves_that_of_the_run_alone(slurm, say):
    say("job", "submit", "train", "warm.toml")
    before = (slurm / "runs" / "warm" / "job.sh").read_text()
    assert say("job", "submit", "rollout", "runs/warm").returncode == 0
    assert (slurm / "runs" / "warm" / "job.sh").read_text() == before
    assert 'command=(hpcml rollout "$run")' in (slurm / "runs" / "warm" / "rollout" / "job.sh").read_text()


def test_a_dry_run_prints_the_script_and_does_nothing(slurm, say):
    done = say("job", "submit", "train", "warm.toml", "--dry-run")
    assert done.stdout.startswith("#!/bin/bash\n") and not (slurm / "runs").exists() and asked(slurm) == []


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("sbatch: error: invalid partition specified: nope", "sinfo -s lists them"),
        ("sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)", "a shorter --time"),
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified", "partition|account"),
        ("sbatch: error: something else", "the script is"),
    ],
)
def test_a_refusal_of_slurm_is_told_with_what_to_do(slurm, say, said, remedy):
    (slurm / "sbatch").write_text(f"#!/bin/bash\necho '{said}' >&2\nexit 1\n")
    done = say("job", "submit", "train", "warm.toml")
    assert done.returncode == 2 and done.stdout == "" and re.search(f"sbatch refuses: .*{remedy}", done.stderr)
    assert not (slurm / "runs" / "warm" / "job.json").exists()


def test_without_slurm_and_where_nothing_can_be_written_the_error_says_so(slurm, say):
    (slurm / "runs").write_text("")
    assert "cannot write runs/warm/job.sh: " in say("job", "submit", "train", "warm.toml").stderr
    (slurm / "runs").unlink()
    (slurm / "sbatch").unlink()
    assert "no command sbatch here: run this on a login node" in say("job", "submit", "train", "warm.toml").stderr
    assert "has no batch system" in say("job", "submit", "train", "warm.toml", "--site", "laptop").stderr


def test_how_a_job_stands_and_why_it_ended_are_told(slurm, say):
    say("job", "submit", "train", "warm.toml")
    answer(slurm, job_state="RUNNING")
    (slurm / "runs" / "warm" / "metrics.csv").write_text("step,epoch,seconds\n4,1,60\n8,2,60\n")
    (slurm / "runs" / "warm" / "status.json").write_text('{"state": "stopped", "step": 8, "ranks": 2, "since": "now", "host": "n1"}')
    (slurm / "runs" / "warm" / "config.toml").write_text("[training]\nepochs = 20\n")
    for words in (["runs/warm"], ["17"], []):
        said = say("job", "status", *words).stdout
        assert "job 17 warm: RUNNING on n[1-2], limit 01:00:00" in said and "step 8 of 80, about 18 min to go" in said
    answer(slurm, job_state="FAILED", exit_code=256)
    (slurm / "runs" / "warm" / "status.json").write_text('{"state": "failed", "message": "memory is short"}')
    (slurm / "warm-17.out").write_text("job 17, start 1, on n1\n")
    assert say("job", "why", "17").stdout.startswith("out of memory: memory is short\n")
    assert "no job of yours" in say("job", "status").stdout


def test_a_job_is_cancelled_with_and_without_a_checkpoint(slurm, say):
    say("job", "submit", "train", "warm.toml")
    answer(slurm, job_state="RUNNING")
    assert "saves after the step" in say("job", "cancel", "runs/warm", "--checkpoint").stdout
    assert asked(slurm)[-1] == "scancel --batch --signal=TERM 17"
    assert say("job", "cancel", "17").returncode == 0 and asked(slurm)[-1] == "scancel 17"
    answer(slurm, job_state="COMPLETED")
    assert "no job that waits or runs" in say("job", "cancel", "runs/warm").stderr


def test_a_run_or_a_job_that_nobody_knows_is_named(slurm, say):
    (slurm / "runs" / "warm").mkdir(parents=True)
    assert "nothing was submitted for it" in say("job", "status", "runs/warm").stderr
    assert "no folder, and no job that Slurm remembers" in say("job", "why", "99").stderr


def test_arguments_that_do_not_go_together_are_refused(slurm, say):
    assert "needs --params" in say("job", "render", "array", "warm.toml").stderr
    assert "is for arrays" in say("job", "render", "train", "warm.toml", "--params", "p.csv").stderr
    assert "leave --set out" in say("job", "render", "rollout", "runs/warm", "--set", "a.b=1").stderr
    (slurm / "p.csv").write_text("model.modes,model.modse\n1,2\n")
    assert "did you mean model.modes" in say("job", "render", "array", "warm.toml", "--params", "p.csv").stderr
