"""What a checkpoint holds and whether it is whole, for people and for scripts. Neither MPI nor torch is needed."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint.catalog import Checkpoint, damaged_chunk, open_checkpoint, rank_file, survey


def summarise(path: Path) -> dict[str, Any]:
    """Describe one checkpoint, every byte compared with its checksum.

    Parameters
    ----------
    path : pathlib.Path
        Its folder.

    Returns
    -------
    dict
        ``path``, ``complete``, ``problem`` (None or a sentence) and, as far as it can be read, ``step``, ``ranks``, ``sequence``,
        ``written``, ``written_by``, ``format_version``, ``bytes``, ``arrays`` (name, dtype, shape, placement) and ``values``.

    Communication
    -------------
    Local.
    """
    try:
        checkpoint = open_checkpoint(path)
    except CheckpointError as error:
        return {"path": str(path), "complete": False, "problem": str(error)}
    problem = next(filter(None, (damaged_chunk(path, file) for file in checkpoint.record["files"])), None)
    summary = {"path": str(path), "complete": problem is None, "problem": problem, **_header(checkpoint)}
    return summary if problem else summary | _content(path)


def summarise_run(folder: Path) -> list[dict[str, Any]]:
    """Describe every checkpoint of a run: the complete ones, newest first, then what is damaged or was never finished.

    Communication
    -------------
    Local.
    """
    found = survey(folder)
    return [summarise(path) for path in [*(checkpoint.path for checkpoint in found.complete), *found.damaged, *found.unfinished]]


def _header(checkpoint: Checkpoint) -> dict[str, Any]:
    record = checkpoint.record
    return {
        "step": checkpoint.step,
        "ranks": checkpoint.size,
        "sequence": checkpoint.sequence,
        "written": datetime.fromtimestamp(record["time"], UTC).isoformat(timespec="seconds"),
        "written_by": f"hpcml {record['written_by']}",
        "format_version": record["format_version"],
        "bytes": sum(file["bytes"] for file in record["files"]),
    }


def _content(path: Path) -> dict[str, Any]:
    with h5py.File(path / rank_file(0), "r", locking=False) as file:
        structure, values = (json.loads(file[name][()].tobytes()) for name in ("structure", "values"))
    return {"arrays": structure["arrays"], "values": dict(_named(structure["state"], values["values"], ""))}


def _named(node: list[Any], values: list[Any], path: str) -> list[tuple[str, Any]]:
    """Plain values of a state with their paths."""
    kind, body = node
    if kind == "value":
        return [(path, values[body])]
    if kind == "array":
        return []
    items = body if kind == "map" else enumerate(body)
    return [pair for key, child in items for pair in _named(child, values, f"{path}/{key}" if path else str(key))]
