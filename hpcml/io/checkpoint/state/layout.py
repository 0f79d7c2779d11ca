"""What the ranks agree on about the shape of the state, and what each of them writes of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mpi4py import MPI

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint.state.box import Box
from hpcml.io.checkpoint.state.flat_state import FlatState
from hpcml.io.checkpoint.state.placement import Blocked, Rows, content
from hpcml.io.checkpoint.state.plan import ArraySpec, Piece, deal, describe
from hpcml.io.files.agree import together


@dataclass(frozen=True, slots=True)
class Layout:
    """The shape of a state and who writes what, until an array changes its shape, type or place.

    Attributes
    ----------
    specs : list of ArraySpec
        The arrays, the same on every rank.
    structure : list
        The state without its contents.
    pieces : list of list of Piece
        What each rank writes.
    origins : list
        Global index of the first cell of each array on this rank; None for an array that starts at 0.
    """

    specs: list[ArraySpec]
    structure: list[Any]
    pieces: list[list[Piece]]
    origins: list[tuple[int, ...] | None]
    _shapes: list[Any]
    _room: dict[int, int]

    def fits(self, flat: FlatState) -> bool:
        """Whether a state has this layout on this rank.

        Communication
        -------------
        Local.
        """
        if flat.structure != self.structure or len(flat.leaves) != len(self._shapes):
            return False
        return all(_shape(leaf, self._room.get(entry)) == self._shapes[entry] for entry, leaf in enumerate(flat.leaves))

    def head(self) -> dict[str, Any]:
        """The JSON document that every rank's file begins with."""
        return {"state": self.structure, "arrays": [asdict(spec) for spec in self.specs]}


def agree_layout(flat: FlatState, comm: MPI.Intracomm) -> Layout:
    """Work out the layout of a state.

    Raises
    ------
    CheckpointError
        Where ranks hold states of different shape.

    Communication
    -------------
    Collective: the boxes of the blocked arrays, a few bytes per array and rank.
    """
    with together(comm, "describing the state"):
        specs = [describe(name, leaf) for name, leaf in zip(flat.names, flat.leaves, strict=True)]
    first = comm.bcast((specs, flat.structure))
    with together(comm, "comparing the states of the ranks"):
        if (specs, flat.structure) != first:
            raise CheckpointError(_difference(first[0], specs))
    room = {entry: _room_for(len(leaf.array)) for entry, leaf in enumerate(flat.leaves) if isinstance(leaf, Rows)}
    held = {entry: _box(leaf, room.get(entry)) for entry, leaf in enumerate(flat.leaves) if isinstance(leaf, Blocked | Rows)}
    boxes = comm.allgather(held)
    pieces = deal(specs, [[rank.get(entry) for entry in range(len(specs))] for rank in boxes])
    origins = [leaf.box.offset if isinstance(leaf, Blocked) else None for leaf in flat.leaves]
    shapes = [_shape(leaf, room.get(entry)) for entry, leaf in enumerate(flat.leaves)]
    return Layout(specs, flat.structure, pieces, origins, shapes, room)


def _box(leaf: Blocked | Rows, room: int | None) -> Box:
    if isinstance(leaf, Blocked):
        return leaf.box
    shape = (room or 0, *map(int, leaf.array.shape[1:]))
    return Box((0,) * len(shape), shape)


def _room_for(rows: int) -> int:
    """Rows to keep room for, so that a growing buffer does not change the layout at every save."""
    return 1 << max(0, rows - 1).bit_length()


def _shape(leaf: Any, room: int | None) -> Any:
    """What must not change about a leaf for it to have the same layout."""
    array = content(leaf)
    if room is not None and isinstance(leaf, Rows):
        return "rows", array.dtype, tuple(array.shape[1:]), room if len(array) <= room else len(array)
    if isinstance(leaf, Blocked):
        return "blocked", array.dtype, tuple(array.shape), tuple(leaf.offset), tuple(leaf.global_shape)
    return type(leaf), array.dtype, tuple(array.shape)


def _difference(first: Sequence[ArraySpec], mine: Sequence[ArraySpec]) -> str:
    for theirs, ours in zip(first, mine, strict=False):
        if theirs != ours:
            return (
                f"rank 0 holds {theirs.name} ({theirs.placement} {theirs.dtype} of shape {theirs.shape}), this rank holds {ours.name} "
                f"({ours.placement} {ours.dtype} of shape {ours.shape}): mark arrays that differ between ranks as Blocked or Rows"
            )
    return "the state on this rank has other entries than on rank 0: every rank must register the same entries in the same order"
