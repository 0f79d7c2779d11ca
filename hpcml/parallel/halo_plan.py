"""Ghost cells of padded fields, exchanged in place."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Self

import numpy as np
import torch
from mpi4py import MPI

from hpcml.core.errors import CommunicationError, ShapeError
from hpcml.kernels.arguments import Array, address_of, array_info
from hpcml.kernels.box import BoxPlan
from hpcml.parallel.layout import Layout
from hpcml.parallel.packed_exchange import Boxes, PackedExchange, Place, lay_out
from hpcml.parallel.transfers import Box, Index, transfers

Widths = int | Sequence[int | tuple[int, int]]


class HaloPlan:
    """Exchange of the ghost cells of padded fields, in place, and its adjoint.

        exchange     ghost := owner's cell                       for every ghost cell of every field
        accumulate   owner's cell += sum of its ghosts;  ghosts := 0

    Parameters
    ----------
    comm : MPI.Intracomm
        The ranks of ``layout``.
    layout : Layout
        Which cells each rank owns, `hpcml.fields.Domain.layout` for example.
    *fields : array
        Fields of the calls to come: NumPy, torch or CuPy, each (..., *padded) with ghosts on both sides of the last dims of ``layout``, any
        leading dims, dtypes and memory layouts. They travel together.
    widths : int or sequence of int or (int, int)
        Ghost cells everywhere, for each dim, or below and above along each dim; they may be wider than a block.
    periodic : bool or sequence of bool
        For all dims or for each. Ghosts outside an array that is not periodic are left as they are: they are the caller's boundary.
    corners : bool
        Whether ghosts that lie outside the block in more than one dim are exchanged too.
    tag : int
        Number of the plan, compared with the neighbors'; the next one is taken too.
    backend : str, optional
        One of `hpcml.parallel.transport.choice.BACKENDS`, the same on all ranks; by default chosen for each pair of ranks.

    Attributes
    ----------
    widths : tuple of (int, int)
        Ghost cells below and above along each dim.
    at_edge : tuple of (bool, bool)
        Along each dim, whether the ghosts below and above lie outside the grid.

    Raises
    ------
    ShapeError
        If the fields do not end in this rank's padded block; in a call, for fields of other layouts.
    CommunicationError
        If begun twice, or ended without; if a neighbor has ended, left, or does not come.

    Communication
    -------------
    Construction: neighbors. Calls: neighbors, one message each for all fields, non-blocking between ``begin`` and ``end``; deterministic.
    Through shared memory where ranks share a node, else by MPI. Nothing is allocated per call.

    Notes
    -----
    As a context manager, or by `close`, what is in flight comes to rest and everything is freed. What a call writes, autograd does not
    record: `hpcml.parallel.window` is the differentiable sibling. On a GPU, packing and unpacking are ordered on torch's current stream.

    Examples
    --------
    >>> import numpy as np
    >>> u = np.array([0.0, 1.0, 2.0, 3.0, 0.0])
    >>> with HaloPlan(MPI.COMM_SELF, Layout.blocks((3,), (1,)), u, periodic=True) as halo:
    ...     halo.exchange(u)
    >>> u
    array([3., 1., 2., 3., 1.])
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        layout: Layout,
        *fields: Array,
        widths: Widths = 1,
        periodic: bool | Sequence[bool] = False,
        corners: bool = True,
        tag: int = 0,
        backend: str | None = None,
    ) -> None:
        num_dims = len(layout.shape)
        self.widths = _each_dim(widths, num_dims)
        self._local = layout.local_shape(comm.rank)
        infos = [array_info(field) for field in fields]
        self._check(comm, [info.shape for info in infos])
        rules = [periodic] * num_dims if isinstance(periodic, bool) else periodic
        boundary = ["periodic" if rule else "zero" for rule in rules]
        ends = zip(layout.box(comm.rank), layout.shape, rules, strict=True)
        self.at_edge = tuple((not rule and start == 0, not rule and stop == n) for (start, stop), n, rule in ends)
        incoming, outgoing = transfers(layout, layout.widened(self.widths), boundary, comm.rank)
        most = num_dims if corners else 1
        ghosts = {peer: [b.target for b in boxes if 0 < self._sides(b, self._local) <= most] for peer, boxes in incoming.items()}
        owned = {
            peer: [self._padded(b.source) for b in boxes if 0 < self._sides(b, layout.local_shape(peer)) <= most]
            for peer, boxes in outgoing.items()
        }
        cells = [(info.itemsize, math.prod(info.shape[: len(info.shape) - num_dims])) for info in infos]
        (take, recv), (give, send) = (lay_out(_alone(boxes), cells) for boxes in (ghosts, owned))
        device = torch.device(infos[0].device)
        kinds = ", ".join(f"{info.dtype} {info.shape[: len(info.shape) - num_dims]}" for info in infos)
        self._forward = _Way(PackedExchange(comm, give, take, send, recv, "unpack", device, tag, backend, True, f"halo of {kinds}"), fields)
        self._make_adjoint = lambda: PackedExchange(
            comm, take, give, recv, send, "accumulate", device, tag + 1, backend, what=f"adjoint halo of {kinds}"
        )
        self._adjoint: _Way | None = None
        self._ghosts = [place for places in take.values() for place in places]
        self._in_flight: _Way | None = None

    def exchange(self, *fields: Array) -> None:
        """Fill the ghost cells."""
        field, where, address, run, turns = self._forward.first
        # One field that is where it was: as `_exchange` does, in fewer steps of the interpreter, which finds its caches cold.
        if len(fields) == 1 and fields[0] is field and where() == address and self._in_flight is None:
            try:
                left = run(turns)
            except BaseException:
                self._forward.exchange.exchange.cancel()
                raise
            if left:
                self._forward.end(left)
        else:
            self._exchange(self._forward, fields)

    def accumulate(self, *fields: Array) -> None:
        """Add every ghost cell to the cell that it is a copy of, and set it to zero: the adjoint of `exchange`."""
        self._exchange(self._backward(fields), fields)

    def begin(self, *fields: Array) -> None:
        """Send the owned cells that others need; until `end`, cells may be read, and those written that no rank has a ghost of."""
        self._begin(self._forward, fields)

    def begin_accumulate(self, *fields: Array) -> None:
        """Send the ghost cells to their owners; until `end`, no ghost may be touched, nor a cell that has one."""
        self._begin(self._backward(fields), fields)

    def end(self) -> None:
        """Receive what was begun."""
        if self._in_flight is None:
            raise CommunicationError("end() without begin(): nothing is in flight")
        way, self._in_flight = self._in_flight, None
        way.exchange.wait(way.landing)

    @property
    def interior(self) -> Index:
        """Index of the owned cells in a padded field."""
        return (..., *(slice(low, low + n) for (low, _), n in zip(self.widths, self._local, strict=True)))

    @property
    def routes(self) -> dict[int, str]:
        """Back end by which each neighbor is reached."""
        return self._forward.exchange.exchange.routes

    def inner(self, reach: int = 1) -> Index:
        """Index of the owned cells that a stencil of this reach computes without ghosts: what to do between `begin` and `end`."""
        return (..., *(slice(low + reach, max(low + n - reach, low + reach)) for (low, _), n in zip(self.widths, self._local, strict=True)))

    def rim(self, reach: int = 1) -> list[Index]:
        """Indices of disjoint boxes that hold all other owned cells: what to do after `end`."""
        boxes: list[Index] = []
        before: list[slice] = []
        for d, ((low, _), n) in enumerate(zip(self.widths, self._local, strict=True)):
            after = self.interior[d + 2 :]
            first, last = low + min(reach, n), max(low + n - reach, low + min(reach, n))
            boxes += [(..., *before, part, *after) for part in (slice(low, first), slice(last, low + n)) if part.start < part.stop]
            before.append(slice(first, last))
        return boxes

    def close(self) -> None:
        """Bring to rest what is in flight, and free everything."""
        self._in_flight = None
        self._forward.exchange.close()
        if self._adjoint is not None:
            self._adjoint.exchange.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _backward(self, fields: tuple[Array, ...]) -> "_Way":
        if self._adjoint is None:
            self._adjoint = _Way(self._make_adjoint(), fields, self._ghosts)
        return self._adjoint

    def _exchange(self, way: "_Way", fields: tuple[Array, ...]) -> None:
        if way.turns is None or self._in_flight is not None:
            self._begin(way, fields)
            self.end()
            return
        way.point(fields)
        way.exchange.exchange.run(way.turns)

    def _begin(self, way: "_Way", fields: tuple[Array, ...]) -> None:
        if self._in_flight is not None:
            raise CommunicationError("begin() again before end(): an exchange of this plan is in flight")
        way.point(fields)
        way.exchange.start(way.packing)
        self._in_flight = way

    def _check(self, comm: MPI.Intracomm, shapes: Sequence[tuple[int, ...]]) -> None:
        padded = tuple(low + n + up for (low, up), n in zip(self.widths, self._local, strict=True))
        for shape in shapes:
            if shape[len(shape) - len(padded) :] != padded:
                raise ShapeError(
                    f"rank {comm.rank} of {comm.size} expected fields that end in {padded}, its {self._local} cells with ghosts of "
                    f"{self.widths}, got {shape}: pad this rank's block"
                )

    def _padded(self, index: Index) -> Index:
        """Place of owned cells in a padded field."""
        return (..., *(slice(s.start + low, s.stop + low) for s, (low, _) in zip(index[1:], self.widths, strict=True)))

    def _sides(self, box: Box, local: Sequence[int]) -> int:
        """Number of dims in which a box lies outside the block of the rank that takes it."""
        places = zip(box.target[1:], self.widths, local, strict=True)
        return sum(s.start < low or s.stop > low + n for s, (low, _), n in places)


