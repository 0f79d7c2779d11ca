"""What follows from the cells of a mesh that ranks have in shares: its edges, and its boundary.

An edge or a face goes to the rank whose block of numbers its lowest node is in. All that are alike meet there.
"""

from collections.abc import Mapping

import numpy as np
from mpi4py import MPI

from hpcml.graphs.cell_kinds import CELL_KINDS
from hpcml.graphs.mesh import pairs_of
from hpcml.mpi.reductions import all_max
from hpcml.topology.block import block_range, owners_of
from hpcml.topology.directory import Directory, send_rows
from hpcml.topology.pairs import both_ways, distinct_pairs


def edges_of_shares(cells: Mapping[str, np.ndarray], links: np.ndarray, nodes: int, comm: MPI.Intracomm) -> np.ndarray:
    """Part of the edges of the whole mesh, those of `hpcml.graphs.Mesh.edges`, which come rank after rank.

    Communication
    -------------
    Collective: all to all, the distinct edges of each share.
    """
    pairs = distinct_pairs(pairs_of(cells), np.asarray(links, np.int64).T)
    return both_ways(distinct_pairs(*send_rows(owners_of(pairs[:, 0], nodes, comm.size), comm, pairs)))


def boundary_of_shares(cells: Mapping[str, np.ndarray], own: np.ndarray, nodes: int, comm: MPI.Intracomm) -> np.ndarray:
    """Whether each of some nodes lies on a face that only one of the cells of the highest dim has: int64, 0 or 1.

    Communication
    -------------
    Collective: all to all, the faces of each share, and the nodes of the boundary.
    """
    dim = int(all_max(max((CELL_KINDS[kind].dim for kind, corners in cells.items() if len(corners)), default=0), comm))
    found = [np.zeros(0, np.int64)]
    for size in (1, 2, 3, 4):
        of_size = [corners[:, face] for kind, corners in cells.items() for face in _faces(kind, dim, size)]
        if of_size:  # the same on all ranks, which have all kinds
            faces = np.sort(np.concatenate(of_size), 1)
            faces, counts = np.unique(send_rows(owners_of(faces[:, 0], nodes, comm.size), comm, faces)[0], axis=0, return_counts=True)
            found.append(faces[counts == 1].ravel())
    at = np.unique(np.concatenate(found))
    known = send_rows(owners_of(at, nodes, comm.size), comm, at)[0]
    block = block_range(nodes, comm.size, comm.rank)
    numbers = np.arange(block.start, block.stop)
    return Directory(numbers, np.isin(numbers, known).astype(np.int64), nodes, comm).ask(own)


def _faces(kind: str, dim: int, size: int) -> list[tuple[int, ...]]:
    return [face for face in CELL_KINDS[kind].faces if len(face) == size and CELL_KINDS[kind].dim == dim]
