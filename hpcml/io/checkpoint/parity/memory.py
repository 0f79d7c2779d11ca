"""Checkpoints that are still in memory: on which ranks each part of them is, and how to read it there."""

import mmap
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from mpi4py import MPI

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint.keeper.kept import Kept
from hpcml.io.checkpoint.parity.parity_group import ParityGroup, decode
from hpcml.io.files.agree import together
from hpcml.mpi.message_tags import REBUILD

Key = tuple[str, int]
"""Session and sequence of a save."""


class UnreachableError(CheckpointError):
    """A part that this rank wants is in the memory of another node."""


@dataclass(frozen=True, slots=True)
class InMemory:
    """A save that is complete in memory, or can be made so from parity; the same on every rank.

    Attributes
    ----------
    key : (str, int)
        Session and sequence.
    header : dict
        Of the save.
    readers : dict of int to int
        By rank that saved: the restoring rank that can read its copy.
    missing : tuple of int
        Ranks that saved and whose copies are lost.
    groups : dict of int to ParityGroup
        By rank that saved: its group, where its parity is complete.
    """

    key: Key
    header: dict[str, Any]
    readers: dict[int, int]
    missing: tuple[int, ...]
    groups: dict[int, ParityGroup]

    @property
    def level(self) -> str:
        return "parity" if self.missing else "memory"


def find_in_memory(kept: Sequence[Kept], comm: MPI.Intracomm) -> list[InMemory]:
    """What can be restored from memory, newest first.

    Communication
    -------------
    Collective: a few hundred bytes per keeper.
    """
    mine = [(one.rank, {key: header for key, (header, _) in one.copies.items()}, one.group, tuple(one.parity)) for one in kept]
    headers: dict[Key, dict[str, Any]] = {}
    readers: dict[Key, dict[int, int]] = {}
    groups: dict[Key, dict[int, ParityGroup]] = {}
    for reader, offers in enumerate(comm.allgather(mine)):
        for rank, copies, group, parities in offers:
            for key, header in copies.items():
                headers[key] = header
                readers.setdefault(key, {}).setdefault(rank, reader)
            for key in parities:
                groups.setdefault(key, {})[rank] = group
    found = []
    for key, header in headers.items():
        missing = tuple(rank for rank in range(header["size"]) if rank not in readers[key])
        save = InMemory(key, header, readers[key], missing, groups.get(key, {}))
        if not missing or (header["size"] == comm.size and _can_rebuild(save)):
            found.append(save)
    return sorted(found, key=lambda save: save.key[1], reverse=True)


class MemoryImages:
    """The files of the ranks that saved, in memory that this process shares.

    Parameters
    ----------
    save : InMemory
        What to read.
    files : mapping of int to int
        By rank that saved: file descriptor of its copy, for those within reach of this process.
    rebuilt : sequence of int
        Descriptors of copies that were made here, and are closed with this.
    """

    def __init__(self, save: InMemory, files: Mapping[int, int], rebuilt: Sequence[int]) -> None:
        self._save, self._descriptors, self._rebuilt = save, files, rebuilt
        self._files: dict[int, _MappedFile] = {}

    def __enter__(self) -> "MemoryImages":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for file in self._files.values():
            file.close()
        for descriptor in self._rebuilt:
            os.close(descriptor)

    def open(self, rank: int) -> "_MappedFile":
        if rank not in self._descriptors:
            raise UnreachableError(f"the copy of rank {rank} is in the memory of another node")
        if rank not in self._files:
            self._files[rank] = _MappedFile(self._descriptors[rank])
        return self._files[rank]

    def reader(self, rank: int) -> int:
        return self._save.readers.get(rank, rank)


class _MappedFile:
    """An HDF5 file in memory whose contiguous datasets are read where they lie."""

    def __init__(self, fd: int) -> None:
        # Opened anew: a descriptor that a keeper has handed to several ranks shares its position among them, and h5py seeks.
        self._raw = os.fdopen(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY), "rb", buffering=0)
        self._file = h5py.File(self._raw, "r")
        self._memory = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)

    def __getitem__(self, name: str) -> np.ndarray:
        dataset = self._file[name]
        place = dataset.id.get_offset()
        if place is None:
            return np.empty(dataset.shape, dataset.dtype)
        return np.ndarray(dataset.shape, dataset.dtype, self._memory, place)

    def close(self) -> None:
        self._file.close()
        self._raw.close()
        with suppress(BufferError):  # an error that is told of may still hold a part of it
            self._memory.close()


