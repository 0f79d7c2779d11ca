"""The checkpoints of a run: which are complete, which is the newest, which may go.

    RUN/step-000000120-9f3a1c/commit.json       written last: its presence makes the checkpoint
                              rank-00000.h5     what rank 0 wrote, see `image`
                              rank-00000.json   its length and checksums, merged into the commit record
                              checkpoint.h5     the arrays of all ranks as one file, by reference to theirs

Standard library only: the keeper process imports this file.
"""

import shutil
import time
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcml.core.errors import CheckpointError
from hpcml.io.files.checksum import CHUNK_BYTES, file_checksums
from hpcml.io.files.record import read_record, write_record
from hpcml.io.files.replace import sync_folder

FORMAT = "hpcml-checkpoint"
FORMAT_VERSION = 1
COMMIT = "commit.json"
VIEW = "checkpoint.h5"
HAVE = ".have-"
SPARE = ".spare-"
_GONE = ".removed-"


class UncommittedError(CheckpointError):
    """A checkpoint that its writer did not finish, or not yet."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A committed checkpoint: its folder and the record that made it one."""

    path: Path
    record: dict[str, Any]

    @property
    def step(self) -> int:
        return int(self.record["step"])

    @property
    def size(self) -> int:
        """Ranks that wrote it."""
        return int(self.record["size"])

    @property
    def sequence(self) -> int:
        """Counts the checkpoints of a run across its restarts: the largest is the newest, whatever its step."""
        return int(self.record["sequence"])


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a run's folder holds: complete checkpoints, newest first, and what is wrong with the others."""

    complete: list[Checkpoint]
    unfinished: list[Path]
    damaged: dict[Path, str]


def folder_name(step: int, session: str) -> str:
    """Folder of one checkpoint: unique to the run that writes it, so nothing is ever overwritten."""
    return f"step-{step:09d}-{session}"


def rank_file(rank: int) -> str:
    """Name of the file that a rank writes."""
    return f"rank-{rank:05d}.h5"


def rank_record(rank: int) -> str:
    """Name of the record that says it is whole."""
    return f"rank-{rank:05d}.json"


def describe_rank(rank: int, nbytes: int, crc32: list[int]) -> dict[str, Any]:
    """The record of one rank's file."""
    return {"rank": rank, "file": rank_file(rank), "bytes": nbytes, "chunk_bytes": CHUNK_BYTES, "crc32": crc32}


def try_commit(folder: Path, header: dict[str, Any]) -> bool:
    """Write the commit record once every rank's record is there; False while one is missing.

    Communication
    -------------
    Local: the ranks' records meet on the file system.
    """
    present = {path.name for path in folder.iterdir()}
    if not all(rank_record(rank) in present for rank in range(header["size"])):
        return False
    files = [read_record(folder / rank_record(rank)) for rank in range(header["size"])]
    sync_folder(folder.parent)
    write_record(folder / COMMIT, {"format": FORMAT, "format_version": FORMAT_VERSION, "time": time.time(), **header, "files": files})
    return True


def open_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint's commit record and see that every file it names is there at its full length.

    Raises
    ------
    UncommittedError
        Where there is no commit record.
    CheckpointError
        Naming what is missing, cut short, or of a newer format.

    Communication
    -------------
    Local.
    """
    try:
        record = read_record(path / COMMIT)
    except FileNotFoundError:
        raise UncommittedError(f"{path} was never committed: its writer ended first; use an older checkpoint") from None
    if record.get("format") != FORMAT:
        raise CheckpointError(f"{path / COMMIT} is not the record of an hpcml checkpoint: it says {record.get('format')!r}")
    if record["format_version"] > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {record['format_version']}, this hpcml reads up to {FORMAT_VERSION}: "
            f"restart with hpcml {record.get('written_by', 'of the run that wrote it')} or newer"
        )
    for file in record["files"]:
        try:
            length = (path / file["file"]).stat().st_size
        except FileNotFoundError:
            raise CheckpointError(f"{path / file['file']} is missing (rank {file['rank']} of {record['size']} wrote it)") from None
        if length != file["bytes"]:
            raise CheckpointError(f"{path / file['file']} holds {length} bytes, {file['bytes']} were written: it was cut short or changed")
    return Checkpoint(path, record)


def damaged_chunk(folder: Path, file: dict[str, Any], first: int = 0, last: int | None = None) -> str | None:
    """Compare chunks of a file with their checksums.

    Parameters
    ----------
    folder : pathlib.Path
        The checkpoint.
    file : dict
        What its record says of the file.
    first, last : int
        Chunks ``first <= chunk < last``; by default all.

    Returns
    -------
    str or None
        What is wrong; None for nothing.

    Communication
    -------------
    Local.
    """
    path, chunk_bytes = folder / file["file"], file["chunk_bytes"]
    try:
        for index, checksum in file_checksums(path, chunk_bytes, range(first, len(file["crc32"]) if last is None else last)):
            if checksum != file["crc32"][index]:
                where = f"between bytes {index * chunk_bytes} and {min((index + 1) * chunk_bytes, file['bytes'])}"
                return f"{path} (rank {file['rank']}) does not match its checksum {where}: it is damaged"
    except OSError as error:
        return f"{path} cannot be read: {error}"
    return None


def survey(folder: Path) -> Catalog:
    """Look through a run's folder.

    Communication
    -------------
    Local.
    """
    catalog = Catalog([], [], {})
    for path in sorted(folder.glob("step-*-*")):
        try:
            catalog.complete.append(open_checkpoint(path))
        except UncommittedError:
            catalog.unfinished.append(path)
        except CheckpointError as error:
            if path.exists():  # and is not just being removed
                catalog.damaged[path] = str(error)
    catalog.complete.sort(key=lambda checkpoint: checkpoint.sequence, reverse=True)
    return catalog


def remove(path: Path) -> None:
    """Remove a checkpoint.

    It loses its name first, in one step: a half-removed one is never taken for whole, and a process that is about to commit it finds
    that it is gone.

    Communication
    -------------
    Local.
    """
    gone = path.with_name(f"{_GONE}{path.name}")
    with suppress(OSError):  # another process was faster
        path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def prune(folder: Path, keep: int, session: str | None, damaged: Container[Path] = ()) -> None:
    """Keep the newest `keep` complete checkpoints and whatever is damaged, seen here or known from elsewhere; remove the older ones.

    What earlier runs did not finish goes too; what the run `session` has not finished yet stays. Without a session, for what is left of a
    run that has died and may have been restarted, all that is not finished stays.

    Communication
    -------------
    Local.
    """
    found = survey(folder)
    complete = [checkpoint.path for checkpoint in found.complete if checkpoint.path not in damaged]
    for path in complete[keep:]:
        remove(path)
    if session is None:
        return
    left_behind = [path for path in found.unfinished if not path.name.endswith(f"-{session}")]
    for path in left_behind:
        remove(path)
    for mark in (HAVE, SPARE):  # by the keepers of a run that has died
        for path in folder.glob(f"{mark}*"):
            if not path.name.startswith(f"{mark}{session}-"):
                path.unlink(missing_ok=True)
    for path in folder.glob(f"{_GONE}*"):  # by a process that was killed while it removed them
        shutil.rmtree(path, ignore_errors=True)
