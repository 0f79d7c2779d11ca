"""Whole fields on a graph: put together from the ranks' parts, and dealt to them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.graphs.ghost_plan import GhostPlan
from hpcml.mpi.patient_comm import patient

if TYPE_CHECKING:
    from hpcml.graphs.graph import Graph


@dataclass(frozen=True, slots=True)
class _Moves:
    """Messages between all ranks or one and the rest, and where what has come belongs."""

    plan: GhostPlan
    order: Tensor

    def close(self) -> None:
        self.plan.close()


def whole_arrays(graph: "Graph") -> tuple[np.ndarray, np.ndarray]:
    """Positions (node, dim) and edges (2, edge) of the whole graph, by number, on every rank.

    Communication
    -------------
    Collective over graph.comm.
    """
    ends = torch.cat([graph.nodes, graph.ghosts])[graph.edge_index[0]], graph.nodes[graph.edge_index[1]]
    mine = [part.cpu().numpy() for part in (graph.nodes, graph.positions, torch.stack(ends, 1), graph.edges)]
    nodes, positions, edges, numbers = (np.concatenate(parts) for parts in zip(*patient(graph.comm).allgather(mine), strict=True))
    return positions[np.argsort(nodes)], edges[np.argsort(numbers)].T


def gather(graph: "Graph", x: Tensor, root: int | None) -> Tensor:
    """([sample,] node of the whole graph, channel) of ([sample,] node, channel): on ``root``, else without nodes; None: everywhere.

    Communication
    -------------
    Collective over graph.comm, in the gradient too.
    """
    moves = graph.once(("gather", root), lambda tag: _gathering(graph, root, tag))
    rows = x.movedim(-2, 0)
    return torch.cat([rows, moves.plan.ghosts(rows)])[moves.order].movedim(0, -2)


def scatter(graph: "Graph", x: Tensor | None, root: int) -> Tensor:
    """([sample,] node, channel) of a field on ``root`` of all nodes by number; other ranks pass None.

    Raises
    ------
    ShapeError
        On every rank, if the field has not as many nodes as the graph.

    Communication
    -------------
    Collective over graph.comm, in the gradient too.
    """
    spec = patient(graph.comm).bcast(None if x is None else (tuple(x.shape), x.dtype, x.requires_grad), root)
    if spec is None or len(spec[0]) < 2 or spec[0][-2] != graph.num_points_global:
        expected = f"([sample,] {graph.num_points_global} nodes, channel)"
        raise ShapeError(f"scatter expected a field on rank {root} that is {expected}, got {spec and spec[0]}")
    shape, dtype, requires_grad = spec
    if x is None or graph.comm.rank != root:
        x = torch.empty(*shape[:-2], 0, shape[-1], dtype=dtype, requires_grad=requires_grad)
    moves = graph.once(("scatter", root), lambda tag: _scattering(graph, root, tag))
    rows = x.to(graph.device).movedim(-2, 0)
    return torch.cat([rows, moves.plan.ghosts(rows)])[moves.order].movedim(0, -2)


def _gathering(graph: "Graph", root: int | None, tag: int) -> _Moves:
    comm, own = graph.comm, len(graph.nodes)
    nodes = patient(comm).allgather(graph.nodes.cpu())
    here = root in (None, comm.rank)
    others = [rank for rank in range(comm.size) if rank != comm.rank]
    to = [rank for rank in others if root in (None, rank) and own]
    send = {rank: torch.arange(own, device=graph.device) for rank in to}
    recv = {rank: len(nodes[rank]) for rank in others if len(nodes[rank])} if here else {}
    came = torch.cat([nodes[comm.rank], *(nodes[rank] for rank in recv)]) if here else nodes[comm.rank][:0]
    return _Moves(GhostPlan(comm, send, recv, own, tag), torch.argsort(came).to(graph.device))


def _scattering(graph: "Graph", root: int, tag: int) -> _Moves:
    comm = graph.comm
    nodes = patient(comm).gather(graph.nodes.cpu(), root)
    if nodes is None:
        count = len(graph.nodes)
        plan = GhostPlan(comm, {}, {root: count} if count else {}, 0, tag)
        return _Moves(plan, torch.arange(count, device=graph.device))
    send = {rank: of.to(graph.device) for rank, of in enumerate(nodes) if rank != root and len(of)}
    return _Moves(GhostPlan(comm, send, {}, graph.num_points_global, tag), graph.nodes)
