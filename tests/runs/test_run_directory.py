"""A run directory belongs to one case."""

import json
import sys

import pytest
from mpi4py import MPI

from hpcml.core.case import Case, Ranks
from hpcml.core.errors import ConfigError
from hpcml.core.named import complete_config
from hpcml.kernels import ways
from hpcml.kernels.ways import agreed_way
from hpcml.runs.run_directory import RunDirectory


def case(**training):
    tables = {"data": {"kind": "tensors", "train": "a.pt"}, "model": {"name": "fno"}, "training": training}
    return complete_config(tables, Case, "test")


@pytest.mark.parallel([1, 2])
def test_it_keeps_the_case_and_the_environment(comm, shared_path):
    directory = RunDirectory(shared_path / "run")
    directory.begin(case(epochs=3), comm)
    assert directory.case().model_dump() == case(epochs=3).model_dump()
    directory.describe(comm)
    written = json.loads((directory.path / "environment.json").read_text())
    assert written["mpi_library"] and written["processors"]["affinity"] and written["host"]["name"]
    directory.begin(case(epochs=3), comm)


def learn(directory, comm):
    """Leave a checkpoint behind."""
    if comm.rank == 0:
        (directory.checkpoints / "step-000000001-abcdef").mkdir()
    comm.Barrier()


@pytest.mark.parallel([1, 2])
def test_another_case_is_refused_on_every_rank(comm, shared_path):
    directory = RunDirectory(shared_path / "run")
    directory.begin(case(epochs=3), comm)
    learn(directory, comm)
    differs = r"another case: choose .*\n  training\.epochs: 3 -> 2\n  training\.clip: nothing -> 0\.5$"
    with pytest.raises(ConfigError, match=differs):
        directory.begin(case(epochs=2, clip=0.5), comm)
    assert directory.case().model_dump() == case(epochs=3).model_dump()
    directory.begin(case(epochs=4), comm)  # more of the same case
    assert directory.case().model_dump() == case(epochs=4).model_dump()


@pytest.mark.parallel([1, 2])
def test_other_ranks_are_no_other_case(comm, shared_path):
    directory, other = RunDirectory(shared_path / "run"), case().model_copy(update={"ranks": Ranks(domain=(2, 1), data=3)})
    directory.begin(case(), comm)
    learn(directory, comm)
    directory.begin(other, comm)
    assert directory.case().model_dump() == other.model_dump()


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("left", ["", "grid = [", None], ids=["empty", "torn", "another case"])
def test_an_attempt_that_learnt_nothing_does_not_claim_the_folder(comm, shared_path, left):
    directory = RunDirectory(shared_path / "run")
    directory.begin(case(epochs=3), comm)
    if comm.rank == 0 and left is not None:
        directory.config.write_text(left)
    comm.Barrier()
    directory.begin(case(epochs=4), comm)
    assert directory.case().model_dump() == case(epochs=4).model_dump()


def test_a_full_disk_leaves_no_half_of_a_config(small_disk):
    done = small_disk(
        f"""
        {sys.executable} - <<'END'
import os
from pathlib import Path
from mpi4py import MPI
from hpcml.core.case import Case, Ranks
from hpcml.core.named import complete_config
from hpcml.core.errors import ConfigError
from hpcml.kernels import ways
from hpcml.kernels.ways import agreed_way
from hpcml.runs.run_directory import RunDirectory
directory = RunDirectory(Path(os.environ["DISK"]) / "run")
filler = Path(os.environ["DISK"]) / "filler"
case = complete_config({{"data": {{"kind": "tensors", "train": "a.pt"}}, "model": {{"name": "fno"}}}}, Case, "test")
for folder in (directory.path, directory.log, directory.checkpoints, directory.snapshots):
    folder.mkdir()
try:
    with filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
except OSError:
    pass
try:
    directory.begin(case, MPI.COMM_SELF)
except ConfigError as error:
    print(error)
print(sorted(path.name for path in directory.path.iterdir() if path.is_file()))
filler.unlink()
directory.begin(case, MPI.COMM_SELF)
print(directory.case().model_dump() == case.model_dump())
END""",
        "size=256k",
    )
    said, left, same = done.stdout.splitlines()
    assert "cannot make the run directory" in said and "the disk is full" in said, done.stderr
    assert (left, same) == ("[]", "True")


@pytest.mark.parallel([1, 2])
def test_a_folder_that_is_no_run_or_cannot_be_made_is_named(comm, shared_path):
    with pytest.raises(ConfigError, match="is not a run directory"):
        RunDirectory(shared_path / "nothing").case()
    if comm.rank == 0:
        (shared_path / "file").write_text("in the way")
    comm.Barrier()
    with pytest.raises(ConfigError, match="cannot make the run directory"):
        RunDirectory(shared_path / "file").begin(case(), comm)


@pytest.mark.parallel([1, 2])
def test_a_run_goes_on_in_the_ways_that_it_recorded(comm, shared_path, monkeypatch):
    monkeypatch.setattr(ways, "_TAKEN", {})
    directory = RunDirectory(shared_path)
    directory.take_ways(comm)
    assert agreed_way("race", lambda: "found first", comm) == "found first"
    directory.record_ways(comm)
    ways._TAKEN.clear()  # another job, on a processor where the other way is faster
    directory.take_ways(comm)
    assert agreed_way("race", lambda: "found later", comm) == "found first"
    comm.Barrier()
    if comm.rank == 0:
        (shared_path / "ways.json").write_text("[1, 2]")
    comm.Barrier()
    with pytest.raises(ConfigError, match=r"ways.json is not as hpcml writes it"):
        directory.take_ways(comm)


def test_ways_that_are_no_json_are_named(tmp_path):
    directory = RunDirectory(tmp_path)
    (tmp_path / "ways.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match=r"ways\.json is not as hpcml writes it: .*nested too deeply; without it"):
        directory.take_ways(MPI.COMM_SELF)
