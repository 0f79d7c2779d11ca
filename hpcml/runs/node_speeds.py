"""What nodes and the lines between them can do, measured in seconds rather than minutes."""

import fcntl
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from mpi4py import MPI

from hpcml.mpi.patient_comm import PatientComm
from hpcml.parallel.link import link_times

SIZES = 64, 1 << 20
"""Bytes of the messages: what waits for the line, and what fills it."""
SAMPLES = 10
FILE_BYTES = 8 << 20


def product_ms() -> float:
    """Milliseconds of this thread's processor time for a product of matrices, the least of some.

    Communication
    -------------
    Local.
    """
    a, taken = torch.ones(256, 256), []
    for _ in range(12):
        start = time.thread_time()
        a @ a
        taken.append(time.thread_time() - start)
    return 1e3 * min(taken)


def pairs_of(nodes: int, round_: int) -> list[tuple[int, int]]:
    """Nodes that send to each other in one of two rounds; after both every node but one of two has sent to two others, if there are.

    Examples
    --------
    >>> pairs_of(4, 0), pairs_of(4, 1), pairs_of(3, 1)
    ([(0, 1), (2, 3)], [(1, 2), (3, 0)], [(1, 2)])
    """
    pairs = [(k, k + 1) for k in range(round_, nodes - 1, 2)]
    return [*pairs, (nodes - 1, 0)] if round_ and nodes > 2 and nodes % 2 == 0 else pairs


def message_ms(comm: PatientComm, pair: int | None, device: torch.device) -> tuple[float, ...] | None:
    """Milliseconds of a message of each of `SIZES` between the two ranks of every pair, by the fastest way.

    Parameters
    ----------
    comm : PatientComm
        All ranks.
    pair : int or None
        Which pair this rank is one of; None for none, which gives None.
    device : torch.device
        Where the messages lie.

    Communication
    -------------
    Collective over comm.
    """
    two = comm.Split(MPI.UNDEFINED if pair is None else pair, comm.rank)
    if two == MPI.COMM_NULL:
        return None
    curves = link_times(two, device, SIZES, SAMPLES)
    two.Free()
    return tuple(1e3 * min(dict(curve)[size] for curve in curves.values() if size in dict(curve)) for size in SIZES)


def clock_s(leaders: MPI.Intracomm, rounds: int = 8) -> float:
    """Seconds by which this rank's clock is before that of rank 0.

    Communication
    -------------
    Rank 0 exchanges some numbers with each other rank, one after the other; collective.
    """
    if leaders.rank > 0:
        for _ in range(rounds):
            leaders.recv(source=0)
            leaders.send(time.time(), 0)
        return float(leaders.recv(source=0))
    for peer in range(1, leaders.size):
        found = []
        for _ in range(rounds):
            start = time.time()
            leaders.send(None, peer)
            theirs = leaders.recv(source=peer)
            end = time.time()
            found.append((end - start, theirs - (start + end) / 2))
        leaders.send(min(found)[1], peer)  # that of the fastest answer is the surest
    return 0.0


def files_s(folder: Path) -> tuple[float, str]:
    """Seconds that a file takes to be written, brought to disk and read again, and what is refused there, if anything.

    Raises
    ------
    OSError
        Where nothing can be written.

    Communication
    -------------
    Local.
    """
    path, content = folder / f".preflight-{secrets.token_hex(8)}", os.urandom(1 << 16) * (FILE_BYTES >> 16)
    start, refused = time.monotonic(), ""
    try:
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                refused = "locks, so set HDF5_USE_FILE_LOCKING=FALSE"
        if path.read_bytes() != content:
            raise OSError(None, "what was written is not what is read")
        return time.monotonic() - start, refused
    finally:
        path.unlink(missing_ok=True)


def unseen(folder: Path, leaders: MPI.Intracomm, patience: float = 5.0) -> bool:
    """Whether this node does not see a file that rank 0 makes.

    Communication
    -------------
    Collective.
    """
    path = folder / f".preflight-{leaders.bcast(secrets.token_hex(8))}"
    if leaders.rank == 0:
        path.touch()
    leaders.Barrier()
    deadline = time.monotonic() + patience
    while not (there := path.exists()) and time.monotonic() < deadline:
        list(folder.iterdir())  # makes some network file systems look again
        time.sleep(0.1)
    leaders.Barrier()
    if leaders.rank == 0:
        path.unlink(missing_ok=True)
    return not there


def shares(values: Sequence[float | None], names: Sequence[str]) -> dict[str, float]:
    """Values by name, without those that are not there; of several the least.

    Examples
    --------
    >>> shares([2.0, None, 1.0], ["n1", "n2", "n1"])
    {'n1': 1.0}
    """
    found: dict[str, float] = {}
    for value, name in zip(values, names, strict=True):
        if value is not None:
            found[name] = min(value, found.get(name, value))
    return found
