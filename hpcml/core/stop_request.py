"""The batch system's request to stop, noted from the first instruction of the command on, until somebody asks for it.

A process that has no handler yet would die of SIGUSR1, with a status that no batch script takes for "go on later".
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


def received() -> bool:
    """Whether this process was asked to stop since `listen`.

    Communication
    -------------
    Local.
    """
    return _received


def _note(number: int, frame: FrameType | None) -> None:
    global _received
    _received = True
