"""The case that most tests of the command train, and the command on one rank."""

import copy
import io
import json
import subprocess
from contextlib import redirect_stderr, redirect_stdout

import pytest

from hpcml.cli.main import main

CASE = {
    "grid": {"shape": [16, 16]},
    "equation": {"name": "navier_stokes"},
    "data": {"kind": "simulation", "trajectories": 3, "held_out": 1, "snapshots": 4, "interval": 0.05},
    "model": {"name": "fno", "channels": 4, "modes": 3, "layers": 2},
    "training": {"epochs": 2, "batch_size": 4, "dtype": "float64"},
}

COMMANDS = """
import json, sys
import hpcml.mpi
from hpcml.cli.main import main
from hpcml.core.errors import HpcmlError
comm = hpcml.mpi.world().comm
for name, words in json.loads(sys.argv[1]).items():
    try:
        said = f"status {main(words)}"
    except HpcmlError as error:
        said = str(error)
    everyone = comm.allgather(said)
    if comm.rank == 0:
        print("SAID", json.dumps([name, everyone]), flush=True)
"""


@pytest.fixture(scope="session")
def small_case():
    """Its tables, with three updates an epoch, to be changed and written by `tomli_w`."""
    return copy.deepcopy(CASE)


@pytest.fixture(scope="session")
def alone():
    """``alone("train", case)`` runs the command in this process, which is one rank; gives status, output and errors."""

    def run(*words):
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as errors:
            status = main([str(word) for word in words])
        return subprocess.CompletedProcess(words, status, out.getvalue(), errors.getvalue())

    return run


@pytest.fixture(scope="session")
def said(mpiexec):
    """``said(2, {"name": words})`` runs commands one after the other in one launch; gives what each rank raised, or the status, by name."""

    def run(ranks, commands):
        done = mpiexec(ranks, "-c", COMMANDS, json.dumps({name: [str(word) for word in words] for name, words in commands.items()}))
        assert done.returncode == 0, done.stdout + done.stderr
        found = dict(json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("SAID "))
        assert all(len(each) == ranks for each in found.values()) and found.keys() == commands.keys()
        return found

    return run
