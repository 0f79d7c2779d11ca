"""The least that passing bytes between two cores costs: plain stores and loads in C, one call each."""

import ctypes
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
        shared, function = self._exchange.shared, pass_function()
        if shared is None or function is None:
            raise CommunicationError(f"rank {comm.rank} shares no memory with rank {self._peer}, or finds no C++ compiler")
        self._function, self._words, self._step = function, nbytes // WORD, 0
        self._flags = shared.ready, shared.flags[self._peer]
        self._ends = [(half.send[self._peer].data_ptr(), half.recv[self._peer].data_ptr()) for half in self._exchange.halves]

    def __call__(self) -> int:
        """Pass whole numbers from the number of this call on; give the sum of those that came."""
        self._step += 1
        return self._function(*self._ends[self._step % 2], self._words, self._step, *self._flags, self._step)

    def meet(self) -> None:
        """Let both ranks leave within the time of a cache line from core to core, which a barrier of MPI does not."""
        self._step += 1
        self._function(*self._ends[self._step % 2], 0, self._step, *self._flags, self._step)

    def close(self) -> None:
        """Leave the shared memory."""
        self._exchange.close()


@lru_cache
def pass_function() -> Callable[..., int] | None:
    """The C function behind `Passing`; None without a compiler."""
    library = shared_library(Path(__file__).with_suffix(".cpp"))
    if library is None:
        return None
    word, address = ctypes.c_longlong, ctypes.c_void_p
    function = library.hpcml_pass
    function.argtypes, function.restype = [address, address, word, word, address, address, word], word
    return function