def open_in_memory(save: InMemory, kept: Sequence[Kept], comm: MPI.Intracomm) -> MemoryImages:
    """Reach for the copies of a save, and rebuild those that are lost from the parity of the others.

    Communication
    -------------
    Collective: what was lost is rebuilt on the rank of the same number, which receives as many bytes from the others of its group as
    each of them has saved. The disk is not read.
    """
    files = {one.rank: one.copies[save.key][1] for one in kept if save.key in one.copies}
    rebuilt = {}
    for lost in save.missing:
        image = _rebuild(save, lost, kept, files, comm)
        with together(comm, f"rebuilding the copy of rank {lost}"):
            if image is not None:
                rebuilt[lost] = _in_memory(image)
    return MemoryImages(save, files | rebuilt, list(rebuilt.values()))


def _sources(save: InMemory, lost: int) -> list[tuple[int, list[tuple[str, int, int]]]]:
    """For each stripe that a lost rank fed: its number, and where to take enough other parts of it from."""
    group = next(group for rank, group in save.groups.items() if lost in group.members)
    plan = []
    for stripe in group.stripes_fed(group.members.index(lost)):
        data = [("data", number, group.members[giver]) for number, giver in enumerate(group.contributors(stripe))]
        parity = [("parity", number, group.members[holder]) for number, holder in enumerate(group.holders(stripe))]
        usable = [part for part in data if part[2] in save.readers] + [part for part in parity if part[2] in save.groups]
        plan.append((stripe, usable[: group.width]))
    return plan


def _can_rebuild(save: InMemory) -> bool:
    for lost in save.missing:
        if not any(lost in group.members for group in save.groups.values()):
            return False
        group = next(group for group in save.groups.values() if lost in group.members)
        if any(len(parts) < group.width for _, parts in _sources(save, lost)):
            return False
    return True


def _rebuild(save: InMemory, lost: int, kept: Sequence[Kept], files: Mapping[int, int], comm: MPI.Intracomm) -> np.ndarray | None:
    """Rebuild the copy of a lost rank on the rank of the same number; None on the others."""
    group = next(group for group in save.groups.values() if lost in group.members)
    held = {one.rank: one for one in kept}
    image = np.zeros(group.width * group.segment, np.uint8) if comm.rank == lost else None
    for place, (stripe, parts) in enumerate(_sources(save, lost)):
        arrived: dict[str, dict[int, bytes]] = {"data": {}, "parity": {}}
        for kind, number, giver in parts:
            source = save.readers[giver]
            payload: memoryview | bytes | None = None
            if comm.rank == source:
                payload = held[giver].bundle(save.key, stripe) if kind == "parity" else _segment(group, giver, stripe, files[giver])
            if source != lost:
                if comm.rank == source:
                    comm.Send([payload, MPI.BYTE], dest=lost, tag=REBUILD)
                elif comm.rank == lost:
                    payload = memoryview(bytearray(group.bundle if kind == "parity" else group.segment))
                    comm.Recv([payload, MPI.BYTE], source=source, tag=REBUILD)
            if comm.rank == lost and payload is not None:
                arrived[kind][number] = bytes(payload)
        if image is not None:
            wanted = group.contributors(stripe).index(group.members.index(lost))
            segment = decode(group, wanted, arrived["data"], arrived["parity"])
            image[place * group.segment : (place + 1) * group.segment] = np.frombuffer(segment, np.uint8)
    return image


def _in_memory(image: np.ndarray) -> int:
    """A file in memory with these bytes."""
    descriptor = os.memfd_create("hpcml-rebuilt")
    try:
        os.truncate(descriptor, image.nbytes)
        with mmap.mmap(descriptor, image.nbytes) as memory:
            np.frombuffer(memory, np.uint8)[:] = image
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _segment(group: ParityGroup, rank: int, stripe: int, fd: int) -> bytes:
    """What a rank contributes to a stripe, filled up with zeros behind the end of its copy."""
    index = group.stripes_fed(group.members.index(rank)).index(stripe)
    return os.pread(fd, group.segment, index * group.segment).ljust(group.segment, b"\0")
