"""What a commit record must say, field by field. Standard library only: the keeper process imports this file."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeGuard

from hpcml.core.errors import CheckpointError
from hpcml.io.files.regular import shown

_MOST_CHUNK_BYTES = 1 << 30  # room for one is made to compare it
_MOST_NUMBER = 1 << 62
_MOST_SECONDS = 1e11  # in the year 5138
_BYTES_PER_CHUNK = 16  # ten digits of a checksum, comma and blank
_SMALLEST_CHUNK_BYTES = 1 << 20
_BYTES_PER_FILE = 4096


def most_record_bytes(sizes: Iterable[int]) -> int:
    """How long a record can be that describes files of these sizes: what is longer describes something else."""
    return sum(_BYTES_PER_FILE + _BYTES_PER_CHUNK * (size // _SMALLEST_CHUNK_BYTES + 1) for size in sizes)


def check_record(path: Path, record: dict[str, Any], rank_file: Callable[[int], str]) -> None:
    """See that a record says all that a checkpoint is read by, and nothing impossible.

    Raises
    ------
    CheckpointError
        Naming the field.

    Communication
    -------------
    Local.
    """
    for name in ("step", "sequence", "size"):
        _check(path, name, record.get(name), _is_number(record.get(name)) and record[name] >= (name == "size"))
    _check(path, "session", record.get("session"), isinstance(record.get("session"), str))
    _check(path, "written_by", record.get("written_by"), isinstance(record.get("written_by"), str))
    time = record.get("time")
    _check(path, "time", time, isinstance(time, int | float) and math.isfinite(time) and 0 <= time < _MOST_SECONDS)
    files = record.get("files")
    _check(path, "files", files, isinstance(files, list) and len(files) == record["size"])
    for rank, file in enumerate(files or ()):
        _check(path, f"files[{rank}]", file, _is_file(file, rank, rank_file(rank)))


def _is_file(file: Any, rank: int, name: str) -> bool:
    """Whether this describes the file of a rank; its name is no choice, so that it leads nowhere else."""
    if not isinstance(file, dict) or file.get("rank") != rank or file.get("file") != name:
        return False
    nbytes, chunk_bytes, crc32 = file.get("bytes"), file.get("chunk_bytes"), file.get("crc32")
    if not (_is_number(nbytes) and _is_number(chunk_bytes) and isinstance(crc32, list) and all(map(_is_number, crc32))):
        return False
    return _SMALLEST_CHUNK_BYTES <= chunk_bytes <= _MOST_CHUNK_BYTES and len(crc32) == -(-nbytes // chunk_bytes)


def _is_number(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < _MOST_NUMBER


def _check(path: Path, name: str, value: Any, right: bool) -> None:
    if not right:
        raise CheckpointError(f"{shown(path)} is not a whole record: it says {name} = {value!r:.80}")
