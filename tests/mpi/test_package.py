"""The package is light until it is used, and its names stand for what they say."""

import subprocess
import sys

import pytest

import hpcml.mpi


def test_importing_starts_neither_mpi_nor_torch():
    code = "import sys, hpcml.mpi, hpcml.mpi.launcher; print([m for m in ('mpi4py', 'torch', 'cupy', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", hpcml.mpi.__all__)
def test_every_public_name_can_be_used(name):
    assert callable(getattr(hpcml.mpi, name))


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(AttributeError, match="all_sum"):
        hpcml.mpi.all_summ  # noqa: B018
