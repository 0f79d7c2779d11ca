"""Rows of a tensor that go to other ranks and come from them, gathered, handed over, waited for and put in place in one call of C."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hpcml.kernels.launch import Launch
from hpcml.kernels.segment import GATHER, GATHER_SUM, Edges
from hpcml.parallel.exchange import Exchange
from hpcml.parallel.transport.moves import Move, Moves

WORD = torch.float32
"""As what rows of any dtype are copied."""
SUMMED = (torch.float32, torch.float64)


class RowMoves:
    """Exchange of rows of tensors that lie alike; made by `fetching` and by `bringing_back`.

    Parameters
    ----------
    exchange : Exchange
        Whose buffers the rows travel by, that of all calls.
    pack, unpack : sequence of (sequence of Move)
        Of each half of the buffers: native launches, before and after this rank's flag is raised.
    given, taken : sequence of (Launch, int)
        Launches that read the tensor that is given, as their second argument, and that write the result, as their first, each from that
        byte on.

    Communication
    -------------
    Neighbors, as `hpcml.parallel.exchange.Exchange.run`.
    """

    def __init__(
        self,
        exchange: Exchange,
        pack: Sequence[Sequence[Move]],
        unpack: Sequence[Sequence[Move]],
        given: Sequence[tuple[Launch, int]],
        taken: Sequence[tuple[Launch, int]],
    ) -> None:
        shared = exchange.shared
        ready, spin = (shared.ready, shared.spin) if shared else (0, True)
        self._given, self._taken = given, taken
        self._turns = exchange.turns([Moves(before, ready, spin, after) for before, after in zip(pack, unpack, strict=True)])

    def __call__(self, exchange: Exchange, x: Tensor, out: Tensor) -> Tensor:
        """Send rows of a contiguous tensor, and fill a contiguous one."""
        given, taken = x.data_ptr(), out.data_ptr()
        for launch, start in self._given:
            launch.point(1, given + start)
        for launch, start in self._taken:
            launch.point(0, taken + start)
        exchange.run(self._turns)
        return out


class RowExchange(Exchange):
    """An exchange of rows.

    Attributes
    ----------
    moves : RowMoves or None
        What does the whole of it in one call, where there is such.
    """

    moves: RowMoves | None = None


def fetching(exchange: Exchange, send: Mapping[int, Tensor], recv: Mapping[int, int], num_nodes: int, nbytes: int) -> RowMoves | None:
    """Moves that fetch rows: some of this rank's, by peer, against so many of each peer's, which come one after the other.

    Returns
    -------
    RowMoves or None
        None where it takes more than shared memory and compiled kernels, or rows are no whole words.

    Communication
    -------------
    Local.
    """
    width, odd = divmod(nbytes, WORD.itemsize)
    if odd or not width or not exchange.is_shared or exchange.shared is None:
        return None
    x, starts = torch.empty(num_nodes, width, dtype=WORD), _starts(recv)
    rows = torch.empty(max(recv.values(), default=0), width, dtype=WORD)
    pack: list[list[Move]] = []
    unpack: list[list[Move]] = []
    given: list[tuple[Launch, int]] = []
    taken: list[tuple[Launch, int]] = []
    for half in exchange.halves:
        sends = [_gather(_words(half.send[peer], width), x, places) for peer, places in send.items()]
        lands = {p: _gather(rows[:count], _words(half.recv[p], width), torch.arange(count)) for p, count in recv.items()}
        given += [(launch, 0) for launch in sends]
        taken += [(launch, nbytes * starts[peer]) for peer, launch in lands.items()]
        pack.append([(0, launch) for launch in sends])
        unpack.append([(flag, lands.get(peer)) for peer, flag in sorted(exchange.shared.flags.items())])
    return _made(exchange, pack, unpack, given, taken)


def bringing_back(exchange: Exchange, send: Mapping[int, Tensor], recv: Mapping[int, int], num_nodes: int, like: Tensor) -> RowMoves | None:
    """Moves of the adjoint of `fetching`: rows go back, and each of this rank's is the sum of what comes for it, peer by peer.

    Communication
    -------------
    Local.
    """
    width = math.prod(like.shape[1:])
    if like.dtype not in SUMMED or not width or not exchange.is_shared or exchange.shared is None:
        return None
    y, out, starts, places = like.new_empty(1, width), like.new_empty(num_nodes, width), _starts(recv), list(send.values())
    target = torch.cat([torch.empty(0, dtype=torch.int64), *places])
    into = Edges.into(target, num_nodes)
    came = like.new_empty(len(target), width)
    parts = dict(zip(send, came.split([len(of) for of in places]), strict=True))
    total = GATHER_SUM.bind(out, came, into.first, into.source, num_nodes, width, extent=(width, num_nodes))
    pack: list[list[Move]] = []
    unpack: list[list[Move]] = []
    given: list[tuple[Launch, int]] = []
    for half in exchange.halves:
        sends = [(_gather(half.send[p].view(-1, width), y, torch.arange(count)), p) for p, count in recv.items()]
        lands = {p: _gather(part, half.recv[p].view(-1, width), torch.arange(len(part))) for p, part in parts.items()}
        given += [(launch, y[0].nbytes * starts[peer]) for launch, peer in sends]
        pack.append([(0, launch) for launch, _ in sends])
        unpack.append([*((flag, lands.get(peer)) for peer, flag in sorted(exchange.shared.flags.items())), (0, total)])
    return _made(exchange, pack, unpack, given, [(total, 0)])


def _made(
    exchange: Exchange, pack: list[list[Move]], unpack: list[list[Move]], given: list[tuple[Launch, int]], taken: list[tuple[Launch, int]]
) -> RowMoves | None:
    launches = [launch for half in (*pack, *unpack) for _, launch in half if launch is not None]
    if not all(launch.native for launch in launches):
        return None
    for position, of in ((1, given), (0, taken)):
        for launch, _ in of:
            launch.release((position,))
    return RowMoves(exchange, pack, unpack, given, taken)


def _gather(out: Tensor, x: Tensor, places: Tensor) -> Launch:
    return GATHER.bind(out, x, places, len(out), out.shape[1], extent=(out.shape[1], len(out)))


def _words(buffer: Tensor, width: int) -> Tensor:
    return buffer.view(torch.uint8).view(WORD).view(-1, width)


def _starts(recv: Mapping[int, int]) -> dict[int, int]:
    """First row of each peer's."""
    starts, end = {}, 0
    for peer, count in recv.items():
        starts[peer], end = end, end + count
    return starts
