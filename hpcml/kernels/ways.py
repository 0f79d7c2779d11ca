"""Which of two ways is taken where both are right: measured once for a processor, the same on all ranks, kept by the run.

measured    once per processor, compiler, flags, library versions and threads, by one rank of the node; then from the user's cache
agreed      rank 0's finding is everybody's
recorded    a run keeps what it took, so that a restart on other ranks or another node takes the same way
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcml.core.cache_folder import cache_folder
from hpcml.core.json_text import parse_json
from hpcml.core.processor import processor_features, processor_name
from hpcml.core.trusted import read_trusted
from hpcml.kernels.cache import built_once
from hpcml.kernels.compiler import compiler_flags, find_compiler, fingerprint
from hpcml.kernels.prebuilt import prebuilt_folders
from hpcml.kernels.source import read_source

if TYPE_CHECKING:  # `hpcml info` looks in here where MPI must not start
    from mpi4py import MPI

_TAKEN: dict[str, Any] = {}


def agreed_way(name: str, find: Callable[[], Any], comm: "MPI.Intracomm") -> Any:
    """What rank 0 takes: what its run recorded, else what ``find`` finds there.

    Parameters
    ----------
    name : str
        Of the decision.
    find : callable
        The finding, ready for JSON.
    comm : mpi4py.MPI.Intracomm
        The ranks that must go the same way.

    Communication
    -------------
    Collective over comm: one broadcast of some hundred bytes. Every rank looks first, so that the ranks of a node wait for the one that
    measures outside of MPI.
    """
    if name not in _TAKEN:
        _TAKEN[name] = find()
    _TAKEN[name] = comm.bcast(_TAKEN[name])
    return _TAKEN[name]


def taken_ways() -> dict[str, Any]:
    """What this process has taken so far, ready for JSON."""
    return dict(_TAKEN)


def take_ways(recorded: dict[str, Any]) -> None:
    """Take what a run recorded, and nothing else that this process may have found before; rank 0's counts.

    Communication
    -------------
    Local.
    """
    _TAKEN.clear()
    _TAKEN.update(recorded)


def measured_way(name: str, file: str, measure: Callable[[], Any]) -> Any:
    """A measurement from the user's cache, made now if it is not there.

    Parameters
    ----------
    name : str
        Of the decision.
    file : str
        Kernel file that competes.
    measure : callable
        Takes a second at most; what it returns is ready for JSON.

    Communication
    -------------
    None through MPI: one process of a node measures, the others wait for its file.
    """

    def write(path: Path) -> None:
        path.write_text(json.dumps(measure()))

    with os.fdopen(built_once(_file_name(name, file), write)) as stream:
        try:
            return parse_json(stream.read())
        except ValueError:  # damaged since it was written
            return measure()


def known_way(name: str, file: str) -> Any:
    """What was measured already with this compiler on this processor; None if nothing was."""
    with suppress(OSError, ValueError):
        return parse_json(read_trusted(cache_folder("kernels") / _file_name(name, file)))
    return None


def _file_name(name: str, file: str) -> str:
    compiler = find_compiler()
    made_by = compiler and fingerprint(compiler)[0]
    here = processor_name(), sorted(processor_features()), os.environ.get("HPCML_KERNELS"), list(map(str, prebuilt_folders()))
    identity = (read_source(file).text, compiler, compiler_flags(), made_by, here, version("torch"))
    return f"{name}-{hashlib.sha256(repr(identity).encode()).hexdigest()[:20]}.json"
