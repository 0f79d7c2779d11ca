"""Launches with their arguments bound: called again and again without looking at them."""

import ctypes
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from hpcml.core.errors import ShapeError
from hpcml.kernels.device import address_table, current_stream, device_runner, launch_shape
from hpcml.kernels.host import HostKernel
from hpcml.kernels.signature import C_TYPES, Parameter, Signature
from hpcml.kernels.source import KernelSource

Shape = tuple[tuple[int, int, int], tuple[int, int, int]]
MOST_TABLES = 64
"""Lists of addresses that a launch keeps on the GPU: allocators give the same memory again and again, and each new list waits for it."""


class Launch:
    """A function without arguments that runs a kernel, and keeps alive what it runs on.

    Parameters
    ----------
    run : callable
        Runs the kernel.
    arguments : sequence
        Arrays and scalars that ``run`` uses.

    Attributes
    ----------
    native : (int, int) or None
        Addresses of a C function and of its one argument that do the same, where there are such.
    """

    native: tuple[int, int] | None = None

    def __init__(self, run: Callable[[], object], arguments: Sequence[Any]) -> None:
        self._run, self._arguments = run, arguments

    def __call__(self) -> None:
        self._run()

    def release(self, positions: Sequence[int]) -> None:
        """Keep the arguments at these positions alive no longer: they are pointed elsewhere before every run."""
        self._arguments = [None if i in positions else value for i, value in enumerate(self._arguments)]

    def point(self, position: int, address: int) -> None:
        """Let an array argument start at another address of the same device, with the same layout; not checked."""
        raise TypeError("a twin is called with its arrays, not with addresses")

    def point_all(self, position: int, addresses: Sequence[int]) -> None:
        """Likewise for an argument that is a list of arrays."""
        raise TypeError("a twin is called with its arrays, not with addresses")


class HostLaunch(Launch):
    """A kernel on the CPU: its arguments lie in one record of 8 bytes each, which the compiled function reads.

    Parameters
    ----------
    source, signature : KernelSource, Signature
        The kernel.
    arguments, infos : sequence
        Arguments, and for each its `ArrayInfo`, a list of them, or None for a scalar.
    types : mapping of str to str
        C types of the file's symbols.
    compiler : str, optional
        Path of the C++ compiler.
    points : int
        Size of the iteration space.
    shape : (grid, block), optional
        Launch shape to imitate.
    """

    def __init__(
        self,
        source: KernelSource,
        signature: Signature,
        arguments: Sequence[Any],
        infos: Sequence[Any],
        types: Mapping[str, str],
        compiler: str | None,
        points: int,
        shape: Shape | None,
    ) -> None:
        self._slots = (ctypes.c_uint64 * len(arguments))()
        self._lists: dict[int, Any] = {}
        for i, (parameter, value, info) in enumerate(zip(signature.parameters, arguments, infos, strict=True)):
            if parameter.pointers == 2:
                self._lists[i] = (ctypes.c_uint64 * len(info))(*(entry.address for entry in info))
                self._slots[i] = ctypes.addressof(self._lists[i])
            elif parameter.pointers == 1:
                self._slots[i] = info.address if info else 0
            else:
                pack_scalar(self._slots, 8 * i, parameter, types, value)
        dims = (*shape[0], *shape[1]) if shape else None
        kernel = _host_kernel(source, signature.name, tuple(sorted(types.items())), compiler)
        record, function = ctypes.addressof(self._slots), kernel.function(points, dims)
        self.native = (function, record) if function else None
        super().__init__(kernel.runner(record, points, dims), arguments)

    def point(self, position: int, address: int) -> None:
        self._slots[position] = address

    def point_first(self, addresses: list[int]) -> None:
        """Likewise for as many of its first arguments, all arrays, in one step."""
        self._slots[: len(addresses)] = list(addresses)

    def point_all(self, position: int, addresses: Sequence[int]) -> None:
        self._lists[position][:] = addresses


class DeviceLaunch(Launch):
    """A kernel on a GPU: parameters are those of `HostLaunch`, with the iteration space instead of its size."""

    def __init__(
        self,
        source: KernelSource,
        signature: Signature,
        arguments: Sequence[Any],
        infos: Sequence[Any],
        types: Mapping[str, str],
        device: int,
        extent: Sequence[int],
        shape: Shape | None,
    ) -> None:
        self._device = device
        self._tables: dict[tuple[int, ...], tuple[Any, int]] = {}
        self._slots = (ctypes.c_uint64 * len(arguments))()
        first = ctypes.addressof(self._slots)
        self._places = (ctypes.c_uint64 * len(arguments))(*(first + 8 * i for i in range(len(arguments))))
        for i, (parameter, value, info) in enumerate(zip(signature.parameters, arguments, infos, strict=True)):
            if parameter.pointers == 2:
                self.point_all(i, [entry.address for entry in info])
            elif parameter.pointers == 1:
                self._slots[i] = info.address if info else 0
            else:
                pack_scalar(self._slots, 8 * i, parameter, types, value)
        places = ctypes.addressof(self._places)
        super().__init__(device_runner(source, signature.name, types, device, places, shape or launch_shape(extent)), arguments)

    def point(self, position: int, address: int) -> None:
        self._slots[position] = address

    def point_all(self, position: int, addresses: Sequence[int]) -> None:
        key = (current_stream(self._device), *addresses)
        if key not in self._tables:
            if len(self._tables) == MOST_TABLES:
                self._tables.clear()
            self._tables[key] = address_table(addresses, self._device)
        self._slots[position] = self._tables[key][1]


def pack_scalar(buffer: Any, offset: int, parameter: Parameter, types: Mapping[str, str], value: Any) -> None:
    """Write a number as the C type that the kernel declares.

    Raises
    ------
    ShapeError
        For a value that the type cannot hold.
    """
    try:
        struct.pack_into(_scalar_format(parameter, types), buffer, offset, value)
    except (struct.error, OverflowError, TypeError) as error:
        c_type = types.get(parameter.c_type, parameter.c_type)
        raise ShapeError(f"kernel argument {parameter.name} is a {c_type}, got {value!r}: {error}") from error


def _scalar_format(parameter: Parameter, types: Mapping[str, str]) -> str:
    return "=" + C_TYPES[types.get(parameter.c_type, parameter.c_type)][0]


@lru_cache
def _host_kernel(source: KernelSource, name: str, types: tuple[tuple[str, str], ...], compiler: str | None) -> HostKernel:
    return HostKernel(source, name, dict(types), compiler)
