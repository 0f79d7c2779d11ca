"""The files of ``kernels/``: found in the wheel or in the checkout, read with their headers as one text."""

import hashlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hpcml.core.errors import DeviceError
from hpcml.core.resources import resource_path
from hpcml.kernels.signature import Signature, read_signatures, read_types

_INCLUDE = re.compile(r'^#include "([\w./]+)"\s*$')
# What one CPU thread per block cannot stand for; such a kernel needs its twin.
_GPU_ONLY = re.compile(r"\b(__shfl\w*|__ballot\w*|__syncwarp|atomic[A-Z]\w*|cooperative_groups|extern\s+__shared__|asm\b|wmma|__half\w*)")


@dataclass(frozen=True, slots=True, eq=False)
class KernelSource:
    """One ``.cu`` file.

    Attributes
    ----------
    path : Path
        Where it lies.
    text : str
        Its text with every header pasted in; ``#line`` directives keep compilers' messages at the right file and line.
    signatures : dict of str to Signature
        Its kernels.
    types : dict of str to tuple of str
        Symbols that it is written in and the C types that each may stand for.
    needs_gpu : str or None
        A construct that only a GPU has, or None when the file runs on the CPU too.
    synchronises : bool
        Whether threads of one block wait for one another.
    """

    path: Path
    text: str
    signatures: dict[str, Signature]
    types: dict[str, tuple[str, ...]]
    needs_gpu: str | None
    synchronises: bool

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def summary(self) -> str:
        """First line of the header comment."""
        return self.text.split("\n", 2)[1].removeprefix("// ")

    def variants(self) -> Iterator[dict[str, str]]:
        """Every choice of types that the file can be compiled for."""
        for choice in itertools.product(*self.types.values()):
            yield dict(zip(self.types, choice, strict=True))

    def key(self, *compiled_with: object) -> str:
        """Name of what comes of compiling this text in a given way: the same for the same bytes and the same compiler only."""
        digest = hashlib.sha256(repr((self.text, *compiled_with)).encode())
        return f"{self.name}-{digest.hexdigest()[:20]}"


def source_names() -> list[str]:
    """Names of all kernel files."""
    return sorted(path.stem for path in resource_path("kernels").glob("*.cu"))


@lru_cache
def read_source(file: str | Path) -> KernelSource:
    """Read a kernel file.

    Parameters
    ----------
    file : str or Path
        Name of a file of ``kernels/`` without its suffix, or the path of any other ``.cu`` file.

    Raises
    ------
    DeviceError
        For a file that is not there or holds no kernel.

    Communication
    -------------
    Local.
    """
    path = Path(file) if str(file).endswith(".cu") else resource_path("kernels") / f"{file}.cu"
    if not path.is_file():
        raise DeviceError(f"there is no kernel file {path}: expected one of {', '.join(source_names())}, or the path of a .cu file")
    text = "\n".join(_pasted(path, set()))
    signatures = read_signatures(text)
    if not signatures:
        raise DeviceError(f'{path} holds no kernel: expected at least one extern "C" __global__ void NAME(ARGUMENTS)')
    gpu_only = _GPU_ONLY.search(text)
    return KernelSource(path, text, signatures, read_types(text), gpu_only[1] if gpu_only else None, "__syncthreads" in text)


def _pasted(path: Path, seen: set[str]) -> Iterator[str]:
    name = f"kernels/{path.name}" if path.parent == resource_path("kernels") else str(path)
    yield f'#line 1 "{name}"'
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        include = _INCLUDE.match(line)
        if include is None:
            yield line
        elif include[1] not in seen:
            seen.add(include[1])
            yield from _pasted(path.parent / include[1], seen)
            yield f'#line {number + 1} "{name}"'
        else:
            yield ""
