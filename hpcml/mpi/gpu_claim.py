"""What an MPI library says of GPU memory, and how far that can be believed.

No single question is right for all: a library may answer for how it was built and not for how it runs, need a variable or a second
library besides, or repeat whatever one asks for. Hence a table, one row per library:

    Cray MPICH    yes, if MPICH_GPU_SUPPORT_ENABLED=1 and its GPU transport library libmpi_gtl_* is loaded
    MVAPICH       yes, if MV2_USE_CUDA=1, MVP_USE_CUDA=1 or MVP_ENABLE_GPU=1
    MPICH >= 4    MPIX_GPU_query_support, unless MPIR_CVAR_ENABLE_GPU=0; without that function, its memory kinds
    Open MPI      MPIX_Query_cuda_support, unless opal_cuda_support is switched off; its memory kinds only from MPI 4.1 on: older versions
                  repeat what was asked for
    others        no

A library that would say yes is still a no where UCX carries its messages and UCX_TLS leaves CUDA out.
"""

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hpcml.mpi.start import MPI

_OFF = ("0", "false", "no", "off", "n", "f")
_MVAPICH = ("MV2_USE_CUDA", "MVP_USE_CUDA", "MVP_ENABLE_GPU")
_MPIX_GPU_SUPPORT_CUDA = 0  # from mpi_proto.h of MPICH


@dataclass(frozen=True, slots=True)
class Claim:
    """Whether MPI may be handed GPU memory, and why."""

    answer: bool
    reason: str


@dataclass(frozen=True, slots=True)
class MpiFacts:
    """What the table looks at.

    Attributes
    ----------
    product : str
        MPI_Get_library_version.
    vendor, version : str, tuple of int
        As mpi4py reads them off it.
    standard : tuple of int
        Version of the MPI standard.
    environ : mapping
        The process's variables.
    loaded : frozenset of str
        Names of the files mapped into the process.
    queries : mapping of str to bool
        Answers of the library's functions, those that it has.
    kinds : str
        The library's ``mpi_memory_alloc_kinds``.
    """

    product: str
    vendor: str
    version: tuple[int, ...]
    standard: tuple[int, ...] = (3, 1)
    environ: Mapping[str, str] = field(default_factory=dict)
    loaded: frozenset[str] = frozenset()
    queries: Mapping[str, bool] = field(default_factory=dict)
    kinds: str = ""

    @classmethod
    def of_this_process(cls) -> "MpiFacts":
        """Look at the library that this process runs on; MPI must have been started.

        Communication
        -------------
        Local.
        """
        vendor, version = MPI.get_vendor()
        library = MPI.Get_library_version().strip("\x00")
        kinds = MPI.COMM_WORLD.Get_info().Get("mpi_memory_alloc_kinds") or ""
        return cls(library, vendor, version, MPI.Get_version(), os.environ, _loaded(), _queries(), kinds)


def claim(facts: MpiFacts) -> Claim:
    """Read the table for a library.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> claim(MpiFacts("Open MPI v5.0.3", "Open MPI", (5, 0, 3), queries={"MPIX_Query_cuda_support": True})).answer
    True
    """
    if "CRAY" in facts.product.upper():
        claimed = _cray(facts)
    elif "MVAPICH" in facts.product.upper():
        switched = next((name for name in _MVAPICH if facts.environ.get(name) == "1"), None)
        claimed = Claim(bool(switched), f"{switched}=1" if switched else f"MVAPICH without {' or '.join(_MVAPICH)} = 1")
    elif facts.vendor in ("MPICH", "Intel MPI"):
        claimed = _mpich(facts)
    elif facts.vendor == "Open MPI":
        claimed = _open_mpi(facts)
    else:
        claimed = Claim(False, f"{facts.vendor or 'this MPI'} is not in the table")
    if claimed.answer and _ucx_without_cuda(facts):
        return Claim(False, f"{claimed.reason}, but UCX_TLS={facts.environ['UCX_TLS']} leaves CUDA out: add cuda to it")
    return claimed


