"""Memory that this process shares with others of its node: it has no name, so that nothing is left of it and nobody else can own it."""

import fcntl
import os
import stat
from dataclasses import dataclass
from typing import Self

import torch

from hpcml.mpi.process import Process

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
"""Memory that was mapped must not become shorter: touching what is gone ends a process."""


@dataclass(frozen=True, slots=True)
class Handle:
    """What opens a segment in another process of the same user, as long as its owner keeps it open.

    Attributes
    ----------
    descriptor : int
        Number of the open file in its owner.
    inode : int
        The system's number of the memory, by which it is known again.
    nbytes : int
        Its size.
    """

    descriptor: int
    inode: int
    nbytes: int


class Segment:
    """Memory without a name (``memfd_create``), mapped into this process.

    Parameters
    ----------
    descriptor : int
        Open file of the memory.
    nbytes : int
        Its size.

    Attributes
    ----------
    bytes : Tensor
        The memory, uint8. It is unmapped when neither this object nor a view of it is left.

    Raises
    ------
    OSError
        If it cannot be mapped.

    Notes
    -----
    It goes with the last process that maps it, however that ends and at whatever instant. Others open it through ``/proc``, which lets in
    processes of the same user only.
    """

    def __init__(self, descriptor: int, nbytes: int) -> None:
        # Unlike mmap of Python, this keeps no file open: a run has many segments, and may open a thousand files.
        try:
            self.bytes = torch.from_file(f"/proc/self/fd/{descriptor}", shared=True, size=nbytes, dtype=torch.uint8)
        except RuntimeError as error:
            raise OSError(f"shared memory of {nbytes} bytes cannot be mapped: {error}") from error
        self._descriptor: int | None = None

    @classmethod
    def of_own(cls, nbytes: int) -> Self:
        """Make one, filled with zeros, that others may open until `shut`.

        Raises
        ------
        OSError
            If there is no room for it: room is reserved at once, since touching memory that is not there would end the process.
        """
        descriptor = os.memfd_create("hpcml-exchange", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.posix_fallocate(descriptor, 0, nbytes)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
            own = cls(descriptor, nbytes)
        except BaseException:
            os.close(descriptor)
            raise
        own._descriptor = descriptor
        return own

    @classmethod
    def of_other(cls, owner: Process, handle: Handle) -> Self:
        """Open what another process offers.

        Raises
        ------
        OSError
            If that process cannot be seen from here (another node, a container with processes of its own), does not let this one in, or
            if what is found there is not that memory.
        """
        if not owner.is_visible:
            raise FileNotFoundError(f"process {owner.pid} is not on this system, or its numbers mean others here")
        place = os.open(f"/proc/{owner.pid}/fd/{handle.descriptor}", os.O_PATH | os.O_CLOEXEC)  # looked at before it is opened
        try:
            _check(place, handle)
            descriptor = os.open(f"/proc/self/fd/{place}", os.O_RDWR | os.O_CLOEXEC)
        finally:
            os.close(place)
        try:
            if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & SEALS != SEALS:
                raise PermissionError("this memory might become shorter while it is in use")
            return cls(descriptor, handle.nbytes)
        finally:
            os.close(descriptor)

    @property
    def handle(self) -> Handle:
        """What opens it elsewhere, from `of_own` until `shut`."""
        assert self._descriptor is not None
        return Handle(self._descriptor, os.fstat(self._descriptor).st_ino, len(self.bytes))

    def shut(self) -> None:
        """Let nobody else open it; who has done so keeps it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _check(descriptor: int, handle: Handle) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or (found.st_uid, found.st_ino, found.st_size) != (os.geteuid(), handle.inode, handle.nbytes):
        raise PermissionError("this is not the memory that was offered")
