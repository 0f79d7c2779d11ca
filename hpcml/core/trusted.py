"""What no other user could have put there: the folders and files that may be loaded as code, or believed."""

import os
import stat
from pathlib import Path

_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS = 40  # as the kernel


def distrust(folder: Path) -> str | None:
    """Why somebody else could change what is found at a folder, or None.

    The folder, all of its parents and all symbolic links on the way must belong to the user or to root and be writable by nobody else. A
    parent that all may write to, as ``/tmp``, must have the sticky bit, by which nobody can rename or remove what belongs to others.

    Parameters
    ----------
    folder : Path
        An existing folder.

    Raises
    ------
    OSError
        Where it does not exist.

    Communication
    -------------
    Local.
    """
    here, parts, links = Path("/"), list(reversed(Path(folder).absolute().parts)), 0
    while parts:
        here = Path(os.path.normpath(here / parts.pop()))
        entry = here.lstat()
        if entry.st_uid not in (os.geteuid(), 0):
            return f"{here} belongs to {_user(entry.st_uid)}"
        if stat.S_ISLNK(entry.st_mode):
            links += 1
            if links > _MOST_LINKS:
                return f"{here} is a link in a circle"
            parts += reversed(here.readlink().parts)
            here = here.parent
        elif entry.st_mode & _OTHERS and (not parts or not entry.st_mode & stat.S_ISVTX):
            return f"others may write to {here} (chmod go-w would end that)"
    return None


def open_trusted(path: Path) -> int:
    """Open a file of a trusted folder for reading, if it is the user's own, or root's, and nobody else may write to it.

    Returns
    -------
    int
        A descriptor: what was checked is what is read from it, whatever happens to the name.

    Raises
    ------
    PermissionError
        Where somebody else could have written it, or it is no regular file.
    OSError
        Where it cannot be opened.

    Communication
    -------------
    Local.
    """
    # without waiting: at a pipe, an ordinary open would wait for a writer
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    entry = os.fstat(descriptor)
    if stat.S_ISREG(entry.st_mode) and entry.st_uid in (os.geteuid(), 0) and not entry.st_mode & _OTHERS:
        return descriptor
    os.close(descriptor)
    raise PermissionError(f"{path} is not used: it belongs to {_user(entry.st_uid)} and has mode {stat.filemode(entry.st_mode)}")


def read_trusted(path: Path) -> bytes:
    """Content of such a file; errors are those of `open_trusted`."""
    with os.fdopen(open_trusted(path), "rb") as file:
        return file.read()


def write_trusted(path: Path, content: bytes) -> None:
    """Write a file that `read_trusted` takes, at once and whatever the umask, in a folder that is there.

    Raises
    ------
    OSError
        Where it cannot be written; what was there is still there.

    Communication
    -------------
    Local.
    """
    part = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _user(uid: int) -> str:
    return "you" if uid == os.geteuid() else f"the user {uid}"
