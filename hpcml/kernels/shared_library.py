"""A C++ file of the package as a loaded library, compiled once per node."""

import ctypes
from hashlib import sha256
from pathlib import Path

from hpcml.kernels.cache import built_once
from hpcml.kernels.compiler import compile_shared, compiler_flags, find_compiler, fingerprint
from hpcml.kernels.prebuilt import library_name, prebuilt, prebuilt_found


def shared_library(source: Path) -> ctypes.CDLL | None:
    """Compile and load a file.

    Returns
    -------
    ctypes.CDLL or None
        None without a compiler and without a library made beforehand.

    Raises
    ------
    DeviceError
        With the compiler's messages, or where the cache cannot be written.

    Communication
    -------------
    None through MPI, see `built_once`.
    """
    text, compiler = source.read_text(), find_compiler()
    ready = prebuilt(library_name(source.stem, text)) if compiler is None or prebuilt_found(asked_only=True) else None
    if ready is not None:
        return load_library(ready)
    if compiler is None:
        return None
    identity = repr((source.read_text(encoding="utf-8"), compiler, compiler_flags(), fingerprint(compiler)))
    name = f"{source.stem}-{sha256(identity.encode()).hexdigest()[:16]}.so"
    return load_library(built_once(name, lambda path: compile_shared(compiler, source, path)))


def load_library(descriptor: int) -> ctypes.CDLL:
    """Load the very file that is open, whatever its name leads to by now.

    Communication
    -------------
    Local.

    Notes
    -----
    The descriptor stays open: the loader takes a file of a name that it has seen for the one that it knows, so no number may come again.
    """
    return ctypes.CDLL(f"/proc/self/fd/{descriptor}")
