"""``hpcml watch``: what a running job writes, step by step, without MPI."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcml.cli.number import MOST_SECONDS, Number
from hpcml.core.printable import printable
from hpcml.core.save_figure import save_figure

if TYPE_CHECKING:
    import numpy as np

    from hpcml.io import SnapshotFile

_MOST_PIXELS = 512
_MOST_COLUMNS = 4


def add_parser(subparsers: Any) -> None:
    """Add ``watch``."""
    parser = subparsers.add_parser("watch", help="follow the snapshots of a run while it writes them")
    parser.add_argument("path", type=Path, metavar="RUN", help="run directory, folder of snapshots or one file")
    parser.add_argument("--png", action="store_true", help="also draw the newest step, in NAME.png beside NAME.h5")
    parser.add_argument("--once", action="store_true", help="show what is there, do not wait for more")
    parser.add_argument("--poll", type=Number(0.0, MOST_SECONDS), default=0.5, metavar="S", help="seconds between two looks (default 0.5)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a line for every step until the writer has ended; 0 if it came to its end or is still at work, else 1.

    Raises
    ------
    CheckpointError
        Where there is nothing to watch, or a file is missing or damaged.
    ConfigError
        Where a mesh of three dims shall be drawn.
    """
    from hpcml.core.errors import CheckpointError
    from hpcml.io import find_snapshots, follow

    if not args.path.exists() or (args.once and not find_snapshots(args.path)):
        raise CheckpointError(f"there are no snapshots at {args.path}: name a run directory, or start the run first")
    last: dict[Path, SnapshotFile] = {}
    try:
        for file, step in follow(args.path, args.poll, wait=not args.once):
            print(_line(file, step), flush=True)
            last[file.view.path] = file
            if args.png and step == len(file.view.times) - 1:
                _draw(file, step)
    except KeyboardInterrupt:
        return 0
    unfinished = [path for path, file in last.items() if not file.view.attributes["complete"]]
    for path in () if args.once else unfinished:
        print(f"{path}: the writer ended before its last step")
    return 1 if unfinished and not args.once else 0


def _line(file: "SnapshotFile", step: int) -> str:
    parts = [f"{file.view.path.stem} step {step} t = {file.view.times[step]:g}"]
    for name, variable in file.view.variables.items():
        least, most, total, cells = float("inf"), float("-inf"), 0.0, 0
        for block in file.blocks(name, step):
            least, most = min(least, float(block.min())), max(most, float(block.max()))
            total, cells = total + float(block.sum(dtype=float)), cells + block.size
        parts.append(f"{name} {least:.4g} to {most:.4g}, mean {total / cells:.4g}{' ' * bool(variable.units)}{variable.units}")
    return printable("   ".join(parts))


def _draw(file: "SnapshotFile", step: int) -> None:
    """Draw the first sample of every field; a grid thinned to what a screen shows, and of three dims the middle layer."""
    import matplotlib
    import numpy as np

    from hpcml.cli.plane_mesh import PlaneMesh
    from hpcml.core.errors import ConfigError

    matplotlib.use("Agg")
    from matplotlib import pyplot

    view = file.view
    mesh = PlaneMesh.read(file)
    if mesh is None and view.mesh:
        raise ConfigError(f"--png draws meshes in the plane or around a sphere, not {view.path}: open {view.path.stem}.xdmf in ParaView")
    columns = min(_MOST_COLUMNS, len(view.variables))
    rows = -(-len(view.variables) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(4.5 * columns, 4 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(view.variables) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, view.variables, strict=False):
        axis.set_title(f"{name}, t = {view.times[step]:.3g}")
        if mesh is not None:
            first = (step, *[0] * (len(view.variables[name].shape) - 2))
            values = file.read(name, first)
            limit = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
            figure.colorbar(
                mesh.at(mesh.places(file, name, first)).draw(axis, values, limit, in_cells="cell" in view.variables[name].dims), ax=axis
            )
            continue
        values = _thinned(file, name, step)
        x, *more = (view.coordinates[dim][0] for dim in "xy" if dim in view.coordinates)
        if values.ndim == 1:
            axis.plot(x[:: -(-len(x) // _MOST_PIXELS)], values)
        else:
            box = (0.0, x[0] + x[-1], 0.0, more[0][0] + more[0][-1])
            figure.colorbar(axis.imshow(values, origin="lower", extent=box, cmap="RdBu_r"), ax=axis)
    partial = view.path.with_name(f".{view.path.stem}.png")
    save_figure(figure, partial, dpi=90)
    pyplot.close(figure)
    partial.replace(view.path.with_suffix(".png"))


def _thinned(file: "SnapshotFile", name: str, step: int) -> "np.ndarray":
    dims = [dim for dim in file.view.variables[name].dims if dim in ("z", "y", "x")]
    shape = file.view.variables[name].shape
    leading = [0] * (len(shape) - 1 - len(dims))
    middle = [size // 2 for size in shape[len(shape) - len(dims) :][:-2]]
    plane = [slice(None, None, -(-size // _MOST_PIXELS)) for size in shape[len(shape) - min(len(dims), 2) :]]
    return file.read(name, (step, *leading, *middle, *plane))
