"""Is what was written still there, bit for bit? The ranks share the reading."""

from pathlib import Path
from typing import Any

from mpi4py import MPI

from hpcml.io.checkpoint.catalog import Checkpoint
from hpcml.io.checkpoint.durable import crc32
from hpcml.topology.block import block_range


def damage(checkpoint: Checkpoint, comm: MPI.Intracomm) -> str | None:
    """Compare every byte of a checkpoint with its checksums.

    Returns
    -------
    str or None
        What is damaged, the same on every rank; None for nothing.

    Communication
    -------------
    Collective: each rank reads 1/P of the bytes, then one message of at most a few hundred bytes per rank.
    """
    chunks = [(file, index) for file in checkpoint.record["files"] for index in range(len(file["crc32"]))]
    mine = block_range(len(chunks), comm.size, comm.rank)
    found = None
    for file, index in chunks[mine.start : mine.stop]:
        found = _check(checkpoint.path / file["file"], file, index)
        if found:
            break
    return next((text for text in comm.allgather(found) if text), None)


def _check(path: Path, file: dict[str, Any], index: int) -> str | None:
    start = index * file["chunk_bytes"]
    try:
        with path.open("rb", buffering=0) as raw:
            raw.seek(start)
            data = raw.read(min(file["chunk_bytes"], file["bytes"] - start))
    except OSError as error:
        return f"{path} cannot be read: {error}"
    if crc32(data) == file["crc32"][index]:
        return None
    return f"{path} (rank {file['rank']}) does not match its checksum between bytes {start} and {start + len(data)}: it is damaged"
