"""Particles of several samples, each joined to those that are near in its sample: a graph for one state of what moves.

Ghosts travel in one message of their own, so that a graph holds neither requests nor shared memory: it may be made for every state, and be
kept for as long as a gradient needs it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.graphs.edge_numbers import edge_numbers
from hpcml.graphs.ghost_plan import GhostPlan
from hpcml.graphs.graph import Graph
from hpcml.graphs.neighbors import Neighbors
from hpcml.graphs.positions import checked_box, checked_positions, inside, shortest
from hpcml.graphs.row_bytes import as_rows, as_tensor
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.call import named_call
from hpcml.mpi.patient_comm import patient
from hpcml.parallel.decomposition import Decomposition
from hpcml.parallel.linear import pair, uncompiled
from hpcml.topology.directory import Directory, send_rows


class Near(Graph):
    """The nodes of a graph, in each of some samples at positions of their own, joined to those near; made by `of`.

    Node n of N in sample s is node s N + n, on the rank that owns n. Values on nodes are (sample, node) in one row, see `rows`.
    """

    @classmethod
    @named_call
    def of(cls, space: Graph, positions: Tensor, neighbors: Neighbors, box: Sequence[float] | None = None) -> "Near":
        """Join the particles of samples.

        Parameters
        ----------
        space : Graph
            Says which rank owns which particle; its edges do not matter.
        positions : Tensor
            (sample, node, dim): where this rank's particles are.
        neighbors : Neighbors
            Such as `hpcml.graphs.Within` a radius.
        box : sequence of float, optional
            For each coordinate the length after which it comes again, 0 where it does not.

        Raises
        ------
        ShapeError
            On every rank: another shape, or positions that are not finite.
        ConfigError
            For a space with tiles.

        Communication
        -------------
        Collective over space.comm: for each sample as the neighbors say, then the numbers of ghosts. Particles stay on their ranks: as they
        mix, more of them become ghosts.

        Examples
        --------
        >>> from mpi4py import MPI
        >>> from hpcml.graphs import Within
        >>> line = Graph.deal(np.array([[0.1], [0.3], [0.9]]), np.zeros((2, 0), np.int64), MPI.COMM_SELF)
        >>> moved = torch.tensor([[[0.1], [0.3], [0.9]], [[0.1], [0.5], [0.6]]])
        >>> Near.of(line, moved, Within(0.25), box=(1.0,)).edge_index.tolist()
        [[1, 2, 0, 0, 5, 4], [0, 0, 1, 2, 4, 5]]
        """
        comm, total = patient(space.comm), space.num_points_global
        if space.tiles is not None:
            raise ConfigError(
                "particles are joined anew in every state, which has no order of work that is the same on any ranks: leave same_bits out"
            )
        with raise_together(comm):
            dims = space.positions.shape[1]
            if positions.dim() != 3 or positions.shape[1:] != (len(space.nodes), dims):
                raise ShapeError(f"positions of particles are (sample, {len(space.nodes)}, {dims}), got {tuple(positions.shape)}")
            lengths = checked_box(box, dims)
            points = inside(checked_positions(positions.detach().cpu().double().numpy().reshape(-1, dims)), lengths)
        samples, own = len(positions), space.nodes.cpu().numpy()
        numbers = (np.arange(samples)[:, None] * total + own).ravel()
        each = points.reshape(samples, len(own), dims)
        edges = [s * total + neighbors(part, own, comm, lengths) for s, part in enumerate(each)]
        joined = np.concatenate([np.zeros((2, 0), np.int64), *edges], 1)
        shared = Decomposition(space.comm, space.world_comm, space.num_data, space.data_index, device=space.device)
        owners = _OfSamples(space.owners, samples)
        ends = joined.T, edge_numbers(joined, numbers, samples * total, comm)
        return cls(shared, (numbers, np.full(len(numbers), comm.rank), points), ends, owners, None, lengths)

    @staticmethod
    def rows(x: Tensor) -> Tensor:
        """Values (sample, node, channel) as those of this graph's nodes, (sample x node, channel)."""
        return x.flatten(0, 1)

    def difference(self, positions: Tensor) -> Tensor:
        """How each edge lies, as `along`, (edge, dim), differentiable by the positions, (sample, node, dim).

        Communication
        -------------
        As `with_ghosts`.
        """
        at = self.rows(positions)
        return shortest(self.at_begins(at) - self.at_ends(at), self.box)

    @uncompiled
    @named_call
    def with_ghosts(self, x: Tensor) -> Tensor:
        """Values of own nodes and then of ghosts, ([sample,] node + ghost, channel), of those of own nodes, ([sample,] node, channel).

        Communication
        -------------
        Collective over comm: all to all, the ghosts; in the gradient too.
        """
        return x if self.comm.size == 1 else torch.cat([x, _fetch(self._plan, x.movedim(-2, 0))[0].movedim(0, -2)], -2)


class _OfSamples(Directory):
    """Owners of the nodes of samples, who are those of the nodes."""

    def __init__(self, owners: Directory, samples: int) -> None:
        self._each, self.total = owners, samples * owners.total

    def ask(self, numbers: np.ndarray) -> np.ndarray:
        return self._each.ask(numbers % self._each.total)


def _sent(plan: GhostPlan, x: Tensor) -> tuple[Tensor]:
    """Rows of the ghosts."""
    places = torch.cat([torch.zeros(0, dtype=torch.int64, device=x.device), *plan.send.values()])
    ranks = np.repeat(list(plan.send), list(map(len, plan.send.values()))).astype(np.int64)
    return (_moved(plan, ranks, x.index_select(0, places)),)


def _returned(plan: GhostPlan, y: Tensor) -> tuple[Tensor]:
    """What ranks have for their ghosts, added up by the owners, rank by rank."""
    came = _moved(plan, np.repeat(list(plan.recv), list(plan.recv.values())).astype(np.int64), y)
    total = y.new_zeros(plan.num_nodes, *y.shape[1:])
    for places, rows in zip(plan.send.values(), came.split(list(map(len, plan.send.values()))), strict=True):
        total.index_add_(0, places, rows)
    return (total,)


def _moved(plan: GhostPlan, ranks: np.ndarray, rows: Tensor) -> Tensor:
    (came,) = send_rows(ranks, plan.comm, as_rows(rows))
    return as_tensor(came, rows.dtype, tuple(rows.shape[1:])).to(rows.device)


_fetch, _ = pair(_sent, _returned, batch=(1, 1))
