"""The mesh of a graph, for the files that show it."""

from collections.abc import Mapping

import numpy as np

from hpcml.graphs.graph import Graph
from hpcml.io.snapshot.unstructured_grid import UnstructuredGrid
from hpcml.mpi.patient_comm import patient
from hpcml.topology.directory import Directory


def shown_mesh(graph: Graph, cells: Mapping[str, np.ndarray]) -> UnstructuredGrid:
    """Points in the order in which ranks own them, so that a field on the graph is one at the points.

    Parameters
    ----------
    graph : Graph
        Its nodes are the points.
    cells : mapping of str to ndarray
        By kind, the global numbers of the corners of the cells that this rank writes, (cell, corner); the same kinds on all ranks. Without
        any, nodes are shown.

    Communication
    -------------
    Collective: each cell asks for the numbers of its corners.
    """
    comm = patient(graph.comm)
    own, points = graph.nodes.cpu().numpy(), graph.positions.cpu().numpy()
    first = sum(comm.allgather(len(own))[: comm.rank])
    places = first + np.arange(len(own))
    known = Directory(own, places, graph.num_points_global, comm)
    shown = {kind: known.ask(corners.ravel()).reshape(corners.shape) for kind, corners in cells.items()}
    points = points if points.shape[1] > 1 else np.pad(points, ((0, 0), (0, 1)))  # nothing has one coordinate in ParaView
    return UnstructuredGrid.joined(points, shown or {"vertex": places[:, None]}, graph.comm)
