"""What the files of a checkpoint say they hold, seen to be possible before anything is made of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from operator import index as whole
from typing import Any

from hpcml.core.json_text import parse_json
from hpcml.io.checkpoint.state.box import Box
from hpcml.io.checkpoint.state.dtypes import storage_dtype
from hpcml.io.checkpoint.state.plan import ArraySpec
from hpcml.io.checkpoint.stored.catalog import DamagedError

Table = tuple[list[Any], dict[str, int]]
"""Pieces that one file holds, and how many rows of them count."""


@dataclass(slots=True)
class Index:
    """What the files hold: the same on every rank.

    Attributes
    ----------
    structure : list
        The state without its contents.
    specs : list of ArraySpec
        Its arrays.
    values : list
        Its plain values.
    step : int
        Step that it is the result of.
    pieces : list of list of (int, Box)
        By array: rank that wrote each piece, and where it lies.
    """

    structure: list[Any]
    specs: list[ArraySpec]
    values: list[Any]
    step: int
    pieces: list[list[tuple[int, Box]]]


def read_document(file: Any, name: str) -> Any:
    """One of the JSON documents of a file."""
    return parse_json(file[name][()].tobytes())


def read_table(file: Any) -> Table:
    """What one file says that it holds."""
    return read_document(file, "pieces"), read_document(file, "values")["rows"]


def read_head(file: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the file of the first rank says of all of them."""
    return read_document(file, "structure"), read_document(file, "values")


def build_index(head: tuple[dict[str, Any], dict[str, Any]], tables: Sequence[Table]) -> Index:
    """Put together what the files say.

    Raises
    ------
    DamagedError
        For what cannot be.
    Exception
        Whatever comes of documents that are not as they were written.

    Communication
    -------------
    Local.
    """
    structure, values = head
    specs = [ArraySpec.from_json(fields) for fields in structure["arrays"]]
    index = Index(structure["state"], specs, values["values"], whole(values["step"]), _pieces(specs, tables))
    _check_node(index.structure, index)
    for spec, held in zip(specs, index.pieces, strict=True):
        if spec.placement == "replicated":
            inside = all(box == box.intersection(Box((0,) * len(spec.shape), spec.shape)) for _, box in held if box.volume)
            if not inside or sum(box.volume for _, box in held) != prod(spec.shape):
                raise DamagedError(f"the pieces of {spec.name} do not make up an array of shape {spec.shape}")
    return index


def check_file(index: Index, rank: int, file: Any) -> None:
    """See that the file of a rank holds its pieces, of the right shapes and types.

    Raises
    ------
    DamagedError
        Naming the array.
    Exception
        What comes of a file that is not as it was written.

    Communication
    -------------
    Local.
    """
    for spec, pieces in zip(index.specs, index.pieces, strict=True):
        for box in (box for writer, box in pieces if writer == rank):
            stored = file[f"state/{spec.name}"]
            room = spec.placement == "rows" and stored.shape[:1] >= box.shape[:1] and stored.shape[1:] == box.shape[1:]
            if (stored.shape != box.shape and not room) or stored.dtype != storage_dtype(spec.dtype):
                raise DamagedError(
                    f"rank {rank} wrote {spec.name} as {stored.dtype} of shape {stored.shape}, its index says {spec.dtype} {box.shape}"
                )


def _pieces(specs: Sequence[ArraySpec], tables: Sequence[Table]) -> list[list[tuple[int, Box]]]:
    """Which rank wrote which box of each array."""
    pieces: list[list[tuple[int, Box]]] = [[] for _ in specs]
    for rank, (table, rows) in enumerate(tables):
        for entry, offset, shape in table:
            box = Box(tuple(map(whole, offset)), tuple(map(whole, shape)))
            if specs[entry].placement == "rows":
                first = pieces[entry][-1][1].offset[0] + pieces[entry][-1][1].shape[0] if pieces[entry] else 0
                box = Box((first, *box.offset[1:]), (whole(rows[str(entry)]), *box.shape[1:]))
            if min([*box.offset, *box.shape, entry]) < 0:
                raise DamagedError(f"the piece of {specs[entry].name} that rank {rank} wrote begins or ends before 0")
            pieces[entry].append((rank, box))
    return pieces


def _check_node(node: Any, index: Index) -> None:
    kind, body = node
    if kind in ("array", "value"):
        if not 0 <= whole(body) < len(index.specs if kind == "array" else index.values):
            raise DamagedError(f"the state has {kind} number {body}, which is not there")
    elif kind in ("map", "list", "tuple"):
        for child in body:
            _check_node(child[1] if kind == "map" else child, index)
    else:
        raise DamagedError(f"the state has a node of unknown kind {kind!r:.80}")
