"""Whether MPI may be handed a pointer to GPU memory: said by the library, confirmed by a probe, agreed on by all ranks.

HPCML_GPU_AWARE_MPI = 1 or 0       the user's word, without a probe
no GPU on any rank                 no
table (`gpu_claim`) says no        no
table says yes                     what the probe (`gpu_probe`) finds, once per host, library and environment
"""

import hashlib
import json
import logging
import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

from hpcml.core.cache_folder import cache_folder
from hpcml.core.errors import ConfigError
from hpcml.core.json_text import parse_json
from hpcml.core.trusted import read_trusted, write_trusted
from hpcml.mpi.gpu_claim import Claim, MpiFacts, claim
from hpcml.mpi.gpu_probe import ask, probe
from hpcml.mpi.launcher import detect
from hpcml.mpi.start import MPI

_STEERING = (
    *("UCX_", "FI_", "MPICH_", "MPIR_CVAR_", "MV2_", "MVP_", "LD_PRELOAD", "LD_LIBRARY_PATH"),
    *(f"OMPI_MCA_{name}" for name in ("pml", "btl", "mtl", "coll", "accelerator", "opal_cuda")),
)
_decided: list[Claim] = []


def gpu_aware() -> bool:
    """Tell whether GPU memory goes to MPI as it is; otherwise it is staged through the host, and rank 0 says so once.

    Communication
    -------------
    Local: the ranks agreed when `hpcml.mpi.world` was first called. Before that the answer is no, unless the variable says otherwise.
    """
    decision = decided()
    if not decision.answer:
        _warn(decision.reason)
    return decision.answer


def decided() -> Claim:
    """The answer and its reason.

    Communication
    -------------
    Local, as `gpu_aware`.
    """
    return _decided[-1] if _decided else _from_variable() or Claim(False, "hpcml.mpi.world() was not called yet")


def decide(comm: MPI.Intracomm) -> Claim:
    """Find out, and let all ranks keep the same answer: no, if one of them says no.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        All ranks of the job.

    Raises
    ------
    ConfigError
        If ``HPCML_GPU_AWARE_MPI`` is neither ``auto`` nor ``1`` nor ``0``.

    Communication
    -------------
    Collective. Where a rank has a GPU and the library says yes, one rank per node waits for the probe, for seconds the first time and for
    `hpcml.mpi.gpu_probe.PROBE_LIMIT_S` at most; the others wait for it.
    """
    mine = _from_variable()
    told, no_gpu = comm.allreduce(mine is not None, MPI.LOR), not comm.allreduce(has_gpu(), MPI.LOR)
    if mine is None:
        mine = Claim(False, "no rank has a GPU") if no_gpu else claim(MpiFacts.of_this_process())
    mine = _agreed(mine, comm)
    if mine.answer and not told:
        node = comm.Split_type(MPI.COMM_TYPE_SHARED)
        mine = node.bcast(confirmed(mine, MPI.Get_library_version()) if node.rank == 0 and has_gpu() else mine, 0)
        node.Free()
        mine = _agreed(mine, comm)
    _decided[:] = [mine]
    return mine


def describe() -> Claim:
    """What a job on this host would decide, found out without starting MPI in this process.

    Communication
    -------------
    Local: new processes are asked.
    """
    if (told := _from_variable()) is not None:
        return told
    said = ask()
    if not said.answer:
        return said
    return confirmed(said, MPI.Get_library_version()) if has_gpu() else Claim(False, f"{said.reason}; but no GPU is here")


def has_gpu() -> bool:
    """Whether this host has an NVIDIA GPU that this process may see.

    Communication
    -------------
    Local.
    """
    return Path("/dev/nvidiactl").exists() and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1")


def confirmed(said: Claim, library: str) -> Claim:
    """What the probe finds for a claim; read from the cache if it was found before on this host, with this library and environment.

    Communication
    -------------
    Local.
    """
    steering = sorted((name, value) for name, value in os.environ.items() if name.startswith(_STEERING))
    key = hashlib.blake2b(json.dumps([library, MPI.__file__, steering]).encode(), digest_size=8).hexdigest()
    path = cache_folder("gpu_aware") / f"{socket.gethostname()}-{key}.json"
    try:
        return Claim(**parse_json(read_trusted(path)))
    except (OSError, ValueError, TypeError):
        pass  # not there yet, or another version's: find out anew
    found, final = probe()
    found = Claim(found.answer, f"{said.reason}; {found.reason}")
    if final:
        _keep(path, found)
    return found


def _keep(path: Path, found: Claim) -> None:
    with suppress(OSError):  # a cache that cannot be written costs the next job a probe, no more
        write_trusted(path, json.dumps({"answer": found.answer, "reason": found.reason}).encode())


def _agreed(mine: Claim, comm: MPI.Intracomm) -> Claim:
    """The claim of the first rank that says no, else one's own."""
    first = comm.allreduce(comm.size if mine.answer else comm.rank, MPI.MIN)
    return mine if first == comm.size else comm.bcast(mine, first)


def _from_variable() -> Claim | None:
    asked = os.environ.get("HPCML_GPU_AWARE_MPI", "auto")
    if asked not in ("auto", "0", "1"):
        raise ConfigError(f"HPCML_GPU_AWARE_MPI={asked!r}: expected auto, 1 or 0")
    return None if asked == "auto" else Claim(asked == "1", f"HPCML_GPU_AWARE_MPI={asked}")


@cache
def _warn(reason: str) -> None:
    if detect().rank == 0:
        logging.getLogger(__name__).warning("GPU memory is staged through the host for MPI: %s", reason)
