"""Read a state from the files of any number of ranks: replicated arrays once for all ranks, blocks where they are wanted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import h5py
import numpy as np
from mpi4py import MPI

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint.box import Box
from hpcml.io.checkpoint.catalog import rank_file
from hpcml.io.checkpoint.dtypes import storage_dtype
from hpcml.io.checkpoint.image import as_target, dataset_name
from hpcml.io.checkpoint.placement import Blocked
from hpcml.io.checkpoint.plan import ArraySpec, describe
from hpcml.io.checkpoint.state import flatten, unflatten
from hpcml.io.files.agree import together
from hpcml.topology.block import block_range

_MESSAGE_BYTES = 1 << 30


class Images(Protocol):
    """The HDF5 files of the ranks that saved, wherever they are."""

    def open(self, rank: int) -> Any:
        """The file that a rank saved: ``file[name]`` can be indexed like an array."""

    def reader(self, rank: int) -> int:
        """Which of the restoring ranks reads on behalf of all what this one saved."""


class FolderImages:
    """The files of a checkpoint on disk, opened when first needed.

    Parameters
    ----------
    folder : pathlib.Path
        The checkpoint.
    size : int
        Ranks that restore.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folder, self._size = folder, size
        self._files: dict[int, h5py.File] = {}

    def __enter__(self) -> "FolderImages":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for file in self._files.values():
            file.close()

    def open(self, rank: int) -> h5py.File:
        if rank not in self._files:
            self._files[rank] = h5py.File(self._folder / rank_file(rank), "r", locking="best-effort")
        return self._files[rank]

    def reader(self, rank: int) -> int:
        return rank % self._size


@dataclass(slots=True)
class _Index:
    """What the files hold: the same on every rank."""

    structure: list[Any]
    specs: list[ArraySpec]
    values: list[Any]
    step: int
    pieces: list[list[tuple[int, Box]]]
    """By entry: (rank that wrote it, where it lies)."""


def load(images: Images, size: int, comm: MPI.Intracomm, like: Mapping[str, Any] | None) -> tuple[int, Any]:
    """Read a state.

    Parameters
    ----------
    images : Images
        What was saved.
    size : int
        Ranks that saved it.
    comm : mpi4py.MPI.Intracomm
        Ranks that restore.
    like : mapping or None
        A state of the run that restores: its `Blocked` entries say which box each rank wants, and its arrays must be of the saved shape
        and type.

    Returns
    -------
    int, state
        The step and the state on this rank, on the CPU.

    Raises
    ------
    CheckpointError
        On every rank, where the checkpoint is of another model or does not hold what is asked for.

    Communication
    -------------
    Collective: replicated bytes are read once and broadcast; blocks are read by the ranks that want them.
    """
    index = _read_index(images, size, comm)
    with together(comm, "restoring the state"):
        boxes = _wanted(index.specs, like)
    with together(comm, "reading the replicated arrays"):
        packed = {rank: _pack(index, rank, images.open(rank)) for rank in range(size) if images.reader(rank) == comm.rank}
    stored = _broadcast(index, packed, images, size, comm)
    with together(comm, "reading the blocks"):
        for entry, spec in enumerate(index.specs):
            if spec.placement != "replicated":
                box = boxes[entry] or _own_rows(index.pieces[entry], spec, size, comm)
                stored[entry] = _read_box(index.pieces[entry], spec, box, images)
    arrays = [as_target(array, spec) for array, spec in zip(stored, index.specs, strict=True)]
    return index.step, unflatten(index.structure, index.values, arrays)


def _read_index(images: Images, size: int, comm: MPI.Intracomm) -> _Index:
    tables: dict[int, tuple[list[Any], dict[str, int]]] = {}
    head = None
    with together(comm, "reading the index"):
        for rank in range(size):
            if images.reader(rank) == comm.rank:
                file = images.open(rank)
                values = _document(file, "values")
                tables[rank] = (_document(file, "pieces"), values["rows"])
                if rank == 0:
                    head = (_document(file, "structure"), values)
    for other in comm.allgather(tables):
        tables.update(other)
    structure, values = comm.bcast(head, root=images.reader(0))
    specs = [ArraySpec.from_json(fields) for fields in structure["arrays"]]
    pieces: list[list[tuple[int, Box]]] = [[] for _ in specs]
    for rank in range(size):
        table, rows = tables[rank]
        for entry, offset, shape in table:
            box = Box(tuple(offset), tuple(shape))
            if specs[entry].placement == "rows":
                first = pieces[entry][-1][1].offset[0] + pieces[entry][-1][1].shape[0] if pieces[entry] else 0
                box = Box((first, *offset[1:]), (rows[str(entry)], *shape[1:]))
            pieces[entry].append((rank, box))
    return _Index(structure["state"], specs, values["values"], values["step"], pieces)


