"""One rank that fails ends the job; ranks that fail together say so once.

An uncaught exception (or ``sys.exit`` with a code other than 0) makes its rank wait a moment, on a communicator kept for this, whether
all others have failed too:

    all have    the lowest rank of each kind of error prints it, and every rank leaves with its exit code
    they do not the rank prints its traceback and aborts the job, which frees those that wait for it

Rank 0 prints before it calls MPI again: some libraries end the process, in words of their own, over a message that the error has cut off.

Communication
-------------
`install` is collective. Failing costs one non-blocking barrier.

Notes
-----
Exit codes: 2 for an `HpcmlError`, 86 where ranks are lost, 130 for Ctrl-C, 1 for anything else, the given one for ``sys.exit``. A job of
one rank behaves as Python does. A bare ``raise SystemExit`` cannot be seen from within Python: call ``sys.exit``.
"""

import atexit
import itertools
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import redirect_stderr, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from hpcml.core.errors import HpcmlError, LostRankError
from hpcml.core.exit_status import LOST
from hpcml.core.printable import LINES, printable
from hpcml.mpi.launcher import detect

if TYPE_CHECKING:
    from mpi4py import MPI

SAY_S = 0.2  # MPICH's launcher throws away what it has not yet read of a rank that aborts
WAIT_S = 2.0  # an agreed error reaches all ranks within milliseconds, and a job must end within five seconds
FINALIZE_S = 30  # MPI_Finalize may wait for ever for a message that the error has cut off
FINALIZE_CORE_S = 5.0  # of a core: such a wait looks again and again, while to leave takes one second, however busy the machine is
PACKAGE = str(Path(__file__).parents[1])


class _Hook:
    """A communicator for those that fail, and how far this rank is with failing."""

    def __init__(self, comm: "MPI.Intracomm") -> None:
        self.comm = comm.Dup()
        self.pid = os.getpid()  # a forked child inherits the hook, but is no rank
        self.settled = False
        self.exiting: int = 0  # code with which this process ends
        self.finalizes = True


class _Exit(SystemExit):
    """What `sys.exit` raises; it knows whether it ended the process or was caught: in the first case no Python frame is left."""

    def __del__(self) -> None:
        if _hook and sys._getframe().f_back is not None:
            _hook.exiting = 0


_hook: _Hook | None = None


def install(comm: "MPI.Intracomm") -> None:
    """Watch over this process: uncaught exceptions, those in threads, and ``sys.exit``.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        All ranks of the job. Further calls do nothing.

    Communication
    -------------
    Collective over ``comm``: it is cloned.
    """
    global _hook
    if _hook is not None:
        return
    _hook = _Hook(comm)
    if comm.size > 1:
        sys.exit = _exit
        threading.excepthook = _on_thread_exception
        atexit.register(_on_exit)
    if comm.size > 1 or detect().size > 1:
        speak_once()


def end_without_finalize() -> None:
    """Let this process end without MPI_Finalize, which may wait for ranks that have died.

    Communication
    -------------
    Local; at its end a process waits a moment for the others.
    """
    if _hook is not None:
        _hook.finalizes = False


def watch_over(comm: "MPI.Intracomm") -> None:
    """Watch over fewer ranks, since the others have died.

    Communication
    -------------
    Collective over ``comm``: it is cloned.
    """
    if _hook is not None:
        _hook.comm = comm.Dup()


def is_installed() -> bool:
    """Whether `install` was called.

    Communication
    -------------
    Local.
    """
    return _hook is not None


def speak_once() -> None:
    """Print an uncaught exception on behalf of all processes of the launch, MPI or not.

    Communication
    -------------
    Local; what happens with the exception is up to `handle`.
    """
    sys.excepthook = _on_exception


def handle(error: BaseException) -> int:
    """Print an error as one voice, and give the exit code that this rank is to leave with; a rank that fails alone aborts the job.

    Parameters
    ----------
    error : BaseException
        What nobody else will catch.

    Returns
    -------
    int
        Exit code: 2 for an `HpcmlError`, `LOST` where ranks are, 130 for Ctrl-C, that of a `SystemExit`, otherwise 1.

    Communication
    -------------
    Collective over the failed ranks, with a time limit; local on one rank or before `install`.
    """
    hook, code = _hook, exit_code(error)
    if hook is None or hook.comm.size == 1 or hook.pid != os.getpid():
        if detect().rank == 0 or (hook and hook.pid != os.getpid()):
            _print(error)
        else:
            time.sleep(WAIT_S / 4)  # as below, without an MPI to say when
        return code
    if hook.comm.rank == 0:
        with suppress(OSError):  # a closed pipe must not keep the others at the barrier
            _print(error)
    if not all_have_failed(hook.comm):
        _abort(hook.comm, error, code)
    kinds = hook.comm.allgather(type(error).__name__)
    if hook.comm.rank > 0 and kinds.index(kinds[hook.comm.rank]) == hook.comm.rank:
        with suppress(OSError):
            _print(error, f"[rank {hook.comm.rank} of {hook.comm.size}] ")
    hook.comm.Barrier()  # some launchers end the job, and with it the rank that speaks, when the first rank leaves
    hook.settled, hook.exiting = True, code
    if threading.current_thread() is threading.main_thread():
        limit_finalize()
    return code


