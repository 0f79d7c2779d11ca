"""Simulations in C, C++ or Fortran: a shared library with three functions, called on the ranks that share a simulation."""

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from mpi4py import MPI

from hpcml.core.errors import ConfigError, SolverError
from hpcml.fields.domain import Domain

_INCLUDE = Path(__file__).parent / "include"


def get_include() -> str:
    """Folder of ``hpcml_simulation.h`` and ``hpcml_simulation.f90``, for compilers.

    Communication
    -------------
    Local.
    """
    return str(_INCLUDE)


class _About(ctypes.Structure):
    """``hpcml_simulation`` of the header."""

    _fields_ = (
        ("number", ctypes.c_int32),
        ("num_dims", ctypes.c_int32),
        ("num_channels", ctypes.c_int32),
        ("num_parameters", ctypes.c_int32),
        ("interval", ctypes.c_double),
        ("parameters", ctypes.POINTER(ctypes.c_double)),
        ("names", ctypes.POINTER(ctypes.c_char_p)),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.POINTER(ctypes.c_int64)),
        ("local_shape", ctypes.POINTER(ctypes.c_int64)),
        ("dims", ctypes.POINTER(ctypes.c_int64)),
        ("fortran_comm", ctypes.c_int32),
        ("comm", ctypes.c_int if MPI._sizeof(MPI.Comm) == ctypes.sizeof(ctypes.c_int) else ctypes.c_void_p),
    )


def shared_library(
    domain: Domain, parameters: Mapping[str, float], fields: Sequence[str], number: int, interval: float, path: str
) -> Iterator[np.ndarray]:
    """States that a shared library computes.

    Parameters
    ----------
    domain : Domain
        The grid on the ranks that share the simulation.
    parameters : mapping of str to float
        Of the simulation.
    fields : sequence of str
        Names of the channels.
    number : int
        Of the simulation.
    interval : float
        Time from one state to the next.
    path : str
        Of the library, from the folder where the job was started. It has the functions that ``hpcml_simulation.h`` declares, see
        `get_include`.

    Yields
    ------
    numpy.ndarray
        float64, (channel, *local_shape); the same memory every time.

    Raises
    ------
    ConfigError
        If there is no such library, it lacks a function, or it was built with another MPI.
    SolverError
        If a function returns a status other than 0.

    Communication
    -------------
    That of the library, on ``domain.comm``.
    """
    library = _opened(Path(path).resolve())
    about = _about(domain, parameters, len(fields), number, interval)
    own, state = ctypes.c_void_p(), np.zeros((len(fields), *domain.local_shape))
    _succeed(library.simulation_begin(ctypes.byref(about), ctypes.byref(own)), "simulation_begin", path)
    try:
        while True:
            _succeed(library.simulation_step(own, state.ctypes.data_as(ctypes.POINTER(ctypes.c_double))), "simulation_step", path)
            yield state
    finally:
        library.simulation_end(own)


def _opened(path: Path) -> ctypes.CDLL:
    if not path.is_file():
        raise ConfigError(f"data.simulation.path: there is no file {path}; it is relative to where the command runs")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ConfigError(f"data.simulation.path: {path} is no shared library that can be used here: {error}") from error
    for name in ("simulation_begin", "simulation_step", "simulation_end"):
        if not hasattr(library, name):
            raise ConfigError(f"data.simulation.path: {path} lacks the function {name}, which hpcml_simulation.h declares (extern C)")
    library.simulation_end.restype = None
    if (other := _version(library)) not in (None, MPI.Get_library_version().rstrip("\0")):
        raise ConfigError(
            f"data.simulation.path: {path} was built with {_first_line(other)}, and this job runs on "
            f"{_first_line(MPI.Get_library_version())}: build it with the mpicc of the latter"
        )
    return library


def _version(library: ctypes.CDLL) -> str | None:
    """What the MPI that a library was linked with calls itself; None without one."""
    try:
        ask = library.MPI_Get_library_version
    except AttributeError:
        return None
    text, length = ctypes.create_string_buffer(1 << 14), ctypes.c_int()  # more than any MPI_MAX_LIBRARY_VERSION_STRING
    ask(text, ctypes.byref(length))
    return text.value.decode(errors="replace")


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0].partition(",")[0]


def _about(domain: Domain, parameters: Mapping[str, float], channels: int, number: int, interval: float) -> _About:
    """Filled; it holds what it points to."""
    size, dims = len(parameters), domain.num_dims
    numbers = ctypes.c_int64 * dims
    comm = domain.comm
    return _About(
        number,
        dims,
        channels,
        size,
        interval,
        (ctypes.c_double * size)(*parameters.values()),
        (ctypes.c_char_p * size)(*(name.encode() for name in parameters)),
        numbers(*domain.global_shape),
        numbers(*(part.start for part in domain.block)),
        numbers(*domain.local_shape),
        numbers(*domain.process_grid.dims),
        comm.py2f(),
        MPI._handleof(comm),
    )


def _succeed(status: int, name: str, path: str) -> None:
    if status:
        raise SolverError(f"{name} of {path} gave the status {status}")
