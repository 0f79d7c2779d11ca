"""Calls on files fail, one at a time: eight of those that save, all that make a dataset; `tests/io/fail_calls.py` fails others by hand."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fail_calls.py")
LIMITED = """
import resource, sys
from pathlib import Path
from hpcml.cli.main import main
from hpcml.core.errors import CheckpointError
from hpcml.io.dataset import Description, Field, create_dataset
from fail_calls import CASE
space = Description("demo", (Field("u"),), 2, (0.0, 0.1), ((0.25, 0.75), (0.5, 1.0)), (True, True))
folder = Path(sys.argv[1])
folder.joinpath("case.toml").write_text(CASE)
for layout, limit in (("the-well", 4096), ("pdebench", 1024), ("pdebench-groups", 1024)):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        create_dataset(folder / "demo.h5", layout, space)
    except CheckpointError as error:
        print(error, file=sys.stderr)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
sys.exit(main(["train", str(folder / "case.toml"), "--run", str(folder / "run")]))
"""


@pytest.mark.skipif(not shutil.which("gcc"), reason="what makes calls fail is compiled by gcc")
@pytest.mark.timeout(600)  # eighteen runs: 10 s on a quiet machine
def test_nothing_acknowledged_is_lost_and_the_next_start_goes_on(mpiexec):
    done = subprocess.run(
        [sys.executable, SCRIPT, "saves", "8", "--seed", "3"], env=mpiexec.env, capture_output=True, text=True, timeout=550
    )
    assert done.returncode == 0 and " 8 of them failed once" in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif(not shutil.which("gcc"), reason="what makes calls fail is compiled by gcc")
def test_a_dataset_goes_on_whichever_call_fails(mpiexec):
    done = subprocess.run([sys.executable, SCRIPT, "dataset"], env=mpiexec.env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "'one sentence'" in done.stdout, done.stdout + done.stderr


def test_data_that_may_not_be_as_large_as_their_file_end_in_a_sentence(mpiexec, tmp_path):
    env = mpiexec.env | {"PYTHONPATH": str(SCRIPT.parent)}
    done = subprocess.run([sys.executable, "-c", LIMITED, tmp_path], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2, done.stderr  # and not ended by a signal, once HDF5 frees what it could not write
    assert done.stderr.count("File too large; raise the limit of the size of a file") == 4, done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.glob("*.h5"))
