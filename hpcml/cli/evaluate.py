"""``hpcml evaluate``: errors of a trained model on its held-out data."""

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add ``evaluate``."""
    parser = subparsers.add_parser("evaluate", help="measure a trained model on its held-out data")
    parser.add_argument("directory", type=Path, metavar="RUN", help="run directory of `hpcml train`")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate on all ranks of the job."""
    import hpcml.mpi

    world = hpcml.mpi.world()

    from hpcml.core.log import rank_log
    from hpcml.training.evaluation import evaluate, trained_state
    from hpcml.training.experiment import open_experiment
    from hpcml.training.run_directory import RunDirectory

    directory = RunDirectory(args.directory)
    case = directory.case()
    with rank_log(world.rank, world.size, str(world.device), directory.log):
        state = trained_state(directory, world.comm)
        evaluate(open_experiment(case, world.comm), state, directory.path)
    return 0
