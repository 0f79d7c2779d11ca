"""One start of a run that saves, and the secret by which its keepers and a restart find and know each other.

    RUN/.secret-9f3a1c      for its owner only; names that nobody can guess, nor take for those of another run, are made from it

Standard library only: the keeper process imports this file.
"""

import json
import os
import secrets
import socket
import stat
import struct
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from hpcml.core.json_text import parse_json
from hpcml.core.regular import open_regular
from hpcml.io.checkpoint.stored.catalog import SECRET, survey
from hpcml.io.files.lock import FolderLock
from hpcml.io.files.replace import sync_folder, write_file

_MOST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Session:
    """One start of a run.

    Attributes
    ----------
    name : str
        Part of the names of what it writes.
    secret : str
        Known to its keepers, and to whoever may read the file of it.
    size : int
        Its ranks.
    """

    name: str
    secret: str
    size: int

    def point(self, rank: int) -> str:
        """Name under which the keeper of a rank can be found on its node.

        It is in the abstract namespace of Linux: it vanishes with the process that made it and leaves nothing behind. Everybody sees it
        there, so it tells nothing about the secret or about the names of the other ranks.
        """
        return "\0hpcml-keeper-" + blake2b(f"{self.secret} {rank}".encode(), digest_size=16).hexdigest()

    def end(self, folder: Path) -> None:
        """Forget the secret: no keeper is left to be found."""
        with suppress(OSError):  # whoever finds it later finds nobody
            (folder / f"{SECRET}{self.name}").unlink()


def begin_session(folder: Path, size: int, patience: float) -> tuple[FolderLock, Session, int]:
    """Begin a start of the run in a folder: take the lock, and return it, the session and the number of the newest save there is.

    Raises
    ------
    CheckpointError
        Where another job uses the folder.
    OSError
        Where the folder cannot be read or written.

    Communication
    -------------
    Local; called on one rank.
    """
    lock = FolderLock(folder, patience)
    try:
        newest = survey(folder).complete[:1]
        session = Session(secrets.token_hex(3), secrets.token_hex(16), size)
        text = json.dumps({"secret": session.secret, "size": size}).encode()
        with suppress(OSError):  # a disk that is full: then a restart reads what is on the disk by then
            write_file(folder / f"{SECRET}{session.name}", text, durable=False, mode=stat.S_IRUSR | stat.S_IWUSR)
        sync_folder(folder)  # a file system that cannot do that is told of here: keepers have no voice
    except BaseException:
        lock.close()
        raise
    return lock, session, newest[0].sequence if newest else 0


def earlier_sessions(folder: Path) -> list[Session]:
    """Those starts of a run that may have left keepers to this user.

    Communication
    -------------
    Local.
    """
    found = []
    for path in sorted(folder.glob(f"{SECRET}*")):
        with suppress(OSError, ValueError, KeyError, TypeError), os.fdopen(open_regular(path), "rb") as file:
            if os.fstat(file.fileno()).st_uid == os.geteuid():
                fields = parse_json(file.read(_MOST_BYTES))
                found.append(Session(path.name.removeprefix(SECRET), str(fields["secret"]), int(fields["size"])))
    return found


def is_same_user(end: socket.socket) -> bool:
    """Whether the process at the other end of a line is of this user, by what Linux says of it and not by what it says."""
    credentials = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
    return bool(struct.unpack("iII", credentials)[1] == os.geteuid())
