"""The batch system's request to stop, noted from the first instruction of the command on, until somebody asks for it.

A process that has no handler would die of SIGUSR1, with a status that no batch script takes for "go on later" or for "it is done".
"""

import signal
import threading
from types import FrameType

_received = False


def listen() -> None:
    """Note SIGUSR1 from now on; nothing in a thread other than the main one, where Python allows no handlers.

    Communication
    -------------
    Local.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, _note)


def remember() -> None:
    """Note that a request has come which nobody has answered.

    Communication
    -------------
    Local.
    """
    global _received
    _received = True


def received() -> bool:
    """Whether this process was asked to stop, and heard it by `listen` or by `remember`.

    Communication
    -------------
    Local.
    """
    return _received


def ignore() -> None:
    """Go on to the end from now on, which is near: Python lets go of its handlers before a process has ended, and SIGUSR1 would end it.

    Communication
    -------------
    Local.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _note(number: int, frame: FrameType | None) -> None:
    remember()
