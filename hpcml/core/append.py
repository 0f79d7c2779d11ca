"""Append to a file all of something or nothing."""

import os


def append(descriptor: int, data: bytes) -> None:
    """Append bytes to a file that is open with ``O_APPEND``; where the disk refuses a part of them, none stays.

    Raises
    ------
    OSError
        Disk full and the like; the file is as it was.

    Communication
    -------------
    Local.
    """
    before = os.fstat(descriptor).st_size
    done = 0
    try:
        while done < len(data):
            done += os.write(descriptor, data[done:])
    except OSError:
        os.ftruncate(descriptor, before)
        raise
