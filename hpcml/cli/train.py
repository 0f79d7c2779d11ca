"""``hpcml train``: from a case file to a trained model in a run directory."""

import argparse
from pathlib import Path
from typing import Any

from hpcml.cli.case_file import add_case_arguments, name_of_case, read_case
from hpcml.cli.number import MOST_SECONDS, Number


def add_parser(subparsers: Any) -> None:
    """Add ``train``."""
    parser = subparsers.add_parser("train", help="train the model of a case; started again, go on where it stopped")
    add_case_arguments(parser)
    parser.add_argument(
        "--run", type=Path, metavar="DIR", dest="directory", help="run directory, default: the case's name in its output.folder"
    )
    parser.add_argument(
        "--wait",
        type=Number(0.0, MOST_SECONDS),
        metavar="SECONDS",
        default=3.0,
        help="how long to wait for another job that is at the run, default 3",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train on all ranks of the job; the status is `PREEMPTED` if a signal stopped it."""
    import hpcml.mpi

    world = hpcml.mpi.world()
    case = read_case(args)

    from hpcml.core.exit_status import PREEMPTED
    from hpcml.mpi.survivors import surviving
    from hpcml.runs.train_case import train_case

    directory = args.directory or Path(case.output.folder) / name_of_case(args.case)
    errors = surviving(world, lambda world: train_case(case, directory, world, args.wait), case.ranks.spares)
    return PREEMPTED if errors is None else 0
