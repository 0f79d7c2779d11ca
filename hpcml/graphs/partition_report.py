"""How good a partition is, counted: what is cut, what travels, how evenly the work is dealt."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from hpcml.graphs.graph import Graph
from hpcml.graphs.partitioning import check_method
from hpcml.graphs.positions import checked_edges, first_numbers
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.call import named_call
from hpcml.mpi.meeting import meet
from hpcml.mpi.patient_comm import patient
from hpcml.mpi.reductions import all_sum
from hpcml.topology.block import owners_of
from hpcml.topology.directory import Directory, send_rows


@dataclass(frozen=True, eq=False)
class PartitionReport:
    """What each part of a graph has and needs; of a graph that is dealt by `of`, of any number of parts by `counted`.

    Attributes
    ----------
    nodes, edges : ndarray
        int64, (part,): that each owns.
    cut : ndarray
        int64, (part,): edges that begin at a node of another.
    ghosts : ndarray
        int64, (part,): nodes of others that each needs.
    neighbors : ndarray
        int64, (part,): parts that it needs some of.
    """

    nodes: np.ndarray
    edges: np.ndarray
    cut: np.ndarray
    ghosts: np.ndarray
    neighbors: np.ndarray

    @classmethod
    @named_call
    def of(cls, graph: Graph) -> "PartitionReport":
        """Count a graph as it is dealt to ranks.

        Communication
        -------------
        Collective: the owners of ghosts, and five integers of each rank.
        """
        cut = int((graph.edge_index[0] >= len(graph.nodes)).sum())
        near = len(np.unique(graph.owners.ask(graph.ghosts.cpu().numpy())))
        mine = len(graph.nodes), len(graph.edges), cut, len(graph.ghosts), near
        return cls(*np.array(patient(graph.comm).allgather(mine)).T)

    @classmethod
    @named_call
    def counted(cls, parts: np.ndarray, edges: np.ndarray, num_parts: int, comm: MPI.Intracomm = MPI.COMM_SELF) -> "PartitionReport":
        """Count what a graph would be if it were dealt to so many ranks.

        Parameters
        ----------
        parts : ndarray
            int64, (node,): of this rank's nodes, which are numbered through the ranks; from `hpcml.graphs.partition`.
        edges : ndarray
            int64, (2, edge): of this rank, by global numbers.
        num_parts : int
            Any number.
        comm : mpi4py.MPI.Intracomm
            The ranks that count.

        Raises
        ------
        ShapeError
            On every rank: parts that do not exist, edges of nodes that do not exist.

        Communication
        -------------
        Collective: all to all, what is cut of each rank's edges. A rank holds its share, and five integers for each part.

        Examples
        --------
        >>> PartitionReport.counted(np.array([0, 0, 1]), np.array([[0, 1, 1, 2], [1, 0, 2, 1]]), 2).ghosts.tolist()
        [1, 1]
        """
        comm = patient(comm)
        with raise_together(comm):
            check_method(parts, len(parts), num_parts)
            edges = checked_edges(edges)
        meet(comm, "parts", num_parts)
        first, _, total = first_numbers(parts[:, None], edges, comm)
        owners = Directory(np.arange(first, first + len(parts)), parts, total, comm)
        begin, end = owners.ask(edges[0]), owners.ask(edges[1])
        cut = begin != end
        ghost, place = np.unique(edges[0, cut] * num_parts + end[cut], return_index=True)
        ghost, owner = send_rows(owners_of(ghost // num_parts, total, comm.size), comm, ghost, begin[cut][place])
        ghost, place = np.unique(ghost, return_index=True)
        at = ghost % num_parts
        near = np.unique(owner[place] * num_parts + at)
        near = np.unique(send_rows(owners_of(near, num_parts**2, comm.size), comm, near)[0]) % num_parts
        counts = np.stack([np.bincount(of, minlength=num_parts) for of in (parts, end, end[cut], at, near)])
        return cls(*all_sum(counts, comm))

    @property
    def num_parts(self) -> int:
        return len(self.nodes)

    @property
    def cut_share(self) -> float:
        """Edges that are cut, of all."""
        return float(self.cut.sum() / max(self.edges.sum(), 1))

    @property
    def halo_share(self) -> float:
        """Ghosts of all parts, of all nodes: by how much a field with ghosts is larger."""
        return float(self.ghosts.sum() / max(self.nodes.sum(), 1))

    @property
    def node_imbalance(self) -> float:
        """Nodes of the part that has most, of the mean."""
        return float(self.nodes.max() / max(self.nodes.mean(), 1e-300))

    @property
    def edge_imbalance(self) -> float:
        """Edges of the part that has most, of the mean: how many times longer work on edges takes than it would if all had as many."""
        return float(self.edges.max() / max(self.edges.mean(), 1e-300))

    def bytes_received(self, channels: int, itemsize: int = 4) -> np.ndarray:
        """Bytes that come to each part in one exchange of ghosts, int64, (part,); the gradient sends as many back.

        Parameters
        ----------
        channels : int
            Numbers at each node.
        itemsize : int
            Bytes of each: 4 for float32, 8 for float64.

        Communication
        -------------
        Local.
        """
        return self.ghosts * channels * itemsize


_COLUMNS = ("method", "parts", "edges cut", "ghosts/node", "nodes", "edges", "neighbors", "most", "most received", "in all")


def partition_table(reports: Sequence[tuple[str, PartitionReport]], channels: int, itemsize: int = 4) -> str:
    """Give a table of reports, one for each row, in text: how they were made, and what an exchange of so many channels moves.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> report = PartitionReport.counted(np.array([0, 0, 1]), np.array([[0, 1, 1, 2], [1, 0, 2, 1]]), 2)
    >>> print(partition_table([("by hand", report)], 128))
    method   parts  edges cut  ghosts/node  nodes  edges  neighbors  most  most received    in all
    by hand      2     50.00%       66.67%  1.333  1.500        1.0     1       0.001 MB  0.001 MB
    """
    rows = [_COLUMNS, *((name, *_entries(report, channels, itemsize)) for name, report in reports)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


def _entries(report: PartitionReport, channels: int, itemsize: int) -> tuple[str, ...]:
    received = report.bytes_received(channels, itemsize) / 1e6
    shares = f"{report.cut_share:.2%}", f"{report.halo_share:.2%}", f"{report.node_imbalance:.3f}", f"{report.edge_imbalance:.3f}"
    near = f"{report.neighbors.mean():.1f}", str(report.neighbors.max())
    return (str(report.num_parts), *shares, *near, f"{received.max():.3f} MB", f"{received.sum():.3f} MB")
