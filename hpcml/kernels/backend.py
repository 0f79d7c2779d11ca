"""Where a kernel runs: on the GPU, on the CPU from the same text, or as its twin."""

import os
import warnings
from functools import lru_cache

from hpcml.core.errors import ConfigError
from hpcml.kernels.compiler import find_compiler
from hpcml.kernels.device import cupy_found
from hpcml.kernels.prebuilt import prebuilt_found
from hpcml.kernels.source import KernelSource

BACKENDS = ("cuda", "host", "twin")


def choose_backend(source: KernelSource, device: str) -> str:
    """Back end for arrays on a device: ``cuda``, ``host`` or, where neither can be, ``twin`` with one warning.

    Parameters
    ----------
    source : KernelSource
        File of the kernel; one that uses what only a GPU has never runs on the host.
    device : str
        ``cpu`` or ``cuda:N``.

    Raises
    ------
    ConfigError
        For a value of ``$HPCML_KERNELS`` other than ``auto`` and ``twin``.

    Communication
    -------------
    Local.
    """
    return _choose(source.needs_gpu, device.split(":")[0], os.environ.get("HPCML_KERNELS"))


@lru_cache
def _choose(needs_gpu: str | None, device: str, wish: str | None) -> str:
    if wish not in (None, "", "auto", "twin"):
        raise ConfigError(f"HPCML_KERNELS={wish} has no meaning: expected auto or twin")
    if wish == "twin" or (device == "cpu" and needs_gpu):
        return "twin"
    if device == "cuda" and cupy_found():
        return "cuda"
    if device == "cpu" and (find_compiler() or prebuilt_found()):
        return "host"
    by_compiler = "a C++ compiler (install g++, set HPCML_CXX, or make them elsewhere with hpcml kernels compile --cpu)"
    missing = by_compiler if device == "cpu" else "CuPy with a GPU (pip install cupy-cuda12x)"
    warnings.warn(f"kernels on {device} run as their slower NumPy/torch twins: {missing} is missing", RuntimeWarning, stacklevel=2)
    return "twin"
