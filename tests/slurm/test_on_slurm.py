"""Jobs on a real Slurm of three nodes: submitted as a user does, left alone or disturbed, and compared with the same run under mpiexec."""

import importlib.util
import json
import random
import re
import subprocess
from pathlib import Path

import pytest

from hpcml.slurm.cause import end_of, find_cause
from hpcml.slurm.queued_job import parse_jobs

_spec = importlib.util.spec_from_file_location("end_jobs", Path(__file__).with_name("end_jobs.py"))
ends = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(ends)
jobs = ends.jobs

pytestmark = [pytest.mark.timeout(1200), pytest.mark.xdist_group("slurm")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, mpiexec):
    """Where jobs are submitted from, with a case and a site."""
    if "Intel" in mpiexec.product:
        pytest.skip("Intel MPI's launcher looks up the addresses of nodes by their names, which those of a Slurm of its own do not have")
    if lacking := jobs.lacking():
        pytest.skip(f"needs {lacking}: a Slurm of its own takes root, slurm-wlm, munge and iproute2")
    folder = tmp_path_factory.mktemp("slurm")
    with jobs.cluster():
        jobs.write_case(folder, 0.02)
        yield folder


@pytest.fixture(scope="module")
def whole(folder, mpiexec):
    """The run on two ranks that nobody disturbs, under mpiexec."""
    words = ["train", folder / "case.toml", "--run", folder / "whole", "--set", f"training.optimiser={jobs.SLOW}"]
    directly(mpiexec, folder, 2, *words)
    return jobs.result(folder / "whole")


def directly(mpiexec, folder, ranks, *words):
    """The command under mpiexec."""
    environment = mpiexec.env | {"PYTHONPATH": f"{folder}:{mpiexec.env['PYTHONPATH']}"}
    command = mpiexec.command(ranks, "-m", "hpcml", *words)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr


def output(folder, name, job):
    return (folder / f"{name}-{job}.out").read_text()


@pytest.fixture(scope="module")
def trained(folder):
    """A run that was trained as a job on two nodes."""
    job = jobs.submit(folder, "train", "case.toml", "--run", "runs/trained", "--set", f"training.optimiser={jobs.SLOW}")
    assert jobs.wait_for_end(job) == "COMPLETED", output(folder, "trained", job)
    return folder / "runs" / "trained"


def test_a_training_job_gives_what_mpiexec_gives(trained, whole, folder):
    assert jobs.result(trained) == whole
    assert "run finished after step" in jobs.hpcml(folder, "job", "status", trained)
    assert jobs.hpcml(folder, "job", "why", trained).startswith("it finished: ")
    assert "nothing is to be resumed" in jobs.hpcml(folder, "job", "resume", trained)


def test_jobs_of_other_kinds_finish_on_three_nodes(trained, folder, mpiexec):
    (folder / "params.csv").write_text("name,training.epochs\na,1\nb,2\n")
    sent = {
        "rollout": jobs.submit(folder, "rollout", "runs/trained", nodes=3),
        "generate": jobs.submit(folder, "generate", "case.toml", "--out", "datasets/three", nodes=3),
        "array": jobs.submit(folder, "array", "case.toml", "--run", "runs/array", "--params", "params.csv", nodes=1),
    }
    for kind, job in sent.items():
        assert jobs.wait_for_end(job) == "COMPLETED", (kind, job)
    errors = json.loads((trained / "rollout.json").read_text())
    directly(mpiexec, folder, 3, "rollout", trained)
    directly(mpiexec, folder, 3, "data", "generate", folder / "case.toml", "--out", folder / "datasets" / "alone" / "three")
    assert json.loads((trained / "rollout.json").read_text()) == errors
    made = [(folder / "datasets" / name / "data" / "train" / "three.hdf5").read_bytes() for name in ("three", "alone/three")]
    assert made[0] == made[1]
    assert jobs.hpcml(folder, "job", "why", trained / "rollout").startswith("it finished: ")
    finished = [json.loads((folder / "runs" / "array" / name / "status.json").read_text()) for name in "ab"]
    assert [record["state"] for record in finished] == ["finished", "finished"] and finished[0]["step"] * 2 == finished[1]["step"]


def test_the_first_job_goes_as_its_how_to_says(folder):
    text = (Path(__file__).parents[2] / "docs" / "howto" / "my_first_job.md").read_text(encoding="utf-8")
    (folder / "first.toml").write_text(re.search("```toml\n(.*?)```", text, re.DOTALL)[1])
    said = {}
    for words in re.findall(r"^\$ hpcml (.*)$", text.replace("my_cluster.toml", "site.toml"), re.MULTILINE):
        action = " ".join(words.split()[:3])
        said[words] = jobs.hpcml(folder, *words.split())
        if action.startswith("job submit"):
            assert jobs.wait_for_end(said[words].strip()) == "COMPLETED", (words, output(folder, "first", said[words].strip()))
    assert "run finished" in said["job status runs/first"] and said["job why runs/first"].startswith("it finished: ")
    jobs.hpcml(folder, "export", "runs/first", "--png")
    assert (folder / "runs" / "first" / "rollout.png").stat().st_size > 10_000


@pytest.mark.parametrize("fault", ["notice", "kill", "spare"])
def test_a_job_that_is_disturbed_goes_on_by_itself_and_ends_as_if_it_was_not(fault, folder, whole):
    job, ended, run = jobs.disturb(fault, folder, 0, random.Random(0), step=40)
    said = output(folder, run.name, job)
    assert ended == "COMPLETED" and jobs.result(run) == whole, said
    if fault == "spare":
        assert said.count("it goes on from the last checkpoint on n") == said.count(", start ") == 1, said
    else:
        assert len(re.findall(r"^job \d+, start", said, re.MULTILINE)) >= 2, said


@pytest.mark.parametrize("end", ["NaN", "wrong launcher"])
def test_why_a_job_ended_is_told(end, folder):
    """Two ways of `end_jobs`, whose whole campaign is run by hand."""
    (folder / "parts.py").write_text(ends.PARTS)
    run = f"end-{end.replace(' ', '-')}"
    job = ends.ENDS[end](folder, run)
    assert jobs.wait_for_end(job) == "FAILED"
    assert jobs.hpcml(folder, "job", "why", f"runs/{run}").startswith(f"{end}: "), output(folder, run, job)


def test_a_job_looks_at_its_nodes_first(folder):
    words = ["--run", "runs/looked", "--set", "training.epochs=1", "--preflight"]
    job = jobs.submit(folder, "train", "case.toml", *words)
    said = (jobs.wait_for_end(job), output(folder, "looked", job))
    assert said[0] == "COMPLETED" and "preflight: 1 MB between nodes: n1 - n2 " in said[1], said


def test_a_hostile_name_reaches_slurm_as_it_is(folder):
    name = "a $(touch planted) `touch planted` \"'; touch planted; ünï"
    job = jobs.submit(folder, "train", "case.toml", "--run", f"runs/{name}", "--set", "training.epochs=1", "--partition", "debug")
    (queued,) = [queued for queued in parse_jobs(jobs.subprocess.check_output(["squeue", "--json"], text=True)) if queued.id == job]
    assert queued.name == name and queued.script == str(folder / "runs" / name / "job.sh")
    jobs.hpcml(folder, "job", "cancel", f"runs/{name}")
    assert jobs.wait_for_end(job) == "CANCELLED" and not (folder / "planted").exists()
    assert find_cause(queued, None, end_of(None)).kind in ("it waits", "it runs")