def _document(file: h5py.File, name: str) -> Any:
    return json.loads(file[name][()].tobytes())


def _wanted(specs: Sequence[ArraySpec], like: Mapping[str, Any] | None) -> list[Box | None]:
    """The box of each blocked entry that this rank wants; without `like` all of it."""
    boxes = [Box((0,) * len(spec.shape), spec.shape) if spec.placement == "blocked" else None for spec in specs]
    if like is None:
        return boxes
    flat = flatten(like)
    place = {spec.name: entry for entry, spec in enumerate(specs)}
    for name, leaf in zip(flat.names, flat.leaves, strict=True):
        want = describe(name, leaf)
        if name not in place:
            raise CheckpointError(f"the checkpoint holds no {name}: it is of another model; build the model that was saved")
        have = specs[place[name]]
        if (want.shape, want.dtype, want.placement) != (have.shape, have.dtype, have.placement):
            raise CheckpointError(
                f"{name} was saved as {have.placement} {have.dtype} of shape {have.shape}, "
                f"this run has {want.placement} {want.dtype} of shape {want.shape}: the checkpoint is of another model; "
                "build the model that was saved"
            )
        if isinstance(leaf, Blocked):
            boxes[place[name]] = leaf.box
    return boxes


def _pack(index: _Index, rank: int, file: h5py.File) -> np.ndarray:
    """The replicated pieces of one file, end to end."""
    parts = [
        np.ascontiguousarray(file[dataset_name(spec)][()]).reshape(-1).view(np.uint8)
        for spec, pieces in zip(index.specs, index.pieces, strict=True)
        if spec.placement == "replicated" and any(writer == rank for writer, _ in pieces)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.uint8)


def _broadcast(index: _Index, packed: dict[int, np.ndarray], images: Images, size: int, comm: MPI.Intracomm) -> list[Any]:
    """Give every rank all replicated arrays."""
    stored: list[Any] = [
        np.empty(spec.shape, storage_dtype(spec.dtype)) if spec.placement == "replicated" else None for spec in index.specs
    ]
    for rank in range(size):
        mine = [
            (entry, box)
            for entry, pieces in enumerate(index.pieces)
            if index.specs[entry].placement == "replicated"
            for writer, box in pieces
            if writer == rank
        ]
        nbytes = sum(box.volume * stored[entry].itemsize for entry, box in mine)
        buffer = packed.pop(rank) if rank in packed else np.empty(nbytes, np.uint8)
        for start in range(0, nbytes, _MESSAGE_BYTES):
            comm.Bcast([buffer[start : start + _MESSAGE_BYTES], MPI.BYTE], root=images.reader(rank))
        place = 0
        for entry, box in mine:
            array = stored[entry]
            stop = place + box.volume * array.itemsize
            array[box.slices((0,) * array.ndim)] = buffer[place:stop].view(array.dtype).reshape(box.shape)
            place = stop
    return stored


def _own_rows(pieces: Sequence[tuple[int, Box]], spec: ArraySpec, size: int, comm: MPI.Intracomm) -> Box:
    """Rows for this rank: its own on the same number of ranks, else an even share of all."""
    origin = (0,) * len(spec.shape)
    if size == comm.size:
        return next((box for rank, box in pieces if rank == comm.rank), Box((0, *origin), (0, *spec.shape)))
    share = block_range(sum(box.shape[0] for _, box in pieces), comm.size, comm.rank)
    return Box((share.start, *origin), (share.size, *spec.shape))


def _read_box(pieces: Sequence[tuple[int, Box]], spec: ArraySpec, box: Box, images: Images) -> np.ndarray:
    array = np.empty(box.shape, storage_dtype(spec.dtype))
    cells = 0
    for rank, held in pieces:
        part = box.intersection(held)
        if part.volume:
            array[part.slices(box.offset)] = images.open(rank)[dataset_name(spec)][part.slices(held.offset)]
            cells += part.volume
    if cells != box.volume:
        raise CheckpointError(
            f"{spec.name}: the saved blocks cover {cells} of the {box.volume} cells of the box at {box.offset} of shape {box.shape}: "
            "blocks must neither overlap nor leave holes"
        )
    return array
