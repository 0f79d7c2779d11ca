"""A log that cannot be begun is one error of every rank, whatever the command."""

import logging
from argparse import Namespace

import pytest

from hpcml.cli import evaluate
from hpcml.core.errors import CheckpointError
from hpcml.mpi import World
from hpcml.runs.rollout_case import rollout_case
from hpcml.runs.run_directory import RunDirectory
from hpcml.runs.run_log import run_log

pytestmark = pytest.mark.parallel([1, 2])
CASE = """
grid.shape = [8]
equation.name = "heat"
data = { kind = "simulation", trajectories = 2, held_out = 1, snapshots = 3 }
model.name = "fno"
"""


@pytest.fixture
def run(comm, shared_path):
    """A run where the log of the last rank has something in its way."""
    folder = shared_path / "run"
    if comm.rank == 0:
        (folder / "log" / f"rank{comm.size - 1:04d}.log").mkdir(parents=True)
        (folder / "config.toml").write_text(CASE)
    comm.Barrier()
    return folder


@pytest.mark.parametrize("command", ["evaluate", "rollout"])
def test_a_log_that_cannot_be_begun(comm, run, command):
    with World.of(comm) as world, pytest.raises(CheckpointError, match=r"opening the log in .*log failed: .*it is a folder, not a file"):
        evaluate.run(Namespace(directory=run, data=())) if command == "evaluate" else rollout_case(run, world)


def test_nobody_logs_on_after_it(comm, run):
    logger = logging.getLogger("hpcml")
    before = [*logger.handlers], logger.level, logger.propagate
    with World.of(comm) as world, pytest.raises(CheckpointError), run_log(RunDirectory(run), world, world.device):
        pass
    assert before == ([*logger.handlers], logger.level, logger.propagate)
