"""Where the C library takes the memory of large results from: else a matter of chance, and of a factor of two to five in their time."""

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt, from malloc.h
_MOST_KEPT = 1 << 30


def keep_results_below(num_bytes: int) -> None:
    """Let smaller results stay in the process once they are freed, and larger ones come from the system, page by page, each time.

    Whether they stay depends on what a program has freed before, so that benchmarks which compare with results in new memory fix it. Has no
    effect without the GNU C library, and none above 32 MiB.

    Communication
    -------------
    Local.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, num_bytes)
        library.mallopt(_TRIM_THRESHOLD, _MOST_KEPT)
