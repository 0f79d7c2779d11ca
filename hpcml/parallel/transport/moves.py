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
STEP = 4
"""Word of a plan that holds the number of the step."""
NO_CALL = -1
"""Instead of the number of a call, where calls are not compared."""
IDLE, IN_FLIGHT, CLOSED = range(3)
"""Status of an exchange."""
REFUSED = -2
"""What a turn gives that may not begin."""

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
        words = [len(moves), SPINS if spin else 0, ready, num_before, 0, NO_CALL, 0]
        for flag, launch in moves:
            words += [*(launch.native if native and launch is not None and launch.native else (0, 0)), flag]
        self._plan = (ctypes.c_int64 * len(words))(*words)
        self.address = ctypes.addressof(self._plan)

    def __call__(self, step: int, watch: Callable[[int, float], None] = lambda flag, since: None) -> None:
        """Run all of them; ``watch(flag, since)`` is called at times while a flag has not come, and may raise."""
        for launch in self._before:
            launch()
        if self._functions is not None:
            self._plan[STEP] = step
            late = self._functions[0](self.address)
            if late:
                self.wait_long(late, watch)
        for launch in self._after:
            launch()

    def wait_long(self, late: int, watch: Callable[[int, float], None]) -> int:
        """Wait for a flag that has not come, run what follows, and give the end as `Turns` does; ``watch`` as in a call."""
        assert self._functions is not None
        since = time.monotonic()
        while late > 0:
            watch(self._moves[late - 1][0], since)
            late = self._functions[1](self.address, late - 1)
        return late


class State(ctypes.Structure):
    """What an exchange counts, so that one call of C can begin a step.

    Attributes
    ----------
    step : int
        Number of the last step that began.
    status : int
        `IDLE`, `IN_FLIGHT` or `CLOSED`.
    call : int
        Number of the call that the step belongs to, which is signed and compared with the neighbors', or `NO_CALL`.
    messages, nbytes : int
        Of each step.
    traffic : int
        Address of the two numbers that these are added to.
    """

    _fields_ = tuple((name, ctypes.c_int64) for name in ("step", "status", "call", "messages", "nbytes", "traffic"))

    step: int
    status: int
    call: int
    messages: int
    nbytes: int
    traffic: int


class Turns:
    """Steps of an exchange, each in one call of C: ``run(address)``, which gives 0 when the step is over.

    Else it gives -1 if a neighbor was in another call, `REFUSED` if the exchange is not idle, or what `Moves.wait_long` is to wait for.
    Whoever calls it for every step does so without a frame of Python between, since the interpreter finds its caches cold.

    Parameters
    ----------
    state : State
        Of the exchange.
    moves : sequence of Moves
        For each half of the buffers: packs, raises this rank's flag, waits for those of the neighbors, and unpacks. All of it native.
    """

    def __init__(self, state: State, moves: Sequence[Moves]) -> None:
        functions = move_functions()
        assert functions is not None, "native moves have been compiled"
        self.run = functions[2]
        self._state, self._moves = state, moves
        self._halves = (ctypes.c_int64 * 3)(ctypes.addressof(state), *(moves[half % len(moves)].address for half in range(2)))
        self.address = ctypes.addressof(self._halves)

    @property
    def moves(self) -> Moves:
        """Those of the step that is in flight."""
        return self._moves[self._state.step % len(self._moves)]


def may_spin(num_ranks: int) -> bool:
    """Whether as many ranks of a node find a core each."""
    return num_ranks <= (os.cpu_count() or 1)


@lru_cache
def move_functions() -> tuple[Callable[[int], int], Callable[[int, int], int], Callable[[int], int]] | None:
    """The C functions that run all moves, those from a number on, and a turn, compiled once per node; None without a compiler."""
    library = shared_library(Path(__file__).with_suffix(".cpp"))
    if library is None:
        return None
    every, rest, turn = library.hpcml_move, library.hpcml_move_from, library.hpcml_turn
    waited, queued = (ctypes.c_longlong.in_dll(library, name) for name in ("hpcml_waited", "hpcml_queued"))
    count_elsewhere(lambda: (waited.value * 1e-9, queued.value * 1e-9))
    every.argtypes, every.restype = [ctypes.c_void_p], ctypes.c_longlong
    rest.argtypes, rest.restype = [ctypes.c_void_p, ctypes.c_longlong], ctypes.c_longlong
    turn.argtypes, turn.restype = [ctypes.c_void_p], ctypes.c_longlong
    return every, rest, turn
