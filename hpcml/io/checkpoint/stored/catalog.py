"""The checkpoints of a run: which are complete, which is the newest, which may go.

    RUN/step-000000120-9f3a1c/commit.json       written last: its presence makes the checkpoint
                              rank-00000.h5     what rank 0 wrote, see `state.image`
                              rank-00000.json   its length and checksums, merged into the commit record
                              checkpoint.h5     the arrays of all ranks as one file, by reference to theirs

Standard library only: the keeper process imports this file.
"""

import os
import re
import shutil
import stat
import time
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcml.core.errors import CheckpointError
from hpcml.core.regular import kind_of
from hpcml.io.checkpoint.stored.commit_record import check_record, most_record_bytes
from hpcml.io.files.checksum import CHUNK_BYTES
from hpcml.io.files.record import read_record, write_record
from hpcml.io.files.regular import check_own_folder, raise_if_short, shown
from hpcml.io.files.replace import sync_folder

FORMAT = "hpcml-checkpoint"
FORMAT_VERSION = 1
COMMIT = "commit.json"
VIEW = "checkpoint.h5"
HAVE = ".have-"
SPARE = ".spare-"
SECRET = ".secret-"
_GONE = ".removed-"
_STEP = "step-"
_NAME = re.compile(r"step-\d{9,18}-[0-9A-Za-z]+")


class UncommittedError(CheckpointError):
    """A checkpoint that its writer did not finish, or not yet."""


class DamagedError(CheckpointError):
    """A checkpoint that is not as it was written: an older one may be whole."""


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


def folder_name(step: int, session: str, again: int = 0) -> str:
    """Folder of one checkpoint: unique to the run that writes it, and to each time that it comes to a step, so nothing is overwritten."""
    return f"step-{step:09d}-{session}{f'x{again}' if again else ''}"


def folder_of(header: dict[str, Any]) -> str:
    """Folder of the checkpoint that a header is of."""
    return folder_name(header["step"], header["session"], header.get("again", 0))


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
    present = _files(folder)
    if not all(rank_record(rank) in present for rank in range(header["size"])):
        return False
    most = most_record_bytes(status.st_size for status in present.values())
    files = [read_record(folder / rank_record(rank), most) for rank in range(header["size"])]
    sync_folder(folder.parent)
    write_record(folder / COMMIT, {"format": FORMAT, "format_version": FORMAT_VERSION, "time": time.time(), **header, "files": files})
    return True


