"""Kernel launches of one step of an exchange, each after the flag of its neighbor, in one call of C."""

import ctypes
import os
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from hpcml.core.errors import DeviceError
from hpcml.kernels.launch import Launch
from hpcml.kernels.shared_library import shared_library
from hpcml.mpi.waited import count_elsewhere

SPINS = 500
"""Looks at a flag before the core is offered to others: some 20 us, longer than packing a face takes."""
STEP, CALL = 4, 5
"""Words of a plan that hold the numbers of the step and of the call."""
NO_CALL = -1
"""Instead of the number of a call, where calls are not compared."""

Move = tuple[int, Launch | None]
"""Address of a flag to wait for, or 0, and what to run then."""


class Moves:
    """Launches in order, each of which may wait for a flag.

    Parameters
    ----------
    moves : sequence of (int, Launch or None)
        Flag and launch.
    ready : int
        Address of the flag to raise after them, or 0.
    spin : bool
        Whether every rank of the node has a core to itself, so that it may spin.
    then : sequence of (int, Launch or None)
        What to do after the flag was raised: all of it native.

    Raises
    ------
    DeviceError
        For flags where there is no C++ compiler.

    Notes
    -----
    What is not a function of one record on the CPU, such as a launch on a GPU, runs from Python: before the flag is raised, or after all
    flags have come.
    """

    def __init__(self, moves: Sequence[Move], ready: int = 0, spin: bool = True, then: Sequence[Move] = ()) -> None:
        num_before, moves = len(moves), [*moves, *then]
        launches = [launch for _, launch in moves if launch is not None]
        functions = move_functions()
        native = functions is not None and all(launch.native for launch in launches)
        self._before: list[Launch] = launches if ready and not native else []
        self._after: list[Launch] = [] if ready or native else launches
        self._moves = moves  # keeps the launches' records alive
        waits = any(flag for flag, _ in moves) or ready
        if waits and functions is None:
            raise DeviceError("flags in shared memory need a C++ compiler: install g++ or set HPCML_CXX, or set HPCML_HALO_BACKEND=mpi")
        self._functions = functions if native or waits else None
        self._every = self._functions[0] if self._functions else lambda address: 0
        words = [len(moves), SPINS if spin else 0, ready, num_before, 0, NO_CALL, 0]
        for flag, launch in moves:
            words += [*(launch.native if native and launch is not None and launch.native else (0, 0)), flag]
        self._plan = (ctypes.c_int64 * len(words))(*words)
        self._address = ctypes.addressof(self._plan)

    def __call__(self, step: int, watch: Callable[[int, float], None] = lambda flag, since: None) -> None:
        """Run all of them; ``watch(flag, since)`` is called at times while a flag has not come, and may raise."""
        for launch in self._before:
            launch()
        if self._functions is not None:
            self._plan[STEP] = step
            late = self._functions[0](self._address)
            if late:
                self.wait_long(late, watch)
        for launch in self._after:
            launch()

    def turn(self, step: int, call: int = NO_CALL) -> int:
        """Run all of them, which are native, in as few steps of the interpreter as there can be: they find its caches cold.

        Parameters
        ----------
        step : int
            Number of the step.
        call : int
            Number of the call, which is signed and compared with the neighbors', see `hpcml.parallel.transport.shared`.

        Returns
        -------
        int
            0; -1 if a neighbor was in another call; or else what `wait_long` is to wait for.
        """
        self._plan[STEP] = step
        if call != NO_CALL:
            self._plan[CALL] = call
        return self._every(self._address)

    def wait_long(self, late: int, watch: Callable[[int, float], None]) -> int:
        """Wait for a flag that has not come, run what follows, and give the end as `turn` does; ``watch`` as in a call."""
        assert self._functions is not None
        since = time.monotonic()
        while late > 0:
            watch(self._moves[late - 1][0], since)
            late = self._functions[1](self._address, late - 1)
        return late


def may_spin(num_ranks: int) -> bool:
    """Whether as many ranks of a node find a core each."""
    return num_ranks <= (os.cpu_count() or 1)


@lru_cache
def move_functions() -> tuple[Callable[[int], int], Callable[[int, int], int]] | None:
    """The C functions behind `Moves`, which run all moves and those from a number on, compiled once per node; None without a compiler."""
    library = shared_library(Path(__file__).with_suffix(".cpp"))
    if library is None:
        return None
    every, rest = library.hpcml_move, library.hpcml_move_from
    waited, queued = (ctypes.c_longlong.in_dll(library, name) for name in ("hpcml_waited", "hpcml_queued"))
    count_elsewhere(lambda: (waited.value * 1e-9, queued.value * 1e-9))
    every.argtypes, every.restype = [ctypes.c_void_p], ctypes.c_longlong
    rest.argtypes, rest.restype = [ctypes.c_void_p, ctypes.c_longlong], ctypes.c_longlong
    return every, rest
