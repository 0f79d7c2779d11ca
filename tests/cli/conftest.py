"""The case that most tests of the command train, and the command on one rank."""

import copy
import io
import json
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

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
import io, json, sys
from contextlib import redirect_stdout
import hpcml.mpi
from hpcml.cli.main import main
from hpcml.core.errors import HpcmlError
comm = hpcml.mpi.world().comm
for name, words in json.loads(sys.argv[1]).items():
    try:
        with redirect_stdout(io.StringIO()) as out:
            said = f"status {main(words)}"
    except HpcmlError as error:
        said = str(error)
    everyone = comm.allgather(said)
    if comm.rank == 0:
        print("SAID", json.dumps([name, everyone, out.getvalue()]), flush=True)
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


@dataclass(frozen=True)
class Answer:
    """What came of a command on ranks: the status, or the message of the error that it raised, of each; and what rank 0 printed."""

    of_ranks: list[str]
    output: str

    @property
    def good(self):
        return set(self.of_ranks) == {"status 0"}

    def all_say(self, text):
        return all(text in said for said in self.of_ranks)


@pytest.fixture(scope="session")
def said(mpiexec):
    """``said(2, {"name": words})`` runs commands one after the other in one launch; gives their answers by name."""

    def run(ranks, commands):
        done = mpiexec(ranks, "-c", COMMANDS, json.dumps({name: [str(word) for word in words] for name, words in commands.items()}))
        assert done.returncode == 0, done.stdout + done.stderr
        told = (json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("SAID "))
        found = {name: Answer(of_ranks, output) for name, of_ranks, output in told}
        assert all(len(answer.of_ranks) == ranks for answer in found.values()) and found.keys() == commands.keys()
        return found

    return run
