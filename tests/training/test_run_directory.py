"""A run directory belongs to one case."""

import json

import pytest

from hpcml.core.case import Case
from hpcml.core.config import check_config
from hpcml.core.errors import ConfigError
from hpcml.training.run_directory import RunDirectory


def case(**training):
    tables = {"data": {"kind": "tensors", "train": "a.pt"}, "model": {"name": "fno"}, "training": training}
    return check_config(tables, Case, "test")


@pytest.mark.parallel([1, 2])
def test_it_keeps_the_case_and_the_environment(comm, shared_path):
    directory = RunDirectory(shared_path / "run")
    directory.begin(case(epochs=3), comm)
    assert directory.case() == case(epochs=3)
    directory.describe(comm)
    assert json.loads((directory.path / "environment.json").read_text())["mpi_library"]
    directory.begin(case(epochs=3), comm)


@pytest.mark.parallel([1, 2])
def test_another_case_is_refused_on_every_rank(comm, shared_path):
    directory = RunDirectory(shared_path / "run")
    directory.begin(case(epochs=3), comm)
    with pytest.raises(ConfigError, match=r"another case \(-epochs = 3; \+epochs = 4\)"):
        directory.begin(case(epochs=4), comm)
    assert directory.case() == case(epochs=3)


@pytest.mark.parallel([1, 2])
def test_a_folder_that_is_no_run_or_cannot_be_made_is_named(comm, shared_path):
    with pytest.raises(ConfigError, match="is not a run directory"):
        RunDirectory(shared_path / "nothing").case()
    if comm.rank == 0:
        (shared_path / "file").write_text("in the way")
    comm.Barrier()
    with pytest.raises(ConfigError, match="cannot make the run directory"):
        RunDirectory(shared_path / "file").begin(case(), comm)
