"""Kernels on the CPU: compiled from their CUDA C once, then called through one record of arguments."""

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

from hpcml.core.errors import DeviceError
from hpcml.kernels.cache import built_once
from hpcml.kernels.compiler import compile_shared, compiler_flags, fingerprint
from hpcml.kernels.host_text import host_text, team_dim
from hpcml.kernels.prebuilt import library_name, prebuilt, prebuilt_found
from hpcml.kernels.shared_library import load_library
from hpcml.kernels.source import KernelSource

# Below this number of points a team of threads costs more to wake than it saves: a fork and join takes about 5 us.
TEAM_MIN_POINTS = 1 << 17


class HostKernel:
    """One kernel of one variant, compiled for this processor.

    Parameters
    ----------
    source : KernelSource
        File that holds it.
    name : str
        Kernel of the file.
    types : mapping of str to str
        C types of the file's symbols.
    compiler : str, optional
        Path of the C++ compiler; without one a library made beforehand serves.

    Raises
    ------
    DeviceError
        When the compiler refuses the text.

    Communication
    -------------
    Local; ranks of a node share the compiled file through the cache.
    """

    def __init__(self, source: KernelSource, name: str, types: Mapping[str, str], compiler: str | None) -> None:
        library = _library(source, tuple(sorted(types.items())), compiler)
        self._serial = getattr(library, f"{name}__serial")
        self._grid = getattr(library, f"{name}__grid")
        self._team = getattr(library, f"{name}__team") if team_dim(source, name) else None
        self._serial.argtypes = [ctypes.c_void_p]
        self._grid.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self._synchronises = source.synchronises

    def runner(self, record: int, points: int, shape: Sequence[int] | None = None) -> Callable[[], None]:
        """Function without arguments that runs the kernel on the record at an address.

        Parameters
        ----------
        record : int
            Address of the arguments, 8 bytes each; read at every run.
        points : int
            Number of points of the iteration space, which decides whether threads are worth waking.
        shape : sequence of int, optional
            Six launch dims (grid x, y, z, block x, y, z) to imitate thread by thread; by default the loops run whole.

        Raises
        ------
        DeviceError
            For blocks of several threads of a kernel whose threads wait for one another.
        """
        if shape is not None:
            if self._synchronises and max(shape[3:]) > 1:
                block = "x".join(map(str, shape[3:]))
                raise DeviceError(f"the {block} threads of a block wait for one another here, which the CPU cannot: use blocks of one")
            dims = (ctypes.c_int * 6)(*shape)
            return partial(self._grid, record, dims)
        if self._team is not None and self._wakes_team(points):
            return partial(self._team, ctypes.c_void_p(record), host_threads())
        return partial(self._serial, record)

    def function(self, points: int, shape: Sequence[int] | None = None) -> int:
        """Address of the C function of one argument, the record, that `runner` calls; 0 where it calls one of more."""
        return 0 if shape is not None or self._wakes_team(points) else ctypes.cast(self._serial, ctypes.c_void_p).value or 0

    def _wakes_team(self, points: int) -> bool:
        return self._team is not None and host_threads() > 1 and points >= TEAM_MIN_POINTS


def host_threads() -> int:
    """Threads per rank: ``$OMP_NUM_THREADS``, one when it is not set, since ranks are the first way to use cores."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(first) if first.isdigit() and int(first) > 0 else 1


@lru_cache
def _library(source: KernelSource, types: tuple[tuple[str, str], ...], compiler: str | None) -> ctypes.CDLL:
    text = host_text(source, dict(types))
    ready = prebuilt(library_name(source.name, text)) if compiler is None or prebuilt_found(asked_only=True) else None
    if ready is not None:
        return load_library(ready)
    if compiler is None:
        raise DeviceError(f"no library of {source.path.name} was made for this processor: make them anew with hpcml kernels compile --cpu")
    name = source.key(text, compiler, compiler_flags(), fingerprint(compiler))

    def build(path: Path) -> None:
        code = path.with_suffix(".cpp")
        code.write_text(text, encoding="utf-8")
        try:
            compile_shared(compiler, code, path)
        finally:
            code.unlink()

    return load_library(built_once(f"{name}.so", build))
