"""A case trained, measured and rolled out over ranks, and on one of them alone."""

from mpi4py import MPI

from hpcml.mpi.world import World
from hpcml.runs.evaluation import evaluate_run
from hpcml.runs.rollout_case import rollout_case
from hpcml.runs.run_directory import RunDirectory
from hpcml.runs.train_case import train_case


def beside_one_rank(case, folder, world):
    """Errors and roll-out of a run in ``folder/run``, and those of one rank alone in ``folder/alone``, known to all."""
    errors = train_case(case, folder / "run", world)
    rolled = rollout_case(folder / "run", world)
    assert evaluate_run(RunDirectory(folder / "run"), world) == errors
    expected = None
    if world.rank == 0:
        with World.of(MPI.COMM_SELF) as alone:
            expected = train_case(case, folder / "alone", alone), rollout_case(folder / "alone", alone)
    return errors, rolled, *world.comm.bcast(expected)
