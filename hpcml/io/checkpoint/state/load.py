"""Read a state from the files of any number of ranks: replicated arrays once for all ranks, blocks where they are wanted."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI

from hpcml.core.errors import CheckpointError, HpcmlError
from hpcml.io.checkpoint.parity.memory import UnreachableError
from hpcml.io.checkpoint.state.box import Box
from hpcml.io.checkpoint.state.dtypes import storage_dtype
from hpcml.io.checkpoint.state.flat_state import flatten, unflatten
from hpcml.io.checkpoint.state.image import as_target, dataset_name
from hpcml.io.checkpoint.state.index import Index, Table, build_index, check_file, read_head, read_table
from hpcml.io.checkpoint.state.placement import Blocked
from hpcml.io.checkpoint.state.plan import ArraySpec, describe
from hpcml.io.checkpoint.stored.catalog import DamagedError
from hpcml.io.checkpoint.stored.stored_image import StoredImage
from hpcml.io.files.agree import together
from hpcml.io.files.regular import raise_if_short
from hpcml.io.files.remedy import reason
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
        self._files: dict[int, StoredImage] = {}

    def __enter__(self) -> "FolderImages":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for file in self._files.values():
            file.close()

    def open(self, rank: int) -> StoredImage:
        if rank not in self._files:
            self._files[rank] = StoredImage(self._folder, rank)
        return self._files[rank]

    def reader(self, rank: int) -> int:
        return rank % self._size


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
    DamagedError
        On every rank, where the files do not say what a state is.
    CheckpointError
        On every rank, where the checkpoint is of another model or does not hold what is asked for.

    Communication
    -------------
    Collective: replicated bytes are read once and broadcast; blocks are read by the ranks that want them.
    """
    index = _read_index(images, size, comm)
    with together(comm, "restoring the state"):
        boxes = _wanted(index.specs, like)
    with _reading(comm, "the replicated arrays"):
        packed = {rank: _pack(index, rank, images.open(rank)) for rank in range(size) if images.reader(rank) == comm.rank}
        stored: list[Any] = [
            np.empty(spec.shape, storage_dtype(spec.dtype)) if spec.placement == "replicated" else None for spec in index.specs
        ]
    _broadcast(index, packed, stored, images, size, comm)
    with _reading(comm, "the blocks"):
        for entry, spec in enumerate(index.specs):
            if spec.placement != "replicated":
                box = boxes[entry] or _own_rows(index.pieces[entry], spec, size, comm)
                stored[entry] = _read_box(index.pieces[entry], spec, box, images)
        arrays = [as_target(array, spec) for array, spec in zip(stored, index.specs, strict=True)]
        return index.step, unflatten(index.structure, index.values, arrays)


@contextmanager
def _reading(comm: MPI.Intracomm, what: str) -> Iterator[None]:
    """Run a block that only reads what files say: whatever goes wrong in it is the fault of the files."""
    with together(comm, f"reading {what}"):
        try:
            yield
        except (DamagedError, UnreachableError):
            raise
        except HpcmlError as error:
            raise DamagedError(str(error)) from error
        except Exception as error:
            if isinstance(error, OSError):
                raise_if_short(error)
            raise DamagedError(f"reading {what} failed: {type(error).__name__}: {reason(error)}") from error


def _read_index(images: Images, size: int, comm: MPI.Intracomm) -> Index:
    tables: dict[int, Table] = {}
    head = None
    mine = [rank for rank in range(size) if images.reader(rank) == comm.rank]
    with _reading(comm, "the index"):
        tables = {rank: read_table(images.open(rank)) for rank in mine}
        if 0 in mine:
            head = read_head(images.open(0))
    for other in comm.allgather(tables):
        tables.update(other)
    head = comm.bcast(head, root=images.reader(0))
    with _reading(comm, "the index"):
        assert head is not None
        index = build_index(head, [tables[rank] for rank in range(size)])
        for rank in mine:
            check_file(index, rank, images.open(rank))
    return index


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


def _pack(index: Index, rank: int, file: Any) -> np.ndarray:
    """The replicated pieces of one file, end to end."""
    parts = [
        np.ascontiguousarray(file[dataset_name(spec)][()]).reshape(-1).view(np.uint8)
        for spec, pieces in zip(index.specs, index.pieces, strict=True)
        if spec.placement == "replicated" and any(writer == rank for writer, _ in pieces)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.uint8)


def _broadcast(index: Index, packed: dict[int, np.ndarray], stored: Sequence[Any], images: Images, size: int, comm: MPI.Intracomm) -> None:
    """Give every rank all replicated arrays."""
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


def _own_rows(pieces: Sequence[tuple[int, Box]], spec: ArraySpec, size: int, comm: MPI.Intracomm) -> Box:
    """Rows for this rank: its own on the same number of ranks, else an even share of all."""
    origin = (0,) * len(spec.shape)
    if size == comm.size:
        return next((box for rank, box in pieces if rank == comm.rank), Box((0, *origin), (0, *spec.shape)))
    share = block_range(sum(box.shape[0] for _, box in pieces), comm.size, comm.rank)
    return Box((share.start, *origin), (share.size, *spec.shape))


def _read_box(pieces: Sequence[tuple[int, Box]], spec: ArraySpec, box: Box, images: Images) -> np.ndarray:
    parts = [(rank, held, box.intersection(held)) for rank, held in pieces]
    cells = sum(part.volume for _, _, part in parts)
    if cells != box.volume:
        raise CheckpointError(
            f"{spec.name}: the saved blocks cover {cells} of the {box.volume} cells of the box at {box.offset} of shape {box.shape}: "
            "blocks must neither overlap nor leave holes"
        )
    array = np.empty(box.shape, storage_dtype(spec.dtype))
    for rank, held, part in parts:
        if part.volume:
            array[part.slices(box.offset)] = images.open(rank)[dataset_name(spec)][part.slices(held.offset)]
    return array
