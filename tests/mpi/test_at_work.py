"""A rank that does not come is asked where it is, and its line is named."""

import re
import threading

import pytest

from hpcml.core.exit_status import LOST
from hpcml.mpi.at_work import where

PROGRAM = """
import ctypes, sys, time
import numpy as np
import hpcml.mpi
from hpcml.mpi import all_sum

def busy():
    while True:
        pass

def deep():
    time.sleep(1000)

world = hpcml.mpi.world()
all_sum(np.ones(3), world.comm)
if world.rank == 1:
    {"loop": busy, "sleep": deep, "c": lambda: ctypes.PyDLL(None).sleep(1000)}[sys.argv[1]]()
all_sum(np.ones(3), world.comm)
"""


@pytest.mark.parametrize("hang", ["loop", "sleep", "c"])
def test_the_line_that_a_rank_hangs_in_is_named(mpiexec, tmp_path, hang):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    result = mpiexec(3, program, hang, env={"HPCML_PATIENCE_S": "4"})
    assert mpiexec.status(result) in (LOST, None)
    assert re.search(r"rank 1(, which lives but)? does not come", result.stderr), result.stderr
    found = re.search(r"rank 1 is at .*/program\.py:(\d+) in (\w+)", result.stderr)
    if hang == "c":  # with Python's lock held
        assert not found
    else:
        lines = {"loop": ("busy", "89"), "sleep": ("deep", "12")}[hang]
        assert found and found[2] == lines[0] and found[1] in lines[1], result.stderr


def test_the_innermost_line_and_the_callers_are_told():
    told = []
    thread = threading.Thread(target=lambda: told.append(where()))
    thread.start()
    thread.join()  # is where the main thread is
    assert re.search(r"^at .*threading\.py:\d+ in \w+, called from .*test_at_work\.py:\d+$", told[0]), told


def test_a_program_that_ends_mpi_itself_ends(mpiexec, tmp_path):
    program = tmp_path / "program.py"
    text = (
        "import hpcml.mpi, time\nfrom mpi4py import MPI\nhpcml.mpi.world()\ntime.sleep(2)\nMPI.Finalize()\ntime.sleep(1)\nprint('done')\n"
    )
    program.write_text(text)
    result = mpiexec(2, program)
    assert result.returncode == 0 and result.stdout.count("done") == 2, result.stderr
