"""The command ``hpcml``: finds the sub-command, runs it and turns an error into one line and an exit status.

A sub-command is a file beside this one, listed in `COMMANDS`, with two functions:

    add_parser(subparsers) -> None    adds its parser and sets ``run`` as that parser's default
    run(args) -> int                  does the work and returns the exit status

The top of the file imports nothing heavy, since ``hpcml --help`` reads every file; ``run`` imports what it needs.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

import hpcml
from hpcml.core.errors import HpcmlError

COMMANDS: tuple[str, ...] = ()


def build_parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """Parser of ``hpcml`` with the sub-commands named."""
    parser = argparse.ArgumentParser(prog="hpcml", description=hpcml.__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"hpcml {hpcml.__version__}")
    subparsers = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name in commands:
        import_module(f"hpcml.cli.{name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``hpcml`` with the arguments given, or with those of the process; return the exit status.

    Returns
    -------
    int
        What the sub-command returns; 2 for an error of the hpcml family before MPI is up.

    Raises
    ------
    HpcmlError
        Once MPI is up: the exception hook of `hpcml.mpi` then prints it once, or ends the job when other ranks still run.

    Communication
    -------------
    That of the sub-command.
    """
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args))
    except HpcmlError as error:
        if _mpi_is_up():
            raise
        print(f"hpcml: error: {error}", file=sys.stderr)
        return 2


def _mpi_is_up() -> bool:
    mpi = sys.modules.get("mpi4py.MPI")
    return mpi is not None and bool(mpi.Is_initialized()) and not mpi.Is_finalized()
