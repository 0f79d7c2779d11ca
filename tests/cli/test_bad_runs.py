"""Runs whose checkpoints are damaged, whose disk is full or read-only, or that another job is at: one clear error, and nothing is lost."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tomli_w

from hpcml.io.files.record import read_record, write_record


@pytest.fixture(scope="module")
def trained(tmp_path_factory, mpiexec, small_case):
    """Folder with a case and a run of it, whose last two updates are saved."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "case.toml").write_text(tomli_w.dumps(small_case))
    done = mpiexec(2, "-m", "hpcml", "train", folder / "case.toml", "--run", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder


def newest(run):
    return max((run / "checkpoints").glob("step-*"))


def cut_short(checkpoint):
    file = checkpoint / "rank-00001.h5"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_bit(checkpoint):
    data = bytearray((checkpoint / "rank-00001.h5").read_bytes())
    data[len(data) // 2] ^= 4
    (checkpoint / "rank-00001.h5").write_bytes(data)


def lose_a_file(checkpoint):
    (checkpoint / "rank-00001.h5").unlink()


def of_the_future(checkpoint):
    record = read_record(checkpoint / "commit.json")
    write_record(checkpoint / "commit.json", {**record, "format_version": 99, "written_by": "7.0"})


FAULTS = {cut_short: "rank-00001.h5 holds .* bytes, .* were written", flip_a_bit: "rank-00001.h5 .rank 1. does not match its checksum"}


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda spoil: spoil.__name__)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken(spoil, trained, alone, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    spoil(newest(tmp_path / "run"))
    done = alone("train", trained / "case.toml", "--run", tmp_path / "run")
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "resuming after update 5 " in done.stdout, said
    assert len(re.findall(FAULTS[spoil], said)) == 1 and "skipped" in said, said


def test_nothing_whole_is_one_error_that_names_each_fault_and_all_stays(trained, mpiexec, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    older, newer = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))
    of_the_future(older)
    lose_a_file(newer)
    before = sorted((tmp_path / "run" / "checkpoints").rglob("[!.]*"))
    done = mpiexec(2, "-m", "hpcml", "train", trained / "case.toml", "--run", tmp_path / "run")
    assert done.returncode == 2 and done.stderr.count("hpcml: error:") == 1, done.stderr
    for fault in ("no whole checkpoint", "rank-00001.h5 is missing .rank 1 of 2", "version 99, .* up to 1: restart with hpcml 7.0"):
        assert len(re.findall(fault, done.stderr)) == 1, done.stderr
    assert before == sorted((tmp_path / "run" / "checkpoints").rglob("[!.]*"))


def test_a_full_or_read_only_disk_is_one_clear_error_and_the_checkpoint_before_stays(trained, small_disk, mpiexec):
    words = ("-m", "hpcml", "train", trained / "case.toml", "--run")
    two, one = (shlex.join(mpiexec.command(ranks, *words)) + " $DISK/run" for ranks in (2, 1))
    done = small_disk(f"""
        cp -r {trained}/run $DISK/ && rm -r $DISK/run/checkpoints/{newest(trained / "run").name}
        dd if=/dev/zero of=$DISK/filler bs=4k 2>/dev/null; truncate -s -128K $DISK/filler   # less than a checkpoint
        {two}; echo status $?
        rm $DISK/filler
        mount -o remount,ro $DISK; {one}; echo status $?
        {sys.executable} -m hpcml inspect $DISK/run""")
    said = done.stdout + done.stderr
    assert re.findall(r"status (\d+)", done.stdout) == ["2", "2"], said
    assert done.stderr.count("hpcml: error:") == 2 and "Traceback" not in said, said
    assert done.stderr.count("the disk is full: free some space") == 1, said
    assert done.stderr.count("the file system is read-only: choose another folder") == 1, said
    assert "resuming after update 5 " in done.stdout and "goes on after step 5" in done.stdout, said


def test_a_run_that_another_job_is_at_is_refused_and_goes_on(mpiexec, alone, tmp_path, small_case):
    endless = small_case | {"training": small_case["training"] | {"epochs": 100_000}}
    (tmp_path / "case.toml").write_text(tomli_w.dumps(endless))
    run = tmp_path / "run"
    command = mpiexec.command(2, "-m", "hpcml", "train", tmp_path / "case.toml", "--run", run)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    with subprocess.Popen(command, env=mpiexec.env, **streams) as job:
        while not list(run.glob("checkpoints/step-*/commit.json")) and job.poll() is None:
            time.sleep(0.01)
        before = (run / "environment.json").read_bytes()
        second = alone("train", tmp_path / "case.toml", "--run", run)
        job.send_signal(signal.SIGUSR1)
        out, _ = job.communicate(timeout=300)
    assert second.returncode == 2 and second.stderr.count("hpcml: error:") == 1, second.stderr
    assert re.search(r"checkpoints is in use by process \d+ on .*: give this run a folder of its own", second.stderr), second.stderr
    assert (run / "environment.json").read_bytes() == before
    warned = [line for line in out.splitlines() if "WARNING" in line and "holds the others up" not in line]  # which a busy machine may do
    assert job.returncode == 85 and not warned, out
    stopped = re.search(r"stopped as asked after update (\d+), which is saved", out)[1]
    assert read_record(newest(run) / "commit.json")["step"] == int(stopped)


def train_in_a_shell(shell, tmp_path, small_case, mpiexec):
    (tmp_path / "case.toml").write_text(tomli_w.dumps(small_case | {"grid": {"shape": [16]}, "equation": {"name": "heat"}}))
    words = [sys.executable, "-m", "hpcml", "train", str(tmp_path / "case.toml"), "--run", str(tmp_path / "run")]
    env = mpiexec.env | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": ""}  # of bytecode a limit would leave a part
    return subprocess.run(["bash", "-c", shell.format(shlex.join(words))], capture_output=True, text=True, timeout=100, env=env)


def test_a_limit_of_the_size_of_files_is_one_clear_error(tmp_path, small_case, mpiexec):
    done = train_in_a_shell("ulimit -f 16; exec {}", tmp_path, small_case, mpiexec)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    (said,) = (line for line in done.stderr.splitlines() if line.startswith("hpcml: error:"))
    assert re.search("(cannot|failed).*File too large; raise the limit of the size of a file: ulimit -f$", said), said


@pytest.mark.parametrize("shell", ["{} > /dev/full", "PYTHONUNBUFFERED=1 {} > /dev/full", "{} >&-"], ids=["full", "unbuffered", "closed"])
def test_training_goes_on_where_nobody_takes_its_output(shell, tmp_path, small_case, mpiexec):
    """The log is in the run's folder as well."""
    done = train_in_a_shell(shell, tmp_path, small_case, mpiexec)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert re.search(r"update \d+/", (tmp_path / "run" / "log" / "rank0000.log").read_text()) and list(
        tmp_path.glob("run/checkpoints/step-*/commit.json")
    )
