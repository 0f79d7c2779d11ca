"""The command ``hpcml``: finds the sub-command, runs it and turns an error into one line and an exit status.

A sub-command is a file beside this one, listed in `COMMANDS`, with two functions:

    add_parser(subparsers) -> None    adds its parser and sets ``run`` as that parser's default
    run(args) -> int                  does the work and returns the exit status

The top of the file imports nothing heavy, since ``hpcml --help`` reads every file; ``run`` imports what it needs.
"""

import argparse
import errno
import os
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path

import hpcml
from hpcml.core.errors import ConfigError, DeviceError, HpcmlError, LaunchError
from hpcml.core.printable import LINES, printable
from hpcml.mpi.launcher import detect

_NO_MEMORY = re.compile("can't allocate memory|out of memory|not enough memory", re.IGNORECASE)  # torch's words for it

_PREFIX = re.compile(r"^\[enforce fail at [^\]]*\](.*?DefaultCPUAllocator:)?\s*")  # where in its source torch found that out

COMMANDS = (
    *("bench", "config", "data", "evaluate", "export", "info", "inspect", "job"),
    *("kernels", "online", "rollout", "train", "tune", "verify", "watch"),
)

ABOUT = "MPI-native scientific machine learning: one field over many ranks, from simulation to picture."

_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Why a disk does not take what is printed into a file."""


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
    if sys.stdout is None:  # closed before the start: what is opened next would take its place
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    args = _parse(argv)
    try:
        status = _run(args)
        return _end_of_output() or status
    except (HpcmlError, BrokenPipeError) as error:
        if _is_one_of_many() or (isinstance(error, LaunchError) and detect().size > 1):
            raise
        if isinstance(error, HpcmlError):
            print(f"hpcml: error: {printable(str(error), LINES)}", file=sys.stderr)
            return 2
        _forget_output()
        return 0
    except OSError as error:
        if _is_one_of_many() or error.filename is not None or error.errno not in _REFUSED:
            raise
        return _refused(error)


def _run(args: argparse.Namespace) -> int:
    """Run the sub-command; that memory is short, or that a path of its arguments cannot be used, is said in a sentence."""
    try:
        return int(args.run(args))
    except OSError as error:
        if not _is_of(args, error.filename):
            raise
        from hpcml.io.files.remedy import remedy

        raise ConfigError(
            f"cannot use {error.filename}: {error.strerror}{remedy(error.errno) or '; give another file or folder'}"
        ) from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, HpcmlError) or not (isinstance(error, MemoryError) or _NO_MEMORY.search(str(error))):
            raise
        smaller = "take more nodes, or smaller values of grid.shape, training.batch_size, data.trajectories or the options of the model"
        said = _PREFIX.sub("", str(error).partition("\n")[0]).strip()
        raise DeviceError(f"memory is short: {said or 'no more is known'}; {smaller}") from error


def _is_of(args: argparse.Namespace, path: object) -> bool:
    """Whether a path is one of the arguments, or leads into or out of one."""
    given = [value.absolute() for value in vars(args).values() if isinstance(value, Path)]
    if not isinstance(path, str | Path):
        return False
    asked = Path(path).absolute()
    return any(asked == value or value in asked.parents or asked in value.parents for value in given)


def _end_of_output() -> int:
    """Write what is still to be written. A reader that left, as in `hpcml inspect RUN | head`, has what it wanted; a full disk has not."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
    except OSError as error:
        return _refused(error)
    return 0


def _refused(error: OSError) -> int:
    _forget_output()
    from hpcml.io.files.remedy import remedy

    print(f"hpcml: error: cannot write: {error.strerror}{remedy(error.errno)}", file=sys.stderr)
    return 2


def _forget_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
