"""What a checkpoint holds and whether it is whole, for people and for scripts. Neither MPI nor torch is needed."""

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint.state.index import build_index, check_file, read_head, read_table
from hpcml.io.checkpoint.stored.catalog import Checkpoint, open_checkpoint, survey
from hpcml.io.checkpoint.stored.damaged_chunk import damaged_chunk
from hpcml.io.checkpoint.stored.stored_image import StoredImage
from hpcml.io.files.regular import shown


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
        return {"path": shown(path), "complete": False, "problem": str(error)}
    problem = next(filter(None, (damaged_chunk(path, file) for file in checkpoint.record["files"])), None)
    content = {}
    if problem is None:
        try:
            content = _content(path, checkpoint.size)
        except Exception as error:  # whatever goes wrong here is the fault of the file
            problem = f"{shown(path)} cannot be read: {type(error).__name__}: {error}"
    return {"path": shown(path), "complete": problem is None, "problem": problem, **_header(checkpoint), **content}


def summarise_run(folder: Path) -> list[dict[str, Any]]:
    """Describe every checkpoint of a run: the complete ones, newest first, then what is damaged or was never finished.

    Raises
    ------
    CheckpointError
        Where the folder cannot be read.

    Communication
    -------------
    Local.
    """
    try:
        found = survey(folder)
    except OSError as error:
        raise CheckpointError(f"{shown(folder)} cannot be read: {error.strerror}") from None
    damaged = [{"path": shown(path), "complete": False, "problem": problem} for path, problem in found.damaged.items()]
    return [*(summarise(checkpoint.path) for checkpoint in found.complete), *damaged, *map(summarise, found.unfinished)]


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


def _content(path: Path, size: int) -> dict[str, Any]:
    with ExitStack() as stack:
        files = [stack.enter_context(StoredImage(path, rank)) for rank in range(size)]
        head = read_head(files[0])
        index = build_index(head, [read_table(file) for file in files])
        for rank, file in enumerate(files):
            check_file(index, rank, file)
    return {"arrays": head[0]["arrays"], "values": dict(_named(index.structure, index.values, ""))}


def _named(node: list[Any], values: list[Any], path: str) -> list[tuple[str, Any]]:
    """Plain values of a state with their paths."""
    kind, body = node
    if kind == "value":
        return [(path, values[body])]
    if kind == "array":
        return []
    items = body if kind == "map" else enumerate(body)
    return [pair for key, child in items for pair in _named(child, values, f"{path}/{key}" if path else str(key))]
