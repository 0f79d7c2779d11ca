"""What a keeper does with the disk: write the copies of its rank, commit what all ranks have written, and clear up.

Standard library only: the keeper process imports this file.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint.keeper.spare import Spares
from hpcml.io.checkpoint.keeper.yielding import work_off
from hpcml.io.checkpoint.stored import catalog
from hpcml.io.files.checksum import each_checksum
from hpcml.io.files.record import read_record, write_record
from hpcml.io.files.replace import write_file

_MOST_UNCOMMITTED = 4  # the first rank's keeper commits; the others remember the last few, in case it is lost
_PATIENCE_SECONDS = 15.0  # for a keeper that may be lost, after the rank has died; on a busy node one takes seconds to start
POLL_SECONDS = 0.005  # between two looks for the records of the other ranks


class Disk:
    """The checkpoints on disk, as one keeper writes them.

    Parameters
    ----------
    folder : pathlib.Path
        Of the run.
    rank : int
        Whose copies these are.
    keep : int
        Complete checkpoints that stay.
    tell : callable
        Takes a message to the rank.

    Attributes
    ----------
    view : int or None
        File that shows the arrays of all ranks as one.
    written : set of int
        Sequences that this keeper has brought to disk.
    uncommitted : list of dict
        Headers of what it has brought to disk and nobody has committed yet.
    damaged : set of pathlib.Path
        What does not count when old checkpoints are removed.
    alone : bool
        Whether the rank is dead, and the run perhaps restarted by now.

    Communication
    -------------
    None by MPI: the keepers meet on the file system.
    """

    def __init__(self, folder: Path, rank: int, keep: int, tell: Callable[[dict[str, Any]], None]) -> None:
        self._folder, self._rank, self._keep, self._tell = folder, rank, keep, tell
        self.view: int | None = None
        self.written: set[int] = set()
        self.uncommitted: list[dict[str, Any]] = []
        self.damaged: set[Path] = set()
        self.alone = False
        self._spares: Spares | None = None

    def write(self, header: dict[str, Any], copy: memoryview, yield_until: float = 0.0) -> None:
        """Bring one copy to disk, letting training go first up to a time, and tell the rank."""
        path = self._path(header)
        try:
            waited = work_off(self._parts(path, header, copy), yield_until)
        except OSError as error:
            self._tell_failure(header, error.errno, f"writing {path} failed: {error}")
            return
        self.written.add(header["sequence"])
        self.uncommitted = [*self.uncommitted, header][-_MOST_UNCOMMITTED:]
        self._tell({"written": header["sequence"], "waited": waited})

    def commit(self) -> None:
        """Commit what every rank has written, newest first; what is older than a committed checkpoint is given up."""
        for header in sorted(self.uncommitted, key=lambda header: -header["sequence"]):
            path = self._path(header)
            try:
                done = catalog.try_commit(path, header)
            except (OSError, CheckpointError) as error:
                self.uncommitted.remove(header)
                if self._superseded(header):  # by the work of a keeper that was lost before it told
                    self._tell({"committed": header["sequence"]})
                    continue
                catalog.remove(path)
                self._tell_failure(header, getattr(error, "errno", None), f"committing {path} failed: {error}")
                continue
            if done:
                self._give_up_before(header["sequence"])
                self._tell({"committed": header["sequence"]})  # first: to remove a large file takes a third of the time to write it
                with suppress(OSError):  # what cannot be removed now is removed after the next one
                    catalog.prune(self._folder, self._keep, None if self.alone else header["session"], self.damaged)
                return

    def finish(self, complete: dict[int, tuple[dict[str, Any], memoryview]]) -> None:
        """Bring to disk what a dead rank had complete, by sequence, and see that somebody commits it."""
        self.alone = True
        self._publish(complete)
        newest = -1
        with suppress(OSError):
            newest = max((checkpoint.sequence for checkpoint in catalog.survey(self._folder).complete), default=-1)
        self.uncommitted = [header for header in self.uncommitted if header["sequence"] > newest]
        for sequence, (header, copy) in sorted(complete.items()):
            if sequence > newest and sequence not in self.written:
                self.write(header, copy)
        self._commit_as_orphan()

    def tidy(self) -> None:
        """Remove what only served to write faster."""
        if self._spares is not None:
            self._spares.remove()

    def _parts(self, path: Path, header: dict[str, Any], copy: memoryview) -> Iterator[None]:
        self._spares = self._spares or Spares(self._folder, header["session"], self._rank)
        path.mkdir(exist_ok=True)
        yield from self._spares.write(path / catalog.rank_file(self._rank), copy)
        if self.view is not None:
            write_file(path / catalog.VIEW, os.pread(self.view, os.fstat(self.view).st_size, 0))
        checksums = []
        for checksum in each_checksum(copy):
            checksums.append(checksum)
            yield
        write_record(path / catalog.rank_record(self._rank), catalog.describe_rank(self._rank, len(copy), checksums))

    def _give_up_before(self, sequence: int) -> None:
        for header in self.uncommitted:
            if header["sequence"] < sequence and not self._committed(header):
                catalog.remove(self._path(header))
        self.uncommitted = [header for header in self.uncommitted if header["sequence"] > sequence]

    def _commit_as_orphan(self) -> None:
        """Every keeper tries, since the first rank's may be lost, but not for what another rank never had."""
        seen, since = -1, time.monotonic()
        while self.uncommitted and time.monotonic() - since < _PATIENCE_SECONDS:
            self.commit()
            self.uncommitted = [header for header in self.uncommitted if not self._committed(header) and not self._hopeless(header)]
            progress = sum(self._files_of(header) for header in self.uncommitted)
            if progress != seen:
                seen, since = progress, time.monotonic()
            time.sleep(POLL_SECONDS)

    def _publish(self, complete: dict[int, tuple[dict[str, Any], memoryview]]) -> None:
        """Let the other keepers know which copies this rank has, in memory or on disk."""
        have = sorted(self.written | set(complete))[-16:]
        for session in {header["session"] for header, _ in complete.values()}:
            with suppress(OSError):
                write_record(self._folder / f"{catalog.HAVE}{session}-{self._rank}", {"have": have})

    def _hopeless(self, header: dict[str, Any]) -> bool:
        """Whether the keeper of some rank has said that it does not have a copy."""
        for path in self._folder.glob(f"{catalog.HAVE}{header['session']}-*"):
            with suppress(OSError, CheckpointError, KeyError, TypeError):
                if header["sequence"] not in read_record(path)["have"]:
                    return True
        return False

    def _superseded(self, header: dict[str, Any]) -> bool:
        with suppress(OSError):
            return any(checkpoint.sequence >= header["sequence"] for checkpoint in catalog.survey(self._folder).complete)
        return False

    def _committed(self, header: dict[str, Any]) -> bool:
        return (self._path(header) / catalog.COMMIT).exists()

    def _files_of(self, header: dict[str, Any]) -> int:
        with suppress(OSError):
            return len(list(self._path(header).iterdir()))
        return 0

    def _path(self, header: dict[str, Any]) -> Path:
        return self._folder / catalog.folder_of(header)

    def _tell_failure(self, header: dict[str, Any], number: int | None, text: str) -> None:
        self._tell({"failed": header["sequence"], "errno": number, "error": text})
