"""The package is light until it is used, and its names stand for what they say."""

import subprocess
import sys

import pytest

import hpcml.mpi


def test_importing_starts_neither_mpi_nor_torch():
    code = "import sys, hpcml.mpi, hpcml.mpi.launcher; print([m for m in ('mpi4py', 'torch', 'cupy', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


MEET = "import hpcml.mpi; world = hpcml.mpi.world(); hpcml.mpi.agree(True, world.comm)"
SAVE = (
    "import sys, numpy, hpcml.mpi, hpcml.io\n"
    "with hpcml.io.Checkpointer(sys.argv[1], hpcml.mpi.world().comm) as checkpointer: checkpointer.save(1, {'w': numpy.ones(3)})"
)


@pytest.mark.parametrize("code", [MEET, SAVE], ids=["meet", "save"])
def test_ranks_meet_and_save_arrays_without_torch(code, tmp_path):
    """Importing it takes two seconds of each rank's processor."""
    command = [sys.executable, "-c", f"{code}\nimport sys; print('torch' in sys.modules)", tmp_path]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("name", hpcml.mpi.__all__)
def test_every_public_name_can_be_used(name):
    assert callable(getattr(hpcml.mpi, name))


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(AttributeError, match="all_sum"):
        hpcml.mpi.all_summ  # noqa: B018
