"""``hpcml job preflight``: look at the nodes of a job before hours are spent there."""

import argparse
from pathlib import Path
from typing import Any


def add_action(actions: Any) -> None:
    """Add ``preflight`` to the actions of ``job``."""
    parser = actions.add_parser(
        "preflight",
        help="within a job: look at MPI, GPUs, lines between nodes, file system and clocks",
        description="Start it as the job itself: srun hpcml job preflight --folder runs. The status is 2 if something is wrong; a node "
        "that is off from the others is named.",
    )
    parser.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="where the job will write, default here")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look on all ranks of the job; rank 0 prints."""
    import hpcml.mpi

    world = hpcml.mpi.world()

    from hpcml.core.errors import ConfigError
    from hpcml.mpi import raise_together
    from hpcml.runs.preflight import preflight

    with raise_together(world.comm):
        if not args.folder.is_dir():
            raise ConfigError(f"there is no folder {args.folder}: make it, or give another with --folder")
    found = preflight(world, args.folder)
    if world.rank == 0:
        lines = [*found.lines, *(f"OFF: {text}" for text in found.off), *(f"WRONG: {text}" for text in found.wrong)]
        print("\n".join(f"preflight: {line}" for line in lines), flush=True)
    return 2 if found.wrong else 0