class _Way:
    """One direction, bound to the layouts of the fields; ``clear`` is set to zero before anything lands."""

    def __init__(self, exchange: PackedExchange, fields: Sequence[Array], clear: Sequence[Place] = ()) -> None:
        self.exchange = exchange
        self.packing = exchange.packing(fields)
        first = None
        if clear:
            plan = BoxPlan(self.packing.layouts, [(p.field, p.index) for p in clear], [0] * len(clear))
            zeros = torch.zeros(plan.nbytes, dtype=torch.uint8, device=array_info(fields[0]).device)
            first = plan, zeros
        self.landing = exchange.landing(fields, first)
        self.turns = exchange.turns(self.packing, self.landing)
        self._known: list[tuple[Array, Callable[[], int], int]] = []
        self.first: tuple[Array | None, Callable[[], int], int, Callable[[int], int], int] = (None, int, 0, int, 0)

    def point(self, fields: tuple[Array, ...]) -> None:
        """Let both sides work on these fields; the same objects at the same addresses are not looked at again."""
        if len(fields) == len(self._known):
            known = iter(self._known)  # zip with strict takes longer than the rest of a call
            for field in fields:
                same, where, address = next(known)
                if field is not same or where() != address:
                    break
            else:
                return
        self.packing.point(fields)
        self.landing.point(fields)
        self._known = [(field, _where(field), address_of(field)) for field in fields]
        if self.turns is not None and len(fields) == 1:
            self.first = *self._known[0], self.turns.run, self.turns.address
        if self.exchange.exchange.in_place is not None:
            self.exchange.exchange.in_place.point([address for *_, address in self._known])

    def end(self, left: int) -> None:
        """Come to the end of a turn that gave something else than 0."""
        if self.turns is not None:
            self.exchange.exchange.end(self.turns, left)


def _where(field: Array) -> Callable[[], int]:
    """What tells the address of a field from now on: NumPy moves none that is held."""
    if isinstance(field, torch.Tensor):
        return field.data_ptr
    return partial(int, address_of(field)) if isinstance(field, np.ndarray) else partial(address_of, field)


def _each_dim(widths: Widths, num_dims: int) -> tuple[tuple[int, int], ...]:
    each = [widths] * num_dims if isinstance(widths, int) else widths
    return tuple((w, w) if isinstance(w, int) else (w[0], w[1]) for w in each)


def _alone(boxes: dict[int, list[Index]]) -> Boxes:
    """Boxes that each lie at one place."""
    return {peer: [([index], math.prod(s.stop - s.start for s in index[1:])) for index in of] for peer, of in boxes.items() if of}
