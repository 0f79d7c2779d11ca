"""The command ``hpcml``: finds the sub-command, runs it and turns an error into one line and an exit status.

A sub-command is a file beside this one, listed in `COMMANDS`, with two functions:

    add_parser(subparsers) -> None    adds its parser and sets ``run`` as that parser's default
    run(args) -> int                  does the work and returns the exit status

The top of the file imports nothing heavy, since ``hpcml --help`` reads every file; ``run`` imports what it needs.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module

import hpcml
from hpcml.core.errors import HpcmlError, LaunchError
from hpcml.mpi.launcher import detect

COMMANDS = (
    *("bench", "config", "data", "evaluate", "export", "info", "inspect", "job"),
    *("kernels", "rollout", "train", "tune", "verify", "watch"),
)

ABOUT = "MPI-native scientific machine learning: one field over many ranks, from simulation to picture."


def build_parser() -> argparse.ArgumentParser:
    """Parser of ``hpcml`` with every sub-command."""
    parser = argparse.ArgumentParser(prog="hpcml", description=ABOUT)
    parser.add_argument("--version", action="version", version=f"hpcml {hpcml.__version__}")
    subparsers = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        import_module(f"hpcml.cli.{name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``hpcml`` with the arguments given, or with those of the process; return the exit status.

    Returns
    -------
    int
        What the sub-command returns; 2 for an error of the hpcml family on one rank or before MPI is up.

    Raises
    ------
    HpcmlError
        On one of many ranks, or of many processes that should have been ranks: the exception hook of `hpcml.mpi` then prints it
        once, or ends the job when other ranks still run.

    Communication
    -------------
    That of the sub-command.

    Notes
    -----
    A sub-command that runs on ranks opens ``hpcml.mpi.world()`` before it reads anything, so that whatever is wrong with its input is
    reported by the job and not by each process.
    """
    args = _parse(argv)
    try:
        status = int(args.run(args))
        sys.stdout.flush()  # here, where a reader that left is still noticed
        return status
    except (HpcmlError, BrokenPipeError) as error:
        if _is_one_of_many() or (isinstance(error, LaunchError) and detect().size > 1):
            raise
        if isinstance(error, HpcmlError):
            print(f"hpcml: error: {error}", file=sys.stderr)
            return 2
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left, as in `hpcml config schema | head`
        return 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse; ranks above zero are silent about what all of them find alike, and none leaves before rank 0 has spoken."""
    parser, launch = build_parser(), detect()
    try:
        if launch.rank == 0:
            return parser.parse_args(argv)
        with redirect_stdout(None), redirect_stderr(None):
            return parser.parse_args(argv)
    except SystemExit as leaving:
        if launch.size == 1 or not leaving.code:
            raise
        code = leaving.code
    import hpcml.mpi

    hpcml.mpi.world()  # with it sys.exit lets the ranks leave together
    sys.exit(code)


def _is_one_of_many() -> bool:
    """Whether MPI is up with other ranks, which then have to be told."""
    mpi = sys.modules.get("mpi4py.MPI")
    return mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized() and mpi.COMM_WORLD.size > 1
