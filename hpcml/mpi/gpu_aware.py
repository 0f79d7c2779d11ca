"""Whether MPI may be handed a pointer to GPU memory."""

import ctypes
import os
from functools import cache

from mpi4py import MPI

from hpcml.core.errors import ConfigError


@cache
def gpu_aware() -> bool:
    """Tell whether the MPI library says that it reads and writes GPU memory itself; otherwise buffers are staged through the host.

    ``HPCML_GPU_AWARE_MPI`` decides, if set to ``1`` or ``0``. With ``auto``, or unset, the library is asked:

        Cray MPICH   yes, if MPICH_GPU_SUPPORT_ENABLED=1 and its GPU transport library is loaded
        others       MPIX_Query_cuda_support(), in Open MPI (from 4.1 on: older ones tell how they were built) and MPICH

    Returns
    -------
    bool
        The same on all ranks, as long as they run the same MPI in the same environment.

    Raises
    ------
    ConfigError
        For another value of the variable.

    Communication
    -------------
    Local.

    Notes
    -----
    A library may say no although its transport could (UCX below an Open MPI built without CUDA): then set the variable. A yes to a
    library that cannot ends in a segmentation fault.
    """
    asked = os.environ.get("HPCML_GPU_AWARE_MPI", "auto")
    if asked not in ("auto", "0", "1"):
        raise ConfigError(f"HPCML_GPU_AWARE_MPI={asked!r}: expected auto, 1 or 0")
    if asked != "auto":
        return asked == "1"
    if os.environ.get("MPICH_GPU_SUPPORT_ENABLED") == "1":
        return "libmpi_gtl_" in _loaded_libraries()
    name, version = MPI.get_vendor()
    if name == "Open MPI" and version < (4, 1):
        return False
    try:
        query = ctypes.CDLL(MPI.__file__).MPIX_Query_cuda_support  # found in libmpi, which this module is linked with
    except (OSError, AttributeError):
        return False
    return bool(query())


def _loaded_libraries() -> str:
    try:
        with open("/proc/self/maps", encoding="utf-8") as maps:  # noqa: PTH123
            return maps.read()
    except OSError:
        return ""
