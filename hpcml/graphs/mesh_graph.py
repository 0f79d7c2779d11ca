"""A mesh dealt to ranks: the graph of its edges, and the cells, each owned by one rank."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.graphs.cell_kinds import CELL_KINDS
from hpcml.graphs.graph import Graph
from hpcml.graphs.mesh import BOUNDARY, NO_LINKS, Mesh, check_corners, checked_cells, checked_links, checked_points, checked_types
from hpcml.graphs.mesh_share import MeshShare, deal_rows
from hpcml.graphs.shared_cells import boundary_of_shares, edges_of_shares
from hpcml.graphs.shown_mesh import shown_mesh
from hpcml.io.snapshot.unstructured_grid import UnstructuredGrid
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.call import named_call
from hpcml.mpi.patient_comm import patient
from hpcml.mpi.world import World
from hpcml.parallel.decomposition import Decomposition
from hpcml.topology.directory import Directory, send_rows


@dataclass(frozen=True, eq=False)
class MeshGraph:
    """One rank's part of a mesh; made by `read`, by `of` a mesh that one rank has, or by `deal` of parts that ranks have.

    Attributes
    ----------
    graph : Graph
        Nodes and edges: what models are built on. Edges and their numbers are those of `Mesh.edges`, on any number of ranks.
    cells : mapping of str to ndarray
        By kind, the global numbers of the nodes at the corners of the cells that this rank owns, int64, (cell, corner). A cell belongs to
        the rank of the lowest of them; the others may be neither own nor ghosts.
    cell_numbers : mapping of str to ndarray
        Numbers of these cells among all of their kind, in the order in which the ranks gave them; int64, ascending.
    node_types : Tensor
        int64, (node,): of this rank's nodes, which of ``type_names`` each is.
    type_names : tuple of str
        What the types mean.
    """

    graph: Graph
    cells: Mapping[str, np.ndarray]
    cell_numbers: Mapping[str, np.ndarray]
    node_types: Tensor
    type_names: tuple[str, ...] = BOUNDARY

    @classmethod
    @named_call
    def read(cls, path: Path | str, world: World | MPI.Intracomm, clean: bool = False, **how: Any) -> "MeshGraph":
        """Read a mesh file on the first rank of each group, see `hpcml.graphs.read_mesh`, and deal it; options of `of` by name.

        Raises
        ------
        HpcmlError
            On every rank, what `read_mesh` and `of` raise.

        Communication
        -------------
        Collective. No rank but the first ever holds more than its share.
        """
        shared = Decomposition.of(world, how.pop("data", 1), how.pop("device", None), how.pop("same_bits", False))
        return cls._of(shared, MeshShare.read(path, shared.comm, clean), **how)

    @classmethod
    @named_call
    def of(
        cls,
        mesh: Mesh | None,
        world: World | MPI.Intracomm,
        method: str | np.ndarray = "bisection",
        data: int = 1,
        device: torch.device | str | None = None,
        same_bits: bool | int = False,
    ) -> "MeshGraph":
        """Deal a mesh that the first rank of each group has; the others give None.

        Parameters
        ----------
        mesh : Mesh or None
            Of other ranks it is left alone.
        world, data, device, same_bits
            As for `Graph.deal`.
        method : str or ndarray
            As for `Graph.deal`; the first rank gives an array for all nodes.

        Raises
        ------
        ShapeError
            On every rank, where there is no mesh, and as `Graph.deal` does.

        Communication
        -------------
        Collective. The first rank sends each of the others a share, and none of these ever holds more.

        Examples
        --------
        >>> from hpcml.graphs import structured
        >>> mesh = MeshGraph.of(structured((3, 3), (1.0, 1.0)), MPI.COMM_SELF)
        >>> mesh.graph.num_edges_global, mesh.cells["quadrilateral"].shape, mesh.node_types.tolist()
        (24, (4, 4), [1, 1, 1, 1, 0, 1, 1, 1, 1])
        """
        shared = Decomposition.of(world, data, device, same_bits)
        return cls._of(shared, MeshShare.of(mesh, shared.comm), method)

    @classmethod
    def _of(cls, shared: Decomposition, share: MeshShare, method: str | np.ndarray = "bisection") -> "MeshGraph":
        comm = patient(shared.comm)
        with raise_together(comm):
            if comm.rank == 0 and not isinstance(method, str) and np.shape(method) != (share.num_nodes,):
                raise ShapeError(f"a map of {share.num_nodes} nodes is an array of so many ranks, got {np.shape(method)}")
        name = comm.bcast(method if isinstance(method, str) else None)
        part = name if name is not None else deal_rows((np.asarray(method),) if comm.rank == 0 else None, comm)[0]
        return cls._deal(shared, share.points, share.cells, share.node_types, share.links, part, share.type_names)

    @classmethod
    @named_call
    def deal(
        cls,
        points: np.ndarray,
        cells: Mapping[str, np.ndarray],
        world: World | MPI.Intracomm,
        node_types: np.ndarray | None = None,
        links: np.ndarray = NO_LINKS,
        type_names: tuple[str, ...] = BOUNDARY,
        method: str | np.ndarray = "bisection",
        data: int = 1,
        device: torch.device | str | None = None,
        same_bits: bool | int = False,
    ) -> "MeshGraph":
        """Deal a mesh of which each rank has read a part.

        Parameters
        ----------
        points, node_types
            As for `Mesh`, of the nodes that this rank has read; they are numbered through the ranks of a group. If one rank gives no types,
            none does.
        cells, links
            As for `Mesh`, of those that this rank has read, with global numbers of nodes.
        type_names : tuple of str
            Alike on all ranks.
        world, method, data, device, same_bits
            As for `Graph.deal`.

        Raises
        ------
        ShapeError
            On every rank, as `Mesh` and `Graph.deal` do.

        Communication
        -------------
        Collective. No rank ever holds more than its share, and what it has read.
        """
        return cls._deal(Decomposition.of(world, data, device, same_bits), points, cells, node_types, links, method, type_names)

    @classmethod
    def _deal(
        cls,
        shared: Decomposition,
        points: np.ndarray,
        cells: Mapping[str, np.ndarray],
        types: np.ndarray | None,
        links: np.ndarray,
        method: str | np.ndarray,
        names: tuple[str, ...],
    ) -> "MeshGraph":
        comm = patient(shared.comm)
        with raise_together(comm):
            points, cells = (
                checked_points(points),
                {kind: np.zeros((0, of.corners), np.int64) for kind, of in CELL_KINDS.items()} | (checked_cells(cells)),
            )
            names = tuple(names)
            if types is not None:
                checked_types(types := np.asarray(types), len(points), names)
        facts = comm.allgather((names, (len(points), types is None, *map(len, cells.values()))))
        every, counts = [given for given, _ in facts], np.array([numbers for _, numbers in facts])
        total, before = int(counts[:, 0].sum()), counts[: comm.rank].sum(0)
        with raise_together(comm):
            for kind, corners in cells.items():
                check_corners(kind, corners, total)
            links = checked_links(links, total)
            if len(set(counts[:, 1].tolist())) > 1:
                raise ShapeError("types of nodes are given by all ranks or by none")
            if other := [given for given in every if given != every[0]]:
                raise ShapeError(f"type_names are alike on all ranks, got {every[0]} and {other[0]}")
        numbers = np.arange(before[0], before[0] + len(points))
        graph = Graph.deal_within(shared, points, edges_of_shares(cells, links, total, comm), method)
        own = graph.nodes.cpu().numpy()
        at = (
            boundary_of_shares(cells, own, total, comm)
            if types is None
            else Directory(numbers, types.astype(np.int64), total, comm).ask(own)
        )
        dealt, places = {}, {}
        for (kind, corners), first, count in zip(cells.items(), before[2:], counts[:, 2:].sum(0), strict=True):
            if count:
                ranks = graph.owners.ask(corners.min(1, initial=total))
                came, number = send_rows(ranks, comm, corners, np.arange(first, first + len(corners)))
                order = np.argsort(number)
                dealt[kind], places[kind] = came[order], number[order]
        with raise_together(comm):
            for kind, corners in dealt.items():
                check_corners(kind, corners, total)
        return cls(graph, dealt, places, torch.from_numpy(at).to(graph.device), names)

    @named_call
    def shown(self) -> UnstructuredGrid:
        """Give the mesh for `hpcml.io.SnapshotWriter`; values at nodes, and in cells kind by kind, come in the order that they have here.

        Communication
        -------------
        Collective: each cell asks for the numbers of its corners.
        """
        return shown_mesh(self.graph, self.cells)
