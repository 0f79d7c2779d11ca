"""Values of nodes that other ranks own, fetched for the edges that begin there, and their gradients brought back.

ghosts = F x        row g of F x is row owner(g) of x on the rank that owns it
F* y                each owner adds up what all ranks have for its node, rank by rank in ascending order
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.graphs.row_moves import RowExchange, bringing_back, fetching
from hpcml.parallel.exchange import Buffers, Exchange
from hpcml.parallel.linear import pair, uncompiled
from hpcml.parallel.recent import Recent
from hpcml.topology.directory import send_rows


class GhostPlan:
    """Who sends which rows to whom.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        The ranks.
    send : mapping of int to Tensor
        For each rank that needs some, the places of the rows among this rank's own, int64.
    recv : mapping of int to int
        Rows that each rank sends; ghosts lie rank by rank in ascending order.
    num_nodes : int
        Rows that this rank owns.
    tag : int
        Number of the plan, the same on all ranks; it has the next one too.

    Attributes
    ----------
    num_ghosts : int
        Rows that others own.

    Communication
    -------------
    `ghosts` and its gradients: one message to each neighbor, of its ghosts' bytes and no more.
    """

    def __init__(self, comm: MPI.Intracomm, send: Mapping[int, Tensor], recv: Mapping[int, int], num_nodes: int, tag: int = 0) -> None:
        self.comm, self.num_nodes, self._tag = comm, num_nodes, tag
        self.send, self.recv = dict(sorted(send.items())), dict(sorted(recv.items()))
        self.num_ghosts = sum(self.recv.values())
        self._exchanges: Recent[RowExchange] = Recent()
        self.under_way: dict[Exchange, Callable[[], None]] = {}

    @uncompiled
    def ghosts(self, x: Tensor) -> Tensor:
        """Rows of the ghosts.

        Parameters
        ----------
        x : Tensor
            (node, ...): this rank's own rows.

        Returns
        -------
        Tensor
            (ghost, ...); differentiable any number of times.
        """
        return _fetch(self, x)[0]

    def exchange(self, row: int, dtype: torch.dtype, device: torch.device, back: bool) -> RowExchange:
        """Messages for rows of so many numbers, towards the ghosts or back; made once for each of the last kinds."""
        key = row, dtype, device, back
        exchange = self._exchanges.get(key)
        if exchange is None:
            return self._exchanges.add(key, self._made(row, dtype, device, back))
        self._exchanges.move_to_end(key)
        self.settle(exchange)
        return exchange

    def settle(self, *exchanges: Exchange) -> None:
        """End what was begun by `begin` or `begin_back` and is under way: of some exchanges, so that they are free, or of all."""
        for exchange in exchanges or tuple(self.under_way):
            if exchange in self.under_way:
                self.under_way.pop(exchange)()

    def close(self) -> None:
        """Free requests and shared memory."""
        self._exchanges.close()

    def _made(self, row: int, dtype: torch.dtype, device: torch.device, back: bool) -> RowExchange:
        out, into = {peer: row * len(of) for peer, of in self.send.items()}, {peer: row * n for peer, n in self.recv.items()}
        sizes = (into, out) if back else (out, into)
        made = RowExchange(self.comm, *sizes, dtype, device, self._tag + back, what="ghosts of a graph", shared_by_calls=True)
        ends, like = (self.send, self.recv, self.num_nodes), torch.empty(0, row, dtype=dtype, device=device)
        made.moves = bringing_back(made, *ends, like) if back else fetching(made, *ends, row * dtype.itemsize)
        return made


def fetch(plan: GhostPlan, x: Tensor) -> Tensor:
    """Rows of the ghosts, without a gradient.

    Communication
    -------------
    One message to each neighbor.
    """
    row = math.prod(x.shape[1:])
    if not row:
        return x.new_empty(plan.num_ghosts, *x.shape[1:])
    exchange = plan.exchange(row, x.dtype, x.device, back=False)
    if exchange.moves is not None and not (x.is_conj() or x.is_neg()):
        return exchange.moves(exchange, x.contiguous(), x.new_empty(plan.num_ghosts, *x.shape[1:]))
    _, half = _start(plan, x)
    exchange.wait()
    return _ghosts_in(plan, half, x)


def begin(plan: GhostPlan, x: Tensor) -> Tensor:
    """Start to fetch ghosts, without a gradient: rows for own nodes, which mean nothing, and for ghosts, which `end` gives.

    Communication
    -------------
    One message to each neighbor, which is not waited for.
    """
    exchange, half = _start(plan, x)
    return _under_way(plan, exchange, x, lambda rows: rows[plan.num_nodes :].copy_(_ghosts_in(plan, half, rows)))


def end(plan: GhostPlan, rows: Tensor) -> Tensor:
    """Rows of the ghosts, of what `begin` gave.

    Communication
    -------------
    Waits for one message from each neighbor.
    """
    plan.exchange(math.prod(rows.shape[1:]), rows.dtype, rows.device, back=False)  # which settles it
    return rows[plan.num_nodes :]


def bring_back(plan: GhostPlan, y: Tensor) -> dict[int, Tensor]:
    """Rows that each other rank has for the nodes that it has as ghosts, without a gradient; to be used before the next exchange.

    Communication
    -------------
    One message to each neighbor.
    """
    exchange, half = _start_back(plan, y)
    exchange.wait()
    return _brought_in(plan, half, y)


def begin_back(plan: GhostPlan, y: Tensor) -> Tensor:
    """Start the adjoint of `end`, without a gradient: rows for own nodes, which `end_back` gives, and for ghosts, which mean nothing.

    Communication
    -------------
    One message to each neighbor, which is not waited for.
    """
    exchange, half = _start_back(plan, y)
    return _under_way(plan, exchange, y, lambda rows: _add_up(plan, _brought_in(plan, half, rows), rows[: plan.num_nodes].zero_()))


def end_back(plan: GhostPlan, rows: Tensor) -> Tensor:
    """Sums for own nodes, of what `begin_back` gave.

    Communication
    -------------
    Waits for one message from each neighbor.
    """
    plan.exchange(math.prod(rows.shape[1:]), rows.dtype, rows.device, back=True)  # which settles it
    return rows[: plan.num_nodes]


def _under_way(plan: GhostPlan, exchange: Exchange, like: Tensor, take: Callable[[Tensor], object]) -> Tensor:
    """Rows for own nodes and ghosts, into which what arrives is taken once somebody wants it."""
    rows = like.new_empty(plan.num_nodes + plan.num_ghosts, *like.shape[1:])
    arriving = rows.detach()

    def arrive() -> None:
        exchange.wait()
        take(arriving)

    plan.under_way[exchange] = arrive
    return rows


def _start(plan: GhostPlan, x: Tensor) -> tuple[Exchange, Buffers]:
    row = math.prod(x.shape[1:])
    exchange = plan.exchange(row, x.dtype, x.device, back=False)
    half = exchange.halves[exchange.half]
    for peer, places in plan.send.items():
        torch.index_select(x.reshape(len(x), row), 0, places, out=half.send[peer].view(-1, row))
    exchange.start()
    return exchange, half


def _ghosts_in(plan: GhostPlan, half: Buffers, like: Tensor) -> Tensor:
    row = math.prod(like.shape[1:])
    came = [half.recv[peer].view(-1, row) for peer in plan.recv]
    return torch.cat([like.new_empty(0, row), *came]).view(plan.num_ghosts, *like.shape[1:])


def _start_back(plan: GhostPlan, y: Tensor) -> tuple[Exchange, Buffers]:
    row = math.prod(y.shape[1:])
    exchange = plan.exchange(row, y.dtype, y.device, back=True)
    half = exchange.halves[exchange.half]
    for (peer, count), rows in zip(plan.recv.items(), y.reshape(len(y), row).split(list(plan.recv.values())), strict=True):
        half.send[peer].view(count, row).copy_(rows)
    exchange.start()
    return exchange, half


def _brought_in(plan: GhostPlan, half: Buffers, like: Tensor) -> dict[int, Tensor]:
    return {peer: half.recv[peer].view(-1, *like.shape[1:]) for peer in plan.send}


def _add_up(plan: GhostPlan, came: Mapping[int, Tensor], x: Tensor) -> None:
    for peer, rows in came.items():
        x[plan.send[peer]] += rows


def _adjoint(plan: GhostPlan, y: Tensor) -> Sequence[Tensor]:
    row = math.prod(y.shape[1:])
    if not row:
        return (y.new_empty(plan.num_nodes, *y.shape[1:]),)
    exchange = plan.exchange(row, y.dtype, y.device, back=True)
    if exchange.moves is not None:
        return (exchange.moves(exchange, y.contiguous(), y.new_empty(plan.num_nodes, *y.shape[1:])),)
    x = y.new_zeros(plan.num_nodes, *y.shape[1:])
    _add_up(plan, bring_back(plan, y), x)
    return (x,)


_fetch, _bring_back = pair(lambda plan, x: (fetch(plan, x),), _adjoint, batch=(1, 1))


def places_of(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each wanted number is among known ones in any order."""
    sorter = np.argsort(known)
    return sorter[np.searchsorted(known, wanted, sorter=sorter)].astype(np.int64)


def messages_of(
    own: np.ndarray, ghosts: np.ndarray, ranks: np.ndarray, comm: MPI.Intracomm, device: torch.device
) -> tuple[dict[int, Tensor], dict[int, int]]:
    """Which own nodes each rank has as ghosts, by their places on a device, and how many of its nodes are ghosts here.

    Communication
    -------------
    Collective: all to all, the numbers of ghosts.
    """
    asked, asker = send_rows(ranks, comm, ghosts, np.full(len(ghosts), comm.rank))
    send = {int(peer): torch.from_numpy(places_of(own, asked[asker == peer])).to(device) for peer in np.unique(asker)}
    return send, {int(peer): int((ranks == peer).sum()) for peer in np.unique(ranks)}
