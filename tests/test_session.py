"""The session over ranks fails when it should: on a failure of any rank, a disagreement, a rank left alone, a hang."""

import re
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py").read_text()
PRELUDE = """
import time
import pytest
from mpi4py import MPI
comm = MPI.COMM_WORLD
"""


@pytest.fixture
def session(mpiexec, tmp_path):
    """Run these tests on three ranks with a copy of this suite's conftest."""

    def run(body, *options):
        (tmp_path / "conftest.py").write_text(CONFTEST.replace("GRACE_S = 10.0", "GRACE_S = 1.0"))
        (tmp_path / "test_it.py").write_text(PRELUDE + body)
        return mpiexec(3, "-m", "pytest", "-q", "--color=no", "--rootdir", tmp_path, "-c", "/dev/null", tmp_path, *options)

    return run


def test_it_selects_the_tests_of_its_size_and_what_fails_on_one_rank_fails_on_all(session):
    result = session(
        "@pytest.mark.parallel([1, 2, 3])\ndef test_three(): assert comm.size == 3\n"
        "@pytest.mark.parallel([2])\ndef test_two(): pass\n"
        "def test_serial(): pass\n"
        "@pytest.mark.parallel([3])\ndef test_last(): assert comm.rank != 2, 'bad luck'\n"
        "@pytest.fixture\ndef broken():\n    yield\n    assert comm.rank != 1, 'not torn down'\n"
        "@pytest.mark.parallel([3])\ndef test_teardown(broken): pass\n"
        "@pytest.mark.parallel([3])\ndef test_skips():\n    if comm.rank: pytest.skip('not here')\n"
    )
    assert result.returncode == 1
    assert "failed on rank 2: AssertionError: bad luck" in result.stdout and "failed on ranks [2] of 3" in result.stdout
    assert "failed on rank 1: AssertionError: not torn down" in result.stdout
    assert "ranks are not at the same point" in result.stdout
    counts = re.findall(r"^\d.* in [\d.]+s", result.stdout, re.MULTILINE)  # told once
    assert len(counts) == 1 and all(count in counts[0] for count in ("2 failed", "2 passed", "4 deselected", "1 error")), counts


def test_ranks_must_collect_the_same_tests(session):
    result = session("if comm.rank == 1: raise ImportError('only here')\n@pytest.mark.parallel([3])\ndef test_it(): pass\n")
    assert result.returncode != 0 and "ranks collected different tests" in result.stderr


def test_a_failed_rank_does_not_wait_for_those_that_wait_for_it(session):
    result = session("@pytest.mark.parallel([3])\ndef test_it():\n    assert comm.rank != 1, 'bad luck'\n    comm.Barrier()\n")
    assert result.returncode != 0
    assert "[rank 1 of 3] FAILED test_it.py::test_it" in result.stderr and "AssertionError: bad luck" in result.stderr
    assert "HANG" not in result.stderr  # it does not go on until the test's own limit


def test_a_hang_ends_with_the_stack_of_every_rank(session):
    body = "@pytest.mark.parallel([3])\ndef test_it():\n    time.sleep(30) if comm.rank == 1 else comm.Barrier()\n"
    result = session(body, "--timeout=2")
    assert result.returncode != 0
    for rank in range(3):
        assert f"[rank {rank} of 3] HANG test_it.py::test_it" in result.stderr
    assert result.stderr.count("time.sleep(30) if comm.rank == 1") == 3