def limit_finalize() -> None:
    """End this process by a signal if it does not come to its end in time, of which little is needed.

    Communication
    -------------
    Local.
    """
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)
    signal.alarm(FINALIZE_S)
    signal.setitimer(signal.ITIMER_PROF, FINALIZE_CORE_S)


def exit_code(error: BaseException) -> int:
    """Exit code of a process that ends with this error."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, LostRankError):
        return LOST
    return 2 if isinstance(error, HpcmlError) else 130 if isinstance(error, KeyboardInterrupt) else 1


def all_have_failed(comm: "MPI.Intracomm") -> bool:
    """Whether all ranks come here within `WAIT_S`.

    Communication
    -------------
    One non-blocking barrier, with a time limit.
    """
    deadline = time.monotonic() + WAIT_S
    try:
        arrival = comm.Ibarrier()
        while not arrival.Test():
            if time.monotonic() > deadline:
                return False
            time.sleep(1e-3)
    except Exception:  # MPI itself is what failed
        return False
    return True


def _abort(comm: "MPI.Intracomm", error: BaseException, code: int) -> NoReturn:
    if isinstance(error, SystemExit):
        what = f"left with exit code {code}\n"
    elif comm.rank > 0:
        what = "".join(traceback.format_exception(error))
    else:  # which has told what, but of an `HpcmlError` not where
        what = f"failed with this {type(error).__name__} at\n{''.join(traceback.format_tb(error.__traceback__))}"
    end_job(comm, f"[rank {comm.rank} of {comm.size} on {socket.gethostname()}, alone] {what}", code)


def end_job(comm: "MPI.Intracomm", words: str, code: int) -> NoReturn:
    """Say why, and end all ranks.

    Communication
    -------------
    Local; the launcher does the rest.
    """
    sys.stdout.flush()
    sys.stderr.write(words)
    sys.stderr.flush()
    time.sleep(SAY_S)
    comm.Abort(code)
    os._exit(code)


def _print(error: BaseException, who: str = "") -> None:
    if isinstance(error, HpcmlError):
        sys.stderr.write(f"hpcml: error: {who}{printable(str(error), LINES)}{_place(error)}\n")
    elif isinstance(error, KeyboardInterrupt):
        sys.stderr.write(f"hpcml: interrupted{_place(error)}\n")
    elif not isinstance(error, SystemExit):  # Python prints the message of that one itself
        sys.stderr.write(who + "".join(traceback.format_exception(error)))
    sys.stderr.flush()


def _place(error: BaseException) -> str:
    """Where the caller's own code came to hpcml, if it did."""
    frames = itertools.takewhile(lambda frame: not frame.filename.startswith(PACKAGE), traceback.extract_tb(error.__traceback__))
    own = [f for f in frames if "site-packages" not in f.filename and not f.filename.startswith("<") and Path(f.filename).stem != "hpcml"]
    return f" ({own[-1].filename}:{own[-1].lineno})" if own else ""


def _on_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    with redirect_stderr(sys.__stderr__ or sys.stderr):  # torch.distributed keeps what is printed here until the hook returns
        code = handle(error)
    raise SystemExit(code)


def _on_thread_exception(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and args.exc_type is not SystemExit:
        os._exit(handle(args.exc_value))  # the main thread may never return from MPI


def _exit(status: object = None, /) -> NoReturn:
    if _hook and threading.current_thread() is threading.main_thread():
        _hook.exiting = exit_code(SystemExit(status))
    raise _Exit(status)  # without a name here: this frame would keep it alive


def _on_exit() -> None:
    if _hook and _hook.exiting and not _hook.settled and _hook.pid == os.getpid():
        handle(SystemExit(_hook.exiting))
    if _hook and not _hook.finalizes and _hook.pid == os.getpid():
        _leave(_hook)


def _leave(hook: _Hook) -> NoReturn:
    """End this process when the others do, or soon after; what is registered with `atexit` has run, but for what was there before."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    all_have_failed(hook.comm)
    os._exit(hook.exiting)
