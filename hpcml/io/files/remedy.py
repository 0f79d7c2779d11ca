"""What to do about an error of the operating system. Standard library only: the keeper of checkpoints imports this file."""

import errno
import os
import re

_REMEDIES = {
    errno.ENOSPC: "; the disk is full: free some space, or keep fewer checkpoints",
    errno.EDQUOT: "; the quota is used up: free some space, or keep fewer checkpoints",
    errno.EROFS: "; the file system is read-only: choose another folder",
    errno.EACCES: "; choose a folder that this user may write to",
    errno.EPERM: "; choose a folder that this user may write to",
    errno.EMFILE: "; raise the limit of open files: ulimit -n",
    errno.ENFILE: "; this node has too many open files: end what else runs there",
    errno.EIO: "; the disk or the line to it fails: see the system's log, or choose another folder",
    errno.EFBIG: "; raise the limit of the size of a file: ulimit -f",
}


def remedy(number: int | None) -> str:
    """What to do about an error, to end its message with; empty where nothing is known.

    Communication
    -------------
    Local.
    """
    return _REMEDIES.get(number or 0, "")


def reason(error: Exception) -> str:
    """What an error says, on one line, and what to do about it.

    HDF5 wraps an error of the system in the state of its buffers and descriptors: of those the system's words are left.

    Communication
    -------------
    Local.
    """
    wrapped = re.search(r"\berrno = (\d+)", str(error))
    number = int(wrapped[1]) if wrapped else error.errno if isinstance(error, OSError) else None
    said = f"[Errno {number}] {os.strerror(number)}" if wrapped and number else " ".join(str(error).split())
    return said + remedy(number)


def lacks_room(message: str) -> bool:
    """Whether an error's message ends with the remedy of a full disk or quota: it may pass by itself.

    Communication
    -------------
    Local.
    """
    return message.endswith((_REMEDIES[errno.ENOSPC], _REMEDIES[errno.EDQUOT]))
