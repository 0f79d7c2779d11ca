"""Arithmetic in vectors against that number by number, in the innermost loops of a kernel's machine code.

As a script it prints a line for every kernel file, type, compiler and processor: python tests/kernels/disassembly.py [FILE ...]
"""

import itertools
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from hpcml.fields import columns
from hpcml.kernels.compiler import FLAGS
from hpcml.kernels.host_text import host_text
from hpcml.kernels.source import KernelSource, read_source, source_names

X86 = ("x86-64-v3", "skylake-avx512", "icelake-server", "sapphirerapids", "znver3")
ARM = ("neoverse-n1", "neoverse-v1", "a64fx")
LIBRARIES = (Path(columns.__file__).with_suffix(".cpp"),)
MOVERS = {"pack", "unpack", "gather"}  # these compute nothing

_X86_ARITHMETIC = re.compile(r"v?(?:add|sub|mul|div|sqrt|max|min|fn?m(?:add|sub)\d+)([ps])[sd]$")
_ARM_ARITHMETIC = re.compile(r"f(?:add|sub|mul|div|ml[as]|n?m(?:add|sub|l[as]|ad|sb)|sqrt|max|min)")
_JUMP = re.compile(r"(?:j|b\.|cb|tb).* ([0-9a-f]+) <")
_LINE = re.compile(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*)")


@dataclass(frozen=True)
class Target:
    """A compiler, the program that reads its machine code, and a processor."""

    compiler: str
    objdump: str
    processor: str

    @property
    def arm(self) -> bool:
        return self.processor in ARM

    @property
    def missing(self) -> str | None:
        """Program that is not on this machine."""
        return next((program for program in (self.compiler, self.objdump) if shutil.which(program) is None), None)

    def __str__(self) -> str:
        return f"{self.compiler} {self.processor}"


TARGETS = [Target(compiler, "objdump", cpu) for compiler in ("g++", "clang++") for cpu in X86]
TARGETS += [Target("aarch64-linux-gnu-g++", "aarch64-linux-gnu-objdump", cpu) for cpu in ARM]


@dataclass
class Arithmetic:
    """Instructions of innermost loops, and of all."""

    packed: int = 0
    scalar: int = 0
    packed_in_all: int = 0
    scalar_in_all: int = 0

    def __add__(self, other: "Arithmetic") -> "Arithmetic":
        return Arithmetic(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def in_vectors(self) -> bool:
        """Whether loops go through memory in vectors; what is left over of a row may be one loop of as many numbers."""
        return self.packed > 0 and self.packed >= self.scalar

    def __str__(self) -> str:
        return f"{self.packed}/{self.scalar} ({self.packed_in_all}/{self.scalar_in_all})"


def arithmetic(source: KernelSource, types: dict[str, str], target: Target, *flags: str) -> dict[str, Arithmetic]:
    """Compile a file's whole loops for a target and count, for each of its kernels."""
    found = _machine_code(_whole_loops(source, types), target, *flags)
    return {name: _count(found[f"{name}__serial"], target.arm) for name in source.signatures}


def library_arithmetic(path: Path, target: Target, *flags: str) -> Arithmetic:
    """Compile a C++ file of the package for a target and count over all its functions."""
    return sum((_count(body, target.arm) for body in _machine_code(path.read_text(), target, *flags).values()), Arithmetic())


def _machine_code(text: str, target: Target, *flags: str) -> dict[str, str]:
    """Disassembly by function."""
    processor = f"-m{'cpu' if target.arm else 'arch'}={target.processor}"
    kept = [flag for flag in FLAGS if not flag.startswith("-march") and flag != "-shared"]
    with tempfile.TemporaryDirectory() as folder:
        source, code = Path(folder, "source.cpp"), Path(folder, "source.o")
        source.write_text(text)
        subprocess.run([target.compiler, *kept, processor, *flags, "-c", source, "-o", code], check=True)
        read = subprocess.run([target.objdump, "-d", "--no-show-raw-insn", code], check=True, capture_output=True, text=True).stdout
    functions = re.split(r"\n[0-9a-f]+ <(.+)>:\n", read)[1:]
    return dict(zip(functions[::2], functions[1::2], strict=True))


def floating(source: KernelSource) -> Iterator[dict[str, str]]:
    """Choices of types that have vector arithmetic."""
    return (types for types in source.variants() if set(types.values()) <= {"float", "double"})


def _whole_loops(source: KernelSource, types: dict[str, str]) -> str:
    """The text without the launchers of teams and of imitated launches: the same loops twice more."""
    text = host_text(source, types)
    launchers = re.findall(r'^extern "C" void \w+__serial.*$', text, re.MULTILINE)
    return "\n".join([text.split("struct hpcml_grid {")[0], *launchers])


def _count(body: str, arm: bool) -> Arithmetic:
    lines = [(int(m[1], 16), m[2], m[3]) for m in map(_LINE.match, body.splitlines()) if m]
    begin = lines[0][0]
    # A compiler ends a loop by a jump with a condition; one without leads from a rest that it put behind the function back into it.
    jumps = [(at, int(m[1], 16)) for at, op, rest in lines if op not in ("b", "bl", "jmp", "call") and (m := _JUMP.match(op + " " + rest))]
    loops = sorted((to, at) for at, to in jumps if begin <= to <= at)
    inner = [loop for loop in loops if not any(loop[0] <= other[0] and other[1] <= loop[1] and other != loop for other in loops)]
    total = Arithmetic()
    for at, op, rest in lines:
        kind = _kind(op, rest, arm)
        if kind:
            here = any(first <= at <= last for first, last in inner)
            total.packed_in_all += kind == "packed"
            total.scalar_in_all += kind == "scalar"
            total.packed += here and kind == "packed"
            total.scalar += here and kind == "scalar"
    return total


def _kind(op: str, rest: str, arm: bool) -> str | None:
    if arm:
        return ("packed" if re.match(r"[vz]\d", rest) else "scalar") if _ARM_ARITHMETIC.match(op) else None
    found = _X86_ARITHMETIC.match(op)
    return None if found is None else {"p": "packed", "s": "scalar"}[found[1]]


def main(names: list[str]) -> None:
    """Print all counts; what is no mover and not in vectors ends its line with the word scalar."""
    for path, target in itertools.product(LIBRARIES if not names else (), TARGETS):
        if target.missing is None:
            count = library_arithmetic(path, target)
            print(path.name, target, count, "" if count.in_vectors else "scalar", sep="  ", flush=True)
    for source in map(read_source, names or source_names()):
        for types in floating(source):
            for target in TARGETS:
                if target.missing is None:
                    counts = arithmetic(source, types, target)
                    scalar = [name for name, count in counts.items() if not count.in_vectors and name not in MOVERS]
                    print(source.name, *types.values(), target, *(f"{name} {count}" for name, count in counts.items()), sep="  ", end="")
                    print(f"  scalar: {' '.join(scalar)}" if scalar else "", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
