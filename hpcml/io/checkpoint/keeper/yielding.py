"""Work in parts that lets training go first, up to a time. Standard library only: the keeper process imports this file."""

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def work_off(parts: Iterator[None], yield_until: float) -> float:
    """Do all parts of a piece of work: at the lowest priority until a time of the monotonic clock, then at that of this thread.

    Where every core is taken, the work waits rather than training; but not for ever.

    Returns
    -------
    float
        Seconds that it waited for a core at the lowest priority.

    Raises
    ------
    Exception
        What the work raises.

    Communication
    -------------
    Local.

    Notes
    -----
    Linux lets a thread lower its own priority and not raise it again, so another thread goes on.
    """
    waited, errors = 0.0, []

    def work() -> None:
        nonlocal waited
        try:
            os.setpriority(os.PRIO_PROCESS, 0, 19)  # of this thread alone
            start = _seconds_without_core()
            for _ in parts:
                if time.monotonic() > yield_until:
                    break
            waited = _seconds_without_core() - start
        except BaseException as error:
            errors.append(error)

    if time.monotonic() < yield_until:
        thread = threading.Thread(target=work)
        with suppress(RuntimeError):  # where no thread can be made, this one does it all
            thread.start()
            thread.join()
    for error in errors:
        raise error
    deque(parts, maxlen=0)
    return waited


def _seconds_without_core() -> float:
    """How long this thread has been ready to run while others had the cores; 0 where the system does not count that."""
    with suppress(OSError):
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    return 0.0
