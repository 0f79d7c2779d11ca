"""Which back end carries a message: what the environment says, else what was measured on this machine, else what is usually best."""

import os

import torch

from hpcml.core.errors import ConfigError
from hpcml.mpi.gpu_aware import gpu_aware
from hpcml.parallel.transport.moves import move_function
from hpcml.parallel.transport.tuned import tuned

BACKENDS = ("shared", "mpi", "staged", "one-shot", "nccl")
MOST_SHARED = 1 << 26
"""Bytes above which ranks do not share memory: /dev/shm is often half of a node's memory, and every buffer lies there twice."""


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


def choose_backend(nbytes: int, device: torch.device, asked: str | None) -> str:
    """Back end for the messages of a pair of ranks.

    Parameters
    ----------
    nbytes : int
        The larger of the two messages.
    device : torch.device
        Where the fields lie.
    asked : str, optional
        Back end wanted in any case; one that cannot be on this device gives way to ``mpi`` (host) or ``staged`` (GPU).

    Returns
    -------
    str
        ``shared`` only if the other rank of the pair agrees and lives on the same node, else ``mpi`` takes its place.

    Communication
    -------------
    Local.
    """
    if device.type == "cpu":
        if asked in ("mpi", "staged"):
            return asked
        if asked not in (None, "shared") or move_function() is None or nbytes > MOST_SHARED:
            return "mpi"
        return asked or tuned().best("cpu", nbytes, ("shared", "mpi"))
    if asked in ("staged", "one-shot", "nccl") or (asked == "mpi" and gpu_aware()):
        return asked
    possible = ("mpi", "one-shot", "staged") if gpu_aware() else ("one-shot", "staged")
    return tuned().best("cuda", nbytes, possible) if asked is None else "staged"
