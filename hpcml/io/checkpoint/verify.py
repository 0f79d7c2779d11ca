"""Is what was written still there, bit for bit? The ranks share the reading."""

from mpi4py import MPI

from hpcml.io.checkpoint.catalog import Checkpoint, chunk_damage
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
        found = chunk_damage(checkpoint.path, file, index)
        if found:
            break
    return next((text for text in comm.allgather(found) if text), None)
