import os
import shlex
import subprocess
from unittest import mock

import pytest

from hpcml.core.errors import ConfigError
from hpcml.runs.run_status import RunStatus
from hpcml.slurm import Site, known_sites, load_site, render_job


@pytest.mark.parametrize("name", known_sites())
def test_the_script_of_every_site_is_bash(name, tmp_path):
    path = tmp_path / "job.sh"
    path.write_text(render_job("train", load_site(name), "a case.toml", "runs/a", overrides=["model.name=fno"]))
    assert subprocess.run(["bash", "-n", path], capture_output=True, text=True).stderr == ""


def test_the_script_asks_for_what_the_site_has_and_quotes_what_the_user_gives():
    has = {"options": ("--gpus=1",), "setup": ("module load y",), "environment": {"K": "a b"}}
    site = Site(description="x", ranks_per_node=3, cpus_per_rank=5, **has)
    lines = render_job("train", site, "a case.toml", "runs/a", nodes=7, account="m1", overrides=["data.train=my file.pt"]).splitlines()
    asked = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    assert {"--nodes=7", "--ntasks-per-node=3", "--cpus-per-task=5", "--gpus=1", "--account=m1", "--requeue", "--signal=USR1@180"} <= asked
    assert {"module load y", "export K='a b'"} <= set(lines)
    assert "srun hpcml train 'a case.toml' --run runs/a --set 'data.train=my file.pt'" in lines


HOSTILE = "x\n#SBATCH --comment=in\nrm -rf ~"


@pytest.mark.parametrize("change", [
    {"case": HOSTILE}, {"run": f"runs/{HOSTILE}"}, {"time": HOSTILE}, {"account": HOSTILE}, {"overrides": ["a=1", HOSTILE]},
    {"run": "a\rb"}, {"run": "a\u2028b"}, {"run": "a\x85b"}, {"run": "a\0b"},
])  # fmt: skip
def test_a_value_of_several_lines_is_refused(change):
    with pytest.raises(ConfigError, match="line break"):
        render_job("train", **({"site": load_site("generic"), "case": "case.toml", "run": "runs/a"} | change))


@pytest.mark.parametrize(
    "change", [{"description": HOSTILE}, {"options": (HOSTILE,)}, {"environment": {HOSTILE: "1"}}, {"environment": {"a;b": "1"}}]
)
def test_a_site_of_several_lines_is_refused(change):
    with pytest.raises(ConfigError, match="line break|no name of a variable"):
        render_job("train", Site(**({"description": "x", "ranks_per_node": 1} | change)), "case.toml", "runs/a")


@pytest.mark.parametrize(
    "name", ["a b", "$(touch planted)", '`touch planted`";touch planted;"', "'; touch planted; '", "-x", "ünïcödé模", "\udce4", "#\\"]
)
def test_values_never_become_code(name, tmp_path):
    """The script runs with a stand-in for srun that writes down its arguments; Slurm sees one word for each option."""
    script = render_job("train", Site(description=name, ranks_per_node=1), name, f"runs/{name}", account=name, overrides=[f"a={name}"])
    (tmp_path / "srun").write_text('#!/bin/bash\nprintf "%s\\0" "$@" > asked\n')
    (tmp_path / "srun").chmod(0o755)
    (tmp_path / "job.sh").write_bytes(os.fsencode(script))
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "n", "SLURM_RESTART_COUNT": "0"}
    assert subprocess.run(["bash", "job.sh"], cwd=tmp_path, env=environment, timeout=300).returncode == 0
    asked = os.fsdecode((tmp_path / "asked").read_bytes()).split("\0")
    case = f"./{name}" if name[0] == "-" else name
    assert asked == ["hpcml", "train", case, "--run", f"runs/{name}", "--set", f"a={name}", ""]
    assert not (tmp_path / "planted").exists()
    options = [line.partition("=")[2] for line in script.splitlines() if line.startswith(("#SBATCH --job-name", "#SBATCH --account"))]
    assert [shlex.split(option) for option in options] == [[name], [name]]


def run_script(folder, status, restarts_so_far, ended=None):
    """Run a script with stand-ins for srun, which leaves with a status, and for scontrol, which writes down what it is asked."""
    for name, text in {"srun": f"exit {status}", "scontrol": f'echo "$@" >> {folder}/asked'}.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    script = folder / "job.sh"
    script.write_text(render_job("train", Site(description="x", ranks_per_node=1), "case.toml", "runs/a", restarts=2))
    if ended is not None:
        (folder / "runs" / "a").mkdir(parents=True)
        with mock.patch.dict(os.environ, {"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": ended[1]}):
            getattr(RunStatus(folder / "runs" / "a", 0, 4), ended[0])(5)
    slurm = {"SLURM_JOB_ID": "17", "SLURM_JOB_NODELIST": "n1", "SLURM_RESTART_COUNT": restarts_so_far}
    environment = {"PATH": f"{folder}:/usr/bin:/bin", **slurm}
    done = subprocess.run(["bash", script], env=environment, capture_output=True, text=True, timeout=300, cwd=folder)
    asked = folder / "asked"
    return done.returncode, asked.read_text().split() if asked.exists() else []


@pytest.mark.parametrize(
    ("status", "restarts", "outcome"),
    [(85, "0", (0, ["requeue", "17"])), (85, "2", (85, [])), (0, "0", (0, [])), (1, "0", (1, []))],
)
def test_only_a_run_that_was_preempted_goes_back_into_the_queue(tmp_path, status, restarts, outcome):
    assert run_script(tmp_path, status, restarts) == outcome


@pytest.mark.parametrize(
    ("ended", "outcome"),
    [
        (("stopped", "1"), (0, ["requeue", "17"])),
        (("stopped", "0"), (255, [])),  # of an earlier start
        (("finished", "1"), (255, [])),
    ],
)
def test_a_launcher_with_a_status_of_its_own_does_not_matter(tmp_path, ended, outcome):
    assert run_script(tmp_path, 255, "1", ended) == outcome


def test_an_unknown_kind_and_an_unknown_site_are_named():
    with pytest.raises(ConfigError, match="unknown kind of job 'trian'"):
        render_job("trian", load_site("generic"), "case.toml", "runs/a")
    with pytest.raises(ConfigError, match="unknown site 'perlmuter'.*hpcml job sites"):
        load_site("perlmuter")


def test_a_mistake_in_a_site_file_is_named(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('description = "mine"\nranks_per_nod = 4\n')
    with pytest.raises(ConfigError, match=r"ranks_per_nod"):
        load_site(str(path))
