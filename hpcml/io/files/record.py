"""Small JSON records that tell whether they are whole. Standard library only: the keeper of checkpoints imports this file."""

import json
import zlib
from pathlib import Path
from typing import Any

from hpcml.core.errors import CheckpointError
from hpcml.core.json_text import parse_json
from hpcml.core.regular import read_regular
from hpcml.io.files.replace import write_file


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a small JSON record with its own checksum, durably: after this returns it is there whole, before it is not there.

    Communication
    -------------
    Local.
    """
    body = json.dumps(record, sort_keys=True)
    write_file(path, json.dumps({"crc32": zlib.crc32(body.encode()), "record": record}, sort_keys=True).encode())


def read_record(path: Path, most: int = 1 << 20) -> dict[str, Any]:
    """Read what `write_record` wrote.

    Parameters
    ----------
    path : pathlib.Path
        The record.
    most : int
        Bytes that it can have.

    Raises
    ------
    CheckpointError
        Where the file is not whole.
    FileNotFoundError
        Where there is none.
    OSError
        Where it cannot be read.

    Communication
    -------------
    Local.
    """
    data = read_regular(path, most)
    try:
        document = parse_json(data)
        record = document["record"]
        intact = isinstance(record, dict) and document["crc32"] == zlib.crc32(json.dumps(record, sort_keys=True).encode())
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is not a whole record: {error}") from error
    if not intact:
        raise CheckpointError(f"{path} does not match its own checksum: it was changed after it was written")
    return dict(record)
