"""Which back end carries a message: what the environment says, else what was measured on this machine, else what is usually best."""

import os

import torch
from mpi4py import MPI

from hpcml.core.errors import ConfigError
from hpcml.mpi.gpu_aware import gpu_aware
from hpcml.parallel.transport.moves import move_functions
from hpcml.parallel.transport.tuned import tuned

BACKENDS = ("shared", "mpi", "staged", "one-shot", "nccl", "datatype")
MOST_SHARED = 1 << 26
"""Bytes above which ranks do not share memory: every buffer is there twice, and is not given back while the plan lives."""


def asked_backend() -> str | None:
    """Back end that ``$HPCML_HALO_BACKEND`` asks for; None for ``auto``.

    Raises
    ------
    ConfigError
        For a name that means nothing.
    """
    asked = os.environ.get("HPCML_HALO_BACKEND", "auto")
    if asked not in ("auto", *BACKENDS):
        raise ConfigError(f"HPCML_HALO_BACKEND={asked!r}: expected auto or one of {', '.join(BACKENDS)}")
    return None if asked == "auto" else asked


def datatypes_possible() -> bool:
    """Whether MPI may be given strided boxes: MPICH has been seen to take 200 times as long for them, and does not get any."""
    return "MPICH" not in MPI.Get_library_version()


def choose_backend(nbytes: int, device: torch.device, asked: str | None, in_place: bool = False) -> str:
    """Back end for the messages of a pair of ranks.

    Parameters
    ----------
    nbytes : int
        The larger of the two messages.
    device : torch.device
        Where the fields lie.
    asked : str, optional
        Back end wanted in any case; one that cannot be on this device gives way to ``mpi`` (host) or ``staged`` (GPU).
    in_place : bool
        Whether messages may go from field to field, by ``datatype``, which is chosen only where it was measured to be the quickest.

    Returns
    -------
    str
        ``shared`` only if the other rank of the pair agrees and lives on the same node, else ``mpi`` takes its place, and ``staged``
        between GPUs, where it is chosen only if asked for.

    Raises
    ------
    ConfigError
        For ``datatype`` on MPICH.

    Communication
    -------------
    Local.
    """
    if device.type == "cpu":
        if asked == "datatype" and not datatypes_possible():
            raise ConfigError("the back end datatype was asked for, but MPICH is far too slow with MPI's datatypes: ask for auto or mpi")
        here = {"mpi", "staged"}
        here |= {"shared"} if move_functions() is not None and nbytes <= MOST_SHARED else set()
        here |= {"datatype"} if in_place and datatypes_possible() else set()
        if asked is not None:
            return asked if asked in here else "mpi"
        return tuned().best("cpu", nbytes, tuple(name for name in ("shared", "mpi", "datatype") if name in here))
    if asked in ("shared", "staged", "one-shot", "nccl") or (asked == "mpi" and gpu_aware()):
        return asked
    possible = ("mpi", "one-shot", "staged") if gpu_aware() else ("one-shot", "staged")
    return tuned().best("cuda", nbytes, possible) if asked is None else "staged"
