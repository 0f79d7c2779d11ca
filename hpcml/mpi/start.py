"""Starts MPI, after a look at the launcher: a library that finds a stranger there may end the process in words of its own.

Importing this module is what starts MPI, unless something else has imported ``mpi4py.MPI`` before.
"""

import sys

import mpi4py

from hpcml.mpi.abort import speak_once
from hpcml.mpi.launcher import check_family, detect


def _start() -> None:
    rc = mpi4py.rc
    if "mpi4py.MPI" in sys.modules or not rc.initialize:
        return
    rc.initialize, rc.finalize = False, rc.finalize is not False  # unless told, it finalises only what it has initialised
    try:
        from mpi4py import MPI
    finally:
        rc.initialize = True
    launch = detect()
    if launch.size > 1:
        speak_once()
    check_family(launch, MPI.get_vendor()[0])
    MPI.Init_thread()


_start()

from mpi4py import MPI  # noqa: E402

__all__ = ["MPI"]
