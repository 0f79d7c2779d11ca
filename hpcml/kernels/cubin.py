"""Machine code for GPUs: NVRTC compiles without a GPU or a driver, nvcc where it is installed, both from the same text."""

import logging
import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path

from hpcml.core.errors import DeviceError
from hpcml.core.trusted import distrust, open_trusted
from hpcml.kernels.cache import built_once
from hpcml.kernels.source import KernelSource

# No fused multiply-add, as on the CPU: the same bits everywhere. Stencils and updates wait for memory, not for arithmetic.
FLAGS = ("-std=c++17", "--fmad=false")


def open_cubin(source: KernelSource, types: Mapping[str, str], arch: str) -> int:
    """Cubin of a kernel file for one architecture: from ``$HPCML_CUBINS``, else from the cache, else compiled now.

    Parameters
    ----------
    source : KernelSource
        Kernel file.
    types : mapping of str to str
        C types of its symbols.
    arch : str
        For example ``sm_90``.

    Returns
    -------
    int
        Descriptor of the file, open for reading, that nobody else could have written; the caller closes it.

    Raises
    ------
    DeviceError
        When it has to be compiled and there is no compiler, or the compiler refuses the text.

    Communication
    -------------
    None through MPI; one rank per node compiles, the others wait for its file.
    """
    name = cubin_name(source, types, arch)
    if (folder := os.environ.get("HPCML_CUBINS")) and Path(folder, name).exists():
        try:
            reason = distrust(Path(folder))
            if reason is None:
                return open_trusted(Path(folder, name))
        except OSError as error:
            reason = str(error)
        _warn(f"the cubins of HPCML_CUBINS={folder} are not used: {reason}; copy them to a folder that you alone can write to")
    return built_once(name, partial(_write, source, types, arch))


def write_cubin(source: KernelSource, types: Mapping[str, str], arch: str, folder: Path) -> Path:
    """Compile into a folder, under the name that `open_cubin` looks for.

    Parameters and errors are those of `open_cubin`; also a `DeviceError` for a folder that cannot be written.
    """
    path = folder / cubin_name(source, types, arch)
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(source, types, arch, part)
        part.chmod(0o644)  # whatever the umask: what others of a group can write is not used
        return part.replace(path)
    except OSError as error:
        raise DeviceError(f"cannot write machine code to {folder}: {error}; choose another folder with --output") from error


def cubin_name(source: KernelSource, types: Mapping[str, str], arch: str) -> str:
    """File name that changes with the text, the types and the architecture."""
    return f"{source.key(sorted(types.items()), arch, FLAGS)}.{arch}.cubin"


def compile_nvrtc(source: KernelSource, types: Mapping[str, str], arch: str) -> bytes:
    """Compile a kernel file with NVRTC.

    Raises
    ------
    DeviceError
        Without NVRTC, for an architecture that it does not know, and with its messages for a text that it refuses.

    Communication
    -------------
    Local.
    """
    nvrtc = _nvrtc()
    program = nvrtc.createProgram(source.text, f"kernels/{source.path.name}", (), ())
    try:
        nvrtc.compileProgram(program, (f"-arch={arch}", *FLAGS, *_definitions(types)))
        return bytes(nvrtc.getCUBIN(program))
    except nvrtc.NVRTCError as error:
        if "INVALID_OPTION" in str(error):
            raise _unknown("NVRTC", source, arch) from error
        raise DeviceError(f"NVRTC cannot compile {source.path.name} for {arch}: {error}\n{nvrtc.getProgramLog(program)}") from error
    finally:
        nvrtc.destroyProgram(program)


def compile_nvcc(source: KernelSource, types: Mapping[str, str], arch: str) -> bytes:
    """Compile a kernel file with the CUDA toolkit's nvcc.

    Raises
    ------
    DeviceError
        Without nvcc, and with its messages for a text that it refuses.
    """
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise DeviceError("nvcc is not in PATH: load the CUDA toolkit's module, or use NVRTC")
    command = [nvcc, f"-arch={arch}", *FLAGS, *_definitions(types), "-cubin", "-x", "cu", "-o", "/dev/stdout", str(source.path)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        messages = done.stderr.decode(errors="replace")
        if "gpu-architecture" in messages or "gpu architecture" in messages:
            raise _unknown("nvcc", source, arch)
        raise DeviceError(f"nvcc cannot compile {source.path.name} for {arch}:\n{messages}")
    return done.stdout


def nvrtc_found() -> bool:
    """Whether NVRTC can be loaded; it needs no GPU."""
    try:
        _nvrtc()
    except DeviceError:
        return False
    return True


@lru_cache
def _nvrtc():  # type: ignore[no-untyped-def]
    try:
        from cupy_backends.cuda.libs import nvrtc  # type: ignore[import-untyped]

        nvrtc.getVersion()
    except (ImportError, RuntimeError) as error:
        remedy = "pip install cupy-cuda12x nvidia-cuda-nvrtc-cu12, or load the site's CUDA toolkit"
        raise DeviceError(f"NVRTC is not here ({error}): {remedy}") from error
    return nvrtc


def _unknown(compiler: str, source: KernelSource, arch: str) -> DeviceError:
    return DeviceError(
        f"{compiler} cannot compile {source.path.name} for {arch}, which is no GPU architecture that it knows: expected a name like sm_90"
    )


@lru_cache
def _warn(text: str) -> None:
    logging.getLogger(__name__).warning(text, extra={"alike": True})


def _definitions(types: Mapping[str, str]) -> list[str]:
    return [f"-D{symbol}={c_type}" for symbol, c_type in types.items()]


def _write(source: KernelSource, types: Mapping[str, str], arch: str, path: Path) -> None:
    compile_text = compile_nvrtc if nvrtc_found() or not shutil.which("nvcc") else compile_nvcc
    path.write_bytes(compile_text(source, types, arch))
