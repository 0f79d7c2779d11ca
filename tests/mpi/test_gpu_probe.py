"""The probe comes back with an answer whatever its processes do, a segmentation fault inside MPI included."""

import sys
from pathlib import Path

import pytest
import torch

from hpcml.mpi.gpu_probe import ask, probe, transfer

NO_MEMORY = """
from mpi4py import MPI
from hpcml.mpi.gpu_probe import announce
nowhere = MPI.buffer.fromaddress(4096, 4096)
announce()
MPI.COMM_WORLD.Sendrecv(nowhere, MPI.COMM_WORLD.rank, recvbuf=bytearray(4096))
print("right", flush=True)
"""


def python(code):
    return [sys.executable, "-c", code]


@pytest.mark.parallel([1, 2, 3])
def test_the_transfer_finds_its_own_memory_right(comm):
    assert transfer(comm, torch.device("cpu"))


def test_a_library_that_crashes_on_the_memory_is_a_final_no():
    """MPI is handed an address that it cannot read, as a library without CUDA is by a GPU's."""
    found, final = probe(command=python(NO_MEMORY))
    assert not found.answer and final
    assert "ended the processes with status" in found.reason


def test_a_crash_among_launched_processes_is_one_too_and_leaves_no_shared_memory(mpiexec, tmp_path):
    keep_maps = f"import os, shutil; shutil.copy('/proc/self/maps', f'{tmp_path}/{{os.getpid()}}')"
    found, final = probe(command=[mpiexec.path, "-n", "2", *python(NO_MEMORY.replace("announce()", f"announce(); {keep_maps}"))])
    assert not found.answer and final
    lines = [line for maps in tmp_path.iterdir() for line in maps.read_text().splitlines() if "/dev/shm/" in line]
    assert lines and not any(Path(line[line.index("/dev/shm/") :]).exists() for line in lines)


@pytest.mark.parametrize(
    ("code", "answer", "final", "reason"),
    [
        ("print('begin'); print('right')", True, True, "sent and summed"),
        ("print('begin'); print('wrong'); exit(1)", False, True, "came back wrong"),
        ("raise ImportError('no torch here')", False, False, "could not begin: ImportError: no torch here"),
    ],
    ids=["right", "wrong", "broken"],
)
def test_what_the_processes_print_decides(code, answer, final, reason):
    found, is_final = probe(command=python(code))
    assert (found.answer, is_final) == (answer, final)
    assert reason in found.reason


def test_a_probe_that_hangs_is_ended_and_may_be_tried_again():
    found, final = probe(limit_s=0.5, command=python("import time; print('begin', flush=True); time.sleep(1000)"))
    assert not found.answer and not final and "did not end within 0.5 s" in found.reason


def test_a_command_that_is_not_there_is_no_crash():
    found, final = probe(command=["/nowhere/mpiexec"])
    assert not found.answer and not final and "could not be started" in found.reason


def test_another_process_says_what_the_library_claims(monkeypatch):
    assert ask().answer is False
    assert " says no" in ask().reason
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert "MPI does not start here: no output (status 1)" in ask().reason
