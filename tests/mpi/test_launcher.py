"""Launchers are told apart by their variables, and a launcher that the MPI does not know is caught."""

import os
import subprocess
import sys

import pytest

from hpcml.core.errors import LaunchError
from hpcml.mpi.launcher import Launch, check, check_family, detect

OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "1", "PMIX_RANK": "3"}
HYDRA = {"PMI_SIZE": "4", "PMI_RANK": "3", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2", "PMI_FD": "9"}
STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
BATCH = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Launch("none", 1, 0, 0)),
        (OPEN_MPI, Launch("mpiexec (Open MPI)", 4, 3, 1)),
        (HYDRA, Launch("mpiexec (MPICH Hydra)", 4, 3, 1)),
        (STEP, Launch("srun", 4, 3, 1)),
        (STEP | {"PMI_SIZE": "4", "PMI_RANK": "3"}, Launch("srun", 4, 3, 1)),
        ({"PMI_SIZE": "4", "PMI_RANK": "3"}, Launch("mpiexec (PMI)", 4, 3, 0)),
    ],
)
def test_launchers_are_told_apart(environ, expected):
    assert detect(environ) == expected


@pytest.mark.parametrize("step", [{}, {"SLURM_STEP_ID": "4294967291"}, {"SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1"}])
def test_a_batch_script_and_an_interactive_shell_launch_nothing(step):
    assert detect(BATCH | step).launcher == "none"


@pytest.mark.parametrize("mpiexec", [OPEN_MPI, HYDRA])
def test_mpiexec_in_an_allocation_is_not_mistaken_for_its_daemons(mpiexec):
    daemons = {"SLURM_STEP_ID": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}  # one per node, started by srun
    assert detect(BATCH | daemons | mpiexec).size == 4


def test_a_mismatch_names_both_sizes_and_both_sides():
    with pytest.raises(LaunchError, match=r"srun launched 4 ranks, but MPICH 5\.0\.2 sees a world of 1"):
        check(detect(STEP), 1, "MPICH 5.0.2")


@pytest.mark.parametrize(("environ", "size"), [(STEP, 4), (BATCH, 1), ({}, 1), (OPEN_MPI, 4)])
def test_sizes_that_agree_pass(environ, size):
    check(detect(environ), size, "any MPI")


@pytest.mark.parametrize(("environ", "library"), [(OPEN_MPI, "MPICH"), (HYDRA, "Open MPI"), (OPEN_MPI, "Intel MPI")])
def test_a_launcher_of_another_family_is_named(environ, library):
    with pytest.raises(LaunchError, match=rf"launched 4 ranks that use {library}\..*the mpiexec of {library}"):
        check_family(detect(environ), library)


@pytest.mark.parametrize(
    ("environ", "library"), [(OPEN_MPI, "Open MPI"), (HYDRA, "MPICH"), (HYDRA, "Intel MPI"), (STEP, "MPICH"), ({}, "MPICH")]
)
def test_a_launcher_of_the_same_family_passes(environ, library):
    check_family(detect(environ), library)


def test_the_family_is_checked_before_mpi_starts():
    """In MPI_Init one library ends the process in its own words, and another starts as a world of one."""
    family = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.get_vendor()[0])"
    library = subprocess.run([sys.executable, "-c", family], capture_output=True, text=True, check=True).stdout.strip()
    foreign = HYDRA | {"PMI_RANK": "0"} if library == "Open MPI" else OPEN_MPI | {"OMPI_COMM_WORLD_RANK": "0"}
    script = [sys.executable, "-W", "ignore", "-c", "import hpcml.mpi; hpcml.mpi.world()"]
    result = subprocess.run(script, env=os.environ | foreign, capture_output=True, text=True, timeout=300)
    assert result.returncode == 2
    assert result.stderr.startswith("hpcml: error: mpiexec (") and f"launched 4 ranks that use {library}." in result.stderr


def test_no_mpi_is_told_in_one_line_with_what_to_do():
    result = subprocess.run(
        [sys.executable, "-m", "hpcml", "verify", "case.toml"],
        env=os.environ | {"MPI4PY_LIBMPI": "/nonexistent/libmpi.so"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert (
        result.stderr.startswith("hpcml: error: mpi4py finds no MPI library (/nonexistent/libmpi.so: ") and "pip install" in result.stderr
    )


@pytest.mark.parametrize("name", ["libmpich.so.12", None])
def test_the_library_of_debians_mpich_is_named_where_it_is_the_only_one(monkeypatch, name):
    from hpcml.mpi import start

    monkeypatch.setattr(start, "find_library", lambda _: name)
    assert (
        "MPICH is called libmpich.so.12" in str(start.no_library(RuntimeError("cannot load MPI library\nlibmpi.so: not found")))
    ) == bool(name)


@pytest.mark.parametrize("there", [True, False])
def test_open_mpi_is_named_where_libmpi_is_a_link_to_mpich(monkeypatch, there):
    from hpcml.mpi import start

    monkeypatch.setattr(start, "_loads", lambda library: there)
    said = str(start.no_library(ImportError("libmpi.so.12: cannot open shared object file: No such file or directory")))
    assert ("set MPI4PY_LIBMPI=libmpi.so.40" in said) == there


def test_mpi_starts_without_a_home():
    environ = {key: value for key, value in os.environ.items() if key != "HOME"}
    script = "import hpcml.mpi; print(hpcml.mpi.world().size)"
    result = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=300)
    assert (result.returncode, result.stdout) == (0, "1\n"), result.stderr


def test_mpi_starts_where_the_temporary_folder_cannot_be_used():
    script = "import hpcml.mpi; print(hpcml.mpi.world().size)"
    environ = os.environ | {"TMPDIR": "/proc/none"}
    result = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=300)
    assert (result.returncode, result.stdout) == (0, "1\n"), result.stderr
    assert result.stderr.count("TMPDIR=/proc/none cannot be written to: MPI uses /tmp") == 1


def test_a_temporary_folder_is_taken_as_it_is_if_it_can_be_used(tmp_path, monkeypatch, caplog):
    from hpcml.mpi import start

    (tmp_path / "file").touch()
    assert start._temporary_folder(str(tmp_path / "new"), True) == str(tmp_path / "new") and not caplog.records
    monkeypatch.setattr(start, "TEMPORARY", ("/proc/none", str(tmp_path)))
    assert start._temporary_folder(str(tmp_path / "file"), True) == str(tmp_path) and len(caplog.records) == 1
    assert start._temporary_folder("/proc/none", False) == str(tmp_path) and len(caplog.records) == 1
    monkeypatch.setattr(start, "TEMPORARY", ("/proc/none",))
    with pytest.raises(LaunchError, match="TMPDIR=/proc/none cannot be written to, and neither can /proc/none: set TMPDIR"):
        start._temporary_folder("/proc/none", True)
