"""Where hpcml keeps what it can make again: compiled kernels, and what it has found out about this machine."""

import atexit
import logging
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

from hpcml.core.errors import DeviceError
from hpcml.core.trusted import distrust

_log = logging.getLogger(__name__)


def cache_folder(subject: str) -> Path:
    """``$HPCML_CACHE/subject``, else ``hpcml/subject`` in ``$XDG_CACHE_HOME`` or ``~/.cache``, where nobody else can write.

    Parameters
    ----------
    subject : str
        Name of the sub-folder.

    Returns
    -------
    Path
        A folder that is there, writable, and safe from other users (see `hpcml.core.trusted.distrust`). Where that place is not, a new
        one in the temporary folder, gone with the process; a warning tells of it once.

    Raises
    ------
    DeviceError
        Where there is no safe temporary folder either.

    Communication
    -------------
    Local. Ranks with one home see one folder, so what belongs to a machine must have the machine's name in it.
    """
    try:
        folder = _root() / subject
        for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
            missing.mkdir(exist_ok=True, mode=0o700)  # whatever the umask: what others of a group can write is not used
        reason = distrust(folder) or (None if os.access(folder, os.W_OK) else f"{folder} is not writable")
    except (OSError, RuntimeError) as error:  # a read-only or missing home, as on many compute nodes
        reason = str(error)
    if reason is None:
        return folder
    own = _private_folder()
    _tell(reason, own)
    folder = own / subject
    folder.mkdir(exist_ok=True, mode=0o700)
    return folder


def _root() -> Path:
    if root := os.environ.get("HPCML_CACHE"):
        return Path(root).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "hpcml"


@lru_cache
def _private_folder() -> Path:
    for base in (None, "/tmp", "/dev/shm"):  # where the place for temporary files is no safe one itself, in one that always is
        try:
            folder = Path(tempfile.mkdtemp(prefix="hpcml-", dir=base))
        except OSError:
            continue
        atexit.register(_remove, folder, os.getpid())
        if distrust(folder) is None:
            return folder
    raise DeviceError("no folder for temporary files is safe from other users: set TMPDIR, or HPCML_CACHE, to a folder of your own")


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # and not one that was forked from it
        shutil.rmtree(folder, ignore_errors=True)


@lru_cache
def _tell(reason: str, folder: Path) -> None:
    remedy = "set HPCML_CACHE to a folder that you alone can write to"
    _log.warning(
        "%s, so the cache is not used, and what it would hold is made anew in %s: %s", reason, folder, remedy, extra={"alike": True}
    )
