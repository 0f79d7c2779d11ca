"""Ends ranks that do nothing any more but do not die either, so that the others can go on without them."""

import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Self

from mpi4py import MPI

from hpcml.mpi.process import Process

LOOK_S = 0.5
LOOKS = 6
"""In a row that find a rank stopped. A whole job that is suspended is not looked at meanwhile, and goes on as one."""
_log = logging.getLogger(__name__)


class Warden:
    """Watches over the other ranks of this node.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        All ranks.

    Communication
    -------------
    Building is collective: what names a process of each rank. Then local: a thread that looks twice in a second.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        processes = enumerate(comm.allgather(Process.own()))
        self._others = {rank: process for rank, process in processes if rank != comm.rank and process.is_visible}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="hpcml warden")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def end(self, ranks: Iterable[int], why: str) -> None:
        """Kill ranks, if they are on this node."""
        for rank in ranks:
            if rank in self._others and self._others[rank].is_alive:
                _log.warning("rank %d %s: it is ended, and the others go on without it", rank, why)
                with suppress(OSError):
                    os.kill(self._others[rank].pid, signal.SIGKILL)

    def _watch(self) -> None:
        stopped = Counter[int]()
        while not self._over.wait(LOOK_S):
            found = [rank for rank, process in self._others.items() if process.is_stopped]
            stopped = Counter({rank: stopped[rank] + 1 for rank in found})
            self.end((rank for rank, looks in stopped.items() if looks >= LOOKS), f"has been stopped for {LOOK_S * LOOKS:.0f} s")
