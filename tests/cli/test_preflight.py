import subprocess
import sys


def test_the_job_is_looked_at_from_the_command_line(mpiexec, tmp_path):
    done = mpiexec(2, "-m", "hpcml", "job", "preflight", "--folder", tmp_path)
    assert done.returncode == 0 and "preflight: MPI: " in done.stdout and "1 MB within a node" in done.stdout, done.stderr


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    words = [sys.executable, "-m", "hpcml", "job", "preflight", "--folder", tmp_path / "none"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "there is no folder" in done.stderr
