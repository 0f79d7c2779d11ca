"""``hpcml info``: what this installation is made of and where it runs.

MPI is asked for its name but not started, since starting it ends the process on many login nodes; a process that may end is asked what
the library says of GPU memory.
"""

import argparse
import json
from collections.abc import Iterator
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add ``info``."""
    parser = subparsers.add_parser("info", help="versions, MPI library, host, processors and threads")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--cite", action="store_true", help="print how to cite hpcml, for BibTeX, and nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the environment as a table or as JSON, or how to cite."""
    if args.cite:
        from hpcml.core.citation import citation

        print(citation())
        return 0
    from hpcml.core.environment import capture_environment
    from hpcml.kernels.description import describe_kernels, describe_ways

    library = _mpi_library()
    environment = capture_environment(library)
    environment["gpu_aware_mpi"] = "no: there is no MPI" if library.startswith("none: ") else _gpu_aware_mpi()
    environment["kernels"] = describe_kernels() | {"ways": describe_ways()}
    if args.json:
        print(json.dumps(environment))
        return 0
    rows = list(_rows(environment))
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:{width}}  {value}" for name, value in rows))
    return 0


def _mpi_library() -> str:
    """Name of the MPI library, or why there is none."""
    try:
        import mpi4py

        mpi4py.rc.initialize = False
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        return f"none: {error}"
    return MPI.Get_library_version().strip("\x00").splitlines()[0].strip()


def _gpu_aware_mpi() -> str:
    """Whether a job would hand GPU memory to MPI, and why; a process of its own starts MPI to ask."""
    from hpcml.mpi.gpu_aware import describe

    decision = describe()
    return f"{'yes' if decision.answer else 'no'}: {decision.reason}"


def _rows(tables: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tables.items():
        if isinstance(value, dict):
            yield from _rows(value, f"{prefix}{name}.")
        else:
            yield prefix + name, " ".join(map(str, value)) if isinstance(value, list) else str(value)
