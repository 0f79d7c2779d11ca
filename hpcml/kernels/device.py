"""Kernels on a GPU: cubins from the cache, launched by CuPy on the stream that torch or CuPy currently uses."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from hpcml.kernels.cubin import open_cubin
from hpcml.kernels.source import KernelSource

MAX_THREADS = 256  # per block: enough to hide latency, and four fit on every GPU since Volta even at 64 registers per thread


def cupy_found() -> bool:
    """Whether CuPy is installed and sees a GPU."""
    if find_spec("cupy") is None:
        return False
    import cupy

    return bool(cupy.cuda.is_available())


def launch_shape(extent: Sequence[int]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Grid and block for an iteration space (x, y, z): x is filled first, by powers of two, then y and z.

    Examples
    --------
    >>> launch_shape((100, 50, 1))
    ((1, 25, 1), (128, 2, 1))
    """
    x, y, z = (*extent, 1, 1)[:3]
    block, left = [], MAX_THREADS
    for count in (x, y, z):
        threads = min(left, 1 << max(0, count - 1).bit_length())
        block.append(threads)
        left //= threads
    limits = (1 << 20, 1 << 15, 1 << 15)  # hardware allows 2^31 - 1, 65535 and 65535; kernels stride over the rest
    grid = [max(1, min(-(-n // b), limit)) for n, b, limit in zip((x, y, z), block, limits, strict=True)]
    return (grid[0], grid[1], grid[2]), (block[0], block[1], block[2])


@lru_cache
def _function(source: KernelSource, name: str, types: tuple[tuple[str, str], ...], device: int) -> Any:
    import cupy

    with cupy.cuda.Device(device) as chosen:
        cubin = open_cubin(source, dict(types), f"sm_{chosen.compute_capability}")  # stays open: CuPy knows modules by their paths
        return cupy.RawModule(path=f"/proc/self/fd/{cubin}").get_function(name)


def device_runner(
    source: KernelSource,
    name: str,
    types: Mapping[str, str],
    device: int,
    arguments: Sequence[np.generic],
    shape: tuple[tuple[int, int, int], tuple[int, int, int]],
) -> Callable[[], None]:
    """Function without arguments that launches a kernel on the current stream.

    Parameters
    ----------
    arguments : sequence of NumPy scalars
        Of the exact types that the kernel declares, pointers as ``uint64``; read at every launch.
    shape : (grid, block)
        As CUDA's.

    Communication
    -------------
    Local; the launch is ordered on the stream and the host does not wait for it.
    """
    import cupy

    function = _function(source, name, tuple(sorted(types.items())), device)

    def run() -> None:
        with ExitStack() as stack:
            stack.enter_context(cupy.cuda.Device(device))
            if torch.cuda.is_available():
                stack.enter_context(cupy.cuda.ExternalStream(torch.cuda.current_stream(device).cuda_stream))
            function(*shape, tuple(arguments))

    return run
