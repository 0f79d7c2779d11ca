"""A picture of which part each node of a graph is in."""

from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from hpcml.core.optional_module import optional_module
from hpcml.core.save_figure import save_figure
from hpcml.graphs.partitioning import check_method
from hpcml.graphs.positions import checked_graph, first_numbers
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.call import named_call
from hpcml.mpi.patient_comm import patient
from hpcml.mpi.reductions import all_sum
from hpcml.topology.directory import Directory

MOST_NODES, MOST_EDGES = 100_000, 60_000
"""That a picture shows: of more nodes every second, third, ..., and no edges."""


@named_call
def draw_partition(
    path: Path | str, positions: np.ndarray, parts: np.ndarray, edges: np.ndarray, comm: MPI.Intracomm = MPI.COMM_SELF
) -> Path:
    """Draw nodes in the colors of their parts, and edges, those that are cut in black.

    Parameters
    ----------
    path : Path or str
        Of the picture, on the first rank; its ending says the format.
    positions : ndarray
        float64, (node, 1 to 3): of this rank's nodes, which are numbered through the ranks.
    parts : ndarray
        int64, (node,): from `hpcml.graphs.partition`.
    edges : ndarray
        int64, (2, edge): of this rank, by global numbers; only small graphs have them drawn.
    comm : mpi4py.MPI.Intracomm
        The ranks.

    Raises
    ------
    ConfigError
        On every rank, without the package matplotlib, or if the picture cannot be written.
    ShapeError
        On every rank: positions or parts of another shape, edges of nodes that do not exist.

    Communication
    -------------
    Collective: what is drawn comes to the first rank.
    """
    comm, path = patient(comm), Path(path)
    with raise_together(comm):
        positions, edges = checked_graph(positions, edges)
        check_method(parts, len(positions), 1 + int(np.max(parts, initial=0)))
    first, _, total = first_numbers(positions, edges, comm)
    numbers = np.arange(first, first + len(parts))
    facts = np.column_stack([parts, positions, np.zeros((len(parts), 3 - positions.shape[1]))])
    shown = facts[numbers % -(-total // MOST_NODES) == 0] if total else facts
    lines = np.zeros((0, 2, 4))
    if 0 < all_sum(edges.shape[1], comm) <= MOST_EDGES:
        lines = Directory(numbers, facts, total, comm).ask(edges.T.ravel()).reshape(-1, 2, 4)
    gathered = comm.gather((shown, lines))
    with raise_together(comm):
        if gathered is not None:
            nodes, ends = (np.concatenate(of) for of in zip(*gathered, strict=True))
            _draw(path, nodes, ends, positions.shape[1])
    return path


def _draw(path: Path, nodes: np.ndarray, lines: np.ndarray, dims: int) -> None:
    optional_module("matplotlib", "pictures need the package matplotlib", "'hpcml[viz]'").use("Agg")
    from matplotlib import pyplot
    from matplotlib.collections import LineCollection
    from mpl_toolkits.mplot3d.art3d import Line3DCollection

    space = {"projection": "3d"} if dims == 3 else {}
    figure, axes = pyplot.subplots(figsize=(8, 8), layout="constrained", subplot_kw=space)
    dims = max(dims, 2)
    cut = lines[:, 0, 0] != lines[:, 1, 0]
    drawn: Any = Line3DCollection if dims == 3 else LineCollection
    for chosen, color, width in ((~cut, "0.8", 0.4), (cut, "black", 0.8)):
        axes.add_collection(drawn(lines[chosen][..., 1 : 1 + dims], colors=color, linewidths=width))
    turned = nodes[:, 0] * 0.618033988749895 % 1.0  # the golden ratio keeps colors of neighboring numbers far apart
    size = np.clip(20000 / max(len(nodes), 1), 0.3, 30)
    scatter: Any = axes.scatter
    scatter(*nodes[:, 1 : 1 + dims].T, c=turned, cmap="gist_rainbow", s=size, zorder=3, linewidths=0)
    axes.set_aspect("equal")
    axes.set_title(f"{len(np.unique(nodes[:, 0]))} parts")
    try:
        save_figure(figure, path, dpi=110)
    finally:
        pyplot.close(figure)
