"""Which rank writes which part of the state, worked out alike on every rank.

A box held by one rank is written by that rank. A box held by several ranks (parameters are held by all of them) is cut along dim 0, so
that each holder writes its even share of the bytes:  P ranks write each byte once, 1/P of the replicated bytes each.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hpcml.io.checkpoint.state.box import Box
from hpcml.io.checkpoint.state.dtypes import dtype_name, storage_dtype
from hpcml.io.checkpoint.state.placement import Blocked, Rows, content
from hpcml.topology.block import block_range

Placement = Literal["replicated", "blocked", "rows"]


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """What every rank agrees on about one array of the state.

    Attributes
    ----------
    name : str
        Path in the state.
    library : {"torch", "numpy"}
        What it is restored as.
    dtype : str
        Element type.
    placement : {"replicated", "blocked", "rows"}
        How it lies over the ranks.
    shape : tuple of int
        Global shape; for rows the shape of one row.
    """

    name: str
    library: str
    dtype: str
    placement: Placement
    shape: tuple[int, ...]

    @staticmethod
    def from_json(fields: dict[str, Any]) -> "ArraySpec":
        return ArraySpec(**{**fields, "shape": tuple(fields["shape"])})


def describe(name: str, leaf: Any) -> ArraySpec:
    """What a leaf of the state looks like to every rank."""
    array = content(leaf)
    shape = tuple(map(int, array.shape))
    placement: Placement = "replicated"
    if isinstance(leaf, Blocked):
        placement, shape = "blocked", tuple(map(int, leaf.global_shape))
    elif isinstance(leaf, Rows):
        placement, shape = "rows", shape[1:]
    return ArraySpec(name, "numpy" if hasattr(array, "ctypes") else "torch", dtype_name(array, name), placement, shape)


@dataclass(frozen=True, slots=True)
class Piece:
    """One box of one array, written by one rank. The box of a rows entry starts at row 0: the rank's own first."""

    entry: int
    box: Box


def deal(specs: Sequence[ArraySpec], boxes: Sequence[Sequence[Box | None]]) -> list[list[Piece]]:
    """Deal every box to its holders.

    Parameters
    ----------
    specs : sequence of ArraySpec
        The arrays, the same on every rank.
    boxes : sequence of sequence of Box or None
        ``boxes[rank][entry]``: what each rank holds; None where that follows from the spec (replicated).

    Returns
    -------
    list of list of Piece
        What each rank writes, at most one piece of each entry.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> spec = ArraySpec("w", "numpy", "float32", "replicated", (6, 2))
    >>> [pieces[0].box.offset for pieces in deal([spec], [[None]] * 3)]
    [(0, 0), (2, 0), (4, 0)]
    """
    pieces: list[list[Piece]] = [[] for _ in boxes]
    shared: dict[tuple[int, ...], list[Piece]] = defaultdict(list)
    everyone = tuple(range(len(boxes)))
    for entry, spec in enumerate(specs):
        if spec.placement == "replicated":
            shared[everyone].append(Piece(entry, Box((0,) * len(spec.shape), spec.shape)))
            continue
        held_by: dict[Any, list[int]] = defaultdict(list)
        for rank, held in enumerate(boxes):
            box = held[entry]
            if box is not None and (box.volume or spec.placement == "rows"):
                held_by[(rank if spec.placement == "rows" else None, box)].append(rank)
        for (_, box), sharers in held_by.items():
            shared[tuple(sharers)].append(Piece(entry, box))
    for holders, items in shared.items():
        _cut(items, specs, holders, pieces)
    return [sorted(mine, key=lambda piece: piece.entry) for mine in pieces]


def _cut(items: list[Piece], specs: Sequence[ArraySpec], holders: tuple[int, ...], pieces: list[list[Piece]]) -> None:
    """Lay the items end to end as one stream of bytes and give each holder the rows that begin in its even range of it."""
    sizes = [piece.box.volume * storage_dtype(specs[piece.entry].dtype).itemsize for piece in items]
    total = sum(sizes)
    for share, rank in enumerate(holders):
        mine = block_range(total, len(holders), share)
        begin = 0
        for piece, size in zip(items, sizes, strict=True):
            rows = piece.box.shape[0] if piece.box.shape else 1
            if size == 0:
                first, last = (0, rows) if share == 0 else (0, 0)
            else:
                row_bytes = size // rows
                first, last = (min(rows, max(0, -((begin - edge) // row_bytes))) for edge in (mine.start, mine.stop))
            if last > first or (size == 0 and share == 0):
                pieces[rank].append(Piece(piece.entry, piece.box.rows(first, last)))
            begin += size
