"""One rank's share of a mesh that the first rank has read: blocks of rows, before anybody has thought of a partition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mpi4py import MPI

from hpcml.core.errors import ShapeError
from hpcml.graphs.mesh import Mesh
from hpcml.graphs.mesh_file import read_mesh
from hpcml.graphs.shared_cells import edges_of_shares
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.patient_comm import patient
from hpcml.topology.block import owners_of
from hpcml.topology.directory import send_rows


@dataclass(frozen=True, eq=False)
class MeshShare:
    """Rows of a `Mesh`; nodes are numbered through the ranks, corners and links are global numbers.

    Attributes
    ----------
    points, cells, node_types, links, type_names
        As those of `Mesh`.
    num_nodes : int
        Of all ranks.
    """

    points: np.ndarray
    cells: Mapping[str, np.ndarray]
    node_types: np.ndarray
    links: np.ndarray
    type_names: tuple[str, ...]
    num_nodes: int

    @classmethod
    def read(cls, path: Path | str, comm: MPI.Intracomm, clean: bool = False) -> "MeshShare":
        """Read a file on the first rank, see `hpcml.graphs.read_mesh`, whose errors are raised on every rank.

        Communication
        -------------
        Collective, as `of`.
        """
        with raise_together(patient(comm)):
            mesh = read_mesh(path, clean) if comm.rank == 0 else None
        return cls.of(mesh, comm)

    @classmethod
    def of(cls, mesh: Mesh | None, comm: MPI.Intracomm) -> "MeshShare":
        """Take the share of a mesh that the first rank has.

        Raises
        ------
        ShapeError
            On every rank, where it has none, or something else.

        Communication
        -------------
        Collective: the first rank sends each of the others its share.
        """
        comm = patient(comm)
        with raise_together(comm):
            if comm.rank == 0 and mesh is None:
                raise ShapeError("the first rank has no mesh to deal: give it one, and the others None")
            if comm.rank == 0 and not isinstance(mesh, Mesh):
                hint = "MeshGraph.read takes files" if isinstance(mesh, str | Path) else "make one of its points and cells"
                raise ShapeError(f"the first rank has a {type(mesh).__name__} to deal: expected an hpcml.graphs.Mesh; {hint}")
        whole = mesh if comm.rank == 0 else None
        facts = comm.bcast(None if whole is None else (whole.type_names, tuple(whole.cells), len(whole.points)))
        rows = None if whole is None else (whole.points, whole.node_types, whole.links.T, *whole.cells.values())
        points, types, links, *cells = deal_rows(rows, comm)
        return cls(points, dict(zip(facts[1], cells, strict=True)), types, links.T, facts[0], facts[2])

    def edges(self, comm: MPI.Intracomm) -> np.ndarray:
        """Part of the edges, (2, edge); of all ranks they are those of `Mesh.edges`.

        Communication
        -------------
        Collective: all to all, the distinct edges of each share.
        """
        return edges_of_shares(self.cells, self.links, self.num_nodes, comm)


def deal_rows(arrays: Sequence[np.ndarray] | None, comm: MPI.Intracomm) -> list[np.ndarray]:
    """Arrays of the first rank in blocks of rows, one array after the other, so that it packs only one at a time; others give None.

    Communication
    -------------
    Collective: the rows.
    """
    empty = patient(comm).bcast(None if arrays is None else [array[:0] for array in arrays])
    shares = []
    for array in empty if arrays is None else arrays:
        ranks = owners_of(np.arange(len(array)), len(array), comm.size) if len(array) else np.zeros(0, np.int64)
        shares += send_rows(ranks, comm, array)
    return shares
