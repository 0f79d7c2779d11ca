"""``hpcml data``: simulate datasets, bring them from one layout to another, show what is in them; try partitions of a mesh."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcml.cli.case_file import add_case_arguments, name_of_case
from hpcml.cli.number import MOST, Number
from hpcml.core.printable import printable

if TYPE_CHECKING:
    from hpcml.io.dataset import Description
    from hpcml.io.dataset.axis import Axis


def add_parser(subparsers: Any) -> None:
    """Add ``data generate``, ``data convert``, ``data show`` and ``data partition``."""
    parser = subparsers.add_parser("data", help="simulate datasets, convert them, show what is in them, partition meshes")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    generate = actions.add_parser("generate", help="simulate the trajectories of a case; started again, go on where it stopped")
    add_case_arguments(generate)
    generate.add_argument("--out", type=Path, metavar="DIR", help="folder of the dataset, default: the case's name in datasets/")
    generate.set_defaults(run=_generate)
    convert = actions.add_parser("convert", help="write a dataset in another layout; started again, go on where it stopped")
    convert.add_argument("source", type=Path, metavar="IN", help="file, or folder of files that follow one another")
    convert.add_argument("target", type=Path, metavar="OUT", help="file to be made; for pdebench *.hdf5 has arrays, *.h5 groups")
    convert.add_argument("--to", required=True, choices=("the-well", "pdebench"), help="layout")
    convert.set_defaults(run=_convert)
    show = actions.add_parser("show", help="print what a dataset holds")
    show.add_argument("path", type=Path, metavar="FILE", help="file or folder")
    show.add_argument("--values", action="store_true", help="read all values, each rank its own part, and sum them up")
    show.set_defaults(run=_show)
    partition = actions.add_parser("partition", help="count what dealing a mesh to ranks would cut, move and balance, without them")
    partition.add_argument("path", type=Path, metavar="MESH", help="file of Gmsh, VTK, STL or PLY")
    partition.add_argument("--ranks", type=Number(1, MOST), nargs="+", required=True, metavar="N", help="numbers of ranks to try")
    partition.add_argument("--method", nargs="+", default=["bisection"], metavar="NAME", help="bisection (default), curve, metis, kahip")
    partition.add_argument(
        "--channels", type=Number(1, MOST), default=128, metavar="N", help="numbers at each node that travel, default 128"
    )
    partition.add_argument("--clean", action="store_true", help="drop cells that are there twice or have a corner twice")
    partition.add_argument("--png", type=Path, metavar="FILE", help="draw the last of them")
    partition.set_defaults(run=_partition)


def _generate(args: argparse.Namespace) -> int:
    import hpcml.mpi

    world = hpcml.mpi.world()

    from hpcml.core.case import Generation
    from hpcml.core.exit_status import PREEMPTED
    from hpcml.core.log import rank_log
    from hpcml.core.named import load_complete
    from hpcml.data.case_device import bind_case
    from hpcml.mpi import StopSignal
    from hpcml.runs.generate import generate

    case = load_complete(args.case, Generation, args.overrides)
    with rank_log(world.rank, world.size, str(bind_case(case.ranks, world))), StopSignal(world.comm) as stop:
        paths = generate(case, args.out or Path("datasets") / name_of_case(args.case), world, stop=stop)
    if paths is None:
        return PREEMPTED
    if world.rank == 0:
        print("complete: " + " ".join(map(str, paths)))
    return 0


def _convert(args: argparse.Namespace) -> int:
    import hpcml.mpi

    world = hpcml.mpi.world()

    from hpcml.io.dataset import convert

    space = convert(args.source, args.target, args.to, world.comm)
    if world.rank == 0:
        print(printable(f"{args.target}: {space.num_trajectories} trajectories of {', '.join(entry.name for entry in space.fields)}"))
    return 0


def _show(args: argparse.Namespace) -> int:
    import hpcml.mpi

    world = hpcml.mpi.world()

    from hpcml.data.statistics import statistics
    from hpcml.io.dataset import open_dataset

    with open_dataset(args.path, world.comm) as dataset:
        lines = [f"{args.path}: {dataset.layout}, {dataset.num_bytes / 1e6:.2f} MB of values", *_lines(dataset.description)]
        if args.values:
            table, read = statistics(dataset, world.comm)
            lines += [f"  {name}: {low:.4g} to {high:.4g}, mean {mean:.4g}" for name, low, high, mean in table]
            whole = dataset.num_bytes
            lines += [f"  rank {rank} read {count / 1e6:.2f} MB, {100 * count / whole:.1f} %" for rank, count in enumerate(read)]
        if world.rank == 0:
            print("\n".join(map(printable, lines)))
    return 0


def _partition(args: argparse.Namespace) -> int:
    import hpcml.mpi

    world = hpcml.mpi.world()

    from hpcml.graphs import PartitionReport, draw_partition, partition, partition_table
    from hpcml.graphs.mesh_share import MeshShare

    share = MeshShare.read(args.path, world.comm, args.clean)
    edges = share.edges(world.comm)
    reports = []
    for size in args.ranks:
        for method in args.method:
            parts = partition(share.points, edges, size, world.comm, method)
            reports.append((method, PartitionReport.counted(parts, edges, size, world.comm)))
    if args.png:
        draw_partition(args.png, share.points, parts, edges, world.comm)
    if world.rank == 0:
        print(f"{args.path}: {share.num_nodes} nodes, {int(reports[0][1].edges.sum())} edges\n")
        print(partition_table(reports, args.channels))
    return 0


def _lines(space: "Description") -> list[str]:
    """The index space in words."""
    kinds = ("scalar", "vector", "tensor")
    return [
        f"  name: {space.name}",
        f"  trajectories: {space.num_trajectories}",
        f"  times: {space.num_times}" + (f", {space.times[0]:g} to {space.times[-1]:g}{_unit(space.time_unit)}" if space.times else ""),
        *_where(space),
        *(f"  field {f.name}{_unit(f.unit)}: {kinds[f.order]}{'' if f.varies_in_time else ', constant in time'}" for f in space.fields),
        *(f"  {name} = {values[0] if len(values) == 1 else f'{len(values)} values'}" for name, values in space.constants.items()),
    ]


def _where(space: "Description") -> list[str]:
    """Where the values lie."""
    from hpcml.io.dataset.on_mesh import OnMesh

    if not isinstance(space, OnMesh):
        return list(map(_dim, space.spans, space.coordinates))
    cells = ", ".join(f"{count} of kind {kind}" for kind, count in space.num_cells.items()) or "none"
    ends = (f"{name} {low:g} to {high:g}" for name, (low, high) in zip(space.dim_names, space.coordinates, strict=True))
    return [f"  nodes: {space.num_nodes}, edges: {space.num_edges}, cells: {cells}", f"  box: {', '.join(ends)}{_unit(space.length_unit)}"]


def _dim(axis: "Axis", centres: Sequence[float]) -> str:
    from hpcml.io.dataset.axis import equally_spaced

    uniform = equally_spaced(centres)
    over = f"over {axis.extent:g}" if uniform else f"between {axis.first:g} and {axis.last:g}"
    rest = "" if uniform else ", not equally far apart"
    return f"  dim {axis.name}: {axis.cells} cells {over}{_unit(axis.unit)}, {axis.boundary or 'boundary not said'}{rest}"


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""
