"""A kernel that can be called: one signature on a GPU, on the CPU and as its twin."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hpcml.core.errors import DeviceError, ShapeError
from hpcml.kernels.arguments import ArrayInfo, array_info
from hpcml.kernels.backend import choose_backend
from hpcml.kernels.compiler import find_compiler
from hpcml.kernels.launch import DeviceLaunch, HostLaunch, Launch, Shape
from hpcml.kernels.prebuilt import prebuilt_found
from hpcml.kernels.signature import C_TYPES, Parameter, Signature
from hpcml.kernels.source import KernelSource, read_source


class Kernel:
    """One kernel of one file with its twin.

    Parameters
    ----------
    file : str or Path
        Kernel file, see `hpcml.kernels.source.read_source`.
    name : str
        Kernel of that file.
    twin : callable
        Readable NumPy/torch function of the same arguments that writes the same results.
    strided : sequence of str
        Array arguments whose strides the kernel is told; all others must be contiguous.

    Examples
    --------
    >>> import numpy as np
    >>> x, out = np.arange(3.0)[:, None], np.empty((2, 1))
    >>> gather = Kernel("segment", "gather", twin=lambda out, x, source, rows, width: np.take(x, source, axis=0, out=out))
    >>> gather(out, x, np.array([2, 0]), 2, 1, extent=(1, 2))
    >>> out[:, 0]
    array([2., 0.])
    """

    def __init__(self, file: str | Path, name: str, twin: Callable[..., object], strided: Sequence[str] = ()) -> None:
        self.file, self.name, self.twin, self.strided = file, name, twin, frozenset(strided)

    @property
    def source(self) -> KernelSource:
        return read_source(self.file)

    @property
    def signature(self) -> Signature:
        signatures = self.source.signatures
        if self.name not in signatures:
            raise DeviceError(f"{self.source.path.name} has no kernel {self.name}: expected one of {', '.join(signatures)}")
        return signatures[self.name]

    def __call__(self, *arguments: Any, **options: Any) -> None:
        """Run the kernel once; arguments and options are those of `bind`.

        Communication
        -------------
        Local. On a GPU the launch is ordered on torch's (else CuPy's) current stream and the host does not wait for it.
        """
        self.bind(*arguments, **options)()

    def bind(
        self,
        *arguments: Any,
        extent: Sequence[int],
        shape: Shape | None = None,
        imitate: bool = False,
        types: Mapping[str, str] | None = None,
        backend: str | None = None,
    ) -> Launch:
        """Check the arguments once and return a launch that costs under a microsecond on the CPU.

        Parameters
        ----------
        *arguments : array, sequence of arrays, int or float
            As the kernel declares them: arrays of NumPy, torch or CuPy, all on one device; None for a null pointer.
        extent : sequence of int
            Iteration space (x, y, z), from which the launch shape of a GPU follows.
        shape : (grid, block), optional
            Launch shape of a GPU to use instead.
        imitate : bool
            On the CPU run the threads of ``shape`` one after the other, as a GPU would, instead of whole loops.
        types : mapping of str to str, optional
            C types of the file's symbols; by default those of the arrays. Arrays of a symbol given here may have any dtype.
        backend : str, optional
            ``cuda``, ``host`` or ``twin``; by default the best that can be.

        Raises
        ------
        ShapeError
            For arguments of the wrong number or dtype, strided or read-only where that cannot be.
        DeviceError
            For arrays on several devices, and for a back end that cannot be here.

        Communication
        -------------
        Local.
        """
        infos = self._describe(arguments)
        device = self._one_device(infos)
        known = self._resolve(infos, types or {})
        backend = backend or choose_backend(self.source, device)
        if backend == "twin":
            return Launch(partial(self.twin, *arguments), arguments)
        if backend == "host":
            compiler = find_compiler()
            if device != "cpu" or not (compiler or prebuilt_found()):
                reason = f"its arrays are on {device}, the C++ compiler is {compiler or 'missing'}"
                raise DeviceError(f"{self.name} cannot run on the host: {reason}")
            return HostLaunch(self.source, self.signature, arguments, infos, known, compiler, math.prod(extent), shape if imitate else None)
        if not device.startswith("cuda"):
            raise DeviceError(f"{self.name} cannot run on a GPU: its arrays are on {device}")
        return DeviceLaunch(self.source, self.signature, arguments, infos, known, int(device.split(":")[1]), extent, shape)

    def _describe(self, arguments: Sequence[Any]) -> list[Any]:
        parameters = self.signature.parameters
        if len(arguments) != len(parameters):
            expected = ", ".join(p.name for p in parameters)
            raise ShapeError(f"kernel {self.name} takes {len(parameters)} arguments ({expected}), got {len(arguments)}")
        described: list[Any] = []
        for parameter, value in zip(parameters, arguments, strict=True):
            if parameter.pointers == 2:
                described.append([self._checked(parameter, entry) for entry in value])
            else:
                described.append(self._checked(parameter, value) if parameter.pointers and value is not None else None)
        return described

    def _checked(self, parameter: Parameter, array: Any) -> ArrayInfo:
        info = array_info(array)
        if parameter.name not in self.strided and not info.contiguous:
            raise ShapeError(f"{self.name}: {parameter.name} must be contiguous, got shape {info.shape} with strides {info.strides}")
        if not parameter.const and not info.writable:
            raise ShapeError(f"{self.name} writes {parameter.name}, which is read-only: pass a copy")
        return info

    def _one_device(self, infos: Sequence[Any]) -> str:
        devices = {entry.device for info in infos if info for entry in (info if isinstance(info, list) else [info])}
        if len(devices) != 1:
            raise DeviceError(f"kernel {self.name} needs all its arrays on one device, got {sorted(devices)}")
        return devices.pop()

    def _resolve(self, infos: Sequence[Any], given: Mapping[str, str]) -> dict[str, str]:
        """C types of the file's symbols, from the dtypes of the arrays where they are not given."""
        types = dict(given)
        if not types.keys() <= self.source.types.keys():
            raise ShapeError(f"{self.source.path.name} is written in the types {list(self.source.types)}, got {list(types)}")
        for parameter, info in zip(self.signature.parameters, infos, strict=True):
            for entry in info if isinstance(info, list) else [info] if info else []:
                if parameter.c_type in given:
                    continue
                choices = self.source.types.get(parameter.c_type, (parameter.c_type,))
                fitting = next((c for c in choices if entry.dtype in C_TYPES.get(c, ("", ()))[1]), None)
                if fitting is None or types.setdefault(parameter.c_type, fitting) != fitting:
                    expected = types.get(parameter.c_type) or " or ".join(choices)
                    raise ShapeError(f"{self.name}: {parameter.name} is an array of {expected}, got dtype {entry.dtype}")
        return {symbol: c_type for symbol, c_type in types.items() if symbol in self.source.types}
