"""The site's C++ compiler and the processor that it compiles for."""

import os
import platform
import shlex
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from hpcml.core.errors import DeviceError

# No contraction: a multiply and an add round as NumPy's and the GPU's (compiled likewise) do, so that all three give the same bits.
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"),
    *("-fopenmp", "-shared", "-fPIC", "-w"),
)


@lru_cache
def find_compiler() -> str | None:
    """First of ``$HPCML_CXX``, ``$CXX``, ``g++``, ``c++`` that exists, looked for once per process; None without any."""
    named = (os.environ.get("HPCML_CXX"), os.environ.get("CXX"), "g++", "c++")
    return next((path for name in named if name and (path := shutil.which(name))), None)


def compiler_flags() -> tuple[str, ...]:
    """`FLAGS`, then those of ``$HPCML_CXXFLAGS``, which win; ``-ffp-contract=fast`` trades equal bits for fused multiply-adds."""
    return (*FLAGS, *shlex.split(os.environ.get("HPCML_CXXFLAGS", "")))


@lru_cache
def fingerprint(compiler: str) -> tuple[str, str]:
    """Version of the compiler and kind of the processor: a cached file fits only where both are the same."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, errors="replace", check=False).stdout
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    features = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    return version, "\n".join(features) or platform.processor()


def portable_flags() -> tuple[str, ...]:
    """The same without the processor."""
    return tuple(flag for flag in compiler_flags() if not flag.startswith(("-march=", "-mcpu=", "-mtune=")))


def compile_for(cpu: str, machine: str, compiler: str, source: Path, output: Path) -> None:
    """Compile for another processor; errors are those of `compile_shared`."""
    option = f"-m{'arch' if machine == 'x86_64' else 'cpu'}={cpu}"
    _compile([compiler, *portable_flags(), option, str(source), "-o", str(output)])


def compile_shared(compiler: str, source: Path, output: Path) -> None:
    """Compile one C++ file into a shared library.

    Raises
    ------
    DeviceError
        With the compiler's first messages.
    """
    _compile([compiler, *compiler_flags(), str(source), "-o", str(output)])


def _compile(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        messages = "\n".join(done.stderr.splitlines()[:20])
        remedy = "set HPCML_CXX to another compiler, or HPCML_KERNELS=twin to do without"
        raise DeviceError(f"{shlex.join(command)} failed: {remedy}\n{messages}")
