"""A C++ file of the package as a loaded library, compiled once per node."""

import ctypes
from hashlib import sha256
from pathlib import Path

from hpcml.kernels.cache import built_once
from hpcml.kernels.compiler import compile_shared, compiler_flags, find_compiler, fingerprint


def shared_library(source: Path) -> ctypes.CDLL | None:
    """Compile and load a file.

    Returns
    -------
    ctypes.CDLL or None
        None without a compiler.

    Raises
    ------
    DeviceError
        With the compiler's messages, or where the cache cannot be written.

    Communication
    -------------
    None through MPI, see `built_once`.
    """
    compiler = find_compiler()
    if compiler is None:
        return None
    identity = repr((source.read_text(), compiler, compiler_flags(), fingerprint(compiler)))
    name = f"{source.stem}-{sha256(identity.encode()).hexdigest()[:16]}.so"
    return ctypes.CDLL(str(built_once(name, lambda path: compile_shared(compiler, source, path))))
