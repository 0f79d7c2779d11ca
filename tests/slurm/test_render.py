import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest

from hpcml.core.errors import ConfigError
from hpcml.runs.run_status import RunStatus
from hpcml.slurm import KINDS, Job, Row, Site, known_sites, load_site, render_job

_spec = importlib.util.spec_from_file_location("golden", Path(__file__).with_name("golden.py"))
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)


def test_scripts_are_as_they_were():
    """After a change that is meant: python tests/slurm/golden.py."""
    there = {path.name: path.read_text() for path in golden.FOLDER.iterdir()}
    assert dict(golden.scripts()) == there


def test_every_kind_and_every_site_passes_shellcheck(tmp_path):
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    assert shellcheck, "the tests need shellcheck, which the extra dev brings"
    for name, site in known_sites().items():
        for kind in KINDS if name in ("generic", "generic-pbs", "laptop") else ("array",):
            (tmp_path / f"{kind}-{name}.sh").write_text(
                render_job(golden.job(kind, preflight=True), site, ("source /opt/hpcml/bin/activate",))
            )
    (tmp_path / "spare.sh").write_text(render_job(golden.job("train", spare_nodes=1), load_site("generic")))
    done = subprocess.run([shellcheck, "--exclude=SC1091", *tmp_path.glob("*.sh")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")  # SC1091: what is sourced is not here


@pytest.mark.parametrize("kind", ["train", "container", "rollout"])
@pytest.mark.parametrize("status", [0, 2])
def test_a_job_begins_after_its_preflight_and_not_if_something_is_wrong(kind, status, tmp_path):
    site = Site(description="x", ranks_per_node=1, launch="launch", scheduler="local")
    stand_in(tmp_path, launch=f'printf "%s " "$@" >> asked; echo >> asked; [[ "$*" != *preflight* ]] || exit {status}', apptainer="true")
    (tmp_path / "job.sh").write_text(render_job(golden.job(kind, preflight=True, time="UNLIMITED"), site))
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "job.sh"], cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert done.returncode == status and len(asked) == 1 + (status == 0), done.stderr
    assert asked[0].endswith("hpcml job preflight --folder runs/case ") and asked[0].startswith("apptainer") == (kind == "container")
    assert status == 0 or "not begun: the preflight ended with status 2" in done.stderr


HOSTILE = "x\n#SBATCH --comment=in\nrm -rf ~"


@pytest.mark.parametrize("change", [
    {"case": HOSTILE}, {"run": f"runs/{HOSTILE}"}, {"time": HOSTILE}, {"account": HOSTILE}, {"overrides": ("a=1", HOSTILE)},
    {"partition": HOSTILE}, {"qos": "$(id)"}, {"account": "a b"}, {"partition": "`id`"}, {"options": ("--x", HOSTILE)}, {"options": ("x",)},
    {"rows": (Row(HOSTILE, ()),)}, {"rows": (Row("a", (HOSTILE,)),)}, {"image": HOSTILE}, {"out": HOSTILE},
    {"run": "a\rb"}, {"run": "a\u2028b"}, {"run": "a\x85b"}, {"run": "a\0b"}, {"nodes": 0}, {"restarts": -1},
])  # fmt: skip
def test_what_is_no_value_of_one_line_is_refused(change):
    with pytest.raises(ConfigError):
        Job(**({"kind": "train", "case": "case.toml", "run": "runs/a"} | change))


@pytest.mark.parametrize(
    "change",
    [{"description": HOSTILE}, {"options": (HOSTILE,)}, {"environment": {HOSTILE: "1"}}, {"environment": {"a;b": ""}}, {"launch": HOSTILE}],
)
def test_a_site_of_several_lines_is_refused(change):
    with pytest.raises(ValueError, match="line break|no name of a variable"):
        Site(**({"description": "x", "ranks_per_node": 1} | change))


NAMES = ["a b", "$(touch planted)", '`touch planted`";touch planted;"', "'; touch planted; '", "-x", "ünïcödé模", "\udce4", "#\\", "{{x}}"]


def stand_in(folder, **commands):
    for name, text in commands.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)


