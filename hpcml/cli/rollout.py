"""``hpcml rollout``: step on with a trained model, beside the solver or the trajectories that it learned from."""

import argparse
from pathlib import Path
from typing import Any

from hpcml.cli.number import MOST, Number


def add_parser(subparsers: Any) -> None:
    """Add ``rollout``."""
    parser = subparsers.add_parser("rollout", help="step on with a trained model from held-out states, beside solver or data")
    parser.add_argument("directory", type=Path, metavar="RUN", help="run directory of `hpcml train`")
    parser.add_argument("--steps", type=Number(1, MOST), metavar="N", help="steps of the model, default output.rollout_steps of the case")
    parser.add_argument("--trajectories", type=Number(1, MOST), metavar="N", help="start from the first N that were held out, default all")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Roll out on all ranks of the job."""
    import hpcml.mpi

    world = hpcml.mpi.world()

    from hpcml.runs.rollout_case import rollout_case

    rollout_case(args.directory, world, args.steps, args.trajectories)
    return 0
