"""Who started this process, read from the environment, so that a launcher and an MPI that do not know each other are caught.

An MPI library that does not understand its launcher starts every process as a world of one rank: the job then runs N times instead of
once over N ranks. Nothing here needs MPI.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from hpcml.core.errors import LaunchError

# Step ids from here on are Slurm's own: the batch script, an interactive shell, containers. They run programs, they do not launch ranks.
_SLURM_RESERVED_STEPS = 0xFFFFFFF0
_OPEN_MPI, _HYDRA = "mpiexec (Open MPI)", "mpiexec (MPICH Hydra)"
_REMEDY = (
    "Start the job with the mpiexec of {} (for a wheel: the one beside this Python), with `srun --mpi=pmix` (Open MPI 5) or "
    "`srun --mpi=pmi2` (MPICH), or build mpi4py against the site's MPI"
)


@dataclass(frozen=True, slots=True)
class Launch:
    """What the launcher says about this process.

    Attributes
    ----------
    launcher : str
        ``"none"``, or the launcher by the name of its command and family.
    size, rank, local_rank : int
        As the launcher counts them; 1, 0, 0 without a launcher.
    """

    launcher: str = "none"
    size: int = 1
    rank: int = 0
    local_rank: int = 0


def node_name() -> str:
    """Name of this node, as batch systems know it.

    Communication
    -------------
    Local.
    """
    return socket.gethostname().partition(".")[0]


def detect(environ: Mapping[str, str] = os.environ) -> Launch:
    """Read the launcher's environment variables.

    Returns
    -------
    Launch
        The innermost launcher: ``mpiexec`` before ``srun``, since ``mpiexec`` may itself have been started, or may start its daemons,
        through ``srun``. A plain ``python`` in a Slurm allocation has none.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> detect({"PMI_SIZE": "4", "PMI_RANK": "2"})
    Launch(launcher='mpiexec (PMI)', size=4, rank=2, local_rank=0)
    """
    if "OMPI_COMM_WORLD_SIZE" in environ:
        return _read(environ, _OPEN_MPI, "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")
    if "HYDI_CONTROL_FD" in environ or "MPI_LOCALNRANKS" in environ:
        return _read(environ, _HYDRA, "PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID")
    if 0 <= _number(environ, "SLURM_STEP_ID", -1) < _SLURM_RESERVED_STEPS:
        tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environ else "SLURM_NTASKS"
        return _read(environ, "srun", tasks, "SLURM_PROCID", "SLURM_LOCALID")
    if "PMI_SIZE" in environ:
        return _read(environ, "mpiexec (PMI)", "PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID")
    return Launch()


def check(launch: Launch, size: int, library: str) -> None:
    """Raise if the MPI's world is not the one that was launched.

    Parameters
    ----------
    launch : Launch
        From `detect`.
    size : int
        Size of MPI.COMM_WORLD.
    library : str
        Name of the MPI library in use.

    Raises
    ------
    LaunchError
        Naming both sizes and both sides.

    Communication
    -------------
    Local: the numbers differ on every rank alike.
    """
    if launch.launcher != "none" and launch.size != size:
        raise LaunchError(
            f"{launch.launcher} launched {launch.size} ranks, but {library} sees a world of {size}: the launcher belongs to another MPI. "
            + _REMEDY.format(library)
        )


def check_family(launch: Launch, library: str) -> None:
    """Raise if the launcher is known not to understand the MPI library, before that library looks for it.

    Parameters
    ----------
    launch : Launch
        From `detect`.
    library : str
        Family of the MPI library: ``"Open MPI"``, ``"MPICH"``, ...

    Raises
    ------
    LaunchError
        For MPICH and its relatives under Open MPI's mpiexec, and the other way round.

    Communication
    -------------
    Local: the families are the same on every rank.
    """
    relatives = ("MPICH", "MVAPICH", "Intel MPI")
    if (launch.launcher == _OPEN_MPI and library in relatives) or (launch.launcher == _HYDRA and library == "Open MPI"):
        raise LaunchError(f"{launch.launcher} launched {launch.size} ranks that use {library}. " + _REMEDY.format(library))


def _read(environ: Mapping[str, str], launcher: str, size: str, rank: str, local_rank: str) -> Launch:
    return Launch(launcher, _number(environ, size, 1), _number(environ, rank, 0), _number(environ, local_rank, 0))


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "")
    return int(text) if text.isdecimal() else default
