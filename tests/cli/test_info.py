"""``hpcml info`` names the MPI library without starting it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import hpcml
from hpcml.cli import info

ROOT = Path(hpcml.__file__).parents[1]


def _info(*words, **options):
    """Output of ``hpcml info`` in a process of its own: it leaves MPI loaded but not started, which no test beside it could bear."""
    words = [sys.executable, "-m", "hpcml", "info", *words]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True, **options).stdout


def test_the_table_and_the_json_hold_the_same():
    table = dict(line.split(maxsplit=1) for line in _info().splitlines() if " " in line.strip())
    environment = json.loads(_info("--json"))
    assert table["hpcml.version"] == environment["hpcml"]["version"] == hpcml.__version__
    assert table["mpi_library"] == environment["mpi_library"]
    assert table["kernels.processor"] == environment["kernels"]["processor"] != ""
    assert any(name.startswith("kernels.ways.convolution") for name in table)


def test_mpi_is_named_but_not_started():
    code = "from hpcml.cli.main import main; main(['info', '--json']); from mpi4py import MPI; print(MPI.Is_initialized())"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    environment, started = result.stdout.splitlines()
    library = json.loads(environment)["mpi_library"]
    assert library.startswith(("Open MPI", "MPICH", "Intel(R) MPI")) and started == "False"


def test_it_says_how_to_cite_this_version_without_starting_anything():
    code = "import sys; from hpcml.cli.main import main; main(['info', '--cite']); print(*{'mpi4py', 'torch', 'numpy'} & {*sys.modules})"
    text = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert text == (
        "@software{hpcml,\n  author = {{The hpcml developers}},\n  title = {hpcml: MPI-native scientific machine learning},\n"
        f"  version = {{{hpcml.__version__}}},\n  license = {{Apache-2.0}},\n}}\n\n"
    )


def test_a_machine_without_mpi_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert info._mpi_library().startswith("none: ")


def test_a_process_of_no_launcher_needs_no_variable(tmp_path):
    assert "hpcml.version" in _info(env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
