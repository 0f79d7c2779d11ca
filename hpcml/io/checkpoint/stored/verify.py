"""Is what was written still there, bit for bit? The ranks share the reading."""

from mpi4py import MPI

from hpcml.io.checkpoint.stored.catalog import Checkpoint
from hpcml.io.checkpoint.stored.damaged_chunk import damaged_chunk
from hpcml.io.files.agree import together
from hpcml.io.files.regular import shown
from hpcml.topology.block import block_range


def damage(checkpoint: Checkpoint, comm: MPI.Intracomm) -> str | None:
    """Compare every byte of a checkpoint with its checksums.

    Returns
    -------
    str or None
        What is damaged, the same on every rank; None for nothing.

    Raises
    ------
    CheckpointError
        On every rank, where a rank lacks memory or open files to compare it.

    Communication
    -------------
    Collective: each rank reads 1/P of the bytes, then one message of at most a few hundred bytes per rank.
    """
    files = checkpoint.record["files"]
    mine = block_range(sum(len(file["crc32"]) for file in files), comm.size, comm.rank)
    found, passed = None, 0
    with together(comm, f"comparing {shown(checkpoint.path)} with its checksums"):
        for file in files:
            count = len(file["crc32"])
            first, last = (min(count, max(0, edge - passed)) for edge in (mine.start, mine.stop))
            if first < last:
                found = found or damaged_chunk(checkpoint.path, file, first, last)
            passed += count
    return next((text for text in comm.allgather(found) if text), None)
