"""What a kernel expects: the arguments of ``extern "C" __global__ void name(...)``, read from its text."""

import re
from dataclasses import dataclass

from hpcml.core.errors import DeviceError

# C type -> (format character of `struct`, names of the dtypes that it holds)
C_TYPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "float": ("f", ("float32",)),
    "double": ("d", ("float64",)),
    "bfloat16": ("", ("bfloat16",)),
    "int": ("i", ("int32",)),
    "long long": ("q", ("int64",)),
    "unsigned int": ("I", ("uint32",)),
    "unsigned long long": ("Q", ("uint64",)),
    "signed char": ("b", ("int8",)),
    "unsigned char": ("B", ("uint8", "bool")),
    "unsigned short": ("H", ("uint16",)),
}
_DECLARATION = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(\w+)\s*\(([^)]*)\)', re.DOTALL)
_TYPES_LINE = re.compile(r"^// Types\s+(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument: ``pointers`` is 0 for a scalar, 1 for an array, 2 for a list of arrays; the kernel may write what is not ``const``."""

    name: str
    c_type: str
    pointers: int
    const: bool


@dataclass(frozen=True, slots=True)
class Signature:
    """One kernel of a file."""

    name: str
    parameters: tuple[Parameter, ...]


def read_signatures(text: str) -> dict[str, Signature]:
    """Every kernel of a text by its name.

    Raises
    ------
    DeviceError
        For an argument that cannot be passed from Python.

    Examples
    --------
    >>> read_signatures('extern "C" __global__ void scale(double* __restrict__ x, double a, int n) {}')["scale"].parameters[0]
    Parameter(name='x', c_type='double', pointers=1, const=False)
    """
    return {name: Signature(name, tuple(map(_parameter, arguments.split(",")))) for name, arguments in _DECLARATION.findall(text)}


def read_types(text: str) -> dict[str, tuple[str, ...]]:
    """Symbols that a file is written in, with the C types that each may stand for, from its line ``// Types    REAL: float, double``."""
    line = _TYPES_LINE.search(text)
    symbols = (entry.split(":") for entry in line[1].split(";")) if line else ()
    return {symbol.strip(): tuple(name.strip() for name in names.split(",")) for symbol, names in symbols}


def as_functions(text: str) -> str:
    """The text with each kernel as an inlined C++ function."""
    return _DECLARATION.sub(r"inline __attribute__((always_inline)) void \1(\2)", text)


def _parameter(declaration: str) -> Parameter:
    words = re.sub(r"\b(const|__restrict__)\b", " ", declaration).replace("*", " * ").split()
    pointers = words.count("*")
    if len(words) - pointers < 2 or pointers > 2:
        raise DeviceError(f"cannot pass the kernel argument {declaration.strip()!r}: expected TYPE NAME, TYPE* NAME or TYPE* const* NAME")
    return Parameter(words[-1], " ".join(word for word in words[:-1] if word != "*"), pointers, declaration.lstrip().startswith("const"))
