"""Says for this rank where it is when others call the roll and it does not come: a thread that sleeps while all is well.

    main thread has met nobody for a second --> look for roll-calls --> answer with its innermost line

It needs Python's lock: a rank that is stopped, or hangs in C with the lock held, says nothing, and is named all the same.
"""

import atexit
import sys
import threading
import time
from contextlib import suppress
from types import FrameType

from mpi4py import MPI

from hpcml.mpi import patience, roll_call
from hpcml.mpi.call import line_of, user_frames

LOOK_S = 0.2
QUIET_S = 1.0
_thread: "_AtWork | None" = None


def answer_roll_calls() -> None:
    """Let a thread answer for the main thread from now on, where MPI allows threads; further calls do nothing.

    Communication
    -------------
    Local; a message of some hundred bytes to each rank that waits for this one when its patience ends.
    """
    global _thread
    if _thread is None and MPI.COMM_WORLD.size > 1 and MPI.Query_thread() == MPI.THREAD_MULTIPLE:
        _thread = _AtWork()
        _thread.start()
        atexit.register(_thread.end)
        MPI.COMM_SELF.Set_attr(MPI.Comm.Create_keyval(delete_fn=lambda comm, key, value: value.end()), _thread)  # before MPI_Finalize


class _AtWork(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="hpcml roll-call", daemon=True)
        self._end = threading.Event()

    def end(self) -> None:
        """No call to MPI is made after this."""
        self._end.set()
        if self.is_alive() and threading.current_thread() is not self:
            self.join()

    def run(self) -> None:
        """Look for roll-calls while the main thread is in no wait that does."""
        met, since = -1, 0.0
        while not self._end.wait(LOOK_S):
            now = time.monotonic()
            if patience.met() != met:
                met, since = patience.met(), now
            elif now - since > QUIET_S:
                with suppress(MPI.Exception):  # of ranks that have died, of which the main thread hears too
                    roll_call.answer(where)


def where() -> str:
    """The line that the main thread is at, and that of the caller's own code behind it.

    Communication
    -------------
    Local.
    """
    frame: FrameType | None = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None:
        return "at an unknown line"
    own = next(user_frames(frame), None)
    caller = f", called from {line_of(own)}" if own is not None and own is not frame else ""
    return f"at {line_of(frame)} in {frame.f_code.co_name}{caller}"
