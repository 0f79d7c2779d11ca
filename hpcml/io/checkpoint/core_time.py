"""Whether a thread gets a core when it wants one. Standard library only: the keeper process imports this file."""

from contextlib import suppress
from pathlib import Path


def seconds_without_core() -> float:
    """How long this thread has been ready to run while others had the cores; 0 where the system does not count that.

    Communication
    -------------
    Local.
    """
    with suppress(OSError):
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    return 0.0
