"""``hpcml kernels``: what kernels there are, and machine code of them for nodes without a compiler."""

import argparse
import time
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add ``kernels list`` and ``kernels compile``."""
    parser = subparsers.add_parser("kernels", help="list the kernels or compile them for GPUs")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="every kernel file with its kernels and types").set_defaults(run=run_list)
    compiler = actions.add_parser("compile", help="machine code of every kernel file, for GPUs or for another processor")
    compiler.add_argument("--arch", action="append", metavar="sm_NN", help="GPU architecture; may be repeated (default: sm_80 and sm_90)")
    compiler.add_argument("--cpu", action="append", metavar="NAME", help="libraries for nodes with this processor, as g++ names it: znver3")
    compiler.add_argument("--output", type=Path, metavar="DIR", help="folder for HPCML_CUBINS or HPCML_LIBRARIES (default: the cache)")
    compiler.set_defaults(run=run_compile)


def run_list(args: argparse.Namespace) -> int:
    """Print a line per kernel file and one per kernel."""
    from hpcml.kernels.source import read_source, source_names

    for source in map(read_source, source_names()):
        types = "; ".join(f"{symbol}: {', '.join(names)}" for symbol, names in source.types.items())
        print(f"{source.name}.cu  {source.summary}\n    types    {types}")
        for name, signature in source.signatures.items():
            print(f"    {name}({', '.join(parameter.name for parameter in signature.parameters)})")
    return 0


def run_compile(args: argparse.Namespace) -> int:
    """Compile every variant of every kernel file for the architectures or the processors asked for."""
    if args.cpu:
        _compile_libraries(args.cpu, args.output)
        if not args.arch:
            return 0
    from hpcml.core.cache_folder import cache_folder
    from hpcml.kernels.cubin import write_cubin
    from hpcml.kernels.source import read_source, source_names

    folder = args.output or cache_folder("kernels")
    start, count = time.perf_counter(), 0
    for source in map(read_source, source_names()):
        for types in source.variants():
            for arch in args.arch or ("sm_80", "sm_90"):
                path = write_cubin(source, types, arch, folder)
                print(f"{source.name:12} {arch}  {' '.join(types.values()):20} {path.stat().st_size:6} bytes  {path.name}")
                count += 1
    print(f"{count} cubins in {folder}, {time.perf_counter() - start:.1f} s")
    return 0


def _compile_libraries(cpus: list[str], output: Path | None) -> None:
    from hpcml.core.cache_folder import cache_folder
    from hpcml.core.errors import DeviceError
    from hpcml.kernels.compiler import find_compiler
    from hpcml.kernels.prebuilt import build_for

    compiler = find_compiler()
    if compiler is None:
        raise DeviceError("there is no C++ compiler here: install g++ or set HPCML_CXX; where there is one, libraries can be made for here")
    folder = output or cache_folder("libraries")
    for cpu in cpus:
        start = time.perf_counter()
        made = build_for(cpu, compiler, folder)
        print(f"{len(made)} libraries for {cpu} in {folder / cpu} by {compiler}, {time.perf_counter() - start:.1f} s")
