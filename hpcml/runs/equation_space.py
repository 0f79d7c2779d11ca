"""Where the equation of a case lives: the grid of the case, or a mesh of its own."""

from collections.abc import Sequence

import numpy as np
import torch
from mpi4py import MPI

from hpcml.core import case
from hpcml.core.errors import ConfigError
from hpcml.data.case_device import case_device
from hpcml.data.grid_axes import grid_axes
from hpcml.data.mesh_space import schedule_of
from hpcml.data.tensor_files import domain_of
from hpcml.equations import Equation
from hpcml.fields.domain import Domain
from hpcml.graphs.graph import Graph
from hpcml.graphs.mesh_share import MeshShare
from hpcml.graphs.shown_mesh import shown_mesh
from hpcml.graphs.triangles import Triangles
from hpcml.io import Geometry
from hpcml.io.dataset import MeshRows
from hpcml.io.dataset.axis import Axis
from hpcml.io.dataset.description import DIMS
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.world import World
from hpcml.parallel.decomposition import Decomposition
from hpcml.parallel.space import Space
from hpcml.runs.trajectory_writer import grid_geometry
from hpcml.topology.block import BlockRange


def equation_space(
    equation: Equation, grid: case.Grid | None, ranks: case.Ranks, comm: MPI.Intracomm | World, device: torch.device | str | None = None
) -> Domain | Graph:
    """Deal the space of an equation to ranks.

    Parameters
    ----------
    equation : Equation
        Of the case.
    grid : hpcml.core.case.Grid, optional
        Of the case; none where the equation has a mesh.
    ranks : hpcml.core.case.Ranks
        How.
    comm : MPI.Intracomm or World
        All ranks.
    device : torch.device or str, optional
        Where to compute, in place of what the case says.

    Returns
    -------
    Domain or Graph
        `Triangles`, but for particles. Closed by whoever asks for it.

    Raises
    ------
    ConfigError, TopologyError, ShapeError
        On every rank: no grid where there should be one, or one where there should be none; what the mesh refuses.

    Communication
    -------------
    Collective over comm.
    """
    intracomm = comm.comm if isinstance(comm, World) else comm
    check_place(equation, grid, ranks)
    if grid is not None:
        return domain_of(grid.shape, grid, ranks, intracomm)
    shared = Decomposition.of(comm, ranks.data, device or case_device(ranks, intracomm), ranks.same_bits)
    with raise_together(shared.comm):
        mesh = equation.mesh() if shared.comm.rank == 0 else None
    space: Graph
    if equation.moves:
        share = MeshShare.of(mesh, shared.comm)
        space = Graph.deal_within(shared, share.points, share.edges(shared.comm), ranks.partition)
    else:
        space = Triangles.of(mesh, shared, ranks.partition)
    space.schedule = schedule_of(ranks)
    return space


def check_place(equation: Equation, grid: case.Grid | None, ranks: case.Ranks) -> None:
    """Refuse a case with a grid for an equation on a mesh, and one without for others; alike on all ranks."""
    name = type(equation).__name__
    if equation.on_mesh and (grid is not None or ranks.domain != "auto"):
        raise ConfigError(f"{name} lives on a mesh of its own: leave out the table [grid] and ranks.domain")
    if not equation.on_mesh and grid is None:
        raise ConfigError(f"{name} lives on a grid: the case needs the table [grid]")


def rows_of_mesh(equation: Equation, comm: MPI.Intracomm) -> MeshRows:
    """Rows of the mesh of an equation that this rank has, for a file.

    Communication
    -------------
    Collective over comm: the first rank makes the mesh and sends the others their share.
    """
    with raise_together(comm):
        mesh = equation.mesh() if comm.rank == 0 else None
    share = MeshShare.of(mesh, comm)
    return MeshRows(share.points, share.edges(comm), share.cells)


def coordinates_of(equation: Equation, grid: case.Grid | None) -> int:
    """Number of the coordinates of a point."""
    return equation.num_dims[0] if grid is None else len(grid.shape)


def axes_of(space: Space) -> tuple[Axis, ...]:
    """Axes of a grid, or the coordinates of a mesh, as datasets have them."""
    if isinstance(space, Domain):
        return grid_axes(space.grid)
    assert isinstance(space, Graph)
    return tuple(Axis(name, space.num_points_global, 0.0, 0.0, located=False) for name in DIMS[: space.positions.shape[1]])


def geometry_of(space: Space) -> Geometry:
    """The same for files that show it; collective on a mesh."""
    if isinstance(space, Domain):
        return grid_geometry(space)
    assert isinstance(space, Graph)
    return shown_mesh(space, space.cells if isinstance(space, Triangles) else {})


def blocks_of(space: Space) -> Sequence[tuple[slice | np.ndarray, Sequence[BlockRange]]]:
    """Places among this rank's points, in their first dim, and the box of a file's cells that they are."""
    if isinstance(space, Domain):
        return [(slice(None), space.block)]
    assert isinstance(space, Graph)
    nodes = space.nodes.cpu().numpy()
    order = np.argsort(nodes)
    runs = np.split(order, np.flatnonzero(np.diff(nodes[order]) > 1) + 1)
    return [(run, [BlockRange(int(nodes[run[0]]), int(nodes[run[-1]]) + 1)]) for run in runs if len(run)]
