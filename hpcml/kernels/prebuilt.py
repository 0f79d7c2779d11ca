"""Libraries made beforehand for other processors, for nodes that have no compiler.

    FOLDER/znver3/processor.json       machine and features that the code needs, and what made it
    FOLDER/znver3/stencil-HASH.so      one for every text and choice of types

A library is loaded only on a machine of that kind whose processor has every feature.
"""

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from hpcml.core.cache_folder import cache_folder
from hpcml.core.errors import DeviceError
from hpcml.core.json_text import parse_json
from hpcml.core.processor import processor_features
from hpcml.core.trusted import distrust, open_trusted, read_trusted
from hpcml.kernels.compiler import compile_for, portable_flags
from hpcml.kernels.host_text import host_text
from hpcml.kernels.source import read_source, source_names

# What a compiler may use unasked, where its macro is not the name that the system gives the feature.
_NAMES = {
    **{f"__{name.upper()}__": name for name in ("avx", "avx2", "fma", "f16c", "bmi2", "movbe", "popcnt", "ssse3", "gfni", "sse4a")},
    **{f"__AVX512{name.upper()}__": f"avx512{name}" for name in ("f", "bw", "dq", "vl", "cd", "ifma", "vbmi", "er", "pf")},
    **{f"__AVX512{name.upper()}__": f"avx512_{name}" for name in ("vbmi2", "vnni", "bitalg", "vpopcntdq", "bf16", "fp16")},
    "__SSE3__": "pni",
    "__SSE4_1__": "sse4_1",
    "__SSE4_2__": "sse4_2",
    "__BMI__": "bmi1",
    "__LZCNT__": "abm",
    "__AVXVNNI__": "avx_vnni",
    "__ARM_FEATURE_SVE": "sve",
    "__ARM_FEATURE_SVE2": "sve2",
    "__ARM_FEATURE_ATOMICS": "atomics",
    "__ARM_FEATURE_CRC32": "crc32",
    "__ARM_FEATURE_DOTPROD": "asimddp",
    "__ARM_FEATURE_FP16_VECTOR_ARITHMETIC": "asimdhp",
    "__ARM_FEATURE_QRDMX": "asimdrdm",
    "__ARM_FEATURE_COMPLEX": "fcma",
    "__ARM_FEATURE_JCVT": "jscvt",
    "__ARM_FEATURE_BF16": "bf16",
    "__ARM_FEATURE_MATMUL_INT8": "i8mm",
    "__ARM_FEATURE_SVE_BF16": "svebf16",
    "__ARM_FEATURE_SVE_MATMUL_INT8": "svei8mm",
}
# C++ files beside the kernels.
_LIBRARIES = ("fields/columns.cpp", "parallel/transport/moves.cpp", "io/checkpoint/state/streaming_copy.cpp")


def build_for(cpu: str, compiler: str, folder: Path) -> list[Path]:
    """Compile everything for a processor.

    Parameters
    ----------
    cpu : str
        As the compiler names it: ``znver3``, ``neoverse-v1``.
    compiler : str
        A cross compiler where the nodes are of another kind.
    folder : Path
        Gets a folder of the name of the processor.

    Raises
    ------
    DeviceError
        For a processor that the compiler does not know, or a folder that cannot be written.

    Communication
    -------------
    Local.
    """
    machine, features = _needs(cpu, compiler)
    into, made = folder / cpu, []
    try:
        into.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, text in _texts():
            code = into / f".{name}.cpp"
            code.write_text(text)
            part = code.with_suffix(".part")
            try:
                compile_for(cpu, machine, compiler, code, part)
                part.chmod(0o700)
                made.append(part.replace(into / name))
            finally:
                code.unlink()
        about = {"cpu": cpu, "machine": machine, "features": sorted(features), "compiler": compiler, "flags": portable_flags()}
        (into / "processor.json").write_text(json.dumps(about, indent=2) + "\n")
        (into / "processor.json").chmod(0o600)
    except OSError as error:
        raise DeviceError(f"cannot write libraries to {into}: {error}; choose another folder with --output") from error
    return made


def prebuilt(name: str) -> int | None:
    """Descriptor of a library that was made for this processor, or one like it with fewer features; None if there is none.

    Communication
    -------------
    Local.
    """
    for folder in prebuilt_folders():
        with suppress(OSError):
            return open_trusted(folder / name)
    return None


def prebuilt_folders() -> list[Path]:
    """Folders of libraries that fit this processor, the best first."""
    return [folder for folder, _ in _fitting(os.environ.get("HPCML_LIBRARIES"))]


def prebuilt_found(asked_only: bool = False) -> bool:
    """Whether there are libraries that fit this processor: any, or in the folder that ``$HPCML_LIBRARIES`` names."""
    named = os.environ.get("HPCML_LIBRARIES")
    return bool(_fitting(named)) and bool(named or not asked_only)


def library_name(stem: str, text: str) -> str:
    """File name that changes with the text and the flags, but not with processor or compiler."""
    return f"{stem}-{sha256(repr((text, portable_flags())).encode()).hexdigest()[:20]}.so"


@lru_cache
def _fitting(named: str | None) -> tuple[tuple[Path, dict[str, Any]], ...]:
    """Folders whose code this processor can run, that with the most features first."""
    found = []
    for about in sorted((Path(named) if named else cache_folder("libraries")).glob("*/processor.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            record = parse_json(read_trusted(about))
            fits = record["machine"] == platform.machine() and set(record["features"]) <= processor_features()
            if fits and distrust(about.parent) is None:
                found.append((about.parent, record))
    return tuple(sorted(found, key=lambda entry: -len(entry[1]["features"])))


def _needs(cpu: str, compiler: str) -> tuple[str, set[str]]:
    """Kind of machine and features of a processor, as the compiler has them."""
    machine = subprocess.run([compiler, "-dumpmachine"], capture_output=True, text=True, check=False).stdout.split("-")[0].strip()
    option, example = ("-march=", "znver3") if machine == "x86_64" else ("-mcpu=", "neoverse-v1")
    command = [compiler, f"{option}{cpu}", "-dM", "-E", "-x", "c++", "/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise DeviceError(f"{compiler} does not know the processor {cpu}: expected what its option {option} takes, as in {example}")
    macros = {words[1] for line in done.stdout.splitlines() if len(words := line.split()) > 1}
    return machine, {feature for macro, feature in _NAMES.items() if macro in macros}


def _texts() -> Iterator[tuple[str, str]]:
    for source in map(read_source, source_names()):
        for types in source.variants() if source.needs_gpu is None else ():
            text = host_text(source, types)
            yield library_name(source.name, text), text
    for path in _LIBRARIES:
        text = (Path(__file__).parents[1] / path).read_text()
        yield library_name(Path(path).stem, text), text
