"""How long a rank waits for another, and how: every wait of the package passes through here.

    a few looks in a row, then the core is offered to others, then short sleeps; after HPCML_PATIENCE_S, 300 s by default, an error

A rank that lives may be late: it may be compiling or reading a file, and no working job is to be ended for that. One that does not come
for minutes has skipped a call.
"""

import atexit
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from mpi4py import MPI

from hpcml.core.errors import ConfigError, LostRankError
from hpcml.mpi import abort, roll_call, waited
from hpcml.mpi.lost_ranks import lost_ranks, of_lost_ranks

PATIENCE_S = 300.0
LOOKS = 60
"""Before the core is offered to others: some 20 us."""
LOOK_S = 0.05
"""From then on, between two looks after those that do not come."""
_given_up: list[object] = []  # requests, and the memory that MPI may still write to
_lenient = _met = 0


def patience_s() -> float:
    """Seconds that a rank waits for one that lives: ``$HPCML_PATIENCE_S``, or 300.

    Raises
    ------
    ConfigError
        If it is no positive number.

    Communication
    -------------
    Local.
    """
    wish = os.environ.get("HPCML_PATIENCE_S", str(PATIENCE_S))
    try:
        patience = float(wish)
    except ValueError:
        patience = 0.0
    if not patience > 0:
        raise ConfigError(f"HPCML_PATIENCE_S={wish!r}: expected a positive number of seconds")
    return patience


def met() -> int:
    """A number that changes while this rank waits, and whenever it does.

    Communication
    -------------
    Local.
    """
    return _met


@contextmanager
def lenient() -> Iterator[None]:
    """Wait without a limit in this block, where others may work for hours before they come: their own simulations, a slow disk.

    That all ranks have come to the block is to be found out before, by `hpcml.mpi.meeting.meet`.

    Communication
    -------------
    Local.
    """
    global _lenient
    _lenient += 1
    try:
        yield
    finally:
        _lenient -= 1


def wait(
    done: Callable[[], bool],
    what: Callable[[], str],
    comm: MPI.Intracomm,
    awaited: Callable[[], Sequence[int]] | None = None,
    reason: Callable[[float], Exception | None] | None = None,
) -> None:
    """Return when something is done that others have a part in.

    Parameters
    ----------
    done : callable
        Whether it is; called again and again.
    what : callable
        What is waited in, for the error.
    comm : mpi4py.MPI.Intracomm
        The ranks that take part.
    awaited : callable, optional
        Ranks of ``comm`` that have not come; by default any of the others.
    reason : callable, optional
        Given the time at which the wait began, by `time.monotonic`: why there is no point in waiting on.

    Raises
    ------
    LostRankError
        When patience ends: names this rank, the call, and who has not come. What was begun must then be given up: see `give_up`.

    Communication
    -------------
    What ``done`` does; messages of a few hundred bytes when patience ends.
    """
    global _met
    _met += 1
    try:
        for _ in range(LOOKS):
            if done():
                return
        queued, start = waited.queued(), time.monotonic()
        try:
            _wait_long(done, what, comm, awaited, reason, start)
        finally:
            waited.count(start, queued)
    except MPI.Exception as error:
        if not lost_ranks():
            raise
        raise of_lost_ranks(what()) from error


def _wait_long(
    done: Callable[[], bool],
    what: Callable[[], str],
    comm: MPI.Intracomm,
    awaited: Callable[[], Sequence[int]] | None,
    reason: Callable[[float], Exception | None] | None,
    start: float,
) -> None:
    global _met
    began, look = time.time(), start
    while not done():
        now = time.monotonic()
        if now - start < LOOK_S:
            os.sched_yield()
        else:
            time.sleep(1e-4)
        if now - look > LOOK_S:
            look = now
            _met += 1
            if reason is not None and (error := reason(start)) is not None and not done():
                raise error
            heard = roll_call.said_since(began)
            if heard or (not _lenient and now - start > patience_s()):
                others = list(awaited()) if awaited is not None else [r for r in range(comm.size) if r != comm.rank]
                verdict = roll_call.call_roll(what(), comm, others, began, heard, done)
                if verdict is None:
                    return
                if not _lenient:
                    end_where_uncaught()
                    raise verdict


def give_up(*things: Any) -> None:
    """Keep requests and memory for ever that MPI may still write to.

    Communication
    -------------
    Local.
    """
    _given_up.append(things)


def late(peer: int, start: float, what: str, comm: MPI.Intracomm) -> LostRankError | None:
    """The error for one peer that has been waited for since ``start``, if patience is over or others have given up.

    Communication
    -------------
    Messages of a few hundred bytes when patience ends.
    """
    global _met
    _met += 1
    began = time.time() - (time.monotonic() - start)
    heard = roll_call.said_since(began)
    if not heard and (_lenient or time.monotonic() - start <= patience_s()):
        return None
    verdict = roll_call.call_roll(what, comm, [peer], began, heard, lambda: False)
    if verdict is not None and not _lenient:
        end_where_uncaught()
    return None if _lenient else verdict


def end_where_uncaught() -> None:
    """See that an error ends the job although others wait for this process: it may pass through code that knows nothing of MPI.

    Communication
    -------------
    Local; what nobody catches then aborts the job.
    """
    if abort.is_installed():
        return
    sys.excepthook = _abort
    if threading.current_thread() is threading.main_thread():
        atexit.register(abort.limit_finalize)


def _abort(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    words = f"[rank {MPI.COMM_WORLD.rank} of {MPI.COMM_WORLD.size}] {''.join(traceback.format_exception(error))}"
    abort.end_job(MPI.COMM_WORLD, words, abort.exit_code(error))
