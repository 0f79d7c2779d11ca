"""Replace a small file at once."""

import os
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Write a file beside another and give it that one's name: a reader finds the old content or the new, whole.

    Raises
    ------
    OSError
        Where it cannot be written; the old content is then still there.

    Communication
    -------------
    Local.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
