"""``hpcml evaluate``: errors of a trained model on its held-out data."""

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add ``evaluate``."""
    parser = subparsers.add_parser("evaluate", help="measure a trained model on its held-out data, or on other files")
    parser.add_argument("directory", type=Path, metavar="RUN", help="run directory of `hpcml train`")
    parser.add_argument("--data", nargs="+", default=(), metavar="FILE", help="files or folders of what the model was trained on")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate on all ranks of the job."""
    import hpcml.mpi

    world = hpcml.mpi.world()

    from hpcml.data.case_device import bind_case
    from hpcml.runs.evaluation import evaluate_run
    from hpcml.runs.run_directory import RunDirectory
    from hpcml.runs.run_log import run_log

    directory = RunDirectory(args.directory)
    case = directory.case()  # before a log is begun in what is no run directory
    with run_log(directory, world, bind_case(case.ranks, world)):
        evaluate_run(directory, world, args.data)
    return 0
