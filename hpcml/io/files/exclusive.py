"""A file that exactly one of many processes makes, on any nodes, without locks. Standard library only: the keeper imports this file."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hpcml.io.files.owner import Owner, read_owner

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


def create(path: Path, content: bytes) -> bool:
    """Make a file with all of its content at once; False if there is one.

    A link is made by one process alone on every file system that has them, old versions of NFS included; elsewhere the file is opened
    exclusively, and another process may see it empty for a moment.

    Raises
    ------
    OSError
        Where the folder is not there or cannot be written.

    Communication
    -------------
    Local.
    """
    beside = path.with_name(f"{path.name}-new-{os.urandom(4).hex()}")
    try:
        _write(beside, content)
        try:
            os.link(beside, path)
        except FileExistsError:
            return beside.stat().st_nlink == 2  # the answer to the first try was lost on the way from the server
        except FileNotFoundError:
            return False  # who made the file meanwhile has tidied up
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _create_by_opening(path, content)
        return True
    finally:
        with suppress(OSError):
            beside.unlink()


def exchange(path: Path, found: Owner, mine: Owner, gone: Callable[[Path, Owner], bool], act: Callable[[], None]) -> bool:
    """Do something to a file that names an owner, provided that it still names this one and nobody else is about to do so.

    Who would replace or remove the record of an owner first makes a file that is named after that owner. Only one process can, so none
    replaces what another has just put there.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    found : Owner
        Whom it named.
    mine : Owner
        This process.
    gone : callable
        Whether the owner of such a file, made by somebody who was about to do the same, is gone.
    act : callable
        What to do.

    Communication
    -------------
    Local.
    """
    claim = path.with_name(f"{path.name}-{found.token[:8]}")
    record = replace(mine, left=False).encode()
    if not create(claim, record):
        before = read_owner(claim)
        if before is None or not gone(claim, before[0]):
            return False
        if not exchange(claim, before[0], mine, gone, lambda: replace_by(claim, record)):
            return False
    try:
        again = read_owner(path)
        if again is None or again[0].token != found.token:
            return False
        act()
        return True
    finally:
        with suppress(OSError):
            claim.unlink()


def replace_by(path: Path, content: bytes) -> None:
    """Replace a file at once."""
    beside = path.with_name(f"{path.name}-new-{os.urandom(4).hex()}")
    try:
        _write(beside, content)
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise


def _create_by_opening(path: Path, content: bytes) -> bool:
    try:
        _write(path, content)
    except FileExistsError:
        return False
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise
    return True


def _write(path: Path, content: bytes) -> None:
    with path.open("xb", buffering=0) as file:
        if file.write(content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