@pytest.mark.parametrize("scheduler", ["slurm", "pbs", "flux", "local"])
@pytest.mark.parametrize("name", NAMES)
def test_values_never_become_code(name, scheduler, tmp_path):
    """The script runs with a stand-in for the launcher that writes down its arguments; Slurm sees one word for each option."""
    site = Site(description=name, ranks_per_node=1, launch="launch", scheduler=scheduler, environment={"K": name})
    rows = (Row(name, (f"b={name}",)),)
    job = Job("array", name, run=f"runs/{name}", overrides=(f"a={name}",), rows=rows)
    script = render_job(job, site)
    stand_in(tmp_path, launch='printf "%s\\0" "$@" "$K" > asked', flux="echo 1", qsub="true")
    (tmp_path / "job.sh").write_bytes(os.fsencode(script))
    (tmp_path / "nodes").write_text("n1\nn1\n")
    facts = {"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "n", "SLURM_ARRAY_TASK_ID": "1", "HPCML_TASK": "1"}
    facts |= {"PBS_O_WORKDIR": str(tmp_path), "PBS_JOBID": "1[1].server", "PBS_NODEFILE": str(tmp_path / "nodes"), "PBS_ARRAY_INDEX": "1"}
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", **facts}
    done = subprocess.run(["bash", "job.sh", "1"], cwd=tmp_path, env=environment, timeout=300, capture_output=True)
    assert done.returncode == 0, done.stderr
    asked = os.fsdecode((tmp_path / "asked").read_bytes()).split("\0")
    case = f"./{name}" if name[0] == "-" else name
    assert asked == ["hpcml", "train", case, "--run", f"runs/{name}/{name}", "--set", f"a={name}", "--set", f"b={name}", name, ""]
    assert not (tmp_path / "planted").exists()
    options = [line.partition("=")[2] for line in script.splitlines() if line.startswith("#SBATCH --job-name")]
    assert [shlex.split(option) for option in options] == [[name]] * (scheduler == "slurm")


def run_script(folder, launch, restarts_so_far="0", ended=None, notice=None, asked_for=None, **commands):
    """Run a script with stand-ins for srun, which does as told, and for scontrol, which writes down what it is asked."""
    stand_in(folder, srun=launch, **{"scontrol": f'echo "$@" >> {folder}/asked', **commands})
    script = folder / "job.sh"
    job = Job("train", "case.toml", run="runs/a", restarts=2, **(asked_for or {}))
    script.write_text(render_job(job, Site(description="x", ranks_per_node=1)))
    if ended is not None:
        (folder / "runs" / "a").mkdir(parents=True)
        with mock.patch.dict(os.environ, {"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": ended[1]}):
            getattr(RunStatus(folder / "runs" / "a", 0, 4), ended[0])(5)
    slurm = {"SLURM_JOB_ID": "17", "SLURM_JOB_NODELIST": "n1", "SLURM_RESTART_COUNT": restarts_so_far, "SLURM_JOB_CPUS_PER_NODE": "2(x3)"}
    environment = {"PATH": f"{folder}:/usr/bin:/bin", **slurm}
    job = subprocess.Popen(["bash", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder)
    if notice is not None:
        while not (folder / "started").exists():
            assert job.poll() is None, job.communicate()
        job.send_signal(notice)
    said, _ = job.communicate(timeout=300)
    asked = folder / "asked"
    return job.returncode, asked.read_text().split() if asked.exists() else [], said.decode()


@pytest.mark.parametrize(
    ("status", "restarts", "outcome"),
    [(85, "0", (0, ["requeue", "17"])), (85, "2", (85, [])), (0, "0", (0, [])), (1, "0", (1, []))],
)
def test_only_a_run_that_was_preempted_goes_back_into_the_queue(tmp_path, status, restarts, outcome):
    assert run_script(tmp_path, f"exit {status}", restarts)[:2] == outcome


@pytest.mark.parametrize(
    ("ended", "outcome"),
    [
        (("stopped", "1"), (0, ["requeue", "17"])),
        (("stopped", "0"), (255, [])),  # of an earlier start
        (("finished", "1"), (0, [])),
    ],
)
def test_a_launcher_with_a_status_of_its_own_does_not_matter(tmp_path, ended, outcome):
    assert run_script(tmp_path, "exit 255", "1", ended)[:2] == outcome


OBEYS = "trap 'exit 85' USR1; touch started; for _ in {1..3000}; do sleep 0.1; done"
DIES = "touch started; exec sleep 300"  # as Python does before it can listen
FAILS = "trap 'exit 3' USR1; touch started; for _ in {1..3000}; do sleep 0.1; done"


@pytest.mark.parametrize("launch", [OBEYS, DIES, FAILS])
def test_what_was_told_to_stop_goes_on_later_and_after_sigterm_does_not(tmp_path, launch):
    for signal, outcome in ((10, (0, ["requeue", "17"])), (15, ({OBEYS: 85, DIES: 138, FAILS: 3}[launch], []))):
        folder = tmp_path / str(signal)
        folder.mkdir()
        assert run_script(folder, launch, notice=signal)[:2] == outcome


RUNNING = """printf '{"state": "running", "job": "17", "restart": 0, "message": ""}' > runs/a/status.json"""
SAVES = "mkdir -p runs/a/checkpoints/step-1-a; touch runs/a/checkpoints/step-1-a/commit.json"
LOST = """printf '{"state": "failed", "exit_status": 86, "job": "17", "restart": 0, "message": ""}' > runs/a/status.json"""


@pytest.mark.parametrize(
    ("launch", "outcome"),
    [
        (f"mkdir -p runs/a; {RUNNING}; {SAVES}; exit 137", (0, ["requeue", "17"])),  # killed, with a checkpoint
        (f"mkdir -p runs/a; {RUNNING}; exit 137", (86, [])),  # without one it would be killed again and again
        (f"mkdir -p runs/a; {SAVES}; touch -d 2000-01-01 runs/a/checkpoints/*/*; {RUNNING}; exit 137", (86, [])),
        (f"mkdir -p runs/a; {SAVES}; {LOST}; exit 1", (0, ["requeue", "17"])),  # some rank does not come
        (f"mkdir -p runs/a; {SAVES}; exit 137", (137, [])),  # it never came to run
    ],
)
def test_what_lost_ranks_goes_on_if_it_came_to_a_checkpoint(tmp_path, launch, outcome):
    assert run_script(tmp_path, launch)[:2] == outcome


@pytest.mark.parametrize(
    ("nodes", "spare", "dead", "status", "took"),
    [
        (2, 1, "n2", 0, ["n1,n2 on 2", "n1,n3 on 2"]),  # the third stood by
        (3, 0, "n2", 0, ["n1,n2,n3 on 3", "n1,n3 on 2"]),
        (2, 1, "n[23]", 0, ["n1,n2 on 2", "n1 on 1"]),
        (2, 1, "nobody", 86, ["n1,n2 on 2"]),  # it was not the nodes, and there is no checkpoint
        (2, 1, "*", 86, ["n1,n2 on 2"]),  # Slurm itself does not answer
    ],
)
def test_a_job_with_spare_nodes_goes_on_when_nodes_die(tmp_path, nodes, spare, dead, status, took):
    launch = f"""
if [[ ${{!#}} == true ]]; then for word; do [[ $word != --nodelist={dead} ]] || exit 1; done; exit 0; fi
echo "${{2#--nodelist=}} on $SLURM_NTASKS" >> taken
rm -rf runs && [[ $(wc -l < taken) -eq 2 ]] || {{ mkdir -p runs/a; {RUNNING}; exit 137; }}"""
    scontrol = {"scontrol": "printf 'n1\nn2\nn3\n'"}
    code, _, said = run_script(tmp_path, launch, asked_for={"nodes": nodes, "spare_nodes": spare}, **scontrol)
    assert (code, (tmp_path / "taken").read_text().splitlines()) == (status, took), said
    assert said.count("nodes are lost") == len(took) - 1


@pytest.mark.parametrize(("spare", "took"), [(1, ["n1,n2 on 2", "n1,n3 on 2"]), (0, ["n1,n2 on 2"])])
def test_a_node_that_is_suspected_stands_back_while_others_stand_by(tmp_path, spare, took):
    status = RUNNING.replace('"message"', '"suspects": "n2 n9", "message"')
    launch = f"""
[[ ${{!#}} != true ]] || exit 0
echo "${{2#--nodelist=}} on $SLURM_NTASKS" >> taken
rm -rf runs && [[ $(wc -l < taken) -eq 2 ]] || {{ mkdir -p runs/a; {status}; exit 137; }}"""
    scontrol = {"scontrol": f"printf '{'n1-n2-n3'[: 5 + 3 * spare]}' | tr - '\n'"}
    run_script(tmp_path, launch, asked_for={"nodes": 2, "spare_nodes": spare}, **scontrol)
    assert (tmp_path / "taken").read_text().splitlines() == took


def test_spare_nodes_that_nobody_could_use_are_refused():
    with pytest.raises(ConfigError, match="--spare-nodes needs Slurm"):
        render_job(Job("train", "case.toml", run="runs/a", spare_nodes=1), load_site("generic-pbs"))
    with pytest.raises(ConfigError, match="spare nodes 1 of rollout"):
        Job("rollout", run="runs/a", spare_nodes=1)


@pytest.mark.parametrize(("answer", "outcome"), [("2026-11-30T11:06:42", (0, ["requeue", "17"])), ("N/A", (143, []))])
def test_a_job_that_was_preempted_before_its_ranks_could_listen_goes_on(tmp_path, answer, outcome):
    assert run_script(tmp_path, "exit 143", squeue=f"echo {answer}")[:2] == outcome


def test_a_notice_that_slurm_gives_early_is_kept_until_its_time(tmp_path):
    squeue = f'date -d "@$(( $(cat {tmp_path}/end) ))" +%Y-%m-%dT%H:%M:%S'
    (tmp_path / "end").write_text(str(int(time.time()) + 180 + 4))  # four seconds before the time that the script asked for
    code, asked, said = run_script(tmp_path, OBEYS.replace("exit 85", "date +%s > told; exit 85"), notice=10, squeue=squeue)
    assert (code, asked) == (0, ["requeue", "17"]), said
    assert int((tmp_path / "told").read_text()) >= int((tmp_path / "end").read_text()) - 181


def test_a_chain_goes_on_where_requeuing_is_forbidden(tmp_path):
    forbidden = {"scontrol": '[[ $1 == write ]] && echo "the script"', "sbatch": f'echo "$@" > {tmp_path}/asked; cat > {tmp_path}/sent'}
    assert run_script(tmp_path, "exit 85", **forbidden)[:2] == (0, ["--dependency=afterany:17", "--export=ALL,HPCML_RESTARTS=1"])
    assert (tmp_path / "sent").read_text() == "the script\n"
    forbidden["sbatch"] = "exit 1"
    assert run_script(tmp_path, "exit 85", **forbidden)[0] == 85


def test_a_mistake_in_a_site_file_and_an_unknown_site_are_named(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('description = "mine"\nranks_per_nod = 4\n')
    with pytest.raises(ConfigError, match=r"ranks_per_nod"):
        load_site(str(path))
    with pytest.raises(ConfigError, match="unknown site 'perlmuter'.*hpcml job sites"):
        load_site("perlmuter")
    with pytest.raises(ConfigError, match="unknown kind of job 'trian'"):
        Job("trian", "case.toml", run="runs/a")


def test_rendering_is_quick_and_loads_no_heavy_module(tmp_path):
    """Less than half a second of a quiet machine, where Python takes 0.02 s to start."""
    import resource

    case = '[grid]\nshape=[16]\n[equation]\nname="heat"\n[data]\nkind="simulation"\n[model]\nname="fno"\nmodes=4\n'
    (tmp_path / "case.toml").write_text(case)
    words = f"['job', 'render', 'train', '{tmp_path}/case.toml', '--site', 'perlmutter']"

    def seconds(code):
        taken = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(taken), done.stdout

    taken, said = seconds(f"from hpcml.cli.main import main; main({words}); import sys; print('LOADED', *sys.modules)")
    assert not {name.partition(".")[0] for name in said.rpartition("LOADED ")[2].split()} & {"mpi4py", "torch", "cupy"}
    assert taken < 25 * seconds("pass")[0]


@pytest.mark.parametrize("change", [{"nodes": 0}, {"nodes": 10**20}, {"restarts": -1}, {"restarts": 10**23}])
def test_more_nodes_or_restarts_than_there_are_is_refused(change):
    with pytest.raises(ConfigError, match="expected 1 to 1000000 nodes and 0 to 10000 restarts, got"):
        Job("train", "case.toml", run="runs/a", **change)