def open_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint's commit record and see that every file it names is there at its full length.

    Nothing is believed before it is looked at: a folder may have been filled by anybody, and neither links nor pipes are followed.

    Raises
    ------
    UncommittedError
        Where there is no commit record.
    CheckpointError
        Naming what is missing, cut short, of another kind or of a newer format.

    Communication
    -------------
    Local.
    """
    try:
        files = _files(path)
        if COMMIT not in files:
            raise UncommittedError(f"{shown(path)} was never committed: its writer ended first; use an older checkpoint")
        record = read_record(path / COMMIT, most_record_bytes(status.st_size for status in files.values()))
    except FileNotFoundError as error:
        raise UncommittedError(f"{shown(path)} is not there: {error}") from None
    except OSError as error:
        raise_if_short(error)
        raise DamagedError(f"{shown(path)} cannot be read: {error.strerror or error}") from None
    _check_format(path, record)
    check_record(path / COMMIT, record, rank_file)
    for file in record["files"]:
        _check_file(path / file["file"], files.get(file["file"]), file, record["size"])
    if not path.exists():
        raise UncommittedError(f"{shown(path)} was removed meanwhile")
    return Checkpoint(path, record)


def _files(folder: Path) -> dict[str, os.stat_result]:
    """What a folder holds; files come and go there while it is looked at."""
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                found[entry.name] = entry.stat(follow_symlinks=False)
    return found


def _check_format(path: Path, record: dict[str, Any]) -> None:
    if record.get("format") != FORMAT:
        raise CheckpointError(f"{shown(path / COMMIT)} is not the record of an hpcml checkpoint: it says {record.get('format')!r:.80}")
    version = record.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CheckpointError(
            f"{shown(path)} has format version {version!r:.80}, this hpcml reads up to {FORMAT_VERSION}: "
            f"restart with hpcml {record.get('written_by', 'of the run that wrote it')!s:.80} or newer"
        )


def _check_file(path: Path, status: os.stat_result | None, file: dict[str, Any], size: int) -> None:
    if status is None:
        raise CheckpointError(f"{shown(path)} is missing (rank {file['rank']} of {size} wrote it)")
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{shown(path)} is a {kind_of(status.st_mode)}, not a file (rank {file['rank']} of {size} wrote one)")
    if status.st_size != file["bytes"]:
        raise CheckpointError(f"{shown(path)} holds {status.st_size} bytes, {file['bytes']} were written: it was cut short or changed")


def survey(folder: Path) -> Catalog:
    """Look through a run's folder; what is wrong with one entry is no matter of the others.

    Raises
    ------
    OSError
        Where the folder itself cannot be read; one that is not there holds nothing.

    Communication
    -------------
    Local.
    """
    catalog = Catalog([], [], {})
    for path in _entries(folder, _STEP):
        try:
            if not _NAME.fullmatch(path.name):
                raise CheckpointError(f"{shown(path)} is not a checkpoint: those are folders named {folder_name(120, '9f3a1c')}")
            check_own_folder(path)
            catalog.complete.append(open_checkpoint(path))
        except UncommittedError:
            if os.path.lexists(path):
                catalog.unfinished.append(path)
        except OSError as error:
            raise_if_short(error)
            if os.path.lexists(path):
                catalog.damaged[path] = f"{shown(path)} cannot be read: {error.strerror or error}"
        except CheckpointError as error:
            if os.path.lexists(path):  # and is not just being removed
                catalog.damaged[path] = str(error)
    catalog.complete.sort(key=lambda checkpoint: checkpoint.sequence, reverse=True)
    return catalog


def _entries(folder: Path, *marks: str) -> list[Path]:
    """What in a folder has a name that begins with one of these."""
    try:
        return sorted(path for path in folder.iterdir() if path.name.startswith(marks))
    except FileNotFoundError:
        return []


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
    _remove_tree(gone)


def _remove_tree(folder: Path) -> None:
    with suppress(OSError):
        if stat.S_ISDIR(folder.lstat().st_mode):  # a pipe would be opened, and waited for
            shutil.rmtree(folder, ignore_errors=True)


def prune(folder: Path, keep: int, session: str | None, damaged: Container[Path] = ()) -> None:
    """Keep the newest complete checkpoint of each of the last `keep` steps, and whatever is damaged, seen here or known from elsewhere.

    What earlier runs did not finish goes too; what the run `session` has not finished yet stays. Without a session, for what is left of a
    run that has died and may have been restarted, all that is not finished stays.

    Communication
    -------------
    Local.
    """
    found = survey(folder)
    kept: set[int] = set()
    for checkpoint in found.complete:
        if checkpoint.path in damaged:
            continue
        if checkpoint.step in kept or len(kept) == keep:
            remove(checkpoint.path)
        else:
            kept.add(checkpoint.step)
    if session is None:
        return
    left_behind = [path for path in found.unfinished if path.name.rpartition("-")[2].partition("x")[0] != session]
    for path in left_behind:
        remove(path)
    for path in _entries(folder, HAVE, SPARE, SECRET):  # by the keepers of a run that has died
        if path.name.split("-")[1] != session:
            with suppress(OSError):  # a folder, for instance, is not ours
                path.unlink()
    for path in _entries(folder, _GONE):  # by a process that was killed while it removed them
        _remove_tree(path)
