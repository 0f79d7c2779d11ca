"""The least that passing bytes between two cores costs: plain stores and loads in C, one call each."""

import ctypes
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from mpi4py import MPI

from hpcml.core.errors import CommunicationError
from hpcml.kernels.shared_library import shared_library
from hpcml.parallel.exchange import Exchange

WORD = 8
"""Bytes."""


class Passing:
    """Two ranks that pass as many bytes to each other as an exchange does, at the same time, through the same kind of memory and flags.

    Parameters
    ----------
    comm : MPI.Intracomm
        Two ranks.
    nbytes : int
        For each to pass, a multiple of 8.
    tag : int
        As of other exchanges.

    Communication
    -------------
    Construction: neighbors. Calls: through shared memory.
    """

    def __init__(self, comm: MPI.Intracomm, nbytes: int, tag: int) -> None:
        self._peer = 1 - comm.rank
        sizes = {self._peer: nbytes}
        self._exchange = Exchange(comm, sizes, sizes, torch.uint8, torch.device("cpu"), tag, "shared")
        shared, functions = self._exchange.shared, pass_functions()
        if shared is None or functions is None:
            raise CommunicationError(f"rank {comm.rank} shares no memory with rank {self._peer}, or finds no C++ compiler")
        self._pass, self._meet = functions
        self._words, self._step = nbytes // WORD, 0
        self._flags = shared.ready, shared.flags[self._peer]
        self._ends = [(half.send[self._peer].data_ptr(), half.recv[self._peer].data_ptr()) for half in self._exchange.halves]

    def __call__(self) -> int:
        """Pass whole numbers from the number of this call on; give the sum of those that came."""
        self._step += 1
        return self._pass(*self._ends[self._step % 2], self._words, self._step, *self._flags, self._step)

    def meet(self, times: int = 1) -> None:
        """Let both ranks leave within the time of a cache line from core to core, which a barrier of MPI does not."""
        self._meet(*self._flags, self._step + 1, times)
        self._step += times

    def line_seconds(self, times: int = 2000) -> float:
        """Time of a cache line from one rank to the other while one travels back: what tells how far apart their cores are."""
        self.meet()
        start = time.perf_counter()
        self.meet(times)
        return (time.perf_counter() - start) / times

    def close(self) -> None:
        """Leave the shared memory."""
        self._exchange.close()


@lru_cache
def pass_functions() -> tuple[Callable[..., int], Callable[..., None]] | None:
    """The C functions behind `Passing`: to pass, and to meet; None without a compiler."""
    library = shared_library(Path(__file__).with_suffix(".cpp"))
    if library is None:
        return None
    word, address = ctypes.c_longlong, ctypes.c_void_p
    passes, meets = library.hpcml_pass, library.hpcml_meet
    passes.argtypes, passes.restype = [address, address, word, word, address, address, word], word
    meets.argtypes, meets.restype = [address, address, word, word], None
    return passes, meets
