"""Boxes of fields that go from rank to rank: packed by one kernel per neighbor, sent, and unpacked or added up on the other side."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from mpi4py import MPI

from hpcml.kernels.arguments import Array, array_info
from hpcml.kernels.box import BoxPlan
from hpcml.kernels.field_layout import FieldLayout
from hpcml.kernels.launch import DeviceLaunch, HostLaunch, Launch
from hpcml.parallel.exchange import Exchange
from hpcml.parallel.transport.moves import Move, Moves, Turns


@dataclass(frozen=True, slots=True)
class Place:
    """Where some cells lie: in which field, at which index of it, and from which byte of a peer's buffer on."""

    field: int
    index: Any
    offset: int


Places = Mapping[int, Sequence[Place]]
"""By peer."""
Boxes = Mapping[int, Sequence[tuple[Sequence[Any], int]]]
"""For each peer boxes that travel: indices of a field at which one and the same box lies, and its number of cells."""


def lay_out(boxes: Boxes, cells: Sequence[tuple[int, int]]) -> tuple[Places, dict[int, int]]:
    """Places of boxes of all fields in each peer's buffer, field by field, in the order that both sides agree on.

    Parameters
    ----------
    boxes : Boxes
        The same for every field.
    cells : sequence of (int, int)
        For each field the bytes of a number, at whose multiples its boxes begin, and how many numbers a cell holds.

    Returns
    -------
    places : Places
    sizes : dict of int to int
        Bytes of each buffer.
    """
    places: dict[int, list[Place]] = {}
    sizes: dict[int, int] = {}
    for peer, of_peer in boxes.items():
        end = 0
        places[peer] = []
        for field, (itemsize, lead) in enumerate(cells):
            for indices, count in of_peer:
                start = -(-end // itemsize) * itemsize
                places[peer] += [Place(field, index, start) for index in indices]
                end = start + itemsize * lead * count
        sizes[peer] = end
    return places, sizes


class PackedExchange:
    """Exchange of boxes between ranks, whatever fields they are boxes of.

    Parameters
    ----------
    comm : MPI.Intracomm
        Ranks are counted in it.
    give, take : mapping of int to sequence of Place
        What goes to each peer, and where what comes from each goes. On both sides of a pair the same offsets hold boxes of equal shape.
        Several boxes may take from the same offset.
    send, recv : mapping of int to int
        Bytes for each peer and from each.
    landing : str
        ``unpack`` to write what comes, ``accumulate`` to add it up, neighbor by neighbor in the order of their ranks.
    device : torch.device
        Where the fields lie.
    tag : int
        Number of the plan.
    backend : str, optional
        As for `Exchange`.
    in_place : bool
        Whether messages that are unpacked may go from field to field, by ``datatype``; the caller then points the exchange at the fields.
    what, shared_by_calls
        As for `Exchange`.

    Communication
    -------------
    Construction: neighbors. Exchange: neighbors, one message each.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        give: Places,
        take: Places,
        send: Mapping[int, int],
        recv: Mapping[int, int],
        landing: str,
        device: torch.device,
        tag: int = 0,
        backend: str | None = None,
        in_place: bool = False,
        what: str = "boxes",
        shared_by_calls: bool = False,
    ) -> None:
        self.exchange = Exchange(comm, send, recv, torch.uint8, device, tag, backend, in_place, what, shared_by_calls)
        self._give, self._take, self._landing = give, take, landing
        self._sides: dict[tuple[object, ...], Side] = {}

    def send(self, fields: Sequence[torch.Tensor]) -> None:
        """Pack fields of any memory layout and send."""
        if self.exchange.routes:
            plain = [t.resolve_conj().resolve_neg() for t in fields]  # held until they are packed: sides know addresses alone
            self.start(self._side(self.packing, plain))

    def land(self, fields: Sequence[torch.Tensor]) -> None:
        """Receive, and unpack into fields of any memory layout."""
        if self.exchange.routes:
            self.wait(self._side(self.landing, fields))

    def packing(self, fields: Sequence[Array]) -> "Side":
        """The side that gives, for fields of these layouts."""
        shared = self.exchange.shared
        buffers = [half.send for half in self.exchange.halves]
        if self.exchange.in_place is not None:
            layouts = [FieldLayout.of(field) for field in fields]
            boxes = [{peer: [(p.field, layouts[p.field].box(p.index)) for p in d[peer]] for peer in d} for d in (self._give, self._take)]
            self.exchange.in_place.describe(*boxes)
        return Side("pack", fields, self._give, buffers, {}, shared.ready if shared else 0)

    def landing(self, fields: Sequence[Array], first: tuple[BoxPlan, Array] | None = None) -> "Side":
        """The side that takes, for fields of these layouts; before anything is taken, the ``first`` buffer is unpacked."""
        shared = self.exchange.shared
        buffers = [half.recv for half in self.exchange.halves]
        flags = shared.flags if shared else {}
        return Side(self._landing, fields, self._take, buffers, flags, spin=shared is not None and shared.spin, first=first)

    def start(self, side: "Side") -> None:
        """Pack the fields that the side points at, and send."""
        self.exchange.start(side.moves)

    def wait(self, side: "Side") -> None:
        """Receive, and unpack into the fields that the side points at."""
        self.exchange.wait(side.moves)

    def turns(self, packing: "Side", landing: "Side") -> Turns | None:
        """What packs, sends, receives and unpacks in one call of C; None where that takes more than C functions and shared memory."""
        moves = [move for half in (*packing.parts, *landing.parts) for move in half]
        if not moves or not self.exchange.is_shared or not all(launch is None or launch.native for _, launch in moves):
            return None
        pairs = zip(packing.parts, landing.parts, strict=True)
        return self.exchange.turns([Moves(before, packing.ready, landing.spin, after) for before, after in pairs])

    def close(self) -> None:
        """Free what the exchange holds."""
        self.exchange.close()
        self._sides.clear()

    def _side(self, make: Callable[[Sequence[torch.Tensor]], "Side"], fields: Sequence[torch.Tensor]) -> "Side":
        """The side that was made for such strides, pointed at the fields."""
        key = make.__name__, *[t.stride() for t in fields]
        side = self._sides.get(key)
        if side is None:
            side = self._sides[key] = make(fields)
        side.point(fields)
        return side

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Side:
    """One side of a `PackedExchange`, bound to fields of fixed layouts whose addresses may change from call to call.

    Parameters
    ----------
    kind : str
        ``pack``, ``unpack`` or ``accumulate``.
    fields : sequence of array
        Of the layouts and on the device of those in the calls to come.
    places : mapping of int to sequence of Place
        By peer.
    buffers : sequence of mapping of int to array
        Those of each half, by peer.
    flags : mapping of int to int
        Addresses of the flags to wait for, by peer.
    ready : int
        Address of the flag to raise, or 0.
    spin : bool
        As for `Moves`.
    first : (BoxPlan, array), optional
        Boxes and a buffer to unpack before all else.
    """

    def __init__(
        self,
        kind: str,
        fields: Sequence[Array],
        places: Places,
        buffers: Sequence[Mapping[int, Array]],
        flags: Mapping[int, int],
        ready: int = 0,
        spin: bool = True,
        first: tuple[BoxPlan, Array] | None = None,
    ) -> None:
        self.layouts = tuple(FieldLayout.of(field) for field in fields)
        self.ready, self.spin = ready, spin
        self._device = array_info(fields[0]).device
        self._addresses = (ctypes.c_uint64 * len(fields))()
        self._pointed: list[Launch] = []
        self._fields: Sequence[Array] | None = None
        plans = {
            peer: BoxPlan(self.layouts, [(p.field, p.index) for p in boxes], [p.offset for p in boxes])
            for peer, boxes in places.items()
            if peer in buffers[0]
        }
        self.parts: list[list[Move]] = []
        for half in buffers:
            moves: list[Move] = []
            if first is not None:
                moves += [(0, launch) for launch in self._launches(first[0], "unpack", first[1], fields)]
            for peer in sorted({*plans, *flags}):
                launches = self._launches(plans[peer], kind, half[peer], fields) if peer in plans else []
                moves.append((flags.get(peer, 0), launches[0] if launches else None))
                moves += [(0, launch) for launch in launches[1:]]
            self.parts.append(moves)
        self.moves = [Moves(moves, ready, spin) for moves in self.parts]

    def point(self, fields: Sequence[Array]) -> None:
        """Let the moves read or write these fields.

        Raises
        ------
        ShapeError
            For a field of another layout.
        DeviceError
            For one on another device.
        """
        addresses = [layout.address(field, self._device) for layout, field in zip(self.layouts, fields, strict=True)]
        for i, address in enumerate(addresses):
            self._addresses[i] = address
        for launch in self._pointed:
            launch.point_all(1, addresses)
        if self._fields is not None:
            self._fields = fields

    def _launches(self, plan: BoxPlan, kind: str, buffer: Array, fields: Sequence[Array]) -> list[Launch]:
        """Launches that find the fields where `point` says."""
        launches = plan.launches(kind, buffer, *fields)
        for launch in launches:
            if launch.native:
                launch.point(1, ctypes.addressof(self._addresses))
            elif isinstance(launch, (HostLaunch, DeviceLaunch)):
                self._pointed.append(launch)
            else:  # a twin is called with its arrays
                self._fields = fields
                return [Launch(lambda: getattr(plan, kind)(buffer, *(self._fields or ())), ())]
            launch.release((1,))
        return launches
