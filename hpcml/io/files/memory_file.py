"""A file that HDF5 makes in memory, so that only calls of ours, whose failures are exceptions, meet the disk."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpcml.io.files.replace import replacing

_PAGE = 4096


class MemoryFile(io.RawIOBase):
    """A sparse file for ``h5py.File(memory_file, "w")``: what HDF5 writes takes memory, the places that it reserves for arrays do not.

    Notes
    -----
    HDF5 that cannot write what it has taken, as on a disk that is full, fails to close the file, and crashes the process when objects of
    that file are freed. Its own driver for memory (``core``) would spend memory on the reserved places too.
    """

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._place = self._size = 0

    def save(self, path: Path) -> None:
        """Put the content on the disk, under its name once it is whole.

        Raises
        ------
        OSError
            Disk full, no permission and the like; what was under that name is still there.

        Communication
        -------------
        Local.
        """
        with replacing(path) as partial:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            try:
                self.write_to(descriptor)
            finally:
                os.close(descriptor)

    def write_to(self, descriptor: int) -> None:
        """Make this the content of an empty file that is open for writing; places that nothing was written to stay holes.

        Raises
        ------
        OSError
            Disk full and the like.

        Communication
        -------------
        Local.
        """
        os.ftruncate(descriptor, self._size)
        for number, page in sorted(self._pages.items()):
            start, left = number * _PAGE, memoryview(page)[: self._size - number * _PAGE]
            while left:
                done = os.pwrite(descriptor, left, start)
                start, left = start + done, left[done:]

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        memory = memoryview(buffer).cast("B")
        memory = memory[: max(0, self._size - self._place)]
        for page, start, piece in self._pieces(memory):
            piece[:] = self._pages[page][start : start + len(piece)] if page in self._pages else bytes(len(piece))
        self._place += len(memory)
        return len(memory)

    def write(self, data: Any) -> int:
        memory = memoryview(data).cast("B")
        for page, start, piece in self._pieces(memory):
            self._pages.setdefault(page, bytearray(_PAGE))[start : start + len(piece)] = piece
        self._place += len(memory)
        self._size = max(self._size, self._place)
        return len(memory)

    def truncate(self, size: int | None = None) -> int:
        self._size = self._place if size is None else size
        last, used = divmod(self._size, _PAGE)
        self._pages = {number: page for number, page in self._pages.items() if number <= last}
        if last in self._pages:
            self._pages[last][used:] = bytes(_PAGE - used)
        return self._size

    def _pieces(self, memory: memoryview) -> Iterator[tuple[int, int, memoryview]]:
        """Pages that memory at the present place lies on: their number, the first byte on each, and the memory that belongs there."""
        done = 0
        while done < len(memory):
            page, start = divmod(self._place + done, _PAGE)
            piece = memory[done : done + _PAGE - start]
            yield page, start, piece
            done += len(piece)
