"""Kernels on a GPU: cubins from the cache, launched by the driver on the stream that torch or CuPy currently uses."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from importlib.util import find_spec
from math import prod
from typing import Any

import numpy as np
import torch

from hpcml.kernels.cubin import open_cubin
from hpcml.kernels.source import KernelSource

MAX_THREADS = 128  # per block: on an H200 packing reached 3.1 TB/s with so many, 2.95 with twice and 2.7 with four times as many
COLUMNS = (32, 8, 1)  # block of threads that go from plane to plane: whole sectors along x, neighbors along y in the nearest cache
FULL = 1 << 18  # threads that keep a large GPU busy


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
    ((1, 50, 1), (128, 1, 1))
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


def column_shape(extent: Sequence[int]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Grid and block for kernels whose threads go along z: no more of them along it than it takes to fill a GPU.

    Examples
    --------
    >>> column_shape((512, 512, 512))
    ((16, 64, 1), (32, 8, 1))
    >>> column_shape((64, 64, 64))
    ((2, 8, 64), (32, 8, 1))
    """
    x, y, z = (*extent, 1, 1)[:3]
    across, down = max(1, min(-(-x // COLUMNS[0]), 1 << 20)), max(1, min(-(-y // COLUMNS[1]), 1 << 15))
    return (across, down, max(1, min(z, -(-FULL // (across * down * prod(COLUMNS))), 1 << 15))), COLUMNS


@lru_cache
def _function(source: KernelSource, name: str, types: tuple[tuple[str, str], ...], device: int) -> int:
    """What the driver knows a kernel by, loaded once for each GPU."""
    import cupy
    from cupy_backends.cuda.api import driver, runtime  # type: ignore[import-untyped]

    with cupy.cuda.Device(device) as chosen:
        with os.fdopen(open_cubin(source, dict(types), f"sm_{chosen.compute_capability}"), "rb") as cubin:
            code = cubin.read()
        runtime.free(0)  # where nothing has touched the GPU yet there is no context to load it into
        return int(driver.moduleGetFunction(driver.moduleLoadData(code), name))


def device_runner(
    source: KernelSource,
    name: str,
    types: Mapping[str, str],
    device: int,
    arguments: int,
    shape: tuple[tuple[int, int, int], tuple[int, int, int]],
) -> Callable[[], None]:
    """Function without arguments that launches a kernel on the current stream.

    Parameters
    ----------
    arguments : int
        Address of an array with the address of each argument; read at every launch.
    shape : (grid, block)
        As CUDA's.

    Communication
    -------------
    Local; the launch is ordered on the stream and the host does not wait for it.
    """
    from cupy_backends.cuda.api import driver, runtime

    if _torch_has_gpus():
        torch.cuda.init()  # for arrays of CuPy, before torch has been asked for anything
    function = _function(source, name, tuple(sorted(types.items())), device)
    sizes = (*shape[0], *shape[1])

    def run() -> None:
        before = runtime.getDevice()
        runtime.setDevice(device)  # binds its context to this thread too
        try:
            driver.launchKernel(function, *sizes, 0, current_stream(device), arguments, 0)
        finally:
            if before != device:
                runtime.setDevice(before)

    return run


@cache
def _torch_has_gpus() -> bool:
    return torch.cuda.is_available()  # asks the environment and the driver each time


def current_stream(device: int) -> int:
    """Handle of the stream of a GPU that torch currently uses, else CuPy."""
    if _torch_has_gpus():
        return torch._C._cuda_getCurrentRawStream(device)
    import cupy

    with cupy.cuda.Device(device):
        return int(cupy.cuda.get_current_stream().ptr)


def address_table(addresses: Sequence[int], device: int) -> tuple[Any, int]:
    """Addresses in the memory of a GPU: what holds them, and where they begin."""
    if _torch_has_gpus():
        table = torch.tensor(addresses, dtype=torch.int64, device=torch.device("cuda", device))
        return table, table.data_ptr()
    import cupy

    with cupy.cuda.Device(device):
        there = cupy.asarray(np.array(addresses, dtype=np.uint64))
    return there, int(there.data.ptr)