def _cray(facts: MpiFacts) -> Claim:
    enabled = facts.environ.get("MPICH_GPU_SUPPORT_ENABLED") == "1"
    transport = next((name for name in sorted(facts.loaded) if name.startswith("libmpi_gtl_")), None)
    if not enabled:
        return Claim(False, "Cray MPICH without MPICH_GPU_SUPPORT_ENABLED=1")
    if transport is None:
        return Claim(False, "MPICH_GPU_SUPPORT_ENABLED=1, but no libmpi_gtl_* is loaded: link mpi4py with it, or name it in LD_PRELOAD")
    return Claim(True, f"MPICH_GPU_SUPPORT_ENABLED=1 and {transport}")


def _mpich(facts: MpiFacts) -> Claim:
    if facts.environ.get("MPIR_CVAR_ENABLE_GPU", "").lower() in _OFF:
        return Claim(False, "MPIR_CVAR_ENABLE_GPU switches it off")
    for name in ("MPIX_GPU_query_support", "MPIX_Query_cuda_support"):
        if name in facts.queries:
            return Claim(facts.queries[name], f"{name} of {facts.vendor} {_dotted(facts.version)} says {_word(facts.queries[name])}")
    return _by_kinds(facts)


def _open_mpi(facts: MpiFacts) -> Claim:
    name = "MPIX_Query_cuda_support"
    if facts.environ.get("OMPI_MCA_opal_cuda_support", "").lower() in _OFF:
        return Claim(False, "OMPI_MCA_opal_cuda_support switches it off")
    if name in facts.queries:
        built = ", which before 4.1 tells only how it was built" if facts.version < (4, 1) else ""
        answer = facts.queries[name]
        more = "" if answer or not _ucx_cuda(facts) else "; its UCX has CUDA, but sums over ranks would not"
        return Claim(answer, f"{name} of Open MPI {_dotted(facts.version)} says {_word(answer)}{built}{more}")
    return _by_kinds(facts)


def _by_kinds(facts: MpiFacts) -> Claim:
    if facts.standard < (4, 1):
        return Claim(False, f"{facts.vendor} {_dotted(facts.version)} has no way to tell")
    answer = any(kind.partition(":")[0] == "cuda" for kind in facts.kinds.split(","))
    return Claim(answer, f"memory kinds of {facts.vendor} {_dotted(facts.version)}: {facts.kinds or 'none'}")


def _ucx_cuda(facts: MpiFacts) -> bool:
    return any(name.startswith("libuct_cuda") for name in facts.loaded)


def _ucx_without_cuda(facts: MpiFacts) -> bool:
    """Whether UCX is told to use transports none of which reaches GPU memory; ``^`` lists what is left out."""
    listed = facts.environ.get("UCX_TLS", "")
    if not listed or not any(name.startswith("libucp.") for name in facts.loaded):
        return False
    names = listed.removeprefix("^").split(",")
    named = any(name.startswith("cuda") for name in names)
    return named if listed.startswith("^") else not named and "all" not in names


def _queries() -> dict[str, bool]:
    """Ask the functions that the library has; mpi4py's module is linked with it."""
    answers = {}
    try:
        library = ctypes.CDLL(MPI.__file__)
    except OSError:
        return {}
    if ask := getattr(library, "MPIX_Query_cuda_support", None):
        answers["MPIX_Query_cuda_support"] = bool(ask())
    if ask := getattr(library, "MPIX_GPU_query_support", None):
        flag = ctypes.c_int(0)
        answers["MPIX_GPU_query_support"] = ask(_MPIX_GPU_SUPPORT_CUDA, ctypes.byref(flag)) == 0 and bool(flag.value)
    return answers


def _loaded() -> frozenset[str]:
    try:
        text = Path("/proc/self/maps").read_text(errors="surrogateescape")
    except OSError:
        return frozenset()
    return frozenset(line.rpartition("/")[2] for line in text.splitlines() if "/" in line)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _word(answer: bool) -> str:
    return "yes" if answer else "no"
