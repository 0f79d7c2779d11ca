"""Make an HDF5 file that is still being written readable by any HDF5 reader, at any moment.

HDF5's single-writer-multiple-reader mode (SWMR) orders its writes so that the file on disk is consistent whenever the writer dies, but it
leaves a mark in the superblock that makes ordinary readers refuse the file, and an end-of-file address from before the first step. Both are
set right here after every step. Superblock version 3 and its checksum are those of the HDF5 File Format Specification, version 3.0; the
checksum is lookup3 of B. Jenkins, "Hash functions for hash table lookup" (2006).
"""

import os
import stat
import struct
from pathlib import Path

import h5py

from hpcml.core.errors import CheckpointError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_BYTES, _VERSION, _FLAGS, _EOF, _CHECKSUM = 48, 8, 11, 28, 44
_MASK = 0xFFFFFFFF


def publish(descriptor: int) -> None:
    """Clear the mark of the writer and set the end of the file, by one write of 48 bytes.

    Parameters
    ----------
    descriptor : int
        Of the file, opened for reading and writing; everything up to its present end must have been flushed.

    Communication
    -------------
    Local.
    """
    block = bytearray(os.pread(descriptor, _BYTES, 0))
    struct.pack_into("<Q", block, _EOF, os.fstat(descriptor).st_size)
    os.pwrite(descriptor, _unmarked(block), 0)


def image(file: h5py.File) -> bytes:
    """Content of a file that HDF5 keeps in memory, as it is to be on disk.

    Communication
    -------------
    Local.

    Notes
    -----
    HDF5 itself clears the mark of the writer there, but version 1.10 leaves the checksum as it was, and then refuses the file.
    """
    file.flush()
    content = file.id.get_file_image()
    return bytes(_unmarked(bytearray(content[:_BYTES]))) + content[_BYTES:]


def trim(descriptor: int) -> None:
    """Cut off what lies behind the end of a file that was closed: room that was asked for and not needed.

    Communication
    -------------
    Local.
    """
    os.ftruncate(descriptor, struct.unpack_from("<Q", os.pread(descriptor, _BYTES, 0), _EOF)[0])


def check_length(path: Path) -> None:
    """Refuse a file that is shorter than when it was last published or closed: HDF5 would read its missing end as zeros.

    Raises
    ------
    CheckpointError
        Where the file is cut off, or none of these.
    FileNotFoundError
        Where there is none.

    Communication
    -------------
    Local.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would be waited for
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CheckpointError(f"{path} is no regular file: expected a file of snapshots")
        block = os.pread(descriptor, _BYTES, 0)
        size = os.fstat(descriptor).st_size  # after the superblock: a live file only grows
    finally:
        os.close(descriptor)
    if len(block) < _BYTES or block[:8] != _SIGNATURE or block[_VERSION] != 3:
        raise CheckpointError(f"{path} is no snapshot file of hpcml, or its beginning is damaged")
    if struct.unpack_from("<I", block, _CHECKSUM)[0] != lookup3(block[:_CHECKSUM]):
        raise CheckpointError(f"{path} is damaged: its superblock does not match its checksum")
    end = struct.unpack_from("<Q", block, _EOF)[0]
    if size < end:
        raise CheckpointError(f"{path} is truncated: expected {end} bytes, got {size}; restore the file, or write the snapshots again")


def lookup3(data: bytes) -> int:
    """Jenkins' lookup3 hash of some bytes, as HDF5 uses it.

    Examples
    --------
    >>> hex(lookup3(b"Four score and seven years ago"))
    '0x17770551'
    """
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    while len(data) > 12:
        x, y, z = struct.unpack_from("<3I", data)
        a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
        for shift in (4, 6, 8, 16, 19, 4):
            a = ((a - c) & _MASK) ^ _rotated(c, shift)
            c = (c + b) & _MASK
            a, b, c = b, c, a
        data = data[12:]
    if not data:
        return c
    x, y, z = struct.unpack("<3I", data.ljust(12, b"\0"))
    a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
    for shift in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotated(b, shift)) & _MASK
        a, b, c = b, c, a
    return b


def _unmarked(block: bytearray) -> bytearray:
    """The superblock without the mark of a writer, with a checksum that fits."""
    block[_FLAGS] = 0
    struct.pack_into("<I", block, _CHECKSUM, lookup3(bytes(block[:_CHECKSUM])))
    return block


def _rotated(word: int, shift: int) -> int:
    return ((word << shift) | (word >> (32 - shift))) & _MASK
