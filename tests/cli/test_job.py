import subprocess
import sys

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
