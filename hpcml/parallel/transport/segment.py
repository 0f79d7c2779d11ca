"""Memory that this process shares with others of its node."""

import mmap
import os
import secrets
from pathlib import Path

import torch

FOLDER = Path("/dev/shm")
"""Memory that looks like a file system, on every Linux."""


class Segment:
    """A file in memory, mapped into this process.

    Parameters
    ----------
    name : str
        Name of the file.
    nbytes : int
        Its size.
    create : bool
        Whether to make it, filled with zeros, or to open what another process has made.

    Attributes
    ----------
    bytes : Tensor
        The memory, uint8. It is unmapped when neither this object nor a view of it is left.

    Raises
    ------
    OSError
        If there is no such file, as on another node, or no room for it.

    Notes
    -----
    Its owner unlinks the file as soon as all others have opened it, so that the memory goes when the last process does, however it ends.
    Room is reserved at once: touching memory that is not there would end the process.
    """

    def __init__(self, name: str, nbytes: int, create: bool) -> None:
        self.name = name
        descriptor = os.open(FOLDER / name, os.O_RDWR | (os.O_CREAT | os.O_EXCL if create else 0), 0o600)
        try:
            if create:
                os.posix_fallocate(descriptor, 0, nbytes)
            self.bytes = torch.frombuffer(mmap.mmap(descriptor, nbytes), dtype=torch.uint8)
        except BaseException:
            if create:
                self.unlink()
            raise
        finally:
            os.close(descriptor)

    @classmethod
    def of_own(cls, nbytes: int) -> "Segment":
        """Make one under a name that no other has."""
        return cls(f"hpcml-{secrets.token_hex(12)}", nbytes, create=True)

    def unlink(self) -> None:
        """Take the name away; the memory stays for those that have opened it."""
        (FOLDER / self.name).unlink(missing_ok=True)
