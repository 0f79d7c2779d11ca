"""Whether the disk has room for what a run is about to write."""

import shutil
from pathlib import Path

from hpcml.core.errors import CheckpointError


def check_room(folder: Path, needed: int, what: str, remedy: str) -> None:
    """See that the disk has room, as far as it says: a quota may be smaller.

    Parameters
    ----------
    folder : Path
        Where it will be written; what of it is not there yet will be made.
    needed : int
        Bytes.
    what : str
        What takes them, in the plural.
    remedy : str
        How fewer are written.

    Raises
    ------
    CheckpointError
        Where there is less.

    Communication
    -------------
    Local.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise CheckpointError(
            f"{what} take {needed / 1e9:.3g} GB, and {folder} has {free / 1e9:.3g} GB left: free some space, choose another folder, or "
            f"{remedy}"
        )
